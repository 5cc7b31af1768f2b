//! Which manifest files may be used: they belong to the user, nobody else can write them, and one
//! that moves a built-in provider's endpoints was consented to, by its content.
//!
//! Must never record a consent for a content that was not the one shown.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::Url;

use crate::durable;
use crate::environment::Environment;
use crate::ids::ProviderId;
use crate::language;
use crate::{Error, ErrorCode, Result};

use super::manifest::{self, Manifest, is_literal_loopback};
use super::provider::Provider;
use super::providers::Providers;

/// The largest manifest that is read, in octets.
const MAX_SIZE: u64 = 256 * 1024;

/// What a person is asked before an override takes effect.
#[derive(Debug)]
pub struct Consent {
    file: PathBuf,
    provider: ProviderId,
    sign_in_hosts: Vec<String>,
    token_host: Option<String>,
    digest: String,
    record: PathBuf,
}

/// Reads and checks the override in `file` and returns what its use means. Nothing is recorded
/// before [`Consent::give`].
pub fn trust(environment: &Environment, file: &Path) -> Result<Consent> {
    let file = environment.working_dir().join(file);
    let text = read_own_file(&file)?;
    let built_in = Providers::built_in()?;
    let provider = match manifest::parse(&text, Some(file.clone()), |id| built_in.get(id))? {
        Manifest::Override(provider) => provider,
        Manifest::New(provider) => {
            return Err(Error::new(
                ErrorCode::ProviderManifestInvalid,
                say!(
                    "{provider} is a provider of its own and needs no consent",
                    provider = provider.id()
                ),
            )
            .with_hint(say!(
                "Put the file into Kalit's providers directory: that is all."
            )));
        }
    };
    let token_host = provider.token_route().map(|route| host_of(&route.url));
    let sign_in_hosts = provider.endpoints().into_iter().map(host_of).collect();
    Ok(Consent {
        file,
        provider: provider.id().clone(),
        sign_in_hosts,
        token_host,
        digest: digest(&text),
        record: record_path(environment),
    })
}

impl Consent {
    /// The provider whose endpoints are replaced.
    pub fn provider(&self) -> &ProviderId {
        &self.provider
    }

    /// What the person must know, on the command line: the hosts, and that existing logins are renewed there.
    pub fn statement(&self) -> String {
        let mut hosts: Vec<&str> = self.sign_in_hosts.iter().map(String::as_str).collect();
        hosts.dedup();
        let renewal = match &self.token_host {
            Some(host) => {
                let provider = &self.provider;
                format!(
                    " Tokens are sent to {host}: existing logins of {provider} are renewed there as well."
                )
            }
            None => String::new(),
        };
        format!(
            "{} replaces the built-in provider {}, which then uses {}.{renewal}",
            self.file.display(),
            self.provider,
            hosts.join(", ")
        )
    }

    /// Records the consent for exactly the content that was read.
    pub fn give(self) -> Result<()> {
        let mut record = TrustRecord::read(&self.record)?;
        if !record.trusted.insert(self.digest) {
            return Ok(());
        }
        record.write(&self.record).map_err(|error| {
            Error::new(
                ErrorCode::VaultFailed,
                say!(
                    "the consent could not be saved in {record}",
                    record = self.record.display()
                ),
            )
            .with_source(error)
        })
    }
}

/// Whether `KALIT_TEST_PROVIDERS=1` stands in for the consent: only when everything this provider
/// would talk to is a literal loopback address.
pub(super) fn consent_is_replaced(environment: &Environment, provider: &Provider) -> bool {
    environment.var("KALIT_TEST_PROVIDERS") == Some("1")
        && provider.endpoints().into_iter().all(is_literal_loopback)
}

/// The consents given so far: `providers-trusted.json` in Kalit's configuration directory.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrustRecord {
    version: u32,
    /// SHA-256 of each manifest's octets, in hexadecimal digits.
    trusted: BTreeSet<String>,
}

impl Default for TrustRecord {
    fn default() -> Self {
        Self {
            version: 1,
            trusted: BTreeSet::new(),
        }
    }
}

impl TrustRecord {
    pub(super) fn load(environment: &Environment) -> Result<Self> {
        Self::read(&record_path(environment))
    }

    /// Whether a manifest with this text was consented to.
    pub(super) fn contains(&self, text: &str) -> bool {
        self.trusted.contains(&digest(text))
    }

    /// A missing record is empty; one that others could have written, or that does not parse, is
    /// an error and is never overwritten.
    fn read(path: &Path) -> Result<Self> {
        match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            _ => {}
        }
        let unparsable = |problem: String| {
            Error::new(
                ErrorCode::SettingsUnparsable,
                say!("{path} cannot be used: {problem}", path = path.display(), problem),
            )
            .with_hint(
                say!("Move the file away to start without consents; each override then needs `kalit providers trust` again."),
            )
        };
        let text = read_own_file(path).map_err(|error| unparsable(error.message().to_owned()))?;
        let record: Self = serde_json::from_str(&text).map_err(|error| unparsable(error.to_string()))?;
        if record.version != 1 {
            return Err(unparsable(say!("another version wrote it")));
        }
        Ok(record)
    }

    fn write(&self, path: &Path) -> std::io::Result<()> {
        durable::create_dir(durable::directory_of(path))?;
        durable::replace(path, serde_json::to_string_pretty(self)?.as_bytes())
    }
}

/// Reads a small UTF-8 file that belongs to the user and that nobody else can write.
pub(super) fn read_own_file(path: &Path) -> Result<String> {
    let refuse = |problem: &str| {
        Error::new(
            ErrorCode::ProviderManifestInvalid,
            format!("{}: {problem}", path.display()),
        )
    };
    let unreadable = |error: std::io::Error| refuse(&say!("cannot be read ({kind})", kind = error.kind()));
    // Looked at before opening as well, because opening a pipe would wait for its other end.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(refuse(&say!("is not a file")));
    }
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(refuse(&say!("is not a file")));
    }
    if let Some(problem) = foreign_access(&metadata) {
        return Err(refuse(&language::fixed(problem)));
    }
    let mut text = String::new();
    let read = file.take(MAX_SIZE + 1).read_to_string(&mut text);
    match read {
        Err(error) => Err(unreadable(error)),
        Ok(size) if size as u64 > MAX_SIZE => Err(refuse(&say!("is too large"))),
        Ok(_) => Ok(text),
    }
}

#[cfg(unix)]
fn foreign_access(metadata: &Metadata) -> Option<&'static str> {
    use std::os::unix::fs::MetadataExt;
    let user = rustix::process::geteuid().as_raw();
    access_problem(metadata.uid(), metadata.mode(), user)
}

/// On Windows the configuration directory's access list protects its files.
#[cfg(not(unix))]
fn foreign_access(_metadata: &Metadata) -> Option<&'static str> {
    None
}

#[cfg(unix)]
fn access_problem(owner: u32, mode: u32, user: u32) -> Option<&'static str> {
    if owner != user {
        Some(template!("does not belong to you"))
    } else if mode & 0o022 != 0 {
        Some(template!("can be written by others (chmod go-w)"))
    } else {
        None
    }
}

fn record_path(environment: &Environment) -> PathBuf {
    environment.config_dir().join("providers-trusted.json")
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect()
}

fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(directory: &Path) -> Environment {
        let vars = [("KALIT_CONFIG_DIR".to_owned(), directory.display().to_string())];
        Environment::new(vars, directory, directory)
    }

    fn write(path: &Path, text: &str) {
        std::fs::write(path, text).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
    }

    const OVERRIDE: &str =
        r#"{"manifest":1,"id":"openai","overrides":"openai","tokenUrl":"https://t.example/x"}"#;

    #[test]
    fn consent_names_every_host_and_is_recorded_once() {
        let directory = tempfile::tempdir().unwrap();
        let environment = environment(directory.path());
        write(&directory.path().join("o.json"), OVERRIDE);
        let consent = trust(&environment, Path::new("o.json")).unwrap();
        assert_eq!(
            consent.statement(),
            format!(
                "{} replaces the built-in provider openai, which then uses auth.openai.com, t.example. \
                 Tokens are sent to t.example: existing logins of openai are renewed there as well.",
                directory.path().join("o.json").display()
            )
        );
        consent.give().unwrap();
        trust(&environment, Path::new("o.json")).unwrap().give().unwrap();
        let record = TrustRecord::load(&environment).unwrap();
        assert_eq!(record.trusted.len(), 1);
        assert!(record.contains(OVERRIDE));
        let names: Vec<_> = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names.len(), 2, "no temporary file stays: {names:?}");
    }

    #[test]
    fn a_provider_of_its_own_needs_no_consent() {
        let directory = tempfile::tempdir().unwrap();
        write(
            &directory.path().join("n.json"),
            r#"{"manifest":1,"id":"acme","flow":"api-key"}"#,
        );
        let error = trust(&environment(directory.path()), Path::new("n.json")).unwrap_err();
        assert_eq!(error.code(), ErrorCode::ProviderManifestInvalid);
    }

    #[test]
    fn a_record_that_does_not_parse_is_kept_and_trusts_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let environment = environment(directory.path());
        let record = directory.path().join("providers-trusted.json");
        write(&record, "{\"version\":1,");
        write(&directory.path().join("o.json"), OVERRIDE);
        let consent = trust(&environment, Path::new("o.json")).unwrap();
        assert_eq!(consent.give().unwrap_err().code(), ErrorCode::SettingsUnparsable);
        assert_eq!(std::fs::read_to_string(&record).unwrap(), "{\"version\":1,");
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_be_able_to_write() {
        assert_eq!(access_problem(1000, 0o100_644, 1000), None);
        assert_eq!(
            access_problem(0, 0o100_644, 1000),
            Some(template!("does not belong to you"))
        );
        assert!(access_problem(1000, 0o100_664, 1000).is_some());
        assert!(access_problem(1000, 0o100_646, 1000).is_some());
    }
}
