//! What OpenClaw can sign in to, from the manifests of its plugins: read from disk, no program is
//! started. A release whose manifests say nothing about sign-ins (2026.2.17) offers nothing here;
//! a provider can be named all the same.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use serde::Deserialize;

use crate::ids::ProviderId;
use crate::install::Installation;

/// 2026.9.6 has 63 plugins, the longest manifest 100 kB.
const MAX_PLUGINS: usize = 500;
const MAX_BYTES: u64 = 1024 * 1024;

/// One way to sign in to one provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignInMethod {
    pub provider: ProviderId,
    /// For `--method`.
    pub method: String,
    pub label: String,
    /// Several choices of one vendor.
    pub group: Option<String>,
}

/// What was read where.
#[derive(Debug, Default)]
pub(crate) struct Plugins(Mutex<HashMap<PathBuf, Known>>);

/// The sign-ins of a directory, and when it was last changed at the time.
#[derive(Debug)]
struct Known {
    changed: Option<SystemTime>,
    methods: Vec<SignInMethod>,
}

impl Plugins {
    /// The ways to sign in that the installation's OpenClaw and its own plugins have. Read again
    /// only when a plugin came or went.
    pub fn sign_ins(&self, installation: &Installation) -> Vec<SignInMethod> {
        let package = installation
            .program
            .as_ref()
            .and_then(|program| program.package.as_ref());
        let Some(package) = package else {
            return Vec::new();
        };
        let dirs = [
            // 2026.4.29 and later, 2026.2.17, plugins that the person installed
            package.join("dist/extensions"),
            package.join("extensions"),
            installation.state_dir.path.join("extensions"),
        ];
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<SignInMethod> = Vec::new();
        for dir in dirs {
            let changed = fs::metadata(&dir).and_then(|meta| meta.modified()).ok();
            match known.get(&dir) {
                Some(before) if before.changed == changed => found.extend(before.methods.iter().cloned()),
                Some(_) | None => {
                    let methods = read_dir(&dir);
                    found.extend(methods.iter().cloned());
                    known.insert(dir, Known { changed, methods });
                }
            }
        }
        found
    }
}

fn read_dir(dir: &Path) -> Vec<SignInMethod> {
    let mut manifests: Vec<PathBuf> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("openclaw.plugin.json")))
        .take(MAX_PLUGINS)
        .collect();
    manifests.sort();
    manifests
        .iter()
        .filter_map(|path| read(path))
        .flat_map(sign_ins)
        .collect()
}

/// A manifest of another form is passed over: it offers nothing.
fn read(path: &Path) -> Option<Manifest> {
    let mut text = String::new();
    let read = File::open(path)
        .ok()?
        .take(MAX_BYTES)
        .read_to_string(&mut text)
        .ok()?;
    ((read as u64) < MAX_BYTES)
        .then(|| serde_json::from_str(&text).ok())
        .flatten()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    #[serde(default)]
    provider_auth_choices: Vec<Choice>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Choice {
    provider: String,
    method: String,
    choice_label: Option<String>,
    group_label: Option<String>,
    /// `oauth` or `device-code` (2026.9.6).
    app_guided_auth: Option<String>,
}

fn sign_ins(manifest: Manifest) -> impl Iterator<Item = SignInMethod> {
    let choices = manifest.provider_auth_choices.into_iter();
    choices.filter(is_sign_in).filter_map(|choice| {
        Some(SignInMethod {
            provider: ProviderId::parse(&choice.provider)?,
            label: choice.choice_label.unwrap_or_else(|| choice.method.clone()),
            method: choice.method,
            group: choice.group_label,
        })
    })
}

/// API keys, local servers and other programs' logins are none: the manifest says so (2026.9.6), or
/// the method's name does (2026.6.1 and later).
fn is_sign_in(choice: &Choice) -> bool {
    let method = choice.method.as_str();
    choice.app_guided_auth.is_some()
        || method.starts_with("oauth")
        || method.starts_with("device")
        || method == "setup-token"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(dir: &Path, plugin: &str, text: &str) {
        fs::create_dir_all(dir.join(plugin)).unwrap();
        fs::write(dir.join(plugin).join("openclaw.plugin.json"), text).unwrap();
    }

    #[test]
    fn sign_ins_are_told_from_keys_and_local_servers() {
        let dir = tempfile::tempdir().unwrap();
        // As 2026.9.6 and 2026.6.1 (xai), shortened.
        manifest(
            dir.path(),
            "openai",
            r#"{"id": "openai", "providerAuthChoices": [
                {"provider": "openai", "method": "oauth", "choiceLabel": "ChatGPT Login", "groupLabel": "OpenAI", "appGuidedAuth": "oauth"},
                {"provider": "openai", "method": "api-key", "choiceLabel": "OpenAI API Key", "appGuidedSecret": true}]}"#,
        );
        manifest(
            dir.path(),
            "xai",
            r#"{"providerAuthChoices": [{"provider": "XAI", "method": "device-code"}, {"provider": "xai", "method": "custom"}]}"#,
        );
        // As 2026.2.17, another form, and none.
        manifest(
            dir.path(),
            "qwen",
            r#"{"id": "qwen-portal-auth", "providers": ["qwen-portal"]}"#,
        );
        manifest(
            dir.path(),
            "odd",
            r#"{"providerAuthChoices": {"provider": "odd"}}"#,
        );
        manifest(dir.path(), "torn", r#"{"providerAuthChoices": ["#);
        let found = read_dir(dir.path());
        let told: Vec<_> = found
            .iter()
            .map(|it| {
                (
                    it.provider.as_str(),
                    it.method.as_str(),
                    it.label.as_str(),
                    it.group.as_deref(),
                )
            })
            .collect();
        let expected = [
            ("openai", "oauth", "ChatGPT Login", Some("OpenAI")),
            ("xai", "device-code", "device-code", None),
        ];
        assert_eq!(told, expected);
    }
}
