//! The providers in force: the built-in ones, then the manifests of the user's configuration
//! directory and of `KALIT_PROVIDERS_DIR`.
//!
//! A manifest that cannot be used is listed with its error and never stops the others; an
//! override without consent never takes effect.

use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::ids::ProviderId;
use crate::{Error, ErrorCode, Result};

use super::manifest::{self, Manifest};
use super::provider::{Origin, Provider};
use super::trust::{self, TrustRecord};

/// All providers that can be used, and the manifests that cannot.
#[derive(Clone, Debug)]
pub struct Providers {
    usable: Vec<Provider>,
    rejected: Vec<Rejected>,
}

/// A manifest file that is not in force, and why.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// The file, or the directory that cannot be listed.
    pub path: PathBuf,
    /// `provider.manifest_invalid` or `provider.manifest_untrusted`.
    pub code: ErrorCode,
    /// What is wrong with it.
    pub message: String,
}

const BUILT_IN: [&str; 6] = [
    include_str!("builtin/openai.json"),
    include_str!("builtin/anthropic.json"),
    include_str!("builtin/github-copilot.json"),
    include_str!("builtin/minimax-portal.json"),
    include_str!("builtin/openrouter.json"),
    include_str!("builtin/xai.json"),
];

impl Providers {
    /// Reads all manifests. Fails only if a built-in one is broken.
    pub fn load(environment: &Environment) -> Result<Self> {
        let mut providers = Self::built_in()?;
        let trusted = TrustRecord::load(environment).unwrap_or_default();
        for directory in directories(environment) {
            for path in providers.manifests_in(&directory) {
                if let Err(error) = providers.add(&path, environment, &trusted) {
                    providers.reject(path, &error);
                }
            }
        }
        Ok(providers)
    }

    /// The built-in providers alone.
    pub fn built_in() -> Result<Self> {
        let mut usable = Vec::new();
        for text in BUILT_IN {
            match manifest::parse(text, None, |_| None)? {
                Manifest::New(provider) | Manifest::Override(provider) => usable.push(provider),
            }
        }
        Ok(Self {
            usable,
            rejected: Vec::new(),
        })
    }

    /// The provider with this id or alias.
    pub fn get(&self, id: &ProviderId) -> Option<&Provider> {
        self.usable.iter().find(|provider| provider.answers_to(id))
    }

    /// All providers in force: built-in ones first.
    pub fn iter(&self) -> impl Iterator<Item = &Provider> {
        self.usable.iter()
    }

    /// The manifests that are not in force.
    pub fn rejected(&self) -> &[Rejected] {
        &self.rejected
    }

    fn manifests_in(&mut self, directory: &Path) -> Vec<PathBuf> {
        let listed = match std::fs::read_dir(directory) {
            Ok(entries) => entries.collect::<std::io::Result<Vec<_>>>(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => Err(error),
        };
        match listed {
            Ok(entries) => {
                let mut files: Vec<PathBuf> = entries
                    .iter()
                    .map(std::fs::DirEntry::path)
                    .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
                    .collect();
                files.sort();
                files
            }
            Err(error) => {
                let error = Error::new(
                    ErrorCode::ProviderManifestInvalid,
                    say!("the directory cannot be listed: {kind}", kind = error.kind()),
                );
                self.reject(directory.to_owned(), &error);
                Vec::new()
            }
        }
    }

    fn add(&mut self, path: &Path, environment: &Environment, trusted: &TrustRecord) -> Result<()> {
        let text = trust::read_own_file(path)?;
        let built_in = Self::built_in()?;
        match manifest::parse(&text, Some(path.to_owned()), |id| built_in.get(id))? {
            Manifest::New(provider) => {
                self.check_names(&provider, None)?;
                self.usable.push(provider);
            }
            Manifest::Override(provider) => {
                self.check_names(&provider, Some(provider.id()))?;
                let stand_in = trust::consent_is_replaced(environment, &provider);
                if !stand_in && !trusted.contains(&text) {
                    return Err(Error::new(
                        ErrorCode::ProviderManifestUntrusted,
                        say!(
                            "the manifest replaces endpoints of {provider} without your consent",
                            provider = provider.id()
                        ),
                    ));
                }
                if let Some(slot) = self.usable.iter_mut().find(|known| known.id() == provider.id()) {
                    *slot = provider;
                }
            }
        }
        Ok(())
    }

    /// No id and no alias may stand for two providers; `except` is the provider being overridden,
    /// once.
    fn check_names(&self, provider: &Provider, except: Option<&ProviderId>) -> Result<()> {
        let taken = std::iter::once(provider.id())
            .chain(provider.aliases())
            .find(|name| {
                self.usable
                    .iter()
                    .filter(|known| {
                        Some(known.id()) != except || matches!(known.origin(), Origin::Override(_))
                    })
                    .any(|known| known.answers_to(name))
            });
        match taken {
            None => Ok(()),
            Some(name) => Err(Error::new(
                ErrorCode::ProviderManifestInvalid,
                say!("the provider id {name} is already described elsewhere", name),
            )
            .with_hint(say!(
                "Choose another id, or replace fields of a built-in provider with \"overrides\"."
            ))),
        }
    }

    fn reject(&mut self, path: PathBuf, error: &Error) {
        self.rejected.push(Rejected {
            path,
            code: error.code(),
            message: error.message().to_owned(),
        });
    }
}

fn directories(environment: &Environment) -> Vec<PathBuf> {
    let configured = environment
        .var("KALIT_PROVIDERS_DIR")
        .map(|directory| environment.working_dir().join(directory));
    let mut directories = vec![environment.config_dir().join("providers")];
    directories.extend(configured.filter(|directory| *directory != directories[0]));
    directories
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::provider::{Encoding, Flow, Redirect, RedirectHost};
    use crate::oauth::trust::trust;
    use serde_json::{Value, json};

    struct Config {
        directory: tempfile::TempDir,
    }

    impl Config {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(directory.path().join("providers")).unwrap();
            Self { directory }
        }

        fn environment(&self) -> Environment {
            let vars = [(
                "KALIT_CONFIG_DIR".to_owned(),
                self.directory.path().display().to_string(),
            )];
            Environment::new(vars, self.directory.path(), self.directory.path())
        }

        fn write(&self, name: &str, value: &Value) -> PathBuf {
            let path = self.directory.path().join("providers").join(name);
            std::fs::write(&path, value.to_string()).unwrap();
            restrict(&path, 0o600);
            path
        }
    }

    fn restrict(path: &Path, mode: u32) {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        #[cfg(not(unix))]
        let _ = (path, mode);
    }

    fn id(text: &str) -> ProviderId {
        ProviderId::parse(text).unwrap()
    }

    fn acme() -> Value {
        json!({"manifest": 1, "id": "acme", "flow": "pkce", "clientId": "c",
            "authorizeUrl": "https://acme.example/a", "tokenUrl": "https://acme.example/t"})
    }

    fn loopback_override() -> Value {
        json!({"manifest": 1, "id": "openai", "overrides": "openai", "clientId": "test",
            "authorizeUrl": "http://127.0.0.1:9/authorize", "tokenUrl": "http://127.0.0.1:9/token"})
    }

    fn codes(providers: &Providers) -> Vec<ErrorCode> {
        providers
            .rejected()
            .iter()
            .map(|rejected| rejected.code)
            .collect()
    }

    #[test]
    fn built_in_openai_is_what_openclaw_and_codex_send() {
        let providers = Providers::built_in().unwrap();
        let openai = providers.get(&id("openai-codex")).unwrap();
        assert_eq!(openai.id(), &id("openai"));
        assert_eq!(openai.origin(), &Origin::BuiltIn);
        let authorization = openai.authorization().unwrap();
        assert_eq!(
            authorization.url.as_str(),
            "https://auth.openai.com/oauth/authorize"
        );
        assert_eq!(
            authorization.scopes,
            ["openid", "profile", "email", "offline_access"]
        );
        assert_eq!(
            authorization.redirect,
            Redirect {
                host: RedirectHost::Localhost,
                ports: vec![1455, 1457],
                path: "/auth/callback".to_owned()
            }
        );
        let params: Vec<(&str, &str)> = authorization
            .params
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            params,
            [
                ("id_token_add_organizations", "true"),
                ("codex_cli_simplified_flow", "true"),
                ("originator", "kalit")
            ]
        );
        let route = openai.token_route().unwrap();
        assert_eq!(route.url.as_str(), "https://auth.openai.com/oauth/token");
        assert_eq!(route.client_id, "app_EMoamEEZ73f0CkXaXp7hrann");
        assert_eq!(route.encoding, Encoding::Form);
        assert_eq!(
            openai.revoke_url().unwrap().as_str(),
            "https://auth.openai.com/oauth/revoke"
        );
    }

    #[test]
    fn built_in_anthropic_takes_pasted_tokens_only() {
        let providers = Providers::built_in().unwrap();
        let anthropic = providers.get(&id("anthropic")).unwrap();
        assert_eq!(anthropic.flow(), &Flow::Token);
        assert_eq!(anthropic.token_route(), None);
    }

    #[test]
    fn user_manifests_add_providers_and_bad_ones_are_listed() {
        let config = Config::new();
        config.write("a.json", &acme());
        config.write("b.json", &json!({"manifest": 1}));
        config.write("c.json", &acme());
        config.write("notes.txt", &json!("not a manifest"));
        let providers = Providers::load(&config.environment()).unwrap();
        let ids: Vec<&str> = providers.iter().map(|provider| provider.id().as_str()).collect();
        let (built_in, own) = ids.split_at(BUILT_IN.len());
        assert_eq!(built_in[..2], ["openai", "anthropic"]);
        assert_eq!(own, ["acme"]);
        assert_eq!(
            codes(&providers),
            [
                ErrorCode::ProviderManifestInvalid,
                ErrorCode::ProviderManifestInvalid
            ]
        );
    }

    #[test]
    fn kalit_providers_dir_is_read_as_well() {
        let config = Config::new();
        let extra = tempfile::tempdir().unwrap();
        let path = extra.path().join("x.json");
        std::fs::write(&path, acme().to_string()).unwrap();
        restrict(&path, 0o644);
        let environment = config
            .environment()
            .with_var("KALIT_PROVIDERS_DIR", &extra.path().display().to_string());
        assert!(Providers::load(&environment).unwrap().get(&id("acme")).is_some());
    }

    #[test]
    fn nobody_takes_over_a_built_in_by_id_or_alias() {
        let config = Config::new();
        let mut by_id = acme();
        by_id["id"] = json!("openai");
        config.write("a.json", &by_id);
        let mut by_alias = acme();
        by_alias["aliases"] = json!(["openai-codex"]);
        config.write("b.json", &by_alias);
        let mut old_name = loopback_override();
        old_name["id"] = json!("openai-codex");
        old_name["overrides"] = json!("openai-codex");
        config.write("c.json", &old_name);
        let providers = Providers::load(&config.environment()).unwrap();
        assert_eq!(codes(&providers), [ErrorCode::ProviderManifestInvalid; 3]);
        assert_eq!(
            providers.get(&id("openai-codex")).unwrap().origin(),
            &Origin::BuiltIn
        );
    }

    #[test]
    fn an_override_is_in_force_only_after_consent_and_only_unchanged() {
        let config = Config::new();
        let environment = config.environment();
        let mut manifest = loopback_override();
        manifest["tokenUrl"] = json!("https://login.work.example:8443/token");
        let path = config.write("openai.json", &manifest);

        let before = Providers::load(&environment).unwrap();
        assert_eq!(codes(&before), [ErrorCode::ProviderManifestUntrusted]);
        assert_eq!(before.get(&id("openai")).unwrap().origin(), &Origin::BuiltIn);

        let consent = trust(&environment, &path).unwrap();
        let statement = consent.statement();
        assert!(statement.contains("login.work.example:8443"), "{statement}");
        assert!(statement.contains("existing logins"), "{statement}");
        consent.give().unwrap();

        let after = Providers::load(&environment).unwrap();
        let openai = after.get(&id("openai")).unwrap();
        assert_eq!(codes(&after), []);
        assert_eq!(openai.origin(), &Origin::Override(path.clone()));
        assert_eq!(openai.name(), "ChatGPT");
        assert!(openai.answers_to(&id("openai-codex")));
        assert_eq!(openai.authorization().unwrap().scopes.len(), 4);
        assert_eq!(openai.authorization().unwrap().redirect.ports, [1455, 1457]);
        assert_eq!(openai.revoke_url(), None, "another server's tokens stay away");

        manifest["clientId"] = json!("other");
        config.write("openai.json", &manifest);
        let changed = Providers::load(&environment).unwrap();
        assert_eq!(codes(&changed), [ErrorCode::ProviderManifestUntrusted]);
    }

    #[test]
    fn two_overrides_of_one_provider_do_not_both_apply() {
        let config = Config::new();
        config.write("a.json", &loopback_override());
        config.write("b.json", &loopback_override());
        let environment = config.environment().with_var("KALIT_TEST_PROVIDERS", "1");
        let providers = Providers::load(&environment).unwrap();
        assert_eq!(codes(&providers), [ErrorCode::ProviderManifestInvalid]);
    }

    #[test]
    fn the_test_variable_replaces_consent_for_loopback_urls_only() {
        let config = Config::new();
        let environment = config.environment().with_var("KALIT_TEST_PROVIDERS", "1");
        config.write("openai.json", &loopback_override());
        let in_force = |environment: &Environment| {
            let providers = Providers::load(environment).unwrap();
            providers.get(&id("openai")).unwrap().origin() != &Origin::BuiltIn
        };
        assert!(in_force(&environment));
        assert!(!in_force(&config.environment()));
        assert!(!in_force(
            &config.environment().with_var("KALIT_TEST_PROVIDERS", "yes")
        ));

        for (field, url) in [
            ("tokenUrl", "https://login.work.example/token"),
            ("authorizeUrl", "https://localhost/authorize"),
            ("revokeUrl", "https://auth.openai.com/oauth/revoke"),
        ] {
            let mut manifest = loopback_override();
            manifest[field] = json!(url);
            config.write("openai.json", &manifest);
            assert!(!in_force(&environment), "{field} {url}");
        }
        let mut partial = loopback_override();
        partial.as_object_mut().unwrap().remove("tokenUrl");
        config.write("openai.json", &partial);
        assert!(!in_force(&environment), "an inherited endpoint is not loopback");
    }

    #[cfg(unix)]
    #[test]
    fn a_manifest_that_others_can_write_is_refused() {
        let config = Config::new();
        for (mode, expected) in [(0o600, 0), (0o644, 0), (0o620, 1), (0o602, 1), (0o666, 1)] {
            let path = config.write("a.json", &acme());
            restrict(&path, mode);
            let providers = Providers::load(&config.environment()).unwrap();
            assert_eq!(providers.rejected().len(), expected, "mode {mode:o}");
        }
    }

    #[test]
    fn what_is_not_a_small_regular_file_is_refused() {
        let config = Config::new();
        std::fs::create_dir(config.directory.path().join("providers/d.json")).unwrap();
        let big = config.directory.path().join("providers/e.json");
        std::fs::write(&big, " ".repeat(300 * 1024)).unwrap();
        std::fs::write(config.directory.path().join("providers/f.json"), [0xff, 0xfe]).unwrap();
        let providers = Providers::load(&config.environment()).unwrap();
        assert_eq!(codes(&providers), [ErrorCode::ProviderManifestInvalid; 3]);
    }
}
