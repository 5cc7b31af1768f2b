//! Why a login was lost, or is suspected to be.

use super::harmless::{self, unproven};
use super::story::{Other, span};
use super::{Cause, Confidence, Evidence, Loss, Told, WayBack};
use crate::error::ErrorCode;
use crate::oauth::classify::{self, SIGNED_OUT_EVERYWHERE};
use crate::openclaw::renewal_log::Why;
use crate::view::{CredentialKind, LostSignal};
use Confidence::{Certain, Likely, Possible};

/// Codes with which a provider may refuse a token because somebody else has used it.
const USED: [&str; 4] = [
    "refresh_token_reused",
    "refresh_token_invalidated",
    "invalid_refresh_token",
    "invalid_grant",
];

pub(super) fn told(evidence: &Evidence, loss: &Loss) -> Told {
    match loss.signal {
        LostSignal::SignedOut => signed_out(evidence, loss),
        LostSignal::Dropped => dropped(evidence, loss),
        LostSignal::OpenclawRefused => openclaw_refused(evidence, loss),
        LostSignal::Suspected => suspected(evidence, loss),
        LostSignal::NotRenewed => not_renewed(evidence, loss),
        LostSignal::Vanished => vanished(evidence, loss),
    }
}

/// The provider refused this very generation, with a code that ends a login.
fn signed_out(evidence: &Evidence, loss: &Loss) -> Told {
    let mut told = refused(evidence, loss, &loss.code);
    told.signed_out = true;
    if told.cause == Cause::SignedOutByYou {
        return told;
    }
    let last = evidence.last_fresh(loss.at);
    let last = last.and_then(|event| span(loss.at.millis_since(event.at)));
    told.because([say!("The provider's code is {code}.", code = loss.code)])
        .because(last.map(|span| say!("It was last made new {span} before.", span)))
        .because(elsewhere(evidence))
        .not([say!(
            "It is not the network: the provider itself answered, with a code that Kalit knows."
        )])
}

/// What a refusal with this code says, wherever it was seen.
fn refused(evidence: &Evidence, loss: &Loss, code: &str) -> Told {
    let text = || classify::text_for(&evidence.provider, code, evidence.answer_was_lost);
    let told = |cause, confidence, sentence| Told::new(cause, confidence, sentence, sign_in());
    if code == SIGNED_OUT_EVERYWHERE {
        return told(Cause::SignedOutByYou, Certain, text());
    }
    if evidence.answer_was_lost && USED.contains(&code) {
        return told(Cause::AnswerLost, Likely, text()).not([say!("No other program need have used it.")]);
    }
    if USED.contains(&code)
        && let Some(told) = used_by_others(evidence, loss, code)
    {
        return told;
    }
    match code {
        "refresh_token_reused" => {
            let told = Told::new(Cause::SpentElsewhere, Likely, text(), sign_in_separately());
            told.not([say!("It is not Kalit: it sends each token once.")])
        }
        "refresh_token_invalidated" | "app_session_terminated" | "token_revoked" | "token_invalidated" => {
            told(Cause::EndedByProvider, Likely, text()).not([no_other()])
        }
        "refresh_token_expired" => told(Cause::Unused, Likely, text()).not([no_other()]),
        "invalid_scope" => told(Cause::ScopeLost, Certain, text()),
        _ if is_of(evidence, "google") => Told::new(
            Cause::EndedByProvider,
            Likely,
            say!(
                "Google ended this login: it was revoked, the password was changed, or it lay unused for too long."
            ),
            api_key(),
        ),
        _ if is_of(evidence, "qwen") => Told::new(
            Cause::ServiceEnded,
            Likely,
            say!("Qwen ended the free service behind this login."),
            api_key(),
        ),
        _ => told(Cause::Rejected, Certain, text()).not([say!("The provider does not say why.")]),
    }
}

/// Somebody else used the same login, as far as anything shows it.
fn used_by_others(evidence: &Evidence, loss: &Loss, code: &str) -> Option<Told> {
    let reused = code == "refresh_token_reused";
    if let Some(other) = evidence.renewed_elsewhere(loss) {
        let confidence = if reused && other.same { Certain } else { Likely };
        let told = Told::new(
            Cause::OtherProgram,
            confidence,
            used_earlier(&other, loss),
            sign_in_separately(),
        );
        return Some(told.because([say!(
            "{program} held the same login and was seen to renew it for itself.",
            program = other.name
        )]));
    }
    if let Some(other) = evidence.gone_elsewhere(loss).filter(|_| !reused) {
        let gone = match span(loss.at.millis_since(other.at)) {
            Some(span) => say!(
                "{program} held the same login until {span} earlier.",
                program = other.name,
                span
            ),
            None => say!(
                "{program} held the same login until just before.",
                program = other.name
            ),
        };
        return Some(ended_by(other.name).because([gone]));
    }
    if let Some(other) = evidence.renewed_in_other_agent(loss) {
        let agent = &other.name;
        let text = match span(loss.at.millis_since(other.at)) {
            Some(span) => say!(
                "OpenClaw's agent {agent} used its own copy of this login {span} earlier.",
                agent,
                span
            ),
            None => say!(
                "OpenClaw's agent {agent} used its own copy of this login just before.",
                agent
            ),
        };
        return Some(Told::new(Cause::OtherAgent, Likely, text, sign_in_by_agent()));
    }
    if evidence.superseded {
        let text =
            say!("An old copy of this login came back into the store, and its token was spent already.");
        let remedy = say!("Sign in again, and do not copy the old file back.");
        return Some(Told::new(Cause::OldCopy, Certain, text, remedy));
    }
    let program = || evidence.shared_with.first().cloned();
    let found = evidence.found_elsewhere(loss).map(|other| other.name);
    // A program that still holds it has not renewed or ended it, unless it does not know yet.
    match (found, program()) {
        (Some(program), None) if !reused => Some(ended_by(program)),
        (found, now) if reused => {
            let program = now.or(found);
            let copies = !evidence.copies_in.is_empty();
            match program {
                Some(program) => Some(Told::new(
                    Cause::OtherProgram,
                    Likely,
                    say!("{program} has the same login and most likely used it.", program),
                    sign_in_separately(),
                )),
                None if copies => Some(Told::new(
                    Cause::OtherAgent,
                    Possible,
                    say!("Another agent of OpenClaw may have used its copy of this login."),
                    sign_in_by_agent(),
                )),
                None => None,
            }
        }
        _ => None,
    }
}

fn ended_by(program: String) -> Told {
    Told::new(
        Cause::EndedByOtherProgram,
        Likely,
        say!(
            "{program} most likely ended this login: signing in or out there ends it here as well.",
            program
        ),
        sign_in_separately(),
    )
}

/// OpenClaw could not renew it and dropped the tokens: its log says why, if anything does.
fn dropped(evidence: &Evidence, loss: &Loss) -> Told {
    let remedy = way_back(evidence.restore.as_ref());
    let told = |cause, text| Told::new(cause, Likely, text, remedy.clone());
    let told = match &evidence.log {
        Some(Why::NotSent) => told(
            Cause::DroppedOffline,
            say!("OpenClaw had no network when it renewed this login, and dropped its token."),
        ),
        Some(Why::Answered { status, .. }) if *status >= 500 => told(
            Cause::DroppedByOutage,
            say!(
                "The provider was out of order when OpenClaw renewed this login, and OpenClaw dropped its token."
            ),
        ),
        Some(Why::Answered { code, .. }) => {
            let code = code.as_deref().unwrap_or_default();
            let others = USED
                .contains(&code)
                .then(|| used_by_others(evidence, loss, code))
                .flatten();
            match others {
                Some(mut told) => {
                    told.confidence = told.confidence.max(Likely);
                    told
                }
                None => told(
                    Cause::DroppedRefused,
                    say!("The provider refused this login when OpenClaw renewed it, and OpenClaw dropped its token."),
                )
                .because((!code.is_empty()).then(|| classify::text_for(&evidence.provider, code, false))),
            }
        }
        Some(Why::NoTokens) => told(
            Cause::DroppedByWebPage,
            say!(
                "Something else than the provider answered when OpenClaw renewed this login, and OpenClaw dropped its token."
            ),
        ),
        Some(Why::TimedOut | Why::ConnectionFailed) => told(
            Cause::DroppedWithoutAnswer,
            say!("No answer came when OpenClaw renewed this login, and OpenClaw dropped its token."),
        ),
        None => Told::new(Cause::Dropped, Certain, loss.text.clone(), remedy)
            .because([say!("OpenClaw's log does not say why the renewal failed.")]),
    };
    told.because(evidence.log.iter().map(Why::sentence))
        .because(elsewhere(evidence))
        .not([unproven()])
}

/// OpenClaw's own marks say that it was refused; the provider's word was not heard.
fn openclaw_refused(evidence: &Evidence, loss: &Loss) -> Told {
    let noted = say!("OpenClaw noted the reason {code}.", code = loss.code);
    let check = check(evidence.managed);
    let told = match evidence.kind {
        CredentialKind::Token if is_of(evidence, "anthropic") => Told::new(
            Cause::SetupTokenRefused,
            Possible,
            say!("Anthropic refused the setup-token: it has expired or was revoked, or Anthropic errs."),
            say!("If it stays so, create a new one with `claude setup-token` and paste it."),
        )
        .not([say!("Anthropic has also refused valid setup-tokens for a while.")]),
        CredentialKind::Token if is_of(evidence, "github") => Told::new(
            Cause::TokenRefused,
            Likely,
            say!("GitHub no longer accepts this token, or the account has no Copilot any more."),
            say!("Sign in again, and look whether the account still has Copilot."),
        ),
        CredentialKind::Token | CredentialKind::ApiKey => Told::new(
            Cause::TokenRefused,
            Likely,
            say!("The provider no longer accepts this token or key."),
            say!("Create a new one with the provider and paste it."),
        ),
        CredentialKind::Oauth | CredentialKind::Unknown => match &evidence.log {
            Some(Why::Answered {
                code: Some(code),
                status: 400..=403,
            }) if ends_login(code) => {
                let mut told = refused(evidence, loss, code);
                told.confidence = told.confidence.max(Likely);
                told
            }
            // It does not say with which code.
            _ => match used_by_others(evidence, loss, "invalid_grant") {
                Some(mut told) => {
                    told.confidence = told.confidence.max(Likely);
                    told
                }
                None => Told::new(Cause::OpenclawRefused, Possible, loss.text.clone(), check),
            },
        },
    };
    told.because([noted])
        .because(evidence.log.iter().map(Why::sentence))
        .because(elsewhere(evidence))
        .not([unproven()])
}

/// The provider refused several times without a code that is known.
fn suspected(evidence: &Evidence, loss: &Loss) -> Told {
    if evidence.clock_is_off {
        return harmless::clock().not([unproven()]);
    }
    let remedy = say!("Check now, or sign in again.");
    Told::new(Cause::Suspected, Possible, loss.text.clone(), remedy)
        .because(elsewhere(evidence))
        .not([unproven()])
}

fn not_renewed(evidence: &Evidence, loss: &Loss) -> Told {
    let told = if evidence.clock_is_off {
        harmless::clock()
    } else if evidence.offline {
        Told::new(
            Cause::Network,
            Certain,
            say!("It has expired, and there was no network to renew it."),
            ErrorCode::NetworkUnreachable.hint(),
        )
    } else if evidence.paused {
        Told::new(
            Cause::Paused,
            Certain,
            say!("It has expired: renewal by Kalit is switched off, and nobody else renewed it."),
            say!("Switch renewal on, or renew it now."),
        )
    } else if loss.code == "answer_lost" {
        Told::new(
            Cause::NoAnswer,
            Certain,
            loss.text.clone(),
            say!("Kalit does not try again: sign in again."),
        )
    } else {
        Told::new(
            Cause::NotRenewed,
            Certain,
            loss.text.clone(),
            say!("Renew it now."),
        )
        .because((!evidence.attended).then(|| say!("Neither the tray nor `kalit watch` runs.")))
    };
    told.because(elsewhere(evidence)).not([harmless::no_sign_out()])
}

fn vanished(evidence: &Evidence, loss: &Loss) -> Told {
    let remedy = put_back(evidence.restore.as_ref());
    let told = match evidence.vanished_with {
        0 => Told::new(Cause::Vanished, Certain, loss.text.clone(), remedy),
        others => Told::new(
            Cause::StoreEmptied,
            Likely,
            say!("It is gone from the store together with others, not by Kalit."),
            remedy,
        )
        .because([plural!(
            others,
            "{n} other account disappeared at the same time: the file was replaced or emptied.",
            "{n} other accounts disappeared at the same time: the file was replaced or emptied."
        )]),
    };
    told.not([unproven()])
}

fn used_earlier(other: &Other, loss: &Loss) -> String {
    let program = &other.name;
    match span(loss.at.millis_since(other.at)) {
        Some(span) => say!("{program} used the same login {span} earlier.", program, span),
        None => say!("{program} used the same login at the same time.", program),
    }
}

/// Who holds the login now.
fn elsewhere(evidence: &Evidence) -> Vec<String> {
    let mut found = Vec::new();
    if !evidence.shared_with.is_empty() {
        let programs = evidence.shared_with.join(", ");
        found.push(say!("The same login lies elsewhere now: {programs}.", programs));
    }
    if !evidence.copies_in.is_empty() {
        let agents: Vec<&str> = evidence.copies_in.iter().map(|agent| agent.as_str()).collect();
        let agents = agents.join(", ");
        found.push(say!(
            "Other agents of OpenClaw have a copy of it: {agents}.",
            agents
        ));
    }
    if evidence.leftovers > 0 {
        found.push(plural!(
            evidence.leftovers,
            "{n} old file of OpenClaw holds it, too.",
            "{n} old files of OpenClaw hold it, too."
        ));
    }
    found
}

fn ends_login(code: &str) -> bool {
    USED.contains(&code)
        || matches!(
            code,
            "refresh_token_expired" | "app_session_terminated" | "invalid_scope"
        )
}

fn is_of(evidence: &Evidence, name: &str) -> bool {
    evidence.provider.as_str().split('-').next() == Some(name)
}

fn sign_in() -> String {
    say!("Sign in again.")
}

fn sign_in_separately() -> String {
    say!("Sign in again, separately for OpenClaw: then each program renews its own login.")
}

fn sign_in_by_agent() -> String {
    say!("Sign in again, in each agent separately.")
}

fn api_key() -> String {
    say!("Use an API key instead: signing in again may not be possible.")
}

/// What to do about a login that OpenClaw dropped.
pub(crate) fn way_back(restore: Option<&WayBack>) -> String {
    match restore {
        Some(restore) if !restore.offered => format!("{} {}", restore.text, sign_in()),
        restore => put_back(restore),
    }
}

/// What to do about a profile that is gone.
pub(crate) fn put_back(restore: Option<&WayBack>) -> String {
    restore.map_or_else(sign_in, |restore| restore.text.clone())
}

/// What to do about a refusal that OpenClaw noted. `managed`: in the sqlite era, where Kalit cannot try
/// by itself.
pub(crate) fn check(managed: bool) -> String {
    match managed {
        true => say!("Sign in again if it stays so."),
        false => say!("Check now to be sure."),
    }
}

fn no_other() -> String {
    say!("No other program is known to have used it.")
}
