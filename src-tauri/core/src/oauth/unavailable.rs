//! Providers that people ask for and that Kalit cannot sign in to: those whose service has ended, and
//! those that want a client of the person's own. Why, and what to do instead.

use crate::ids::ProviderId;
use crate::language;
use crate::{Error, ErrorCode};

/// A provider without a manifest, and why it has none.
#[derive(Debug)]
pub struct Unavailable {
    id: &'static str,
    /// For people.
    pub name: &'static str,
    /// Whether its sign-in has ended for everybody.
    pub has_ended: bool,
    /// A clause.
    why: &'static str,
    /// A sentence.
    instead: &'static str,
}

/// All of them, as OpenClaw spells their ids.
pub static UNAVAILABLE: [Unavailable; 4] = [
    Unavailable {
        id: "qwen-portal",
        name: "Qwen Portal",
        has_ended: true,
        why: template!("Qwen ended its free sign-in on 15 April 2026"),
        instead: template!(
            "Paste an API key of Alibaba Cloud Model Studio: `kalit paste-api-key --provider qwen`."
        ),
    },
    Unavailable {
        id: "google-gemini-cli",
        name: "Gemini CLI",
        has_ended: true,
        why: template!("Google ended the sign-in of the Gemini CLI for consumers on 18 June 2026"),
        instead: template!("Paste an API key of Google AI Studio: `kalit paste-api-key --provider google`."),
    },
    Unavailable {
        id: "google-antigravity",
        name: "Antigravity",
        has_ended: true,
        why: template!("Google's terms forbid other programs to use Antigravity's sign-in"),
        instead: template!("Paste an API key of Google AI Studio: `kalit paste-api-key --provider google`."),
    },
    Unavailable {
        id: "chutes",
        name: "Chutes",
        has_ended: false,
        why: template!("Chutes wants a client of your own"),
        instead: template!(
            "Register one at Chutes with the address http://127.0.0.1:1456/oauth-callback, then put its id into the file that docs/providers.md shows."
        ),
    },
];

/// What is known of a provider that Kalit cannot sign in to.
pub fn unavailable(id: &ProviderId) -> Option<&'static Unavailable> {
    UNAVAILABLE.iter().find(|known| known.id == id.as_str())
}

impl Unavailable {
    /// Its id in OpenClaw's stores.
    pub fn id(&self) -> Option<ProviderId> {
        ProviderId::parse(self.id)
    }

    /// Why, and what to do instead: two sentences.
    pub fn sentence(&self) -> String {
        format!("{}. {}", language::fixed(self.why), language::fixed(self.instead))
    }

    /// As the answer to a sign-in.
    pub fn to_error(&self) -> Error {
        let code = if self.has_ended {
            ErrorCode::ProviderEnded
        } else {
            ErrorCode::ProviderClientMissing
        };
        Error::new(code, language::fixed(self.why)).with_hint(language::fixed(self.instead))
    }
}
