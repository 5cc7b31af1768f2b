//! Sealed copies of an installation's credential files: what a broken or overwritten store can be
//! put back from. Sealing happens whenever the credentials changed and needs no person; opening
//! needs the private key and a person who asks for it. What is readable without the key (the
//! index) holds times, reasons and fingerprints only.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::private_file;
use super::seal::{SealKey, Sealer};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorCode, Result};
use crate::history::{Family, Generations};
use crate::ids::AgentId;
use crate::secret::Fingerprint;

crate::keeps_secret!(OpenSnapshot);
crate::keeps_raw_secret!(Content<'static>);

const VERSION: u32 = 1;
const INDEX: &str = "index.json";
const EXTENSION: &str = "age";
const NEWEST: usize = 20;
const INDEX_LIMIT: u64 = 16 * 1024 * 1024;
const SNAPSHOT_LIMIT: u64 = 256 * 1024 * 1024;

/// The snapshots of one installation.
#[derive(Clone, Debug)]
pub struct Snapshots {
    dir: PathBuf,
}

/// What is known of a snapshot without opening it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotEntry {
    /// The file's name in the snapshot directory.
    pub file: String,
    pub at: Timestamp,
    /// A stable word: what had changed, such as `refreshed` or `changed-outside`.
    pub reason: String,
    /// The digest of the credentials, by which an unchanged store is recognised.
    pub credentials: Fingerprint,
    /// The generations inside.
    pub generations: Vec<Fingerprint>,
    /// The agents whose stores hold profiles in it; empty before Kalit noted them.
    #[serde(default)]
    pub agents: Vec<AgentId>,
    /// How many profiles it holds; 0 before Kalit noted it.
    #[serde(default)]
    pub profiles: usize,
}

/// What is to be sealed.
pub struct Content<'a> {
    pub at: Timestamp,
    /// A stable word: what had changed.
    pub reason: &'a str,
    /// A digest of the credentials alone, without usage statistics.
    pub credentials: Fingerprint,
    /// The generations in the files.
    pub generations: &'a [Fingerprint],
    /// The agents whose stores hold profiles in the files.
    pub agents: &'a [AgentId],
    /// How many profiles there are in the files.
    pub profiles: usize,
    /// Names (paths relative to the state directory) and contents.
    pub files: &'a [(String, Zeroizing<Vec<u8>>)],
}

/// All snapshots of an installation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotList {
    /// Newest first.
    pub snapshots: Vec<SnapshotEntry>,
    /// Sealed files that the index does not know; kept, and openable like the others.
    pub unlisted: Vec<PathBuf>,
}

/// The content of a snapshot.
pub struct OpenSnapshot {
    pub at: Timestamp,
    pub reason: String,
    /// By the names given when it was sealed.
    pub files: BTreeMap<String, Zeroizing<Vec<u8>>>,
}

impl Snapshots {
    /// `installation_dir` is [`super::installation_dir`]. Nothing is made on disk before the first
    /// snapshot.
    pub fn open(installation_dir: &Path) -> Self {
        Self {
            dir: installation_dir.join("snapshots"),
        }
    }

    /// Seals the credential files, unless the newest snapshot has the same `credentials` digest
    /// (then `None`). Afterwards the newest 20 snapshots are kept, and whichever holds the newest
    /// generation of a family.
    pub fn seal(
        &self,
        sealer: &Sealer,
        record: &Generations,
        content: &Content<'_>,
    ) -> Result<Option<SnapshotEntry>> {
        let _turn = private_file::lock_dir(&self.dir)?;
        let mut index = self.load_index()?;
        if index
            .snapshots
            .last()
            .is_some_and(|newest| newest.credentials == content.credentials)
        {
            return Ok(None);
        }
        let entry = SnapshotEntry {
            file: format!(
                "{:014}-{:08x}.{EXTENSION}",
                content.at.as_millis().max(0),
                rand::random::<u32>()
            ),
            at: content.at,
            reason: content.reason.to_owned(),
            credentials: content.credentials,
            generations: content.generations.to_vec(),
            agents: content.agents.to_vec(),
            profiles: content.profiles,
        };
        let sealed = sealer.seal(&payload(content)?)?;
        private_file::write(&self.dir.join(&entry.file), &sealed)?;
        index.snapshots.push(entry.clone());
        let surplus = take_surplus(&mut index.snapshots, record)?;
        // The index first: a crash then leaves a file too many, never an entry without a file.
        self.store_index(&index)?;
        for old in surplus {
            private_file::remove(&self.dir.join(&old.file))?;
        }
        Ok(Some(entry))
    }

    /// All snapshots, for `doctor`. Opens none of them.
    pub fn list(&self) -> Result<SnapshotList> {
        let mut index = self.load_index()?;
        let mut present = BTreeSet::new();
        match fs::read_dir(&self.dir) {
            Ok(listing) => {
                for item in listing {
                    let item = item.map_err(|error| self.unlistable(error))?;
                    let path = item.path();
                    if path.extension().is_some_and(|extension| extension == EXTENSION) {
                        present.insert(item.file_name().to_string_lossy().into_owned());
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(self.unlistable(error)),
        }
        index.snapshots.retain(|entry| present.remove(&entry.file));
        index.snapshots.reverse();
        Ok(SnapshotList {
            snapshots: index.snapshots,
            unlisted: present.into_iter().map(|file| self.dir.join(file)).collect(),
        })
    }

    /// The file of the snapshot with this id, listed or not.
    ///
    /// # Errors
    /// `snapshot.unknown`; `vault.unreadable`.
    pub fn find(&self, id: &str) -> Result<PathBuf> {
        let list = self.list()?;
        let listed = list.snapshots.iter().map(|entry| self.path_of(entry));
        let mut all = listed.chain(list.unlisted.iter().cloned());
        all.find(|path| id_of(path) == id)
            .ok_or_else(|| Error::new(ErrorCode::SnapshotUnknown, say!("there is no snapshot {id}", id)))
    }

    /// The file of a snapshot.
    pub fn path_of(&self, entry: &SnapshotEntry) -> PathBuf {
        self.dir.join(&entry.file)
    }

    /// Where the snapshots lie.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// An index that cannot be read is begun anew: its snapshots stay, unlisted.
    fn load_index(&self) -> Result<Index> {
        let Some(bytes) = private_file::read(&self.dir.join(INDEX), INDEX_LIMIT)? else {
            return Ok(Index::default());
        };
        Ok(serde_json::from_slice::<Index>(&bytes)
            .ok()
            .filter(|index| index.version == VERSION)
            .map(|mut index| {
                index.snapshots.retain(|entry| is_plain_name(&entry.file));
                index
            })
            .unwrap_or_default())
    }

    fn store_index(&self, index: &Index) -> Result<()> {
        let bytes = serde_json::to_vec(index).map_err(|error| {
            Error::new(ErrorCode::Internal, say!("the index has no JSON")).with_source(error)
        })?;
        private_file::write(&self.dir.join(INDEX), &bytes)
    }

    fn unlistable(&self, error: io::Error) -> Error {
        Error::new(
            ErrorCode::VaultUnreadable,
            say!("cannot list {path}", path = self.dir.display()),
        )
        .with_source(error)
    }
}

impl SnapshotEntry {
    /// How people name it.
    pub fn id(&self) -> String {
        id_of(Path::new(&self.file))
    }
}

/// The id of the snapshot in this file: its name without the extension.
pub fn id_of(path: &Path) -> String {
    path.file_stem()
        .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

/// When the snapshot in this file was made, by its name.
pub fn made_at(path: &Path) -> Option<Timestamp> {
    let id = id_of(path);
    let (at, _) = id.split_once('-')?;
    at.parse().ok().map(Timestamp::from_millis)
}

/// Opens a sealed snapshot file.
pub fn open_snapshot(path: &Path, key: &SealKey) -> Result<OpenSnapshot> {
    let damaged = || {
        Error::new(
            ErrorCode::VaultUnreadable,
            say!("{path} is not a snapshot", path = path.display()),
        )
    };
    let sealed = private_file::read(path, SNAPSHOT_LIMIT)?.ok_or_else(damaged)?;
    let plain = key.unseal(&sealed)?;
    let wire: WireIn<'_> = serde_json::from_slice(&plain).map_err(|_| damaged())?;
    if wire.version != VERSION {
        return Err(damaged());
    }
    let mut files = BTreeMap::new();
    for (name, text) in wire.files {
        let bytes = STANDARD.decode(text).map_err(|_| damaged())?;
        files.insert(name, Zeroizing::new(bytes));
    }
    Ok(OpenSnapshot {
        at: wire.at,
        reason: wire.reason,
        files,
    })
}

impl fmt::Debug for OpenSnapshot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("OpenSnapshot")
            .field("at", &self.at)
            .field("reason", &self.reason)
            .field("files", &self.files.keys())
            .finish()
    }
}

/// Removes from the list (oldest first) what need not be kept, and returns it.
fn take_surplus(snapshots: &mut Vec<SnapshotEntry>, record: &Generations) -> Result<Vec<SnapshotEntry>> {
    let recent = snapshots.len().saturating_sub(NEWEST);
    if recent == 0 {
        return Ok(Vec::new());
    }
    // For each family, the newest of its generations that was sealed, and the last snapshot with it.
    let mut newest: BTreeMap<Family, (i64, usize)> = BTreeMap::new();
    for (position, snapshot) in snapshots.iter().enumerate() {
        for generation in &snapshot.generations {
            let known = record.find(*generation)?;
            let family = known
                .as_ref()
                .map_or(Family::begun_by(*generation), |known| known.family);
            let candidate = (known.map_or(0, |known| known.sequence), position);
            let best = newest.entry(family).or_insert(candidate);
            *best = (*best).max(candidate);
        }
    }
    let needed: BTreeSet<usize> = newest.into_values().map(|(_, position)| position).collect();
    let mut position = 0;
    let mut surplus = Vec::new();
    snapshots.retain(|snapshot| {
        let keep = position >= recent || needed.contains(&position);
        position += 1;
        if !keep {
            surplus.push(snapshot.clone());
        }
        keep
    });
    Ok(surplus)
}

fn payload(content: &Content<'_>) -> Result<Zeroizing<Vec<u8>>> {
    let encoded: BTreeMap<&str, Zeroizing<String>> = content
        .files
        .iter()
        .map(|(name, bytes)| (name.as_str(), Zeroizing::new(STANDARD.encode(bytes.as_slice()))))
        .collect();
    let wire = WireOut {
        version: VERSION,
        at: content.at,
        reason: content.reason,
        files: encoded
            .iter()
            .map(|(name, text)| (*name, text.as_str()))
            .collect(),
    };
    let length: usize = wire
        .files
        .iter()
        .map(|(name, text)| 6 * name.len() + text.len() + 8)
        .sum();
    let mut bytes = Zeroizing::new(Vec::with_capacity(length + 6 * content.reason.len() + 128));
    serde_json::to_writer(&mut *bytes, &wire).map_err(|error| {
        Error::new(ErrorCode::Internal, say!("a snapshot has no JSON")).with_source(error)
    })?;
    Ok(bytes)
}

/// An index must not lead out of its directory.
fn is_plain_name(file: &str) -> bool {
    Path::new(file).file_name().is_some_and(|name| name == file)
}

#[derive(Serialize, Deserialize)]
struct Index {
    version: u32,
    /// Oldest first.
    snapshots: Vec<SnapshotEntry>,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            version: VERSION,
            snapshots: Vec::new(),
        }
    }
}

#[derive(Serialize)]
struct WireOut<'a> {
    version: u32,
    at: Timestamp,
    reason: &'a str,
    files: BTreeMap<&'a str, &'a str>,
}

#[derive(Deserialize)]
struct WireIn<'a> {
    version: u32,
    at: Timestamp,
    reason: String,
    #[serde(borrow)]
    files: BTreeMap<String, &'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    struct Bench {
        data: tempfile::TempDir,
        sealer: Sealer,
        record: Generations,
        snapshots: Snapshots,
    }

    impl Bench {
        fn new() -> Self {
            let data = tempfile::tempdir().unwrap();
            Self {
                sealer: Sealer::open(data.path()).unwrap(),
                record: Generations::open(data.path()).unwrap(),
                snapshots: Snapshots::open(&data.path().join("installations/0123456789abcdef")),
                data,
            }
        }

        /// Seals a store that holds these refresh tokens.
        fn seal(&self, at: i64, tokens: &[&str]) -> Option<SnapshotEntry> {
            let text = format!("{tokens:?}");
            let generations: Vec<_> = tokens.iter().map(|token| generation(token)).collect();
            self.snapshots
                .seal(
                    &self.sealer,
                    &self.record,
                    &Content {
                        at: Timestamp::from_millis(at),
                        reason: "changed",
                        credentials: generation(&text),
                        generations: &generations,
                        agents: &[AgentId::main()],
                        profiles: tokens.len(),
                        files: &[
                            (
                                "agents/main/agent/auth-profiles.json".to_owned(),
                                Zeroizing::new(text.into_bytes()),
                            ),
                            ("bytes".to_owned(), Zeroizing::new(vec![0, 255, 10])),
                        ],
                    },
                )
                .unwrap()
        }

        fn kept(&self) -> Vec<i64> {
            let list = self.snapshots.list().unwrap();
            assert_eq!(list.unlisted, Vec::<PathBuf>::new());
            list.snapshots.iter().map(|entry| entry.at.as_millis()).collect()
        }
    }

    fn generation(name: &str) -> Fingerprint {
        Secret::new(name).fingerprint()
    }

    #[test]
    fn a_snapshot_opens_with_the_key_and_only_with_it() {
        let bench = Bench::new();
        let entry = bench.seal(1_700_000_000_000, &["REF0-secret"]).unwrap();
        let path = bench.snapshots.path_of(&entry);
        let key = SealKey::from_file(bench.data.path()).unwrap().unwrap();
        let opened = open_snapshot(&path, &key).unwrap();
        assert_eq!(opened.at, Timestamp::from_millis(1_700_000_000_000));
        assert_eq!(opened.reason, "changed");
        let files: Vec<_> = opened
            .files
            .iter()
            .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
            .collect();
        assert_eq!(
            files,
            [
                ("agents/main/agent/auth-profiles.json", &b"[\"REF0-secret\"]"[..]),
                ("bytes", &[0, 255, 10][..]),
            ]
        );
        assert!(!format!("{opened:?}").contains("REF0"));

        let sealer = Sealer::open(bench.data.path()).unwrap();
        fs::write(&path, sealer.seal(b"{\"version\":2}").unwrap()).unwrap();
        assert_eq!(
            open_snapshot(&path, &key).unwrap_err().code(),
            ErrorCode::VaultUnreadable
        );
        let other = tempfile::tempdir().unwrap();
        Sealer::open(other.path()).unwrap();
        let other = SealKey::from_file(other.path()).unwrap().unwrap();
        assert_eq!(
            open_snapshot(&path, &other).unwrap_err().code(),
            ErrorCode::VaultUnreadable
        );
    }

    #[test]
    fn no_token_is_readable_without_the_key() {
        let bench = Bench::new();
        bench.seal(1, &["REF0-secret"]).unwrap();
        let encoded = STANDARD.encode(b"[\"REF0-secret\"]");
        for entry in fs::read_dir(bench.snapshots.dir()).unwrap() {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            for needle in [b"-secret".as_slice(), &encoded.as_bytes()[..12]] {
                assert!(!bytes.windows(needle.len()).any(|window| window == needle));
            }
        }
    }

    #[test]
    fn unchanged_credentials_are_not_sealed_again() {
        let bench = Bench::new();
        assert!(bench.seal(1, &["REF0"]).is_some());
        assert_eq!(bench.seal(2, &["REF0"]), None);
        assert!(bench.seal(3, &["REF1"]).is_some());
        // Back to an earlier content: that is a change.
        assert!(bench.seal(4, &["REF0"]).is_some());
        assert_eq!(bench.kept(), [4, 3, 1]);
    }

    #[test]
    fn the_newest_twenty_are_kept() {
        let bench = Bench::new();
        let mut last = "REF0".to_owned();
        for at in 1..=25 {
            let next = format!("REF{at}");
            bench
                .record
                .record_rotation(
                    generation(&last),
                    generation(&next),
                    Timestamp::from_millis(at),
                    None,
                )
                .unwrap();
            bench.seal(at, &[&next]).unwrap();
            last = next;
        }
        assert_eq!(bench.kept(), (6..=25).rev().collect::<Vec<i64>>());
        let files = fs::read_dir(bench.snapshots.dir()).unwrap().count();
        assert_eq!(files, 20 + 2, "twenty snapshots, the index and the lock");
    }

    #[test]
    fn the_newest_generation_of_each_family_is_kept_however_old() {
        let bench = Bench::new();
        let rotate = |old: &str, new: &str, at| {
            bench
                .record
                .record_rotation(generation(old), generation(new), Timestamp::from_millis(at), None)
                .unwrap();
        };
        rotate("WORK0", "WORK1", 1);
        rotate("WORK1", "WORK2", 2);
        rotate("HOME0", "HOME1", 3);
        bench.seal(1, &["WORK1", "HOME0"]).unwrap();
        bench.seal(2, &["WORK2", "HOME0"]).unwrap();
        // An older generation came back on disk, then both accounts vanished.
        bench.seal(3, &["WORK1", "HOME1"]).unwrap();
        bench.seal(4, &["STRANGER"]).unwrap();
        for at in 5..=30 {
            bench.seal(at, &[&format!("KEY{}", at % 2)]).unwrap();
        }
        let expected: Vec<i64> = (11..=30).rev().chain([4, 3, 2]).collect();
        assert_eq!(bench.kept(), expected);
    }

    #[test]
    fn a_lost_or_foreign_index_loses_no_snapshot() {
        let bench = Bench::new();
        let entry = bench.seal(1, &["REF0"]).unwrap();
        let index = bench.snapshots.dir().join(INDEX);
        for text in ["", "{", "[]", "{\"version\":9,\"snapshots\":[]}"] {
            fs::write(&index, text).unwrap();
            assert_eq!(
                bench.snapshots.list().unwrap(),
                SnapshotList {
                    snapshots: vec![],
                    unlisted: vec![bench.snapshots.path_of(&entry)],
                }
            );
        }
        bench.seal(2, &["REF0"]).unwrap();
        assert_eq!(bench.snapshots.list().unwrap().snapshots.len(), 1);
        assert!(bench.snapshots.path_of(&entry).exists());
        let text = fs::read_to_string(&index).unwrap();
        let outside = text.replacen("\"file\":\"", "\"file\":\"../../", 1);
        assert_ne!(outside, text);
        fs::write(&index, outside).unwrap();
        assert_eq!(bench.snapshots.list().unwrap().snapshots, []);
    }

    #[test]
    fn an_installation_without_snapshots_has_none_and_gets_no_directory() {
        let bench = Bench::new();
        assert_eq!(bench.snapshots.list().unwrap(), SnapshotList::default());
        assert!(!bench.snapshots.dir().exists());
    }
}
