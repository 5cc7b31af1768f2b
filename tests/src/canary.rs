//! Recognisable secrets and the search for them: in bytes, files, directories and the memory of a
//! process, in every form in which a program may hand a text on. A search that found nothing says
//! how much it has read; each journey shows beside it that the same search finds what is there.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use aho_corasick::AhoCorasick;
use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rand::Rng;
use serde_json::{Value, json};

/// A secret is looked for piece by piece, so that a cut-off one is found as well.
const PIECE: usize = 16;
/// Shorter texts stand in places where nobody put them.
const SHORTEST: usize = 12;
/// What follows it is looked for.
const MARK: &str = "kalitcanary";
/// How much of a process's memory is read at once.
#[cfg(target_os = "linux")]
const BLOCK: usize = 1 << 20;

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

/// Looks for a set of secrets.
#[derive(Debug)]
pub struct Searcher {
    automaton: AhoCorasick,
    /// The secret's name and the form, for each needle.
    needles: Vec<(String, &'static str)>,
    #[cfg(target_os = "linux")]
    longest: usize,
}

impl Searcher {
    /// Each secret with its name. Of a JSON Web Token the signature and the claim `jti` are looked
    /// for: the rest is the same in all of them.
    ///
    /// # Errors
    /// When a secret is too short to be told from other text.
    pub fn new(secrets: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let (mut needles, mut patterns) = (Vec::new(), Vec::new());
        for (name, secret) in secrets {
            let texts = parts(&secret);
            ensure!(!texts.is_empty(), "{name} is too short to be looked for");
            for text in texts {
                for (form, pattern) in pieces(text.as_bytes()).flat_map(forms) {
                    needles.push((name.clone(), form));
                    patterns.push(pattern);
                }
            }
        }
        Ok(Self {
            #[cfg(target_os = "linux")]
            longest: patterns.iter().map(Vec::len).max().unwrap_or_default(),
            automaton: AhoCorasick::new(patterns)?,
            needles,
        })
    }

    /// Bytes, for example what a program printed.
    pub fn bytes(&self, place: &str, bytes: &[u8]) -> Searched {
        let mut searched = Searched {
            bytes: bytes.len() as u64,
            ..Searched::default()
        };
        for hit in self.automaton.find_overlapping_iter(bytes) {
            let (secret, form) = &self.needles[hit.pattern().as_usize()];
            let found = Found {
                secret: secret.clone(),
                form,
                place: place.to_owned(),
            };
            *searched.found.entry(found).or_default() += 1;
        }
        searched
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
        let before = searched.bytes;
        let mut block = vec![0; BLOCK + self.longest];
        for region in maps.lines().filter_map(Region::parse) {
            let place = format!("{} of {pid}", region.name);
            let mut at = region.start;
            while at < region.end {
                let wanted = usize::try_from(region.end - at)?.min(block.len());
                // What cannot be read is a device's, or has just been given back.
                let Ok(read) = memory.read_at(&mut block[..wanted], at) else {
                    break;
                };
                if read == 0 {
                    break;
                }
                searched.add(self.bytes(&place, &block[..read]));
                // The next block begins before the end of this one.
                at += if read > self.longest && at + (read as u64) < region.end {
                    (read - self.longest) as u64
                } else {
                    read as u64
                };
            }
        }
        ensure!(searched.bytes > before, "no memory of {pid} could be read");
        Ok(searched)
    }
}

/// A part of a process's memory that it can read.
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
        if !words.next()?.starts_with('r') {
            return None;
        }
        let name = words.nth(3).unwrap_or_default().trim();
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
