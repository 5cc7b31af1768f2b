//! One small sealed copy for each generation of an OAuth login, so that a login that OpenClaw
//! drops (a failed fence, 2026.9.6) can be put back. A copy is named after OpenClaw's own digests
//! of its tokens: a fence finds it without a key and without an index. Digests and times are all
//! that can be read without the key.
//!
//! Of each profile the newest three generations are kept, and whatever a store still holds or has
//! dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use zeroize::Zeroizing;

use super::private_file;
use super::seal::{SealKey, Sealer};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorCode, Result};
use crate::ids::ProfileId;
use crate::secret::Secret;
use crate::store::json;
use crate::store::{Credential, Fence, FenceDigest, FencedToken};

crate::keeps_secret!(OpenLogin);
crate::keeps_raw_secret!(Login<'static>);

const VERSION: u32 = 1;
const EXTENSION: &str = ".age";
/// Generations kept of each profile, besides those in use.
const NEWEST: usize = 3;
/// A credential is a few kilobytes.
const LIMIT: u64 = 1024 * 1024;

/// The sealed logins of one installation, with what is known of the directory.
#[derive(Debug, Default)]
pub struct SealedLogins {
    dir: PathBuf,
    /// When the directory had changed last as it was listed.
    listed: Option<SystemTime>,
    known: BTreeMap<GenerationDigest, Entry>,
}

/// Both digests that OpenClaw's fence shows of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GenerationDigest {
    pub refresh: FenceDigest,
    pub access: FenceDigest,
}

/// What is known of a sealed login without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it was sealed.
    pub at: Timestamp,
    /// Names profile id and provider: the first 16 hexadecimal digits of SHA-256 over id, NUL,
    /// provider.
    group: String,
    /// Tells one text of the credential from another: the first 16 hexadecimal digits of its
    /// SHA-256. Other fields than the tokens may change.
    content: String,
}

/// A login to be sealed.
pub struct Login<'a> {
    pub id: &'a ProfileId,
    /// As the store spells it.
    pub provider: &'a str,
    pub digest: GenerationDigest,
    /// The credential object as it is stored.
    pub credential: &'a str,
}

/// An opened copy.
pub struct OpenLogin {
    pub at: Timestamp,
    pub id: ProfileId,
    /// As the store spelled it.
    pub provider: String,
    /// The credential object as it was stored.
    pub credential: Zeroizing<String>,
}

impl GenerationDigest {
    /// Of the login `id`, whose provider the store spells `provider`; a missing access token counts
    /// as an empty one. `None` without a refresh token, and for a fence.
    pub fn of(id: &ProfileId, credential: &Credential) -> Option<Self> {
        let oauth = credential.as_oauth()?;
        let provider = &oauth.common.provider_text;
        let refresh = oauth.refresh.as_ref()?;
        let empty = Secret::new("");
        let access = oauth.access.as_ref().unwrap_or(&empty);
        Some(Self {
            refresh: FenceDigest::of(id, provider, FencedToken::Refresh, refresh),
            access: FenceDigest::of(id, provider, FencedToken::Access, access),
        })
    }

    /// Of the generation that a fence stands for.
    pub fn of_fence(fence: &Fence) -> Self {
        Self {
            refresh: fence.refresh,
            access: fence.access,
        }
    }
}

impl SealedLogins {
    /// `installation_dir` is [`super::installation_dir`]. Nothing is made on disk before the first
    /// copy.
    pub fn open(installation_dir: &Path) -> Self {
        Self {
            dir: Self::dir_in(installation_dir),
            listed: None,
            known: BTreeMap::new(),
        }
    }

    /// Lists the directory, if it changed since it was listed; says whether it had.
    ///
    /// # Errors
    /// `vault.unreadable`.
    pub fn look(&mut self) -> Result<bool> {
        let changed = match fs::metadata(&self.dir).and_then(|metadata| metadata.modified()) {
            Ok(changed) => Some(changed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(self.unlistable(error)),
        };
        if changed == self.listed {
            return Ok(false);
        }
        let mut known = BTreeMap::new();
        if changed.is_some() {
            for item in fs::read_dir(&self.dir).map_err(|error| self.unlistable(error))? {
                let name = item.map_err(|error| self.unlistable(error))?.file_name();
                let Some((digest, entry)) = name.to_str().and_then(parse_name) else {
                    continue;
                };
                // Two processes may have sealed the same: the newer one counts.
                let newest = known.entry(digest).or_insert_with(|| entry.clone());
                if entry.at > newest.at {
                    *newest = entry;
                }
            }
        }
        self.known = known;
        self.listed = changed;
        Ok(true)
    }

    /// Whether this very text is sealed.
    pub fn holds(&self, login: &Login<'_>) -> bool {
        let entry = self.find(&login.digest);
        entry.is_some_and(|entry| entry.content == content(login))
    }

    /// Seals a login unless a copy of this very text is known; in place of an older text of the same
    /// generation. Durable, and read back, when this returns.
    ///
    /// # Errors
    /// `vault.failed`; `vault.unreadable` when the copy does not read back as it was written.
    pub fn seal(&mut self, sealer: &Sealer, at: Timestamp, login: &Login<'_>) -> Result<()> {
        if self.holds(login) {
            return Ok(());
        }
        let entry = Entry {
            at,
            group: group(login.id, login.provider),
            content: content(login),
        };
        let sealed = sealer.seal(payload(at, login).as_bytes())?;
        let path = self.path_of(&login.digest, &entry);
        private_file::write(&path, &sealed)?;
        let stored = private_file::read(&path, LIMIT)?;
        if stored.is_none_or(|stored| *stored != sealed) {
            return Err(damaged(&path));
        }
        if let Some(older) = self.known.insert(login.digest, entry) {
            private_file::remove(&self.path_of(&login.digest, &older))?;
        }
        Ok(())
    }

    /// Takes the directory as it is now for known: after this process wrote there, which is no
    /// change to look at.
    pub fn settle(&mut self) {
        self.listed = fs::metadata(&self.dir)
            .and_then(|metadata| metadata.modified())
            .ok();
    }

    /// Drops what is older than the newest three generations of the profile and is not in `used`.
    ///
    /// # Errors
    /// `vault.failed`.
    pub fn drop_old(
        &mut self,
        id: &ProfileId,
        provider: &str,
        used: impl FnOnce() -> Option<BTreeSet<GenerationDigest>>,
    ) -> Result<()> {
        let group = group(id, provider);
        let mut own: Vec<(Timestamp, GenerationDigest)> = self
            .known
            .iter()
            .filter(|(_, entry)| entry.group == group)
            .map(|(digest, entry)| (entry.at, *digest))
            .collect();
        if own.len() <= NEWEST {
            return Ok(());
        }
        // Where a store cannot be read nobody knows what it holds.
        let Some(used) = used() else { return Ok(()) };
        own.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        for (_, digest) in own.split_off(NEWEST) {
            if used.contains(&digest) {
                continue;
            }
            if let Some(entry) = self.known.remove(&digest) {
                private_file::remove(&self.path_of(&digest, &entry))?;
            }
        }
        Ok(())
    }

    /// Whether these are the copies of the installation with this directory.
    pub fn are_of(&self, installation_dir: &Path) -> bool {
        self.dir == Self::dir_in(installation_dir)
    }

    /// The copy of exactly this generation.
    pub fn find(&self, digest: &GenerationDigest) -> Option<&Entry> {
        self.known.get(digest)
    }

    /// The generations of a profile that have a copy.
    pub fn of_profile(&self, id: &ProfileId, provider: &str) -> Vec<GenerationDigest> {
        let group = group(id, provider);
        let own = self.known.iter().filter(|(_, entry)| entry.group == group);
        own.map(|(digest, _)| *digest).collect()
    }

    /// Whether some copy has this refresh token.
    pub fn knows_refresh(&self, refresh: FenceDigest) -> bool {
        self.known.keys().any(|digest| digest.refresh == refresh)
    }

    /// Whether the copy lies on disk now.
    pub fn is_on_disk(&self, digest: &GenerationDigest) -> bool {
        self.find(digest).is_some_and(|entry| {
            fs::metadata(self.path_of(digest, entry)).is_ok_and(|metadata| metadata.len() > 0)
        })
    }

    /// Opens the copy of a generation and proves by its digests that it is the one asked for.
    ///
    /// # Errors
    /// `restore.unproven` when there is none, or when it holds something else; `vault.unreadable`.
    pub fn open_login(&self, digest: &GenerationDigest, key: &SealKey) -> Result<OpenLogin> {
        let entry = self.find(digest).ok_or_else(|| {
            Error::new(
                ErrorCode::RestoreUnproven,
                say!("Kalit holds no copy of this login"),
            )
        })?;
        let path = self.path_of(digest, entry);
        let sealed = private_file::read(&path, LIMIT)?.ok_or_else(|| damaged(&path))?;
        let login = parse(&key.unseal(&sealed)?).ok_or_else(|| damaged(&path))?;
        let value = json::parse(login.credential.as_bytes())?;
        let held = GenerationDigest::of(&login.id, &Credential::read(&value));
        if held != Some(*digest) {
            return Err(Error::new(
                ErrorCode::RestoreUnproven,
                say!("the sealed copy is not the login that OpenClaw dropped"),
            ));
        }
        Ok(login)
    }

    fn dir_in(installation_dir: &Path) -> PathBuf {
        installation_dir.join("logins")
    }

    fn path_of(&self, digest: &GenerationDigest, entry: &Entry) -> PathBuf {
        self.dir.join(format!(
            "{}-{:014}-{}-{}-{}{EXTENSION}",
            entry.group,
            entry.at.as_millis().max(0),
            digest.refresh,
            digest.access,
            entry.content
        ))
    }

    fn unlistable(&self, error: io::Error) -> Error {
        let what = say!("cannot list {path}", path = self.dir.display());
        Error::new(ErrorCode::VaultUnreadable, what).with_source(error)
    }
}

impl fmt::Debug for OpenLogin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "OpenLogin({}, {})", self.id, self.at)
    }
}

fn group(id: &ProfileId, provider: &str) -> String {
    super::short_digest(format!("{id}\0{provider}").as_bytes())
}

fn content(login: &Login<'_>) -> String {
    super::short_digest(login.credential.as_bytes())
}

/// `<16 hex>-<epoch milliseconds, 14 digits>-<64 hex>-<64 hex>-<16 hex>.age`.
fn parse_name(name: &str) -> Option<(GenerationDigest, Entry)> {
    let mut parts = name.strip_suffix(EXTENSION)?.split('-');
    let (group, at) = (parts.next()?, parts.next()?);
    let digest = GenerationDigest {
        refresh: FenceDigest::parse(parts.next()?)?,
        access: FenceDigest::parse(parts.next()?)?,
    };
    let content = parts.next()?;
    let fits = group.len() == 16 && content.len() == 16;
    let fits = fits && at.len() == 14 && at.bytes().all(|byte| byte.is_ascii_digit());
    let entry = Entry {
        at: Timestamp::from_millis(at.parse().ok()?),
        group: group.to_owned(),
        content: content.to_owned(),
    };
    (fits && parts.next().is_none()).then_some((digest, entry))
}

/// Put together as text: the credential stands in it exactly as it was stored.
fn payload(at: Timestamp, login: &Login<'_>) -> Zeroizing<String> {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let head = format!(
        "{{\"version\":{VERSION},\"at\":{},\"profileId\":{},\"provider\":{},\"credential\":",
        at.as_millis(),
        text(login.id.as_str()),
        text(login.provider),
    );
    let mut payload = Zeroizing::new(String::with_capacity(head.len() + login.credential.len() + 1));
    payload.push_str(&head);
    payload.push_str(login.credential);
    payload.push('}');
    payload
}

fn parse(plain: &[u8]) -> Option<OpenLogin> {
    let value = json::parse(plain).ok()?;
    let text = |name: &str| value.get(name)?.as_str();
    if value.get("version")?.as_u64()? != u64::from(VERSION) {
        return None;
    }
    Some(OpenLogin {
        at: Timestamp::from_millis(value.get("at")?.as_i64()?),
        id: ProfileId::parse(text("profileId")?)?,
        provider: text("provider")?.to_owned(),
        credential: Zeroizing::new(value.get("credential")?.to_string()),
    })
}

fn damaged(path: &Path) -> Error {
    let what = say!("{path} is no sealed login", path = path.display());
    Error::new(ErrorCode::VaultUnreadable, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> ProfileId {
        ProfileId::parse("openai:me@example.com").unwrap()
    }

    fn credential(name: &str) -> String {
        format!(
            r#"{{"type":"oauth","provider":"openai","access":"ACC-{name}","refresh":"REF-{name}","expires":17.0,"x":"\u00e9"}}"#
        )
    }

    fn digest(text: &str) -> GenerationDigest {
        let value = json::parse(text.as_bytes()).unwrap();
        GenerationDigest::of(&id(), &Credential::read(&value)).unwrap()
    }

    struct Vault {
        data: tempfile::TempDir,
        sealer: Sealer,
        logins: SealedLogins,
    }

    impl Vault {
        fn new() -> Self {
            let data = tempfile::tempdir().unwrap();
            Self {
                sealer: Sealer::open(data.path()).unwrap(),
                logins: SealedLogins::open(&data.path().join("i")),
                data,
            }
        }

        fn seal(&mut self, name: &str, at: i64) -> GenerationDigest {
            let credential = credential(name);
            let login = Login {
                id: &id(),
                provider: "openai",
                digest: digest(&credential),
                credential: &credential,
            };
            let at = Timestamp::from_millis(at);
            self.logins.seal(&self.sealer, at, &login).unwrap();
            login.digest
        }

        fn key(&self) -> SealKey {
            SealKey::from_file(self.data.path()).unwrap().unwrap()
        }

        fn names(&self) -> Vec<String> {
            let listing = fs::read_dir(self.data.path().join("i/logins")).unwrap();
            let names = listing.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.collect()
        }
    }

    #[test]
    fn a_generation_is_found_by_its_digests_and_comes_back_as_it_was_stored() {
        let mut vault = Vault::new();
        let digest = vault.seal("me", 7);
        vault.seal("me", 8);
        assert_eq!(vault.names().len(), 1, "the same generation is sealed once");
        let sealed = fs::read(vault.data.path().join("i/logins").join(&vault.names()[0])).unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"REF-me"));

        let mut other = SealedLogins::open(&vault.data.path().join("i"));
        assert!(other.look().unwrap());
        assert!(!other.look().unwrap(), "listed once");
        assert_eq!(other.find(&digest).unwrap().at, Timestamp::from_millis(7));
        assert!(other.is_on_disk(&digest) && other.knows_refresh(digest.refresh));
        let login = other.open_login(&digest, &vault.key()).unwrap();
        assert_eq!((login.id, login.provider.as_str()), (id(), "openai"));
        assert_eq!(*login.credential, credential("me").replace("\\u00e9", "é"));
    }

    #[test]
    fn a_later_text_of_the_same_generation_takes_the_place_of_the_earlier() {
        let mut vault = Vault::new();
        let digest = vault.seal("me", 7);
        let later = credential("me").replace("17.0", "18");
        let login = Login {
            id: &id(),
            provider: "openai",
            digest,
            credential: &later,
        };
        assert!(!vault.logins.holds(&login));
        let at = Timestamp::from_millis(8);
        vault.logins.seal(&vault.sealer, at, &login).unwrap();
        assert!(vault.logins.holds(&login));
        assert_eq!(vault.names().len(), 1);
        let login = vault.logins.open_login(&digest, &vault.key()).unwrap();
        assert!(login.credential.contains("\"expires\":18,"));
    }

    #[test]
    fn another_access_token_beside_the_same_refresh_token_is_another_copy() {
        let mut vault = Vault::new();
        let digest = vault.seal("me", 7);
        let renewed = credential("me").replace("ACC-me", "ACC-next");
        let next = self::digest(&renewed);
        assert_eq!(digest.refresh, next.refresh);
        assert!(vault.logins.find(&next).is_none());
        let error = vault.logins.open_login(&next, &vault.key()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::RestoreUnproven);
    }

    #[test]
    fn a_copy_under_another_name_is_no_proof() {
        let mut vault = Vault::new();
        let digest = vault.seal("me", 7);
        let other = self::digest(&credential("other"));
        let dir = vault.data.path().join("i/logins");
        let name = &vault.names()[0];
        let renamed = name
            .replace(&digest.refresh.to_string(), &other.refresh.to_string())
            .replace(&digest.access.to_string(), &other.access.to_string());
        fs::rename(dir.join(name), dir.join(renamed)).unwrap();
        let mut logins = SealedLogins::open(&vault.data.path().join("i"));
        logins.look().unwrap();
        let error = logins.open_login(&other, &vault.key()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::RestoreUnproven);
    }

    #[test]
    fn the_newest_three_generations_stay_and_those_in_use() {
        let mut vault = Vault::new();
        let sealed: Vec<_> = ["a", "b", "c", "d", "e"]
            .iter()
            .zip(1..)
            .map(|(name, at)| vault.seal(name, at))
            .collect();
        let drop_old = |vault: &mut Vault, used: Option<BTreeSet<GenerationDigest>>| {
            vault.logins.drop_old(&id(), "openai", || used).unwrap();
            vault.names().len()
        };
        assert_eq!(drop_old(&mut vault, None), 5, "nobody knows what is in use");
        assert_eq!(drop_old(&mut vault, Some([sealed[0]].into())), 4);
        let kept: Vec<bool> = sealed
            .iter()
            .map(|digest| vault.logins.is_on_disk(digest))
            .collect();
        assert_eq!(kept, [true, false, true, true, true]);
    }

    #[test]
    fn what_is_no_sealed_login_is_left_out() {
        let vault = Vault::new();
        let dir = vault.data.path().join("i/logins");
        private_file::write(&dir.join("notes.txt"), b"x").unwrap();
        private_file::write(&dir.join("0123-1-2-3.age"), b"x").unwrap();
        let mut logins = SealedLogins::open(&vault.data.path().join("i"));
        logins.look().unwrap();
        assert!(logins.known.is_empty());
    }
}
