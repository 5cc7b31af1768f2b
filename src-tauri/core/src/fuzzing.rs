//! What the fuzzer calls: one function for each kind of text that comes from outside. None may
//! panic, hang or take much memory, and each asserts what must hold of any input. Built for the
//! tests, which replay the corpora of `fuzz/corpus`, and for `cargo xtask fuzz`; in no release.

use crate::Error;
use crate::{install, oauth, openclaw, store};

/// Tries one input; a failure is a panic.
pub type Target = fn(&[u8]);

/// The targets, by the name of their corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("auth_state", store::fuzzing::auth_state),
    ("callback", oauth::fuzzing::callback),
    ("claims", oauth::fuzzing::claims),
    ("config", install::fuzzing::config),
    ("document", store::fuzzing::document),
    ("lock_payload", store::fuzzing::lock_payload),
    ("manifest", oauth::fuzzing::manifest),
    ("pasted", oauth::fuzzing::pasted),
    ("renewal_log", openclaw::fuzzing::renewal_log),
    ("sqlite_cell", store::fuzzing::sqlite_cell),
    ("terminal", openclaw::fuzzing::terminal),
    ("token_answer", oauth::fuzzing::token_answer),
];

/// The target of a name.
pub fn target(name: &str) -> Option<Target> {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    found.map(|(_, target)| *target)
}

/// Stands in the corpora where tokens, codes and keys stand.
pub(crate) const CANARY: &str = "zQ7-canary";

/// Everything that an error tells.
pub(crate) fn told(error: &Error) -> String {
    format!("{error} {error:?} {}", error.hint())
}

/// Checks a text that may leave core.
pub(crate) fn assert_no_secret(text: &str) {
    assert!(!text.contains(CANARY), "a secret is told: {text}");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::time::{Duration, Instant};

    use super::*;

    fn corpora() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
    }

    #[test]
    fn every_input_of_the_corpora_passes() {
        let mut size = 0;
        for (name, target) in TARGETS {
            let mut files: Vec<PathBuf> = fs::read_dir(corpora().join(name))
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            files.sort();
            assert!(files.len() >= 3, "{name} has too small a corpus");
            for file in files {
                let input = fs::read(&file).unwrap();
                size += input.len();
                let begun = Instant::now();
                println!("{}", file.display());
                target(&input);
                assert!(begun.elapsed() < Duration::from_secs(1), "{}", file.display());
            }
        }
        assert!(size < 500_000, "the corpora have {size} bytes");
    }

    #[test]
    fn every_corpus_has_a_target() {
        let found: BTreeSet<String> = fs::read_dir(corpora())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let known: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(found, known);
    }

    #[test]
    #[should_panic(expected = "a secret is told")]
    fn a_told_secret_is_noticed() {
        let error = Error::new(crate::ErrorCode::Internal, format!("token {CANARY} refused"));
        assert_no_secret(&told(&error));
    }
}
