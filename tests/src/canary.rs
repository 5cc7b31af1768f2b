//! Recognisable secrets and the search for them: in bytes, files, directories and the memory of a
//! process, in every form in which a program may hand a text on. A search that found nothing says
//! how much it has read; each journey shows beside it that the same search finds what is there.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rand::Rng;
use serde_json::{Value, json};

/// A secret is looked for piece by piece, so that a cut-off one is found as well.
const PIECE: usize = 16;
/// Shorter texts stand in places where nobody put them.
const SHORTEST: usize = 12;
/// Every needle is at least this long.
const BEGIN: usize = 8;
/// What follows it is looked for.
const MARK: &str = "kalitcanary";
/// How much of a process's memory is read at once.
#[cfg(target_os = "linux")]
const BLOCK: usize = 1 << 18;
/// Of Linux on the machines that Kalit is for.
#[cfg(target_os = "linux")]
const PAGE: usize = 4096;
/// In the highest byte of an entry of `/proc/<pid>/pagemap`: in memory, or swapped out.
#[cfg(target_os = "linux")]
const IN_USE: u8 = 0b1100_0000;

/// An invented secret of two pieces that nothing else on the machine contains.
pub fn canary(kind: &str) -> String {
    let mut random = rand::rng();
    let letters: String = (0..2 * PIECE)
        .map(|_| char::from(random.random_range(b'a'..=b'z')))
        .collect();
    format!("{kind}-{MARK}{letters}")
}

/// An access token with OpenAI's claims that lives so many seconds: one canary is a claim, another
/// one the signature.
pub fn canary_token(name: &str, now_ms: i64, lifetime: i64) -> String {
    let claims = json!({
        "jti": canary("claim"),
        "iat": now_ms / 1000,
        "exp": now_ms / 1000 + lifetime,
        "https://api.openai.com/auth": {
            "chatgpt_account_id": format!("acct-{name}"), "chatgpt_plan_type": "pro",
            "chatgpt_user_id": format!("user-{name}"),
        },
        "https://api.openai.com/profile": {"email": format!("{name}@example.com")},
    });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!(
        "{}.{}.{}",
        part(&json!({"alg": "none"})),
        part(&claims),
        canary("signature")
    )
}

/// The secrets of a store, a journal or an answer: name and text of every field that holds one.
pub fn secrets_of(document: &Value) -> Vec<(String, String)> {
    const FIELDS: [&str; 9] = [
        "access",
        "refresh",
        "token",
        "key",
        "idToken",
        "id_token",
        "access_token",
        "refresh_token",
        "code",
    ];
    let mut found = Vec::new();
    let mut open = vec![("secret".to_owned(), document)];
    while let Some((place, value)) = open.pop() {
        match value {
            Value::Object(fields) => {
                open.extend(fields.iter().map(|(name, value)| {
                    let place = if FIELDS.contains(&name.as_str()) {
                        format!("{place}/{name}")
                    } else {
                        name.clone()
                    };
                    (place, value)
                }));
            }
            Value::Array(items) => open.extend(items.iter().map(|item| (place.clone(), item))),
            Value::String(text) if place.contains('/') => found.push((place, text.clone())),
            Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    found
}

/// One place in which a secret stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    pub secret: String,
    /// Such as `base64`.
    pub form: &'static str,
    /// A path, or what was searched.
    pub place: String,
}

/// What searches have read and found, each place with its number of hits.
#[derive(Clone, Debug, Default)]
pub struct Searched {
    pub bytes: u64,
    pub found: BTreeMap<Found, usize>,
}

impl Searched {
    /// Adds another search.
    pub fn add(&mut self, other: Searched) {
        self.bytes += other.bytes;
        for (found, times) in other.found {
            *self.found.entry(found).or_default() += times;
        }
    }

    /// Fails with every hit, unless there is none. A search that has read nothing proves nothing.
    pub fn ensure_none(&self, what: &str) -> Result<()> {
        ensure!(self.bytes > 0, "nothing was searched: {what}");
        ensure!(self.found.is_empty(), "secrets in {what}:\n{self}");
        Ok(())
    }

    /// Fails unless a secret stands in it whose name contains `secret`: the control.
    pub fn ensure_some(&self, what: &str, secret: &str) -> Result<()> {
        let found = self.found.keys().any(|found| found.secret.contains(secret));
        ensure!(found, "no {secret} in {what}: {self}");
        Ok(())
    }

    /// The number of hits.
    pub fn hits(&self) -> usize {
        self.found.values().sum()
    }
}

impl fmt::Display for Searched {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (found, times) in &self.found {
            writeln!(
                formatter,
                "{} ({}, {times} times) in {}",
                found.secret, found.form, found.place
            )?;
        }
        write!(formatter, "{} bytes searched", self.bytes)
    }
}

/// Looks for a set of secrets. A debug build is to search some hundred megabytes in a few seconds: two
/// bytes are looked up at each place, and more only after those.
#[derive(Debug)]
pub struct Searcher {
    /// With which two bytes a needle begins.
    begins: Vec<bool>,
    /// By its first bytes.
    needles: HashMap<[u8; BEGIN], Vec<Needle>>,
    #[cfg(target_os = "linux")]
    longest: usize,
}

#[derive(Debug)]
struct Needle {
    secret: String,
    form: &'static str,
    bytes: Vec<u8>,
}

impl Searcher {
    /// Each secret with its name. Of a JSON Web Token the signature and the claim `jti` are looked
    /// for: the rest is the same in all of them.
    ///
    /// # Errors
    /// When a secret is too short to be told from other text.
    pub fn new(secrets: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let mut searcher = Self {
            begins: vec![false; 1 << 16],
            needles: HashMap::new(),
            #[cfg(target_os = "linux")]
            longest: 0,
        };
        for (secret, text) in secrets {
            let texts = parts(&text);
            ensure!(!texts.is_empty(), "{secret} is too short to be looked for");
            for text in texts {
                for (form, bytes) in pieces(text.as_bytes()).flat_map(forms) {
                    let secret = secret.clone();
                    searcher.learn(Needle { secret, form, bytes })?;
                }
            }
        }
        Ok(searcher)
    }

    /// The secrets in the JSON stores of an installation, as far as these can be read, but for those that
    /// are too short to be told from other text.
    pub fn of_stores(state_dir: &Path) -> Result<Self> {
        let agents = fs::read_dir(state_dir.join("agents"))
            .into_iter()
            .flatten()
            .flatten();
        let stores = agents.filter_map(|agent| {
            let path = agent.path().join("agent/auth-profiles.json");
            // A test may have put a pipe there, which nobody writes to.
            let is_file = fs::metadata(&path).ok()?.is_file();
            let store = is_file.then(|| fs::read(&path))?.ok()?;
            serde_json::from_slice(&store).ok()
        });
        let secrets: Vec<_> = stores.flat_map(|store: Value| secrets_of(&store)).collect();
        Self::new(secrets.into_iter().filter(|(_, text)| !parts(text).is_empty()))
    }

    fn learn(&mut self, needle: Needle) -> Result<()> {
        let begin = needle.bytes.first_chunk().context("a piece is too short")?;
        self.begins[usize::from(begin[0]) << 8 | usize::from(begin[1])] = true;
        #[cfg(target_os = "linux")]
        {
            self.longest = self.longest.max(needle.bytes.len());
        }
        self.needles.entry(*begin).or_default().push(needle);
        Ok(())
    }

    /// Bytes, for example what a program printed.
    pub fn bytes(&self, place: &str, bytes: &[u8]) -> Searched {
        let mut searched = Searched {
            bytes: bytes.len() as u64,
            ..Searched::default()
        };
        let mut at = 0;
        while at + BEGIN <= bytes.len() {
            if self.begins[usize::from(bytes[at]) << 8 | usize::from(bytes[at + 1])] {
                self.note(place, &bytes[at..], &mut searched);
            }
            at += 1;
        }
        searched
    }

    /// Notes the needles with which `bytes` begin.
    fn note(&self, place: &str, bytes: &[u8], searched: &mut Searched) {
        let begin = bytes.first_chunk().and_then(|begin| self.needles.get(begin));
        let hits = begin.into_iter().flatten();
        for needle in hits.filter(|needle| bytes.starts_with(&needle.bytes)) {
            let found = Found {
                secret: needle.secret.clone(),
                form: needle.form,
                place: place.to_owned(),
            };
            *searched.found.entry(found).or_default() += 1;
        }
    }

    /// Every file below `dir` and its name, except those that `exempt` knows. A file that goes
    /// meanwhile is passed over.
    pub fn tree(&self, dir: &Path, exempt: impl Fn(&Path) -> bool) -> Result<Searched> {
        let mut searched = Searched::default();
        let mut open = vec![dir.to_owned()];
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
                let path = entry?.path();
                let name = path.display().to_string();
                searched.add(self.bytes("the name of a file", name.as_bytes()));
                let Ok(metadata) = path.symlink_metadata() else {
                    continue;
                };
                if metadata.is_dir() {
                    open.push(path);
                } else if metadata.is_file()
                    && !exempt(&path)
                    && let Ok(bytes) = fs::read(&path)
                {
                    searched.add(self.bytes(&name, &bytes));
                }
            }
        }
        Ok(searched)
    }
}

#[cfg(target_os = "linux")]
impl Searcher {
    /// Everything that a process can read of its own memory, its arguments and its environment.
    ///
    /// # Errors
    /// When the process is gone, or does not let itself be read: the memory of a program that
    /// forbids it is root's alone.
    pub fn process(&self, pid: u32) -> Result<Searched> {
        use std::os::unix::fs::FileExt;

        let dir = Path::new("/proc").join(pid.to_string());
        let mut searched = Searched::default();
        for name in ["cmdline", "environ"] {
            let bytes = fs::read(dir.join(name)).with_context(|| format!("{name} of {pid}"))?;
            searched.add(self.bytes(&format!("{name} of {pid}"), &bytes));
        }
        let maps = fs::read_to_string(dir.join("maps")).with_context(|| format!("maps of {pid}"))?;
        let memory = fs::File::open(dir.join("mem")).with_context(|| format!("memory of {pid}"))?;
        let pages = fs::File::open(dir.join("pagemap")).with_context(|| format!("pages of {pid}"))?;
        let before = searched.bytes;
        let mut block = vec![0; BLOCK + self.longest];
        let mut entries = [0; 8 * BLOCK / PAGE];
        for region in maps.lines().filter_map(Region::parse) {
            let place = format!("{} of {pid}", region.name);
            for at in (region.start..region.end).step_by(BLOCK) {
                // WebKit reserves many gigabytes of which it uses a few pages.
                let wanted = usize::try_from(region.end - at)?.min(BLOCK) / PAGE * 8;
                let read = pages.read_at(&mut entries[..wanted], at / PAGE as u64 * 8);
                let in_use = |entry: &[u8]| entry.last().is_some_and(|flags| flags & IN_USE != 0);
                let read = &entries[..read.unwrap_or_default()];
                let first = read.chunks(8).position(in_use);
                let last = read.chunks(8).rposition(in_use);
                let (Some(first), Some(last)) = (first, last) else {
                    continue;
                };
                // A secret may stand across the border.
                let begin = at + (first * PAGE) as u64;
                let begin = begin.saturating_sub(self.longest as u64).max(region.start);
                let end = at + ((last + 1) * PAGE) as u64;
                let wanted = usize::try_from(end - begin)?;
                // What cannot be read is a device's, or has just been given back.
                if let Ok(read) = memory.read_at(&mut block[..wanted], begin) {
                    searched.add(self.bytes(&place, &block[..read]));
                }
            }
        }
        ensure!(searched.bytes > before, "no memory of {pid} could be read");
        Ok(searched)
    }
}

/// A part of a process's memory that it can read, except what is mapped from a file and cannot be
/// written: programs and libraries.
#[cfg(target_os = "linux")]
struct Region<'a> {
    start: u64,
    end: u64,
    name: &'a str,
}

#[cfg(target_os = "linux")]
impl<'a> Region<'a> {
    /// A line of `/proc/<pid>/maps`: "from-to rights offset device inode name".
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.splitn(6, ' ');
        let (start, end) = words.next()?.split_once('-')?;
        let rights = words.next()?;
        let name = words.nth(3).unwrap_or_default().trim();
        let is_library = name.starts_with('/') && !rights.contains('w') && !name.contains("(deleted)");
        if !rights.starts_with('r') || is_library {
            return None;
        }
        Some(Self {
            start: u64::from_str_radix(start, 16).ok()?,
            end: u64::from_str_radix(end, 16).ok()?,
            name: if name.is_empty() { "anonymous memory" } else { name },
        })
    }
}

/// What is looked for of a secret.
fn parts(secret: &str) -> Vec<String> {
    let all = match secret.split('.').collect::<Vec<_>>()[..] {
        [header, claims, signature] if header.starts_with("eyJ") => {
            let claims: Value = URL_SAFE_NO_PAD
                .decode(claims)
                .ok()
                .and_then(|bytes| serde_json::from_slice(&bytes).ok())
                .unwrap_or_default();
            let jti = claims["jti"].as_str().unwrap_or_default().to_owned();
            vec![jti, signature.to_owned()]
        }
        _ => vec![secret.to_owned()],
    };
    let all = all.into_iter().map(|text| match text.split_once(MARK) {
        Some((_, random)) => random.to_owned(),
        None => text,
    });
    let long_enough = |text: &String| text.len() >= SHORTEST;
    all.filter(long_enough).collect()
}

/// The text in pieces; the last one ends where it ends.
fn pieces(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let whole = text.chunks(PIECE).filter(|piece| piece.len() == PIECE);
    let last = &text[text.len().saturating_sub(PIECE)..];
    whole.chain([last])
}

/// Every form in which a program may hand a piece on; texts with one and with two bytes a character,
/// as JavaScript has them.
fn forms(piece: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let each = |one: &dyn Fn(&u8) -> String, between: &str| {
        let all: Vec<String> = piece.iter().map(one).collect();
        all.join(between)
    };
    let mut texts = vec![
        ("plain", String::from_utf8_lossy(piece).into_owned()),
        ("percent", each(&|byte| format!("%{byte:02x}"), "")),
        ("percent", each(&|byte| format!("%{byte:02X}"), "")),
        ("hexadecimal", each(&|byte| format!("{byte:02x}"), "")),
        ("hexadecimal", each(&|byte| format!("{byte:02X}"), "")),
        ("byte list", each(&u8::to_string, ", ")),
        ("byte list", each(&u8::to_string, ",")),
        ("byte list", each(&u8::to_string, " ")),
    ];
    for before in 0..3 {
        let standard = base64_within(piece, before);
        let url_safe = standard.replace('+', "-").replace('/', "_");
        if url_safe != standard {
            texts.push(("base64", url_safe));
        }
        texts.push(("base64", standard));
    }
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    texts
        .into_iter()
        .flat_map(|(form, text)| [(form, wide(&text)), (form, text.into_bytes())])
        .collect()
}

/// What base64 of any text has in common in which the piece stands after a multiple of three and
/// `before` more bytes.
fn base64_within(piece: &[u8], before: usize) -> String {
    let mut padded = vec![0; before];
    padded.extend_from_slice(piece);
    let encoded = STANDARD.encode(&padded);
    encoded[(before * 8).div_ceil(6)..padded.len() * 8 / 6].to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::process::Process;
    use crate::wait::until_some;

    fn searcher(secret: &str) -> Searcher {
        Searcher::new([("it".to_owned(), secret.to_owned())]).unwrap()
    }

    #[test]
    fn the_secrets_of_every_agents_store_are_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (canary("refresh"), canary("key"));
        for (agent, profile) in [
            (
                "main",
                json!({"refresh": one, "access": "short", "email": "me@example.com"}),
            ),
            ("lab", json!({"key": two})),
        ] {
            let agent = dir.path().join("agents").join(agent).join("agent");
            fs::create_dir_all(&agent).unwrap();
            let store = json!({"version": 1, "profiles": {"openai:me@example.com": profile}});
            fs::write(agent.join("auth-profiles.json"), store.to_string()).unwrap();
        }
        let searcher = Searcher::of_stores(dir.path()).unwrap();
        for secret in [one, two] {
            assert!(searcher.bytes("", secret.as_bytes()).hits() > 0, "{secret}");
        }
        assert_eq!(
            searcher
                .bytes("", b"short openai:me@example.com me@example.com")
                .hits(),
            0
        );
    }

    #[test]
    fn a_secret_is_found_in_every_form_and_at_every_place() {
        // With characters that the alphabets of base64 write differently.
        let secret = "?~>?~>?~>?~>?~>?~>?~>?~>".to_owned();
        let searcher = searcher(&secret);
        let list = |between: &str| {
            let bytes: Vec<String> = secret.bytes().map(|byte| byte.to_string()).collect();
            bytes.join(between)
        };
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        let percent: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let wide: Vec<u8> = secret.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut cases = vec![
            ("plain", format!("a {secret} b").into_bytes()),
            ("plain", wide),
            ("percent", percent.to_lowercase().into_bytes()),
            ("percent", percent.into_bytes()),
            ("hexadecimal", hex.to_uppercase().into_bytes()),
            ("hexadecimal", hex.into_bytes()),
            ("byte list", format!("{:?}", secret.as_bytes()).into_bytes()),
            ("byte list", list(",").into_bytes()),
            ("byte list", list(" ").into_bytes()),
        ];
        for before in ["", "x", "xy"] {
            let text = format!("{before}{secret}z");
            cases.push(("base64", STANDARD.encode(&text).into_bytes()));
            cases.push(("base64", URL_SAFE_NO_PAD.encode(&text).into_bytes()));
        }
        for (form, bytes) in &cases {
            let searched = searcher.bytes("here", bytes);
            assert!(
                searched.found.keys().any(|found| found.form == *form),
                "{form}: {searched}"
            );
            assert!(searched.ensure_none("here").is_err());
        }
    }

    #[test]
    fn a_part_of_a_secret_is_found_and_another_secret_is_not() {
        let secret = canary("part");
        let searcher = searcher(&secret);
        let (first, second) = secret.split_at(secret.len() - PIECE);
        for part in [first, second] {
            assert!(searcher.bytes("", part.as_bytes()).hits() > 0, "{part}");
        }
        searcher
            .bytes("", canary("part").as_bytes())
            .ensure_none("another")
            .unwrap();
        assert!(Searched::default().ensure_none("nothing").is_err());
        assert!(Searcher::new([("it".to_owned(), "short".to_owned())]).is_err());
    }

    #[test]
    fn of_a_token_its_claims_and_its_signature_are_found_and_the_address_is_not() {
        let token = canary_token("ada", 1_763_900_000_000, 3_600);
        let searcher = searcher(&token);
        let parts: Vec<&str> = token.split('.').collect();
        assert!(searcher.bytes("", parts[1].as_bytes()).hits() > 0);
        assert!(searcher.bytes("", parts[2].as_bytes()).hits() > 0);
        assert!(
            searcher
                .bytes("", &URL_SAFE_NO_PAD.decode(parts[1]).unwrap())
                .hits()
                > 0
        );
        assert_eq!(
            searcher
                .bytes("", b"ada@example.com acct-ada eyJhbGciOiJub25lIn0")
                .hits(),
            0
        );
    }

    #[test]
    fn the_secrets_of_a_store_are_its_tokens_and_keys() {
        let store = json!({"profiles": {
            "a": {"type": "oauth", "access": "A", "refresh": "R", "email": "e", "expires": 1},
            "b": {"type": "api_key", "provider": "p", "key": "K"},
        }});
        let mut secrets = secrets_of(&store);
        secrets.sort();
        let expected = [("a/access", "A"), ("a/refresh", "R"), ("b/key", "K")];
        assert_eq!(
            secrets,
            expected.map(|(name, text)| (name.to_owned(), text.to_owned()))
        );
    }

    #[test]
    fn files_are_searched_by_content_and_by_name() {
        let secret = canary("file");
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/c"), &secret).unwrap();
        let searcher = searcher(&secret);
        assert!(searcher.tree(dir.path(), |_| false).unwrap().hits() > 0);
        let but_it = searcher.tree(dir.path(), |path| path.ends_with("c")).unwrap();
        but_it.ensure_none("the others").unwrap();
        fs::write(dir.path().join(&secret), "").unwrap();
        let named = searcher.tree(dir.path(), |path| path.ends_with("c")).unwrap();
        assert!(named.hits() > 0);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_secret_in_memory_arguments_and_environment_is_found() {
        let secret = canary("memory");
        let searcher = searcher(&secret);
        // This process holds it.
        let own = searcher.process(std::process::id()).unwrap();
        own.ensure_some("memory", "it").unwrap();
        let mut sleep = std::process::Command::new("sleep");
        let log = tempfile::NamedTempFile::new().unwrap();
        let child = Process::start(sleep.arg("600").env("IT", &secret), log.path()).unwrap();
        // It has a part of this process until it has become another program.
        let environment = until_some("the environment", Duration::from_secs(10), || {
            let searched = searcher.process(child.id()).ok()?;
            let places: Vec<String> = searched.found.into_keys().map(|found| found.place).collect();
            let seen = |place: &str| places.iter().any(|found| found.starts_with(place));
            (seen("environ of") && seen("[stack] of")).then_some(())
        });
        environment.await.unwrap();
    }
}
