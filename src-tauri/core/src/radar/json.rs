//! The refresh tokens in a JSON document, as fingerprints.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::secret::{Fingerprint, Secret};
use crate::store::fence;

/// The keys under which a refresh token stands: Codex, Gemini, Qwen and MiniMax; Claude; OpenClaw.
const REFRESH_KEYS: [&str; 3] = ["refresh_token", "refreshToken", "refresh"];

/// Under which an account id stands: Codex; OpenClaw.
const ACCOUNT_KEYS: [&str; 2] = ["account_id", "accountId"];

/// The logins in a document.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Logins {
    /// Sorted, each once.
    pub(super) generations: Vec<Fingerprint>,
    /// If there is exactly one login and one account.
    pub(super) account_id: Option<String>,
}

/// All refresh tokens anywhere in a JSON document, as fingerprints; `None` when it is not JSON.
/// Programs move their tokens about between releases, so the key counts and not the place.
pub(super) fn read_logins(bytes: &[u8]) -> Option<Logins> {
    let mut found = Found::default();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Walk {
        under: Key::Other,
        found: &mut found,
    }
    .deserialize(&mut deserializer)
    .ok()?;
    deserializer.end().ok()?;
    let Found {
        mut generations,
        mut accounts,
    } = found;
    generations.sort_unstable();
    generations.dedup();
    accounts.sort_unstable();
    accounts.dedup();
    let account_id = if generations.len() == 1 && accounts.len() == 1 {
        accounts.pop()
    } else {
        None
    };
    Some(Logins {
        generations,
        account_id,
    })
}

#[derive(Default)]
struct Found {
    generations: Vec<Fingerprint>,
    accounts: Vec<String>,
}

/// What a text stands under.
#[derive(Clone, Copy)]
enum Key {
    Refresh,
    Account,
    Other,
}

/// Walks a document without building it, so that no copy of a token is left in memory.
struct Walk<'a> {
    under: Key,
    found: &'a mut Found,
}

impl Walk<'_> {
    fn deeper(&mut self, under: Key) -> Walk<'_> {
        Walk {
            under,
            found: self.found,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        match self.under {
            Key::Refresh if !text.is_empty() && !fence::is_mark(text) => {
                self.found.generations.push(Secret::new(text).fingerprint());
            }
            Key::Account if !text.is_empty() => self.found.accounts.push(text.to_owned()),
            Key::Refresh | Key::Account | Key::Other => {}
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self.deeper(Key::Other))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        while let Some(key) = entries.next_key::<String>()? {
            let under = match key.as_str() {
                key if REFRESH_KEYS.contains(&key) => Key::Refresh,
                key if ACCOUNT_KEYS.contains(&key) => Key::Account,
                _ => Key::Other,
            };
            entries.next_value_seed(self.deeper(under))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generations_in_json(bytes: &[u8]) -> Option<Vec<Fingerprint>> {
        read_logins(bytes).map(|logins| logins.generations)
    }

    fn generation(name: &str) -> Fingerprint {
        Secret::new(name).fingerprint()
    }

    #[test]
    fn a_login_with_an_api_key_or_without_a_refresh_token_holds_nothing() {
        for text in [
            r#"{"OPENAI_API_KEY":"sk-x","tokens":null}"#,
            r#"{"tokens":{"refresh_token":""}}"#,
            r#"{"tokens":{"refresh_token":null}}"#,
            r#"{"tokens":{"refresh_token":["REF"]}}"#,
            "{}",
            "[]",
            "null",
        ] {
            assert_eq!(generations_in_json(text.as_bytes()), Some(vec![]), "{text}");
        }
    }

    #[test]
    fn tokens_are_found_wherever_they_stand_and_however_they_are_spelled() {
        assert_eq!(
            generations_in_json(
                br#"{"a":[{"refreshToken":"R1"},1,-2.5e3,true,null],"b":{"refresh":"R\u0032"},"refresh_token":"R3"}"#
            ),
            Some(sorted([generation("R1"), generation("R2"), generation("R3")]))
        );
    }

    fn sorted(generations: [Fingerprint; 3]) -> Vec<Fingerprint> {
        let mut sorted = generations.to_vec();
        sorted.sort_unstable();
        sorted
    }

    #[test]
    fn an_account_is_named_where_it_is_the_only_one() {
        let account = |text: &str| read_logins(text.as_bytes()).unwrap().account_id;
        assert_eq!(
            account(r#"{"tokens":{"refresh_token":"R1","account_id":"acct"},"account_id":"acct"}"#)
                .as_deref(),
            Some("acct")
        );
        assert_eq!(
            account(r#"{"a":{"refresh":"R1","accountId":"x"},"b":{"accountId":"y"}}"#),
            None
        );
        assert_eq!(
            account(r#"{"a":{"refresh":"R1","accountId":"x"},"b":{"refresh":"R2"}}"#),
            None
        );
        assert_eq!(account(r#"{"accountId":"x"}"#), None);
    }

    #[test]
    fn a_fence_is_not_a_token() {
        let fence = format!(
            "openclaw-oauth-refresh-fence:v1:00000000000000000000000000000000:refresh:{}",
            "0".repeat(64)
        );
        let text = format!(r#"{{"profiles":{{"openai:default":{{"refresh":"{fence}"}}}}}}"#);
        assert_eq!(generations_in_json(text.as_bytes()), Some(vec![]));
    }
}
