//! What was noticed in OpenClaw's stores and cannot be read from them later: that OpenClaw gave up
//! on a login, that a profile vanished, that Kalit itself removed one. Fingerprints and words only.

use std::path::Path;

use rusqlite::{OptionalExtension, params};

use super::Database;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::ProfileId;
use crate::secret::Fingerprint;
use crate::store::FenceDigest;

/// OpenClaw left a mark of refusal on a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// `last_good_removed`.
    pub code: String,
    pub at: Timestamp,
}

/// A profile that is gone from a store without Kalit's doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    pub profile_id: ProfileId,
    pub provider: String,
    pub generation: Option<Fingerprint>,
    pub at: Timestamp,
}

/// Another program holds a generation that a store of OpenClaw holds, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// [`crate::radar::Program::word`].
    pub program: String,
    pub generation: Fingerprint,
}

/// Shared by all Kalit processes of this user.
#[derive(Debug)]
pub struct Marks {
    database: Database,
}

impl Marks {
    /// `data_dir` is [`crate::environment::Environment::data_dir`]. Nothing is made on disk before
    /// the first mark.
    pub fn open(data_dir: &Path) -> Result<Self> {
        Ok(Self {
            database: Database::open(data_dir)?,
        })
    }

    /// OpenClaw was refused with this generation; `false` when that was known.
    pub fn record_refused(&self, generation: Fingerprint, code: &str, at: Timestamp) -> Result<bool> {
        self.database.write(|transaction| {
            let added = transaction.execute(
                "INSERT OR IGNORE INTO mark (generation, code, at) VALUES (?1, ?2, ?3)",
                params![generation.to_string(), code, at.as_millis()],
            )?;
            Ok(added == 1)
        })
    }

    /// The generation works after all.
    pub fn clear_refused(&self, generation: Fingerprint) -> Result<()> {
        self.database.write(|transaction| {
            transaction.execute("DELETE FROM mark WHERE generation = ?1", [generation.to_string()])?;
            Ok(())
        })
    }

    /// The mark on a generation.
    pub fn refused(&self, generation: Fingerprint) -> Result<Option<Mark>> {
        self.database.read(None, |connection| {
            connection
                .prepare_cached("SELECT code, at FROM mark WHERE generation = ?1")?
                .query_row([generation.to_string()], |row| {
                    Ok(Mark {
                        code: row.get(0)?,
                        at: Timestamp::from_millis(row.get(1)?),
                    })
                })
                .optional()
        })
    }

    /// Kalit puts back the generation that this refresh token belongs to: once and not again.
    pub fn record_restored(&self, refresh: FenceDigest, at: Timestamp) -> Result<()> {
        self.note(&restored_key(refresh), "restored", at)
    }

    /// It did not come to that.
    pub fn forget_restored(&self, refresh: FenceDigest) -> Result<()> {
        self.forget(&restored_key(refresh))
    }

    /// When Kalit put this generation back.
    pub fn restored(&self, refresh: FenceDigest) -> Result<Option<Timestamp>> {
        self.noted(&restored_key(refresh))
    }

    /// The store in this directory cannot be read; an earlier time stands until it can be again.
    pub fn record_unreadable(&self, agent_dir: &Path, at: Timestamp) -> Result<()> {
        self.note(&unreadable_key(agent_dir), "unreadable", at)
    }

    /// The store can be read.
    pub fn clear_unreadable(&self, agent_dir: &Path) -> Result<()> {
        self.forget(&unreadable_key(agent_dir))
    }

    /// Since when an engine knows that the store cannot be read.
    pub fn unreadable_since(&self, agent_dir: &Path) -> Result<Option<Timestamp>> {
        self.noted(&unreadable_key(agent_dir))
    }

    /// A renewal in this installation failed for want of a network; an earlier time stands until one
    /// is answered.
    pub fn record_offline(&self, state_dir: &Path, at: Timestamp) -> Result<()> {
        self.note(&offline_key(state_dir), "offline", at)
    }

    /// A provider answered, or nothing waits for one any more.
    pub fn clear_offline(&self, state_dir: &Path) -> Result<()> {
        self.forget(&offline_key(state_dir))
    }

    /// Since when renewals in this installation fail for want of a network.
    pub fn offline_since(&self, state_dir: &Path) -> Result<Option<Timestamp>> {
        self.noted(&offline_key(state_dir))
    }

    /// Kalit is about to remove this profile: its absence is no surprise to any Kalit process.
    pub fn expect_removal(&self, agent_dir: &Path, id: &ProfileId) -> Result<()> {
        self.put_gone(agent_dir, id, "removed", None, Timestamp::from_millis(0), "")
    }

    /// The profile vanished. `false` when Kalit removed it, or when it was known.
    pub fn record_vanished(
        &self,
        agent_dir: &Path,
        id: &ProfileId,
        provider: &str,
        generation: Option<Fingerprint>,
        at: Timestamp,
    ) -> Result<bool> {
        let known: Option<String> = self.database.read(None, |connection| {
            connection
                .prepare_cached("SELECT kind FROM gone WHERE agent_dir = ?1 AND profile_id = ?2")?
                .query_row(params![agent_dir.display().to_string(), id.as_str()], |row| {
                    row.get(0)
                })
                .optional()
        })?;
        if known.is_some() {
            return Ok(false);
        }
        self.put_gone(agent_dir, id, "vanished", generation, at, provider)?;
        Ok(true)
    }

    /// The profile is there again, or the person signed in anew.
    pub fn clear_gone(&self, agent_dir: &Path, id: &ProfileId) -> Result<()> {
        if self.database.read(false, |connection| {
            connection
                .prepare_cached("SELECT 1 FROM gone WHERE agent_dir = ?1 AND profile_id = ?2")?
                .exists(params![agent_dir.display().to_string(), id.as_str()])
        })? {
            self.database.write(|transaction| {
                transaction.execute(
                    "DELETE FROM gone WHERE agent_dir = ?1 AND profile_id = ?2",
                    params![agent_dir.display().to_string(), id.as_str()],
                )?;
                Ok(())
            })?;
        }
        Ok(())
    }

    /// What vanished from one store.
    pub fn vanished(&self, agent_dir: &Path) -> Result<Vec<Gone>> {
        self.database.read(Vec::new(), |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT profile_id, provider, generation, at FROM gone WHERE agent_dir = ?1 AND kind = 'vanished'
                 ORDER BY at, profile_id",
            )?;
            let rows = statement.query_map([agent_dir.display().to_string()], |row| {
                Ok((row.get::<_, String>(0)?, row.get(1)?, row.get::<_, Option<String>>(2)?, row.get(3)?))
            })?;
            let mut gone = Vec::new();
            for row in rows {
                let (id, provider, generation, at) = row?;
                if let Some(profile_id) = ProfileId::parse(&id) {
                    gone.push(Gone {
                        profile_id,
                        provider,
                        generation: generation.as_deref().and_then(Fingerprint::parse),
                        at: Timestamp::from_millis(at),
                    });
                }
            }
            Ok(gone)
        })
    }

    /// The program was seen with the generation; `false` when that was known.
    pub fn record_sighting(&self, sighting: &Sighting, at: Timestamp) -> Result<bool> {
        let key = sighting.key();
        if self.noted(&key)?.is_some() {
            return Ok(false);
        }
        self.note(&key, SIGHTING, at).map(|()| true)
    }

    /// The program holds it no more.
    pub fn forget_sighting(&self, sighting: &Sighting) -> Result<()> {
        self.forget(&sighting.key())
    }

    /// Who was seen with what, and has been seen to hold it no more.
    pub fn sightings(&self) -> Result<Vec<Sighting>> {
        self.database.read(Vec::new(), |connection| {
            let mut statement = connection
                .prepare_cached("SELECT generation FROM mark WHERE code = ?1 ORDER BY at, generation")?;
            let rows = statement.query_map([SIGHTING], |row| row.get::<_, String>(0))?;
            let mut sightings = Vec::new();
            for row in rows {
                sightings.extend(Sighting::parse(&row?));
            }
            Ok(sightings)
        })
    }

    fn note(&self, key: &str, code: &str, at: Timestamp) -> Result<()> {
        if self.noted(key)?.is_some() {
            return Ok(());
        }
        self.database.write(|transaction| {
            transaction.execute(
                "INSERT OR IGNORE INTO mark (generation, code, at) VALUES (?1, ?2, ?3)",
                params![key, code, at.as_millis()],
            )?;
            Ok(())
        })
    }

    fn forget(&self, key: &str) -> Result<()> {
        if self.noted(key)?.is_none() {
            return Ok(());
        }
        self.database.write(|transaction| {
            transaction.execute("DELETE FROM mark WHERE generation = ?1", [key])?;
            Ok(())
        })
    }

    fn noted(&self, key: &str) -> Result<Option<Timestamp>> {
        self.database.read(None, |connection| {
            connection
                .prepare_cached("SELECT at FROM mark WHERE generation = ?1")?
                .query_row([key], |row| row.get(0).map(Timestamp::from_millis))
                .optional()
        })
    }

    fn put_gone(
        &self,
        agent_dir: &Path,
        id: &ProfileId,
        kind: &str,
        generation: Option<Fingerprint>,
        at: Timestamp,
        provider: &str,
    ) -> Result<()> {
        self.database.write(|transaction| {
            transaction.execute(
                "INSERT OR REPLACE INTO gone (agent_dir, profile_id, kind, provider, generation, at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    agent_dir.display().to_string(),
                    id.as_str(),
                    kind,
                    provider,
                    generation.map(|generation| generation.to_string()),
                    at.as_millis()
                ],
            )?;
            Ok(())
        })
    }
}

/// What marks of sightings are called.
const SIGHTING: &str = "held";

impl Sighting {
    fn key(&self) -> String {
        format!("{SIGHTING}:{}:{}", self.program, self.generation)
    }

    fn parse(key: &str) -> Option<Self> {
        let (program, generation) = key.strip_prefix(SIGHTING)?.strip_prefix(':')?.split_once(':')?;
        Some(Self {
            program: program.to_owned(),
            generation: Fingerprint::parse(generation)?,
        })
    }
}

fn unreadable_key(agent_dir: &Path) -> String {
    format!("unreadable:{}", agent_dir.display())
}

fn offline_key(state_dir: &Path) -> String {
    format!("offline:{}", state_dir.display())
}

/// OpenClaw's digest is another than a fingerprint.
fn restored_key(refresh: FenceDigest) -> String {
    format!("fence:{refresh}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn a_removal_by_kalit_is_not_a_loss() {
        let dir = tempfile::tempdir().unwrap();
        let marks = Marks::open(dir.path()).unwrap();
        let (agent, id) = (
            Path::new("/agents/main/agent"),
            ProfileId::parse("openai:work").unwrap(),
        );
        let at = Timestamp::from_millis(7);
        marks.expect_removal(agent, &id).unwrap();
        assert!(!marks.record_vanished(agent, &id, "openai", None, at).unwrap());
        assert_eq!(marks.vanished(agent).unwrap(), []);

        marks.clear_gone(agent, &id).unwrap();
        assert!(marks.record_vanished(agent, &id, "openai", None, at).unwrap());
        assert!(!marks.record_vanished(agent, &id, "openai", None, at).unwrap());
        let gone = Gone {
            profile_id: id,
            provider: "openai".into(),
            generation: None,
            at,
        };
        assert_eq!(marks.vanished(agent).unwrap(), [gone]);
    }

    #[test]
    fn a_sighting_stands_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let marks = Marks::open(dir.path()).unwrap();
        let sighting = Sighting {
            program: "codex-cli".to_owned(),
            generation: Secret::new("REF0").fingerprint(),
        };
        let at = Timestamp::from_millis(7);
        assert!(marks.record_sighting(&sighting, at).unwrap());
        assert!(!marks.record_sighting(&sighting, at).unwrap());
        assert_eq!(
            Marks::open(dir.path()).unwrap().sightings().unwrap(),
            std::slice::from_ref(&sighting)
        );
        marks.forget_sighting(&sighting).unwrap();
        assert_eq!(marks.sightings().unwrap(), []);
    }

    #[test]
    fn a_refusal_is_marked_once() {
        let dir = tempfile::tempdir().unwrap();
        let marks = Marks::open(dir.path()).unwrap();
        let generation = Secret::new("REF0").fingerprint();
        let at = Timestamp::from_millis(7);
        assert!(marks.record_refused(generation, "last_good_removed", at).unwrap());
        assert!(!marks.record_refused(generation, "last_good_removed", at).unwrap());
        assert_eq!(
            marks.refused(generation).unwrap(),
            Some(Mark {
                code: "last_good_removed".into(),
                at
            })
        );
        marks.clear_refused(generation).unwrap();
        assert_eq!(marks.refused(generation).unwrap(), None);
    }
}
