//! What the radar finds for the pictures: places that are made up, and what core's own report says of
//! them.

use std::collections::HashMap;
use std::path::PathBuf;

use kalit_core::clock::TimeZone;
use kalit_core::history::{Family, Generation};
use kalit_core::ids::AgentId;
use kalit_core::radar::report::{Known, Owner, Profile, Spot, report};
use kalit_core::radar::{Place, Program};
use kalit_core::secret::{Fingerprint, Secret};
use kalit_core::view::SCHEMA;
use kalit_core::view::radar::{RadarView, UnreadableView};

use crate::accounts::{HOUR, in_millis, now, profile_id, provider_id};

fn generation(name: &str) -> Fingerprint {
    Secret::new(name).fingerprint()
}

fn profile(id: &str, agent: &str, token: &str) -> Spot {
    Spot {
        owner: Owner::Profile(Profile {
            state_dir: PathBuf::from("/home/me/.openclaw"),
            is_current: true,
            managed: false,
            copies_main: true,
            agent: AgentId::normalize(agent),
            profile_id: profile_id(id),
            provider: provider_id("openai"),
            expires: Some(in_millis(3 * HOUR)),
        }),
        path: PathBuf::from(format!("/home/me/.openclaw/agents/{agent}/agent")),
        generation: generation(token),
        account_id: None,
        changed_at: Some(now()),
    }
}

fn other(place: Place, path: &str, token: &str) -> Spot {
    Spot {
        owner: Owner::Other(place),
        path: PathBuf::from(path),
        generation: generation(token),
        account_id: None,
        changed_at: Some(now()),
    }
}

/// A finding of each kind, or none.
pub fn radar(findings: bool) -> RadarView {
    let mut mary = profile("openai:mary@example.com", "main", "shared");
    let mut codex = other(
        Place::Program(Program::Codex),
        "/home/me/.codex/auth.json",
        "shared",
    );
    let mut claude = other(
        Place::Program(Program::Claude),
        "/home/me/.claude/.credentials.json",
        "another",
    );
    (mary.account_id, codex.account_id) = (Some("acct-mary".to_owned()), Some("acct-mary".to_owned()));
    claude.account_id = Some("acct-ann".to_owned());
    let mut ann = profile("anthropic:ann", "main", "ann");
    ann.account_id = Some("acct-ann".to_owned());
    let spots = [
        mary,
        codex,
        claude,
        ann,
        profile("openai:studio", "main", "copied"),
        profile("openai:studio", "research", "copied"),
        profile("openai:old", "main", "spent"),
        other(
            Place::Program(Program::Gemini),
            "/home/me/.gemini/oauth_creds.json",
            "newer",
        ),
        other(
            Place::Leftover,
            "/home/me/.openclaw/agents/main/agent/auth-profiles.json.bak",
            "forgotten",
        ),
    ];
    let family = Family::begun_by(generation("spent"));
    let known = |(sequence, token, next): (i64, &str, Option<&str>)| {
        let known = Generation {
            fingerprint: generation(token),
            family,
            sequence,
            superseded_by: next.map(generation),
            issued_at: None,
            lifetime_ms: None,
            refusal: None,
            unknown_since: None,
            retried_at: None,
        };
        (known.fingerprint, known)
    };
    let generations: HashMap<_, _> = [(1, "spent", Some("newer")), (2, "newer", None)]
        .map(known)
        .into();
    let known = Known {
        generations: &generations,
        now: now(),
        time_zone: &TimeZone::UTC,
    };
    let broken = UnreadableView {
        name: "Qwen CLI".to_owned(),
        path: "/home/me/.qwen/oauth_creds.json".to_owned(),
        reason: "not JSON".to_owned(),
    };
    RadarView {
        schema: SCHEMA,
        at: now(),
        findings: if findings {
            report(&spots, &known)
        } else {
            Vec::new()
        },
        places: 9,
        logins: 7,
        unreadable: findings.then_some(broken).into_iter().collect(),
        unseen: vec!["Codex CLI".to_owned()],
    }
}
