//! The secrets of one authorization request: PKCE code verifier (RFC 7636) and `state`
//! (RFC 6749 section 10.12). Made anew for every request, independent of each other.
//!
//! Only S256 exists here: a downgrade to `plain` (RFC 7636 section 7.2) cannot be expressed.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRngCore;
use rand::rngs::OsRng;
use sha2::{Digest, Sha256};

use crate::secret::Secret;
use crate::{Error, ErrorCode, Result};

crate::keeps_secret!(Verifier, State);

/// A PKCE code verifier: 32 random octets as 43 characters. Not `Clone`: the exchange consumes it.
pub struct Verifier(Secret);

impl Verifier {
    /// From the operating system's random numbers.
    pub fn random() -> Result<Self> {
        random_octets().map(Self::from_octets)
    }

    fn from_octets(octets: [u8; 32]) -> Self {
        Self(Secret::new(URL_SAFE_NO_PAD.encode(octets)))
    }

    /// `code_challenge` for `code_challenge_method=S256` (RFC 7636 section 4.2).
    pub fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.0.expose().as_bytes()))
    }

    /// The verifier itself, for the token request.
    pub(super) fn into_secret(self) -> Secret {
        self.0
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Verifier(…)")
    }
}

/// The `state` of one request: 32 random octets as 43 characters.
#[derive(Clone, Debug)]
pub struct State(Secret);

impl State {
    /// From the operating system's random numbers.
    pub fn random() -> Result<Self> {
        random_octets().map(|octets| Self(Secret::new(URL_SAFE_NO_PAD.encode(octets))))
    }

    /// The value for the authorization URL.
    pub(super) fn as_str(&self) -> &str {
        self.0.expose()
    }

    /// Whether `candidate` is this state. Takes the same time wherever the two differ: digests of
    /// equal length are compared without leaving early.
    pub fn matches(&self, candidate: &str) -> bool {
        let ours = Sha256::digest(self.0.expose().as_bytes());
        let theirs = Sha256::digest(candidate.as_bytes());
        let difference = ours
            .iter()
            .zip(theirs.iter())
            .fold(0, |difference, (a, b)| std::hint::black_box(difference | (a ^ b)));
        difference == 0
    }
}

fn random_octets() -> Result<[u8; 32]> {
    let mut octets = [0; 32];
    OsRng
        .try_fill_bytes(&mut octets)
        .map_err(|error| Error::new(ErrorCode::Internal, say!("no random numbers")).with_source(error))?;
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636 appendix B.
    #[test]
    fn the_rfcs_example_comes_out() {
        let octets = [
            116, 24, 223, 180, 151, 153, 224, 37, 79, 250, 96, 125, 216, 173, 187, 186, 22, 212, 37, 77, 105,
            214, 191, 240, 91, 88, 5, 88, 83, 132, 141, 121,
        ];
        let verifier = Verifier::from_octets(octets);
        assert_eq!(
            verifier.challenge(),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
        assert_eq!(
            verifier.into_secret().expose(),
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
        );
    }

    #[test]
    fn verifiers_and_states_are_new_each_time_and_43_characters_long() {
        let verifier = || Verifier::random().unwrap().into_secret().expose().to_owned();
        let state = || State::random().unwrap().as_str().to_owned();
        let all = [verifier(), verifier(), state(), state()];
        for text in &all {
            assert_eq!(text.len(), 43);
            assert!(
                text.chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
            );
        }
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), 4);
    }

    #[test]
    fn a_state_matches_itself_only() {
        let state = State::random().unwrap();
        let text = state.as_str().to_owned();
        assert!(state.matches(&text));
        assert!(!state.matches(&text[..42]));
        assert!(!state.matches(&format!("{text}A")));
        assert!(!state.matches(""));
        assert!(!state.matches(State::random().unwrap().as_str()));
    }

    #[test]
    fn debug_tells_nothing() {
        assert_eq!(format!("{:?}", Verifier::random().unwrap()), "Verifier(…)");
        assert_eq!(format!("{:?}", State::random().unwrap()), "State(Secret(…))");
    }
}
