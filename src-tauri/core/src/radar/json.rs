//! The refresh tokens in a JSON document, as fingerprints.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::secret::{Fingerprint, Secret};
use crate::store::fence;

/// The keys under which a refresh token stands: Codex, Gemini, Qwen and MiniMax; Claude; OpenClaw.
const REFRESH_KEYS: [&str; 3] = ["refresh_token", "refreshToken", "refresh"];

/// The fingerprints of all refresh tokens anywhere in a JSON document; `None` when it is not JSON.
/// Programs move their tokens about between releases, so the key counts and not the place.
pub(super) fn generations_in_json(bytes: &[u8]) -> Option<Vec<Fingerprint>> {
    let mut found = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Walk {
        under_refresh_key: false,
        found: &mut found,
    }
    .deserialize(&mut deserializer)
    .ok()?;
    deserializer.end().ok()?;
    Some(found)
}

/// Walks a document without building it, so that no copy of a token is left in memory.
struct Walk<'a> {
    under_refresh_key: bool,
    found: &'a mut Vec<Fingerprint>,
}

impl Walk<'_> {
    fn deeper(&mut self, under_refresh_key: bool) -> Walk<'_> {
        Walk {
            under_refresh_key,
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
        if self.under_refresh_key && !text.is_empty() && !fence::is_mark(text) {
            self.found.push(Secret::new(text).fingerprint());
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
        while items.next_element_seed(self.deeper(false))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        while let Some(key) = entries.next_key::<String>()? {
            let refresh = REFRESH_KEYS.contains(&key.as_str());
            entries.next_value_seed(self.deeper(refresh))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            Some(vec![generation("R1"), generation("R2"), generation("R3")])
        );
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
