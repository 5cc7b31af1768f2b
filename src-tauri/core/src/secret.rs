//! The only types that hold secrets. No `Serialize`, `Display` or `PartialEq`; `Debug` redacts;
//! the memory is wiped on drop. Everything that leaves this crate carries a [`Fingerprint`].

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// A token, key, authorization code or verifier.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of the secret text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret itself: for the store document and the token request only.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether the secret is the empty string.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// SHA-256 of `kalit:1:` and the secret: what may be stored, compared and shown.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hasher = Sha256::new();
        hasher.update(b"kalit:1:");
        hasher.update(self.0.as_bytes());
        Fingerprint(hasher.finalize().into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// Does not compile for a type that could tell what it holds: one that is serialised, displayed or
/// compared (which would take a time that tells how much is equal). Stands beside every type with
/// a [`Secret`] in it; [`keeps_raw_secret`] is for those whose text is not in one.
///
/// ```
/// kalit_core::keeps_secret!(kalit_core::secret::Secret);
/// ```
/// A fingerprint may be told, so it fails:
/// ```compile_fail
/// kalit_core::keeps_secret!(kalit_core::secret::Fingerprint);
/// ```
/// What leaves core is serialised, so it cannot hold a secret:
/// ```compile_fail
/// #[derive(serde::Serialize)]
/// struct View {
///     token: kalit_core::secret::Secret,
/// }
/// ```
/// The same with a fingerprint compiles:
/// ```
/// #[derive(serde::Serialize)]
/// struct View {
///     token: kalit_core::secret::Fingerprint,
/// }
/// ```
// A type that implements one of the traits has two implementations of `Tells`, and `_` is
// ambiguous.
#[doc(hidden)]
#[macro_export]
macro_rules! keeps_secret {
    ($($kind:ty),+ $(,)?) => {$(
        const _: fn() = || {
            trait Tells<Trait> {
                fn nothing() {}
            }
            impl<T: ?Sized> Tells<()> for T {}
            impl<T: ?Sized + ::serde::Serialize> Tells<[(); 1]> for T {}
            impl<T: ?Sized + ::std::fmt::Display> Tells<[(); 2]> for T {}
            impl<T: ?Sized + PartialEq> Tells<[(); 3]> for T {}
            impl<T: ?Sized + ::std::hash::Hash> Tells<[(); 4]> for T {}
            let _ = <$kind as Tells<_>>::nothing;
        };
    )+};
}

/// Like [`keeps_secret`], for a type with a secret's plain text in it: it has no `Debug` either,
/// unless it is written by hand.
///
/// ```compile_fail
/// kalit_core::keeps_raw_secret!(String);
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! keeps_raw_secret {
    ($($kind:ty),+ $(,)?) => {$(
        $crate::keeps_secret!($kind);
        const _: fn() = || {
            trait Shows<Trait> {
                fn nothing() {}
            }
            impl<T: ?Sized> Shows<()> for T {}
            impl<T: ?Sized + ::std::fmt::Debug> Shows<[(); 1]> for T {}
            let _ = <$kind as Shows<_>>::nothing;
        };
    )+};
}

keeps_secret!(Secret);

/// Identifies a secret without telling it: 64 hexadecimal digits stored, 16 shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The raw digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 16 hexadecimal digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..16].to_owned()
    }

    /// Parses 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Fingerprint({})", self.short())
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a fingerprint"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::oauth::{RefreshAnswer, TokenAnswer};
    use crate::store::credential::NewSecret;
    use crate::store::{Document, NewTokens, json};
    use crate::vault::journal::Received;

    #[test]
    fn fingerprint_is_the_documented_digest_and_round_trips() {
        let fingerprint = Secret::new("REF0").fingerprint();
        let expected = Sha256::digest(b"kalit:1:REF0");
        assert_eq!(fingerprint.as_bytes()[..], expected[..]);
        assert_eq!(Fingerprint::parse(&fingerprint.to_string()), Some(fingerprint));
        assert_eq!(Fingerprint::parse(&"é".repeat(32)), None);
    }

    #[test]
    fn debug_tells_nothing() {
        assert_eq!(format!("{:?}", Secret::new("sk-ant-oat01-x")), "Secret(…)");
    }

    #[test]
    fn debug_of_whatever_holds_a_secret_tells_nothing() {
        const CANARY: &str = "zQ7-canary";
        let secret = || Secret::new(CANARY);
        let store = format!(
            r#"{{"profiles":{{
                "a":{{"type":"api_key","provider":"p","key":"{CANARY}","metadata":{{"account":"{CANARY}"}}}},
                "b":{{"type":"token","provider":"p","token":"{CANARY}"}},
                "c":{{"type":"oauth","provider":"p","access":"{CANARY}","refresh":"{CANARY}","idToken":"{CANARY}"}},
                "d":{{"type":"other","blob":"{CANARY}"}}}},
                "kept":"{CANARY}"}}"#
        );
        let document = Document::parse(store.as_bytes()).unwrap();
        let credentials: Vec<_> = document.profiles().collect();
        assert_eq!(credentials.len(), 4);
        let tokens = NewTokens {
            access: secret(),
            refresh: Some(secret()),
            expires: Timestamp::from_millis(1),
            id_token: Some(secret()),
            account_id: None,
            plan: None,
            email: None,
        };
        let answer = TokenAnswer {
            access: secret(),
            refresh: Some(secret()),
            id_token: Some(secret()),
            expires_in: None,
            token_type: None,
            skew_ms: None,
        };
        let only = RefreshAnswer::OnlyRefresh {
            refresh: secret(),
            skew_ms: None,
        };
        let received = Received::from(&answer);
        let pasted = [
            NewSecret::ApiKey {
                key: secret(),
                email: None,
            },
            NewSecret::Token {
                token: secret(),
                expires: None,
                email: None,
            },
            NewSecret::Oauth {
                tokens: tokens.clone(),
                client_id: None,
            },
        ];
        let parsed = json::parse_for_edit(store.as_bytes()).unwrap();
        let told = format!(
            "{document:?} {credentials:?} {tokens:?} {answer:?} {only:?} {received:?} {pasted:?} {parsed:?}"
        );
        assert!(!told.contains(CANARY), "{told}");
        // It would be found: ids and types are told.
        assert!(
            told.contains("Secret(…)") && told.contains("ProfileId(\"a\")"),
            "{told}"
        );
    }
}
