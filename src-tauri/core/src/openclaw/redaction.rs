//! What may be told of the lines that OpenClaw prints: no pasted text, no token, no code.

use crate::secret::Secret;

/// Shorter parts of a secret are no secrets, and words of every language.
const PART: usize = 8;

/// The line with every word left out that holds a part of a typed secret or looks like one.
pub(super) fn redacted(line: &str, typed: &[Secret]) -> String {
    let words: Vec<&str> = line
        .split_whitespace()
        .map(|word| {
            if like_a_secret(word) || typed.iter().any(|secret| shares(word, secret)) {
                "…"
            } else {
                word
            }
        })
        .collect();
    let plain = words.join(" ");
    plain.chars().filter(|c| !c.is_control()).take(400).collect()
}

fn like_a_secret(word: &str) -> bool {
    let named = [
        "code=",
        "state=",
        "token=",
        "verifier=",
        "challenge=",
        "secret=",
        "key=",
    ];
    let lower = word.to_lowercase();
    // A path or an address is long without being a key.
    let long = word
        .split(|c: char| !c.is_ascii_alphanumeric() && !"-_+=".contains(c))
        .any(|part| part.len() > 40);
    long || word.contains("sk-") || word.contains("eyJ") || named.iter().any(|name| lower.contains(name))
}

/// Whether a word and a secret have [`PART`] bytes in a row in common, or the secret is shorter and
/// stands in the word.
fn shares(word: &str, secret: &Secret) -> bool {
    let secret = secret.expose().trim().as_bytes();
    if secret.is_empty() {
        return false;
    }
    let part = PART.min(secret.len());
    let mut windows = secret.windows(part);
    windows.any(|window| word.as_bytes().windows(part).any(|found| found == window))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_secret_and_words_like_one_are_left_out() {
        let typed = [Secret::new("ac_one"), Secret::new("two-three")];
        assert_eq!(redacted("got state two-three here", &typed), "got state … here");
        assert_eq!(
            redacted("key sk-ant-oat01-x and eyJhbGci.e.e", &[]),
            "key … and …"
        );
        assert_eq!(redacted(&format!("key {}", "A1".repeat(21)), &[]), "key …");
        assert_eq!(
            redacted("see /a/rather/long/path/to/the/file/auth.json now", &[]),
            "see /a/rather/long/path/to/the/file/auth.json now"
        );
        assert_eq!(
            redacted("pin 4711 was wrong", &[Secret::new("4711")]),
            "pin … was wrong"
        );
        assert_eq!(redacted("nothing typed", &[Secret::new("")]), "nothing typed");
    }
}
