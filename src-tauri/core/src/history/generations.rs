//! Which refresh token followed which, and what the provider said of each. This is why a dead
//! generation is never sent twice, by any Kalit process, before or after a restart, and why a
//! store that went back to an older generation is recognised. Fingerprints only.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Database;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::ProviderId;
use crate::secret::Fingerprint;

/// How many generations are kept; only superseded ones make room.
const NEWEST_GENERATIONS: i64 = 20_000;
const NEWEST_NOTIFIED: i64 = 10_000;

/// The chain of generations that began with one sign-in, named by its first known generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Family(Fingerprint);

/// What is known of one generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    pub fingerprint: Fingerprint,
    pub family: Family,
    /// Grows with every generation that is recorded.
    pub sequence: i64,
    pub superseded_by: Option<Fingerprint>,
    /// When its access token was issued.
    pub issued_at: Option<Timestamp>,
    /// How long its access token lives.
    pub lifetime_ms: Option<i64>,
    pub refusal: Option<Refusal>,
    /// A request with it was sent at this time and has not been answered.
    pub unknown_since: Option<Timestamp>,
    /// The one retry of such a request was sent at this time.
    pub retried_at: Option<Timestamp>,
}

impl Generation {
    /// Whether it was sent twice and never answered: it is not sent again.
    pub fn is_given_up(&self) -> bool {
        self.unknown_since.is_some() && self.retried_at.is_some()
    }
}

/// The provider refused this generation for good: it must never be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The provider's code, such as `refresh_token_reused`.
    pub code: String,
    pub at: Timestamp,
    /// The refusal came to the retry of a request whose answer was lost: told as that, not as
    /// another program's doing.
    pub answer_was_lost: bool,
}

/// The manifest and the token endpoint under which Kalit signed a family in: its tokens are sent
/// nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    pub provider: ProviderId,
    /// The whole token URL; the host in it is what a consent names.
    pub token_url: String,
    pub at: Timestamp,
}

/// Kalit's own record of generations, shared by all its processes.
#[derive(Debug)]
pub struct Generations {
    database: Database,
}

impl Family {
    /// The family that a sign-in or a first sight of `first` begins.
    pub const fn begun_by(first: Fingerprint) -> Self {
        Self(first)
    }

    /// The fingerprint of its first known generation.
    pub const fn fingerprint(&self) -> Fingerprint {
        self.0
    }

    /// 16 hexadecimal digits, for people.
    pub fn short(&self) -> String {
        self.0.short()
    }
}

impl Generations {
    /// `data_dir` is [`crate::environment::Environment::data_dir`]. Nothing is made on disk
    /// before the first record.
    pub fn open(data_dir: &Path) -> Result<Self> {
        Ok(Self {
            database: Database::open(data_dir)?,
        })
    }

    /// A new login: begins a family. `lifetime_ms` is that of its access token.
    pub fn record_sign_in(
        &self,
        generation: Fingerprint,
        sign_in: &SignIn,
        lifetime_ms: Option<i64>,
    ) -> Result<Family> {
        self.database.write(|transaction| {
            let family = family_of(transaction, generation)?;
            insert(
                transaction,
                generation,
                family,
                Some(sign_in.at.as_millis()),
                lifetime_ms,
            )?;
            transaction.execute(
                "INSERT INTO family (family, provider, token_url, signed_in_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (family) DO UPDATE SET provider = ?2, token_url = ?3, signed_in_at = ?4",
                params![
                    family.0.to_string(),
                    sign_in.provider.as_str(),
                    sign_in.token_url,
                    sign_in.at.as_millis()
                ],
            )?;
            Ok(family)
        })
    }

    /// `old` was answered with `new`, by Kalit or, as seen on disk, by another program. Providers
    /// that do not rotate answer with the same refresh token: then `old` equals `new`. A step back
    /// to an earlier generation of the same family is not a rotation and records nothing.
    pub fn record_rotation(
        &self,
        old: Fingerprint,
        new: Fingerprint,
        at: Timestamp,
        lifetime_ms: Option<i64>,
    ) -> Result<Family> {
        self.database.write(|transaction| {
            let family = family_of(transaction, old)?;
            let known = find(transaction, new)?;
            if let Some(known) = known {
                if known.family == family && known.superseded_by.is_some() {
                    return Ok(family);
                }
                // Seen before anybody knew where it came from.
                if known.family != family && sign_in_of(transaction, known.family)?.is_none() {
                    transaction.execute(
                        "UPDATE generation SET family = ?2 WHERE family = ?1",
                        params![known.family.0.to_string(), family.0.to_string()],
                    )?;
                }
            }
            insert(transaction, old, family, None, None)?;
            insert(transaction, new, family, Some(at.as_millis()), lifetime_ms)?;
            transaction.execute(
                "UPDATE generation SET unknown_since = NULL, retried_at = NULL WHERE fingerprint = ?1",
                [old.to_string()],
            )?;
            if old != new {
                transaction.execute(
                    "UPDATE generation SET superseded_by = ?2 WHERE fingerprint = ?1",
                    params![old.to_string(), new.to_string()],
                )?;
            }
            transaction.execute(
                "INSERT INTO family (family, last_refresh) VALUES (?1, ?2)
                 ON CONFLICT (family) DO UPDATE SET last_refresh = ?2",
                params![family.0.to_string(), at.as_millis()],
            )?;
            transaction.execute(
                "DELETE FROM generation WHERE superseded_by IS NOT NULL
                 AND sequence <= (SELECT max(sequence) FROM generation) - ?1",
                [NEWEST_GENERATIONS],
            )?;
            Ok(family)
        })
    }

    /// The provider refused this generation for good.
    pub fn record_refusal(&self, generation: Fingerprint, code: &str, at: Timestamp) -> Result<()> {
        self.update(
            generation,
            "UPDATE generation SET refused_code = ?2, refused_at = ?3 WHERE fingerprint = ?1",
            params![generation.to_string(), code, at.as_millis()],
        )
    }

    /// A request with this generation is on its way, or its answer never came. Recorded before
    /// sending, so that a crash cannot hide it; an earlier time stands.
    pub fn record_unknown(&self, generation: Fingerprint, at: Timestamp) -> Result<()> {
        self.update(
            generation,
            "UPDATE generation SET unknown_since = coalesce(unknown_since, ?2) WHERE fingerprint = ?1",
            params![generation.to_string(), at.as_millis()],
        )
    }

    /// The answer to a request that was recorded before is no longer waited for.
    pub fn record_unanswered(&self, generation: Fingerprint, at: Timestamp) -> Result<()> {
        self.update(
            generation,
            "UPDATE generation SET unknown_since = ?2 WHERE fingerprint = ?1",
            params![generation.to_string(), at.as_millis()],
        )
    }

    /// The one retry of an unanswered request is about to be sent. `false` when there already was
    /// one, perhaps in another process: then nothing may be sent.
    pub fn record_retry(&self, generation: Fingerprint, at: Timestamp) -> Result<bool> {
        self.database.write(|transaction| {
            let changed = transaction.execute(
                "UPDATE generation SET retried_at = ?2
                 WHERE fingerprint = ?1 AND unknown_since IS NOT NULL AND retried_at IS NULL",
                params![generation.to_string(), at.as_millis()],
            )?;
            Ok(changed == 1)
        })
    }

    /// The retry of an unanswered request did not leave either: it may be tried again, as long after
    /// this as after the first one.
    pub fn postpone_retry(&self, generation: Fingerprint, at: Timestamp) -> Result<()> {
        self.update(
            generation,
            "UPDATE generation SET unknown_since = ?2, retried_at = NULL WHERE fingerprint = ?1",
            params![generation.to_string(), at.as_millis()],
        )
    }

    /// An answer came, or the request never left: nothing was rotated, and it may be sent again.
    pub fn clear_unknown(&self, generation: Fingerprint) -> Result<()> {
        self.database.write(|transaction| {
            transaction.execute(
                "UPDATE generation SET unknown_since = NULL, retried_at = NULL WHERE fingerprint = ?1",
                [generation.to_string()],
            )?;
            Ok(())
        })
    }

    /// An answer came that was no verdict and may hide a rotation (an outage, a page of somebody
    /// else): it may be sent again, and a refusal after that is told as a lost answer.
    pub fn record_doubt(&self, generation: Fingerprint) -> Result<()> {
        self.update(
            generation,
            "UPDATE generation SET unknown_since = NULL, retried_at = NULL, doubtful = 1 WHERE fingerprint = ?1",
            params![generation.to_string()],
        )
    }

    /// A request to end the login is about to be sent. It stands until the provider has answered, so
    /// that no crash leaves a login that ended without a word of it.
    pub fn record_revoking(&self, generation: Fingerprint, at: Timestamp) -> Result<()> {
        self.database.write(|transaction| {
            transaction.execute(
                "INSERT OR REPLACE INTO mark (generation, code, at) VALUES (?1, 'revoking', ?2)",
                params![revoking_key(generation), at.as_millis()],
            )?;
            Ok(())
        })
    }

    /// The provider has answered, or the request never left.
    pub fn clear_revoking(&self, generation: Fingerprint) -> Result<()> {
        self.database.write(|transaction| {
            transaction.execute(
                "DELETE FROM mark WHERE generation = ?1",
                [revoking_key(generation)],
            )?;
            Ok(())
        })
    }

    /// Since when it is not known whether the provider ended this generation.
    pub fn revoking_since(&self, generation: Fingerprint) -> Result<Option<Timestamp>> {
        self.database.read(None, |connection| {
            connection
                .prepare_cached("SELECT at FROM mark WHERE generation = ?1")?
                .query_row([revoking_key(generation)], |row| {
                    row.get(0).map(Timestamp::from_millis)
                })
                .optional()
        })
    }

    /// This generation was written over a refused one that it is newer than. Recorded before it is
    /// written: if it is refused, too, nothing is put in its place.
    pub fn record_healed(&self, generation: Fingerprint, at: Timestamp) -> Result<()> {
        self.database.write(|transaction| {
            transaction.execute(
                "INSERT OR REPLACE INTO mark (generation, code, at) VALUES (?1, 'healed', ?2)",
                params![healed_key(generation), at.as_millis()],
            )?;
            Ok(())
        })
    }

    /// Whether it took the place of a refused generation.
    pub fn was_healed(&self, generation: Fingerprint) -> Result<bool> {
        self.database.read(false, |connection| {
            connection
                .prepare_cached("SELECT EXISTS (SELECT 1 FROM mark WHERE generation = ?1)")?
                .query_row([healed_key(generation)], |row| row.get(0))
        })
    }

    /// Whether this notification is the first under `key` (family, kind and generation): says
    /// `true` once in the life of the data directory.
    pub fn mark_notified(&self, key: &str) -> Result<bool> {
        self.database.write(|transaction| {
            let added = transaction.execute("INSERT OR IGNORE INTO notified (key) VALUES (?1)", [key])?;
            transaction.execute(
                "DELETE FROM notified WHERE id <= (SELECT max(id) FROM notified) - ?1",
                [NEWEST_NOTIFIED],
            )?;
            Ok(added == 1)
        })
    }

    /// What is known of a generation.
    pub fn find(&self, generation: Fingerprint) -> Result<Option<Generation>> {
        self.database
            .read(None, |connection| find(connection, generation))
    }

    /// Its family; a generation never seen before would begin one.
    pub fn family_of(&self, generation: Fingerprint) -> Result<Family> {
        self.database
            .read(Family(generation), |connection| family_of(connection, generation))
    }

    /// Whether a newer generation took its place.
    pub fn is_superseded(&self, generation: Fingerprint) -> Result<bool> {
        Ok(self
            .find(generation)?
            .is_some_and(|known| known.superseded_by.is_some()))
    }

    /// Whether rotations that were recorded led from `older` to `newer`. That both are of one family and
    /// `older` is spent does not tell: a process may have missed the generation after `newer`.
    pub fn leads_to(&self, older: Fingerprint, newer: Fingerprint) -> Result<bool> {
        self.database.read(false, |connection| {
            connection
                .prepare_cached(
                    "WITH RECURSIVE later(fingerprint) AS (
                         SELECT superseded_by FROM generation WHERE fingerprint = ?1
                         UNION SELECT superseded_by FROM generation JOIN later USING (fingerprint))
                     SELECT EXISTS (SELECT 1 FROM later WHERE fingerprint = ?2)",
                )?
                .query_row([older.to_string(), newer.to_string()], |row| row.get(0))
        })
    }

    /// Why it must not be sent again.
    pub fn refusal(&self, generation: Fingerprint) -> Result<Option<Refusal>> {
        Ok(self.find(generation)?.and_then(|known| known.refusal))
    }

    /// The newest generation of a family, refused or not.
    pub fn newest_of(&self, family: Family) -> Result<Option<Generation>> {
        self.database.read(None, |connection| {
            connection
                .prepare_cached(&format!(
                    "{SELECT} WHERE family = ?1 ORDER BY superseded_by IS NULL DESC, sequence DESC LIMIT 1"
                ))?
                .query_row([family.0.to_string()], parse)
                .optional()
                .map(Option::flatten)
        })
    }

    /// When the family was last refreshed by anybody.
    pub fn last_refresh(&self, family: Family) -> Result<Option<Timestamp>> {
        self.database.read(None, |connection| {
            let at: Option<Option<i64>> = connection
                .prepare_cached("SELECT last_refresh FROM family WHERE family = ?1")?
                .query_row([family.0.to_string()], |row| row.get(0))
                .optional()?;
            Ok(at.flatten().map(Timestamp::from_millis))
        })
    }

    /// Where Kalit signed the family in; `None` when another program did.
    pub fn sign_in_of(&self, family: Family) -> Result<Option<SignIn>> {
        self.database
            .read(None, |connection| sign_in_of(connection, family))
    }

    fn update(&self, generation: Fingerprint, statement: &str, values: impl rusqlite::Params) -> Result<()> {
        self.database.write(|transaction| {
            let family = family_of(transaction, generation)?;
            insert(transaction, generation, family, None, None)?;
            transaction.execute(statement, values)?;
            Ok(())
        })
    }
}

fn revoking_key(generation: Fingerprint) -> String {
    format!("revoking:{generation}")
}

fn healed_key(generation: Fingerprint) -> String {
    format!("healed:{generation}")
}

const SELECT: &str = "SELECT fingerprint, family, sequence, superseded_by, issued_at, lifetime_ms, \
                      refused_code, refused_at, unknown_since, retried_at, doubtful FROM generation";

fn find(connection: &Connection, generation: Fingerprint) -> rusqlite::Result<Option<Generation>> {
    connection
        .prepare_cached(&format!("{SELECT} WHERE fingerprint = ?1"))?
        .query_row([generation.to_string()], parse)
        .optional()
        .map(Option::flatten)
}

fn sign_in_of(connection: &Connection, family: Family) -> rusqlite::Result<Option<SignIn>> {
    let row: Option<(Option<String>, Option<String>, Option<i64>)> = connection
        .prepare_cached("SELECT provider, token_url, signed_in_at FROM family WHERE family = ?1")?
        .query_row([family.0.to_string()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    Ok(row.and_then(|(provider, token_url, at)| {
        Some(SignIn {
            provider: ProviderId::parse(&provider?)?,
            token_url: token_url?,
            at: Timestamp::from_millis(at?),
        })
    }))
}

fn family_of(connection: &Connection, generation: Fingerprint) -> rusqlite::Result<Family> {
    Ok(find(connection, generation)?.map_or(Family(generation), |known| known.family))
}

fn insert(
    connection: &Connection,
    generation: Fingerprint,
    family: Family,
    issued_at: Option<i64>,
    lifetime_ms: Option<i64>,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO generation (fingerprint, family, issued_at, lifetime_ms) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (fingerprint) DO UPDATE SET
               issued_at = coalesce(?3, issued_at), lifetime_ms = coalesce(?4, lifetime_ms)",
        )?
        .execute(params![
            generation.to_string(),
            family.0.to_string(),
            issued_at,
            lifetime_ms
        ])?;
    Ok(())
}

/// `None` for a row whose fingerprints are not fingerprints.
fn parse(row: &Row<'_>) -> rusqlite::Result<Option<Generation>> {
    let fingerprint = |column: usize| -> rusqlite::Result<Option<Fingerprint>> {
        let text: Option<String> = row.get(column)?;
        Ok(text.as_deref().and_then(Fingerprint::parse))
    };
    let time = |column: usize| -> rusqlite::Result<Option<Timestamp>> {
        Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_millis))
    };
    let (Some(own), Some(family)) = (fingerprint(0)?, fingerprint(1)?) else {
        return Ok(None);
    };
    let retried_at = time(9)?;
    let refusal = match (row.get::<_, Option<String>>(6)?, time(7)?) {
        (Some(code), Some(at)) => Some(Refusal {
            code,
            at,
            answer_was_lost: retried_at.is_some() || row.get(10)?,
        }),
        _ => None,
    };
    Ok(Some(Generation {
        fingerprint: own,
        family: Family(family),
        sequence: row.get(2)?,
        superseded_by: fingerprint(3)?,
        issued_at: time(4)?,
        lifetime_ms: row.get(5)?,
        refusal,
        unknown_since: time(8)?,
        retried_at,
    }))
}

#[cfg(test)]
mod tests;
