use super::*;
use crate::history::{Family, Refusal};
use crate::secret::Secret;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const HOUR: i64 = 3_600_000;

fn generation(name: &str) -> Fingerprint {
    Secret::new(name).fingerprint()
}

fn profile(state: &str, agent: &str, token: &str) -> Spot {
    Spot {
        owner: Owner::Profile(Profile {
            state_dir: PathBuf::from(state),
            is_current: state == "/home/ann/.openclaw",
            managed: false,
            copies_main: true,
            agent: AgentId::normalize(agent),
            profile_id: ProfileId::parse("openai:ann").unwrap(),
            provider: ProviderId::parse("openai").unwrap(),
            expires: Some(NOW.plus_millis(HOUR)),
        }),
        path: PathBuf::from(format!("{state}/agents/{agent}/agent")),
        generation: generation(token),
        account_id: Some("acct".to_owned()),
        changed_at: Some(NOW),
    }
}

fn main(token: &str) -> Spot {
    profile("/home/ann/.openclaw", "main", token)
}

fn other(place: Place, token: &str) -> Spot {
    Spot {
        owner: Owner::Other(place),
        path: PathBuf::from("/home/ann/.codex/auth.json"),
        generation: generation(token),
        account_id: Some("acct".to_owned()),
        changed_at: Some(NOW),
    }
}

fn codex(token: &str) -> Spot {
    other(Place::Program(Program::Codex), token)
}

/// A chain of generations, oldest first.
fn chain(tokens: &[&str]) -> HashMap<Fingerprint, Generation> {
    let family = Family::begun_by(generation(tokens[0]));
    let next = tokens
        .iter()
        .skip(1)
        .map(|token| Some(generation(token)))
        .chain([None]);
    tokens
        .iter()
        .zip(next)
        .enumerate()
        .map(|(at, (token, superseded_by))| {
            let fingerprint = generation(token);
            let known = Generation {
                fingerprint,
                family,
                sequence: i64::try_from(at).unwrap(),
                superseded_by,
                issued_at: None,
                lifetime_ms: None,
                refusal: None,
                unknown_since: None,
                retried_at: None,
            };
            (fingerprint, known)
        })
        .collect()
}

fn found(spots: &[Spot], generations: &HashMap<Fingerprint, Generation>) -> Vec<FindingView> {
    let known = Known {
        generations,
        now: NOW,
        time_zone: &TimeZone::UTC,
    };
    report(spots, &known)
}

fn kinds(findings: &[FindingView]) -> Vec<(FindingKind, Severity)> {
    findings
        .iter()
        .map(|finding| (finding.kind, finding.severity))
        .collect()
}

fn ways(finding: &FindingView) -> Vec<&str> {
    finding.ways.iter().map(|way| way.code.as_str()).collect()
}

#[test]
fn a_login_of_its_own_is_no_finding() {
    assert_eq!(found(&[main("R1")], &HashMap::new()), []);
    let mut stranger = codex("R2");
    stranger.account_id = Some("another".to_owned());
    assert_eq!(found(&[main("R1"), stranger], &HashMap::new()), []);
}

#[test]
fn one_generation_in_two_programs_is_told_before_it_clashes() {
    let findings = found(&[main("R1"), codex("R1")], &HashMap::new());
    assert_eq!(kinds(&findings), [(FindingKind::Shared, Severity::Clash)]);
    let finding = &findings[0];
    assert_eq!(
        finding.title,
        "One login in several hands: ann in main, Codex CLI"
    );
    assert_eq!(finding.expected_at, Some(NOW.plus_millis(55 * 60_000)));
    assert!(
        finding.text.starts_with("The next renewal is due about 08:55. "),
        "{}",
        finding.text
    );
    assert!(
        finding
            .sign_out
            .as_ref()
            .unwrap()
            .starts_with("`codex logout` and `codex login` end it")
    );
    assert_eq!(ways(finding), ["own-login", "delete-file"]);
    assert_eq!(
        finding.ways[0].command.as_deref(),
        Some("kalit login openai --agent main --profile-id openai:ann")
    );
    assert_eq!(
        finding
            .places
            .iter()
            .map(|place| place.what.as_str())
            .collect::<Vec<_>>(),
        ["openclaw", "codex-cli"]
    );

    let mut ended = main("R1");
    let Owner::Profile(profile) = &mut ended.owner else {
        panic!()
    };
    profile.expires = Some(NOW.plus_millis(-1));
    let findings = found(&[ended, codex("R1")], &HashMap::new());
    assert!(
        findings[0]
            .text
            .starts_with("The next renewal can come at any moment. ")
    );
}

#[test]
fn what_a_sign_out_does_is_said_as_far_as_it_is_known() {
    let mut claude = other(Place::Program(Program::Claude), "R1");
    claude.account_id = None;
    let findings = found(&[main("R1"), claude], &HashMap::new());
    assert_eq!(
        findings[0].sign_out.as_deref(),
        Some("Signing out in Claude Code may end it for OpenClaw, too.")
    );
}

#[test]
fn an_older_generation_is_told_with_who_has_the_newer_one() {
    let chain = chain(&["R1", "R2"]);
    // Codex CLI renewed the copy that it had.
    let findings = found(&[main("R1"), codex("R2")], &chain);
    assert_eq!(kinds(&findings), [(FindingKind::Older, Severity::Clash)]);
    assert_eq!(findings[0].title, "An older copy of a login in use: ann in main");
    assert!(
        findings[0]
            .text
            .starts_with("Codex CLI has newer tokens of this login:"),
        "{}",
        findings[0].text
    );
    assert_eq!(ways(&findings[0]), ["own-login"]);
    let places: Vec<_> = findings[0]
        .places
        .iter()
        .map(|place| (place.what.as_str(), place.older))
        .collect();
    assert_eq!(places, [("openclaw", true), ("codex-cli", false)]);

    // OpenClaw renewed it, and Codex CLI has the older one.
    let findings = found(&[main("R2"), codex("R1")], &chain);
    assert_eq!(kinds(&findings), [(FindingKind::Older, Severity::Clash)]);
    assert!(
        findings[0]
            .text
            .starts_with("ann in main has newer tokens of this login:")
    );
    assert_eq!(ways(&findings[0]), ["delete-file"]);

    // Nobody holds the newer one any more.
    let findings = found(&[main("R1")], &chain);
    assert_eq!(kinds(&findings), [(FindingKind::Older, Severity::Clash)]);
    assert!(findings[0].text.starts_with("This login was renewed since:"));
}

#[test]
fn a_refused_login_is_no_clash_any_more() {
    let mut chain = chain(&["R1"]);
    chain.values_mut().for_each(|known| {
        known.refusal = Some(Refusal {
            code: "refresh_token_reused".to_owned(),
            at: NOW,
            answer_was_lost: false,
        });
    });
    assert_eq!(found(&[main("R1"), codex("R1")], &chain), []);
}

#[test]
fn copies_in_agents_are_a_risk_where_the_release_renews_each() {
    let work = profile("/home/ann/.openclaw", "work", "R1");
    let findings = found(&[main("R1"), work.clone()], &HashMap::new());
    assert_eq!(kinds(&findings), [(FindingKind::Copies, Severity::Risk)]);
    assert_eq!(
        findings[0].ways[0].command.as_deref(),
        Some("kalit one-owner openai:ann")
    );
    let reads_through = |mut spot: Spot| {
        let Owner::Profile(profile) = &mut spot.owner else {
            panic!()
        };
        profile.copies_main = false;
        spot
    };
    let both = [reads_through(main("R1")), reads_through(work.clone())];
    assert_eq!(found(&both, &HashMap::new()), []);

    // Another installation renews by itself.
    let elsewhere = profile("/home/ann/.openclaw-b", "main", "R1");
    let findings = found(&[main("R1"), elsewhere], &HashMap::new());
    assert_eq!(kinds(&findings), [(FindingKind::Shared, Severity::Clash)]);
    assert_eq!(
        findings[0].title,
        "One login in several hands: ann in main, ann in OpenClaw in /home/ann/.openclaw-b"
    );
    assert_eq!(
        ways(&findings[0]),
        ["own-login"],
        "for the shown installation alone"
    );
}

#[test]
fn a_store_that_is_not_moved_yet_is_its_own_installations() {
    let moved = |state| {
        let mut spot = profile(state, "main", "R1");
        let Owner::Profile(profile) = &mut spot.owner else {
            panic!()
        };
        (profile.managed, profile.copies_main) = (true, false);
        spot
    };
    let mut unmoved = other(Place::Unmoved, "R1");
    unmoved.path = PathBuf::from("/home/ann/.openclaw-b/agents/main/agent/auth-profiles.json");
    assert_eq!(
        found(
            &[moved("/home/ann/.openclaw-b"), unmoved.clone()],
            &HashMap::new()
        ),
        []
    );
    let findings = found(&[moved("/home/ann/.openclaw-c"), unmoved], &HashMap::new());
    assert_eq!(kinds(&findings), [(FindingKind::Shared, Severity::Clash)]);
}

#[test]
fn separate_logins_of_one_account_are_fine_and_said_to_be() {
    let findings = found(&[main("R1"), codex("R2")], &HashMap::new());
    assert_eq!(kinds(&findings), [(FindingKind::SameAccount, Severity::Note)]);
    assert!(
        findings[0]
            .sign_out
            .as_ref()
            .unwrap()
            .contains("may end the other login")
    );
    assert!(findings[0].ways.is_empty());
}

#[test]
fn leftovers_are_noted_once_for_each_login() {
    let old = |token| other(Place::Leftover, token);
    let findings = found(
        &[main("R2"), old("R1"), old("R2"), old("R9")],
        &chain(&["R1", "R2"]),
    );
    assert_eq!(
        kinds(&findings),
        [
            (FindingKind::Leftover, Severity::Note),
            (FindingKind::Leftover, Severity::Note)
        ]
    );
    assert_eq!(findings[0].title, "Old files with a login in use");
    assert_eq!(
        findings[0]
            .places
            .iter()
            .map(|place| place.older)
            .collect::<Vec<_>>(),
        [true, false]
    );
    assert_eq!(findings[1].title, "Old files with a login that nobody uses");
    // A leftover of a login that two share makes it no worse.
    let findings = found(&[main("R1"), old("R1")], &HashMap::new());
    assert_eq!(kinds(&findings), [(FindingKind::Leftover, Severity::Note)]);
}

#[test]
fn the_worst_comes_first() {
    let spots = [
        main("R1"),
        codex("R1"),
        other(Place::Leftover, "R1"),
        profile("/home/ann/.openclaw", "work", "R8"),
    ];
    let mut shown = found(&spots, &HashMap::new());
    assert_eq!(shown.remove(0).kind, FindingKind::Shared);
    assert!(shown.windows(2).all(|pair| pair[0].severity <= pair[1].severity));
}
