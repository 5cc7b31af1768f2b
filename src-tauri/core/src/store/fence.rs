//! What OpenClaw 2026.9.6 stores in place of a login's tokens while it renews them: a digest of
//! each. A pending fence becomes the new tokens; a failed one stays, and the tokens are gone from
//! the store. A fence is a state and never a secret: nothing may fingerprint, seal or send it.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::ids::ProfileId;
use crate::secret::Secret;

/// Every text that OpenClaw puts in the place of a token begins with this, whatever its version.
const MARK: &str = "openclaw-oauth-refresh-fence:";
const VERSION: &str = "v1:";
/// The digest's domain, as OpenClaw writes it into the digested JSON.
const DOMAIN: &str = "openclaw.oauth-refresh-generation";

/// A login that OpenClaw has set aside, as it stands in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The attempt to renew, 32 hexadecimal digits; copies of one login in other agents carry the
    /// same.
    pub claim: String,
    pub kind: FenceKind,
    /// Of the access token that stood there.
    pub access: FenceDigest,
    /// Of the refresh token that stood there.
    pub refresh: FenceDigest,
}

/// How far the renewal got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FenceKind {
    /// It runs, or its process has died.
    Pending,
    /// It failed: OpenClaw has dropped the tokens and does not try again.
    Failed,
}

/// SHA-256 over profile id, provider, field name and secret: proves that somebody holds exactly
/// the token that was there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FenceDigest([u8; 32]);

/// Which token a digest is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FencedToken {
    Access,
    Refresh,
}

impl Fence {
    /// Reads `access`, `refresh` and `expires` of an `oauth` credential, as strictly as OpenClaw:
    /// both texts whole, of one claim and one kind, and `expires` 1.
    pub fn parse(access: &str, refresh: &str, expires: Option<i64>) -> Option<Self> {
        let (claim, kind, access) = parse_text(access, FencedToken::Access)?;
        let other = parse_text(refresh, FencedToken::Refresh)?;
        let same = claim == other.0 && kind == other.1 && expires == Some(1);
        same.then(|| Self {
            claim: claim.to_owned(),
            kind,
            access,
            refresh: other.2,
        })
    }

    /// Whether `access` and `refresh` are the very tokens that stood under this id. `provider` is
    /// the credential's, as the store spells it.
    pub fn is_of(&self, id: &ProfileId, provider: &str, access: &Secret, refresh: &Secret) -> bool {
        self.access == FenceDigest::of(id, provider, FencedToken::Access, access)
            && self.refresh == FenceDigest::of(id, provider, FencedToken::Refresh, refresh)
    }
}

/// Whether a text stands where a token should, and is none.
pub(crate) fn is_mark(text: &str) -> bool {
    text.trim_start().starts_with(MARK)
}

impl FenceDigest {
    /// The digest of a token, as OpenClaw computes it.
    pub fn of(id: &ProfileId, provider: &str, token: FencedToken, secret: &Secret) -> Self {
        // The JSON text is digested piece by piece: it contains the secret.
        let mut hasher = Sha256::new();
        hasher.update(format!(
            "[\"{DOMAIN}\",1,{},{},\"{}\",",
            json_string(id.as_str()),
            json_string(provider),
            token.name(),
        ));
        hasher.update(zeroize::Zeroizing::new(json_string(secret.expose())).as_bytes());
        hasher.update(b"]");
        Self(hasher.finalize().into())
    }

    /// The first 16 hexadecimal digits, for people and for telling one loss from another.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(16);
        text
    }

    /// Parses 64 lower-case hexadecimal digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(is_lower_hex) {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for FenceDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for FenceDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "FenceDigest({})", self.short())
    }
}

impl FencedToken {
    const fn name(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Refresh => "refresh",
        }
    }
}

/// `…:v1:<claim>:[failed:]<access|refresh>:<digest>`.
fn parse_text(text: &str, token: FencedToken) -> Option<(&str, FenceKind, FenceDigest)> {
    let rest = text.strip_prefix(MARK)?.strip_prefix(VERSION)?;
    let (claim, rest) = rest.split_once(':')?;
    let (kind, rest) = match rest.strip_prefix("failed:") {
        Some(rest) => (FenceKind::Failed, rest),
        None => (FenceKind::Pending, rest),
    };
    let digest = rest.strip_prefix(token.name())?.strip_prefix(':')?;
    let claim_fits = claim.len() == 32 && claim.bytes().all(is_lower_hex);
    Some((claim, kind, FenceDigest::parse(digest)?)).filter(|_| claim_fits)
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// As `JSON.stringify` writes it; for text serde_json escapes the same characters in the same way.
fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIM: &str = "0123456789abcdef0123456789abcdef";

    fn id() -> ProfileId {
        ProfileId::parse("openai:me@example.com").unwrap()
    }

    fn texts(kind: &str, access: &FenceDigest, refresh: &FenceDigest) -> (String, String) {
        (
            format!("openclaw-oauth-refresh-fence:v1:{CLAIM}:{kind}access:{access}"),
            format!("openclaw-oauth-refresh-fence:v1:{CLAIM}:{kind}refresh:{refresh}"),
        )
    }

    fn digests() -> (FenceDigest, FenceDigest) {
        let of = |token, text| FenceDigest::of(&id(), "openai", token, &Secret::new(text));
        (of(FencedToken::Access, "ACC0"), of(FencedToken::Refresh, "REF0"))
    }

    #[test]
    fn the_digest_is_openclaws() {
        // sha256sum of ["openclaw.oauth-refresh-generation",1,"openai:me@example.com","openai","refresh","REF0"]
        let expected = "d32cbf010f5e0e622fa61046437878e8dee259264e897cd7163783a6e8b6c564";
        assert_eq!(digests().1.to_string(), expected);
    }

    #[test]
    fn both_kinds_are_read_with_their_claim_and_digests() {
        let (access, refresh) = digests();
        for (text, kind) in [("", FenceKind::Pending), ("failed:", FenceKind::Failed)] {
            let (a, r) = texts(text, &access, &refresh);
            let fence = Fence::parse(&a, &r, Some(1)).unwrap();
            let claim = CLAIM.to_owned();
            assert_eq!(
                fence,
                Fence {
                    claim,
                    kind,
                    access,
                    refresh
                }
            );
            assert!(fence.is_of(&id(), "openai", &Secret::new("ACC0"), &Secret::new("REF0")));
            assert!(!fence.is_of(&id(), "openai", &Secret::new("ACC0"), &Secret::new("REF1")));
            assert!(!fence.is_of(&id(), "openai-codex", &Secret::new("ACC0"), &Secret::new("REF0")));
        }
    }

    #[test]
    fn what_openclaw_would_not_take_for_a_fence_is_none() {
        let (access, refresh) = digests();
        let (a, r) = texts("", &access, &refresh);
        let (failed, _) = texts("failed:", &access, &refresh);
        let other_claim = r.replace("0123", "3210");
        let upper = r.to_uppercase();
        let cases = [
            (&*a, &*r, Some(2)),
            (&a, &r, None),
            (&failed, &r, Some(1)),
            (&a, &other_claim, Some(1)),
            (&r, &a, Some(1)),
            (&a, "REF0", Some(1)),
            (&a, &upper, Some(1)),
        ];
        for (access, refresh, expires) in cases {
            assert_eq!(Fence::parse(access, refresh, expires), None, "{access} {refresh}");
        }
        assert_eq!(Fence::parse(&format!("{a} "), &r, Some(1)), None);
        assert_eq!(
            Fence::parse(&a.replace("v1", "v2"), &r.replace("v1", "v2"), Some(1)),
            None
        );
        assert!(is_mark(&a.replace("v1", "v2")) && !is_mark("eyJhbGciOi"));
    }
}
