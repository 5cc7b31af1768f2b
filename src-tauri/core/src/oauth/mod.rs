//! Signing in and renewing: providers as data, PKCE, the loopback callback, the token endpoint,
//! and what its refusals mean.
//!
//! Nothing here touches a credential store, opens a browser or decides that an account is signed
//! out: it hands typed answers to [`crate::refresh`] and [`crate::broker`]. No error, `Debug` or
//! page of this module may contain a code, a state, a verifier, a token or a response body.

pub mod callback;
pub mod claims;
pub mod classify;
pub mod device;
pub mod discovery;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
pub mod identity;
pub mod login;
pub mod manifest;
mod page;
pub mod paste;
pub mod pkce;
pub mod provider;
pub mod providers;
mod reachability;
pub mod redirect;
mod settlement;
pub mod token_answer;
pub mod token_endpoint;
pub mod trust;
pub mod unavailable;
mod verdicts;

#[cfg(test)]
pub(crate) mod testing;

pub use claims::Claims;
pub use classify::{Class, Outcome};
pub use device::DeviceFlow;
pub use identity::{Identity, Sameness};
pub use login::{LoginFlow, LoginHandle, LoginOptions, SignIn};
pub use provider::{Flow, Issues, Provider};
pub use providers::{Providers, Rejected};
pub use reachability::token_host_answers;
pub use token_answer::{RefreshAnswer, Refusal, RevokeAnswer, TokenAnswer};
pub use token_endpoint::TokenEndpoint;
pub use trust::{Consent, trust};
