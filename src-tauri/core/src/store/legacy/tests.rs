use std::fs;
use std::time::SystemTime;

use super::*;
use crate::secret::Secret;

const OAUTH: &str =
    r#"{"openai-codex":{"access":"A0","refresh":"R0","expires":1000,"accountId":"acc","later":1.0}}"#;

/// A state directory with a main agent whose store is about to be made.
struct State {
    store: AgentStore,
    lock: StoreLock,
    import: LegacyImport,
    /// Last, so that the lock is released while it is still there.
    directory: tempfile::TempDir,
}

impl State {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let agent_dir = directory.path().join("agents/main/agent");
        let store = AgentStore::new(&agent_dir);
        store.create_dir().unwrap();
        Self {
            store,
            lock: StoreLock::for_test(agent_dir),
            import: LegacyImport {
                oauth_dir: directory.path().join("credentials"),
                legacy_agent_dir: Some(directory.path().join("agent")),
                ..LegacyImport::default()
            },
            directory,
        }
    }

    fn with(files: &[(&str, &str)]) -> Self {
        let state = Self::new();
        for (path, content) in files {
            state.write(path, content);
        }
        state
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn preview(&self) -> Preview {
        self.import.preview(&self.store).unwrap()
    }

    /// Profile ids with their verdicts, in order.
    fn verdicts(&self) -> Vec<(String, Verdict)> {
        let candidates = self.preview().candidates.into_iter();
        candidates
            .map(|candidate| (candidate.profile_id.to_string(), candidate.verdict))
            .collect()
    }

    fn apply(&self, preview: &Preview) -> Result<Vec<String>> {
        let (added, revision) = self.import.apply(preview, &self.store, &self.lock)?;
        assert_eq!(revision, self.store.revision());
        Ok(added.iter().map(ProfileId::to_string).collect())
    }

    fn store_text(&self) -> String {
        let bytes = fs::read(self.store.profiles_path()).unwrap();
        json::parse(&bytes).unwrap().to_string()
    }
}

const STORE: &str = "agents/main/agent/auth-profiles.json";
const FLAT: &str = "agents/main/agent/auth.json";
const OAUTH_PATH: &str = "credentials/oauth.json";

fn id(text: &str) -> ProfileId {
    ProfileId::parse(text).unwrap()
}

fn verdict(id: &str, verdict: Verdict) -> (String, Verdict) {
    (id.to_owned(), verdict)
}

fn older_than(text: &str) -> Verdict {
    Verdict::Stale(StaleReason::OlderThan(id(text)))
}

#[test]
fn an_installation_without_legacy_files_has_nothing_to_import() {
    let state = State::new();
    let preview = state.preview();
    assert!(preview.candidates.is_empty() && preview.problems.is_empty());
    assert_eq!(
        state.apply(&preview).unwrap_err().code(),
        ErrorCode::ImportNothing
    );
    assert!(!state.store.profiles_path().exists());
}

#[test]
fn every_source_is_listed_with_what_it_holds() {
    let state = State::with(&[
        (OAUTH_PATH, OAUTH),
        (
            FLAT,
            r#"{"anthropic":{"type":"token","token":"T","expires":5,"email":"me@x.com"},"x":{"apiKey":"K","mode":"api_key","provider":" X2 "}}"#,
        ),
        (
            "agent/auth-profiles.json",
            r#"{"version":1,"profiles":{"groq:mine":{"type":"api_key","provider":"Groq","key":"G"}}}"#,
        ),
        ("agent/auth.json", r#"{"zai":{"type":"oauth","access":"ZA"}}"#),
    ]);
    let root = state.directory.path();
    let fingerprint = |text: &str| Some(Secret::new(text).fingerprint());
    let provider = ProviderId::parse;
    assert_eq!(
        state.preview().candidates,
        [
            Candidate {
                source: root.join(FLAT),
                provider: provider("anthropic"),
                profile_id: id("anthropic:default"),
                kind: CredentialKind::Token,
                email: Some("me@x.com".into()),
                expires: Some(Timestamp::from_millis(5)),
                generation: fingerprint("T"),
                verdict: Verdict::Importable,
            },
            Candidate {
                source: root.join(FLAT),
                provider: provider("x2"),
                profile_id: id("x:default"),
                kind: CredentialKind::ApiKey,
                email: None,
                expires: None,
                generation: fingerprint("K"),
                verdict: Verdict::Importable,
            },
            Candidate {
                source: root.join("agent/auth-profiles.json"),
                provider: provider("groq"),
                profile_id: id("groq:mine"),
                kind: CredentialKind::ApiKey,
                email: None,
                expires: None,
                generation: fingerprint("G"),
                verdict: Verdict::Importable,
            },
            Candidate {
                source: root.join("agent/auth.json"),
                provider: provider("zai"),
                profile_id: id("zai:default"),
                kind: CredentialKind::Oauth,
                email: None,
                expires: None,
                generation: None,
                verdict: Verdict::Importable,
            },
            Candidate {
                source: root.join(OAUTH_PATH),
                provider: provider("openai-codex"),
                profile_id: id("openai-codex:default"),
                kind: CredentialKind::Oauth,
                email: None,
                expires: Some(Timestamp::from_millis(1000)),
                generation: fingerprint("R0"),
                verdict: Verdict::Importable,
            },
        ]
    );
    let preview = state.preview();
    assert_eq!(
        state.apply(&preview).unwrap(),
        [
            "anthropic:default",
            "x:default",
            "groq:mine",
            "zai:default",
            "openai-codex:default"
        ]
    );
    assert_eq!(
        state.store_text(),
        r#"{"version":1,"profiles":{"anthropic:default":{"type":"token","provider":"anthropic","token":"T","expires":5,"email":"me@x.com"},"x:default":{"type":"api_key","provider":"x2","apiKey":"K"},"groq:mine":{"type":"api_key","provider":"Groq","key":"G"},"zai:default":{"type":"oauth","provider":"zai","access":"ZA"},"openai-codex:default":{"type":"oauth","provider":"openai-codex","access":"A0","refresh":"R0","expires":1000,"accountId":"acc","later":1.0}}}"#
    );
    // Nothing is left to do.
    assert!(
        state
            .verdicts()
            .iter()
            .all(|(_, verdict)| *verdict == Verdict::AlreadyPresent)
    );
}

#[test]
fn the_sources_are_never_touched() {
    let state = State::with(&[
        (OAUTH_PATH, OAUTH),
        (FLAT, r#"{"anthropic":{"type":"token","token":"T"}}"#),
        ("agent/auth.json", "{ }"),
        ("agent/auth-profiles.json", r#"{"profiles":{}}"#),
    ]);
    let sources = [OAUTH_PATH, FLAT, "agent/auth.json", "agent/auth-profiles.json"];
    let look = || -> Vec<(Vec<u8>, SystemTime)> {
        let paths = sources.iter().map(|source| state.directory.path().join(source));
        paths
            .map(|path| {
                (
                    fs::read(&path).unwrap(),
                    fs::metadata(&path).unwrap().modified().unwrap(),
                )
            })
            .collect()
    };
    let before = look();
    let preview = state.preview();
    assert_eq!(
        state.apply(&preview).unwrap(),
        ["anthropic:default", "openai-codex:default"]
    );
    assert_eq!(look(), before);
}

#[test]
fn an_existing_profile_is_never_replaced() {
    let store = r#"{"version":1,"profiles":{"openai-codex:default":{"type":"oauth","provider":"openai-codex","access":"A9","refresh":"R9","expires":1}}}"#;
    let state = State::with(&[(OAUTH_PATH, OAUTH), (STORE, store)]);
    assert_eq!(
        state.verdicts(),
        [verdict("openai-codex:default", Verdict::AlreadyPresent)]
    );
    let error = state.apply(&state.preview()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::ImportStale);
    assert_eq!(state.store_text(), store);
}

#[test]
fn a_login_that_lies_in_a_store_already_is_not_copied() {
    let state = State::with(&[
        (OAUTH_PATH, OAUTH),
        (
            STORE,
            r#"{"profiles":{"openai-codex:me@x.com":{"type":"oauth","provider":"openai-codex","refresh":"R0"}}}"#,
        ),
    ]);
    assert_eq!(
        state.verdicts(),
        [verdict("openai-codex:default", Verdict::AlreadyPresent)]
    );

    // Nor one that another agent holds; a static key may lie in two places.
    let mut state = State::with(&[
        (OAUTH_PATH, OAUTH),
        (FLAT, r#"{"groq":{"type":"api_key","key":"G"}}"#),
    ]);
    state.import.held_elsewhere = ["R0", "G"].map(|secret| Secret::new(secret).fingerprint()).into();
    assert_eq!(
        state.verdicts(),
        [
            verdict("groq:default", Verdict::Importable),
            verdict("openai-codex:default", Verdict::AlreadyPresent),
        ]
    );
}

#[test]
fn a_generation_known_to_be_superseded_is_stale() {
    let mut state = State::with(&[(OAUTH_PATH, OAUTH)]);
    state.import.superseded = [Secret::new("R0").fingerprint()].into();
    assert_eq!(
        state.verdicts(),
        [verdict(
            "openai-codex:default",
            Verdict::Stale(StaleReason::Superseded)
        )]
    );
    assert_eq!(
        state.apply(&state.preview()).unwrap_err().code(),
        ErrorCode::ImportStale
    );
    assert!(!state.store.profiles_path().exists());
}

#[test]
fn what_ends_before_a_stored_login_of_the_same_account_is_stale() {
    let stored = |fields: &str| {
        format!(
            r#"{{"profiles":{{"openai:me@x.com":{{"type":"oauth","refresh":"R9","access":"A9",{fields}}}}}}}"#
        )
    };
    let cases = [
        // The provider's two names mean the same logins.
        (
            r#""provider":"openai","accountId":"acc","expires":1001"#,
            older_than("openai:me@x.com"),
        ),
        (
            r#""provider":"openai-codex","expires":1001"#,
            older_than("openai:me@x.com"),
        ),
        (
            r#""provider":"openai","email":"me@x.com","expires":1001"#,
            older_than("openai:me@x.com"),
        ),
        (
            r#""provider":"openai","accountId":"acc","expires":1000"#,
            Verdict::Importable,
        ),
        (
            r#""provider":"openai","accountId":"other","expires":1001"#,
            Verdict::Importable,
        ),
        (
            r#""provider":"zai","accountId":"acc","expires":1001"#,
            Verdict::Importable,
        ),
        (r#""provider":"openai","accountId":"acc""#, Verdict::Importable),
    ];
    for (fields, expected) in cases {
        let state = State::with(&[(OAUTH_PATH, OAUTH), (STORE, &stored(fields))]);
        assert_eq!(
            state.verdicts(),
            [verdict("openai-codex:default", expected)],
            "{fields}"
        );
    }
    // Without an end it cannot be shown to be the newer one.
    let endless = State::with(&[
        (OAUTH_PATH, r#"{"openai-codex":{"refresh":"R0"}}"#),
        (STORE, &stored(r#""provider":"openai","expires":1"#)),
    ]);
    assert_eq!(
        endless.verdicts(),
        [verdict("openai-codex:default", older_than("openai:me@x.com"))]
    );
}

#[test]
fn the_cache_beside_a_store_in_use_is_no_source() {
    let flat = r#"{"openai-codex":{"type":"oauth","access":"A0","refresh":"R0","expires":9000},"groq":{"type":"api_key","key":"G"}}"#;
    let used = r#"{"version":1,"profiles":{"openai-codex:me@x.com":{"type":"oauth","provider":"openai-codex","refresh":"R9","expires":1}}}"#;
    let state = State::with(&[(FLAT, flat), ("agent/auth.json", flat), (STORE, used)]);
    assert!(
        state
            .verdicts()
            .iter()
            .all(|(_, verdict)| *verdict == Verdict::Stale(StaleReason::Cache))
    );
    assert_eq!(state.verdicts().len(), 4);

    let unused = State::with(&[(FLAT, flat), (STORE, r#"{"version":1,"profiles":{}}"#)]);
    assert_eq!(
        unused.verdicts(),
        [
            verdict("openai-codex:default", Verdict::Importable),
            verdict("groq:default", Verdict::Importable),
        ]
    );
}

#[test]
fn of_two_copies_of_one_login_only_the_fresh_one_is_imported() {
    let flat = |refresh: &str, expires: u32| {
        format!(r#"{{"openai-codex":{{"type":"oauth","refresh":"{refresh}","expires":{expires}}}}}"#)
    };
    // The flat file is the older one: it would win in OpenClaw.
    let state = State::with(&[(OAUTH_PATH, OAUTH), (FLAT, &flat("R-old", 999))]);
    assert_eq!(
        state.verdicts(),
        [
            verdict("openai-codex:default", older_than("openai-codex:default")),
            verdict("openai-codex:default", Verdict::Importable),
        ]
    );
    assert_eq!(state.apply(&state.preview()).unwrap(), ["openai-codex:default"]);
    assert!(state.store_text().contains("R0") && !state.store_text().contains("R-old"));

    for (refresh, expires, second) in [
        ("R-new", 1001, older_than("openai-codex:default")),
        ("R-other", 1000, Verdict::AlreadyPresent),
        ("R0", 1000, Verdict::AlreadyPresent),
    ] {
        let state = State::with(&[(OAUTH_PATH, OAUTH), (FLAT, &flat(refresh, expires))]);
        assert_eq!(
            state.verdicts(),
            [
                verdict("openai-codex:default", Verdict::Importable),
                verdict("openai-codex:default", second),
            ],
            "{refresh}"
        );
    }
}

#[test]
fn entries_without_a_secret_or_a_known_type_are_unusable() {
    let state = State::with(&[
        (
            FLAT,
            r#"{"a":{"type":"passkey","key":"K"},"b":{"type":"token"},"c":7,"":{"type":"token","token":"T"}}"#,
        ),
        (
            "agent/auth.json",
            r#"{"version":1,"profiles":{"x":{"type":"token","token":"T"}}}"#,
        ),
        (
            "agent/auth-profiles.json",
            r#"{"profiles":{"d:1":{"type":"token","token":"T"}}}"#,
        ),
        (OAUTH_PATH, r#"{"e":{}}"#),
    ]);
    assert_eq!(
        state.verdicts(),
        [
            verdict("a:default", Verdict::Unusable),
            verdict("b:default", Verdict::Unusable),
            verdict(":default", Verdict::Unusable),
            verdict("d:1", Verdict::Unusable),
            verdict("e:default", Verdict::Unusable),
        ]
    );
}

#[test]
fn sources_that_cannot_be_read_are_problems_and_the_others_still_count() {
    let state = State::with(&[
        (OAUTH_PATH, OAUTH),
        (FLAT, "{\"SECRET\":"),
        ("agent/auth-profiles.json", "[]"),
        ("agent/auth.json", r#"{"a":{"type":"token","token":"\ud800"}}"#),
    ]);
    let preview = state.preview();
    let problems: Vec<ErrorCode> = preview.problems.iter().map(Error::code).collect();
    assert_eq!(
        problems,
        [
            ErrorCode::StoreUnparsable,
            ErrorCode::StoreWrongShape,
            ErrorCode::StoreUnparsable
        ]
    );
    assert!(
        preview
            .problems
            .iter()
            .all(|problem| !problem.message().contains("SECRET"))
    );
    assert_eq!(state.apply(&preview).unwrap(), ["openai-codex:default"]);
}

#[test]
fn a_broken_store_is_not_imported_over() {
    let state = State::with(&[(OAUTH_PATH, OAUTH)]);
    let preview = state.preview();
    state.write(STORE, "{\"profiles\":{},}");
    assert_eq!(
        state.import.preview(&state.store).unwrap_err().code(),
        ErrorCode::StoreUnparsable
    );
    assert_eq!(
        state.apply(&preview).unwrap_err().code(),
        ErrorCode::StoreUnparsable
    );
    assert_eq!(
        fs::read(state.store.profiles_path()).unwrap(),
        b"{\"profiles\":{},}"
    );
}

#[test]
fn only_what_the_preview_showed_is_imported() {
    let state = State::with(&[(OAUTH_PATH, OAUTH)]);
    let preview = state.preview();
    state.write(FLAT, r#"{"groq":{"type":"api_key","key":"G"}}"#);
    assert_eq!(state.apply(&preview).unwrap(), ["openai-codex:default"]);

    // Rotated by somebody after the preview.
    let state = State::with(&[(OAUTH_PATH, OAUTH)]);
    let preview = state.preview();
    state.write(OAUTH_PATH, &OAUTH.replace("R0", "R1"));
    assert_eq!(state.apply(&preview).unwrap_err().code(), ErrorCode::ImportStale);
    assert!(!state.store.profiles_path().exists());
}
