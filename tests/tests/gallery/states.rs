//! The states of the page: where it is, what its program answers, and what it then shows.

use std::collections::BTreeMap;
use std::sync::Arc;

use kalit_core::broker::{
    AskKind, GlobalOrderPreview, HistoryView, LoginStep, OneOwnerCopy, OneOwnerPreview, OpenClawLoginChoice,
    ProviderInfo, PutBackVerdict, RemovalPreview, RestorePreview, SettingView, SettingsView, SignedIn,
    SnapshotInfo, SnapshotPreview, SnapshotProfile, SnapshotStore, TestResult, TestedLogin, TestedLogins,
    WhyView,
};
use kalit_core::event::{Event, EventKind};
use kalit_core::ids::AgentId;
use kalit_core::view::{
    AccountState, AccountView, CredentialKind, EraView, LostSignal, PinView, Reason, SCHEMA, SessionView,
    SessionsView, Snapshot,
};
use kalit_core::why::{Cause, Confidence, Explanation};
use kalit_shell::names::Cover;
use kalit_shell::summary::Summary;
use serde::Serialize;
use serde_json::{Value, json};

use crate::accounts::{
    DAY, HOUR, MINUTE, account, agent, in_millis, lost, notice, now, profile_id, provider, provider_id,
    resting, restorable, snapshot,
};

use crate::radar::radar;

const WORK: &str = "openai:mary@example.com";
const OLD: &str = "openai:mary.of.the.long.name@a-customer-of-ours.example.com";

const DIAGNOSIS: &str = "State directory: ~/.openclaw
Era: json, OpenClaw 2026.6.1
Evidence:
  ~/.openclaw/openclaw.json: last touched by 2026.6.1
Rules in force:
  a lock is stale once its owner is dead
Locks: none
Sealed copies:
  12, the newest of 14:05";

/// One state of the page.
pub struct State {
    pub name: &'static str,
    /// Such as `#/board`.
    pub place: String,
    /// What the page says once it is there.
    pub shows: &'static str,
    /// What is pressed then, to open a dialogue.
    pub press: Option<&'static str>,
    /// What is typed into the field of the search.
    pub search: Option<&'static str>,
    answers: BTreeMap<&'static str, Value>,
    events: Vec<Value>,
}

impl State {
    /// What `harness/gallery.js` reads.
    pub fn json(&self) -> Value {
        json!({"answers": self.answers, "events": self.events})
    }

    fn at(name: &'static str, place: impl Into<String>, shows: &'static str, snapshot: &Snapshot) -> Self {
        let state = Self {
            name,
            place: place.into(),
            shows,
            press: None,
            search: None,
            answers: BTreeMap::new(),
            events: Vec::new(),
        };
        let view = json!({"snapshot": snapshot, "summary": Summary::of(snapshot)});
        let sessions = SessionsView {
            agent: AgentId::main(),
            sessions: Vec::new(),
            can_pin: true,
            why_not: None,
        };
        state
            .answers("snapshot", view)
            .answers("providers", providers())
            .answers("first_run", false)
            .answers("wanted_route", Value::Null)
            .answers("openclaw_logins", Vec::<OpenClawLoginChoice>::new())
            .answers("sessions", sessions)
            .answers("sign_in_cancel", Value::Null)
            .answers("why", why("openai:spent"))
            .answers("login_route", "kalit")
    }

    fn board(name: &'static str, shows: &'static str, snapshot: &Snapshot) -> Self {
        Self::at(name, "#/board", shows, snapshot)
    }

    fn answers(self, command: &'static str, answer: impl Serialize) -> Self {
        self.with(command, json!({"value": answer}))
    }

    fn refuses(self, command: &'static str, code: &str, message: &str, hint: &str) -> Self {
        let problem = notice(code, message, hint);
        self.with(command, json!({"problem": problem}))
    }

    fn never_answers(self, command: &'static str) -> Self {
        self.with(command, json!({"never": true}))
    }

    fn with(mut self, command: &'static str, answer: Value) -> Self {
        self.answers.insert(command, answer);
        self
    }

    /// The program tells this event once the command was answered.
    fn then(mut self, command: &str, event: &str, payload: Value) -> Self {
        self.events
            .push(json!({"after": command, "name": event, "payload": payload}));
        self
    }

    fn search(mut self, words: &'static str) -> Self {
        self.search = Some(words);
        self
    }

    fn press(mut self, css: &'static str) -> Self {
        self.press = Some(css);
        self
    }
}

/// All states, in the order of the gallery.
pub fn states() -> Vec<State> {
    [boards(), sheets(), sign_ins(), forms()]
        .into_iter()
        .flatten()
        .collect()
}

fn boards() -> Vec<State> {
    let calm = calm();
    let mut paused = calm.clone();
    paused.paused = true;
    let mut unattended = calm.clone();
    unattended.attended = false;
    let mut offline = calm.clone();
    offline.offline_since = Some(in_millis(-3 * HOUR));
    let mut unreadable = agent("main", Vec::new());
    unreadable.store_error = Some(notice(
        "store.unparsable",
        "line 41, column 3: the account file is no JSON",
        "Nothing was changed.",
    ));
    unreadable.restore = restorable(account(WORK, AccountState::Healthy), Some("1-a")).restore;
    let torn = snapshot(EraView::Json, vec![unreadable, agent("research", groups())]);
    let mut noticed = calm.clone();
    noticed.notices = vec![notice(
        "store.exposed",
        "everybody on this computer can read the accounts of main",
        "Run `chmod 600` on the file.",
    )];
    let kept = snapshot(EraView::Sqlite, vec![agent("main", kept_groups())]);
    let many = (1..=40)
        .map(|number| account(&format!("openai:account-{number}"), AccountState::Healthy))
        .collect();
    let many = vec![agent("main", vec![provider("openai", "ChatGPT", false, many)])];
    let many = snapshot(EraView::Json, many);
    vec![
        State::board("board", "Everything is in order", &calm),
        State::board("board-every-state", "accounts need you", &every_state()),
        State::board("board-first-start", "Kalit found OpenClaw", &calm).answers("first_run", true),
        State::board("board-paused", "Renewal is paused", &paused),
        State::board("board-without-the-tray", "Nothing is renewed", &unattended)
            .answers("start_tray", Value::Null),
        State::board("board-offline", "No provider can be reached", &offline),
        State::board("board-unreadable-store", "cannot be read", &torn),
        State::board("board-notice", "Everybody on this computer", &noticed),
        State::board("board-kept-by-openclaw", "keeps these logins", &kept),
        State::board("board-many", "40 accounts, rotating", &many),
        State::board("board-found", "40 accounts, rotating", &many).search("account-7"),
        State::board("board-nothing-found", "40 accounts, rotating", &many).search("nobody"),
        State::board(
            "empty",
            "No accounts yet",
            &snapshot(EraView::Json, vec![agent("main", Vec::new())]),
        ),
        State::board(
            "empty-without-openclaw",
            "was not found",
            &snapshot(EraView::None, Vec::new()),
        ),
        State::board("loading", "Reading the accounts", &calm).never_answers("snapshot"),
        State::board("problem", "Kalit cannot show the accounts", &calm).refuses(
            "snapshot",
            "settings.unparsable",
            "Kalit's settings cannot be read: line 3, column 1",
            "Correct Kalit's settings.json, or move it away to start with the defaults.",
        ),
        State::board("dialogue-test-logins", "keeps these logins", &kept)
            .answers(
                "test_logins_offer",
                json!({"offered": true, "risk": "OpenClaw renews what is about to end, and drops what it cannot renew.", "whyNot": null}),
            )
            .press("[data-action='test-logins']"),
    ]
}

fn sheets() -> Vec<State> {
    let calm = calm();
    let every = every_state();
    let mut hidden = calm.clone();
    hidden.show_names = false;
    let hidden = Cover::of(&hidden).over(&Arc::new(hidden.clone()));
    let of = |id: &str| format!("#/account/main/{}", id.replace('@', "%40").replace(':', "%3A"));
    let preview = GlobalOrderPreview {
        provider: provider_id("openai"),
        ids: Some(vec![profile_id(WORK)]),
        clears: vec![AgentId::normalize("research")],
        gateway_running: true,
        restarts_gateway: true,
        notes: Vec::new(),
    };
    let sessions = SessionsView {
        agent: AgentId::main(),
        sessions: vec![
            session("agent:main:main", Some("Main"), Some(WORK)),
            session("agent:main:telegram:42", None, None),
        ],
        can_pin: true,
        why_not: None,
    };
    let unpinnable = SessionsView {
        can_pin: false,
        why_not: Some("OpenClaw's gateway does not run".to_owned()),
        ..sessions.clone()
    };
    let tested = TestedLogins {
        logins: vec![
            tested(WORK, TestResult::Renewed, "OpenClaw holds new tokens."),
            tested(
                OLD,
                TestResult::Dropped,
                "OpenClaw could not renew it and dropped its token.",
            ),
        ],
        notes: Vec::new(),
    };
    vec![
        State::at("agent", "#/agent/research", "research", &calm),
        State::at("account", of(WORK), "Why this account is used", &calm),
        State::at(
            "account-signed-out",
            of("openai:spent"),
            "That is certain",
            &every,
        ),
        State::at(
            "account-dropped",
            of("openai:dropped"),
            "Dropped by OpenClaw",
            &every,
        )
        .answers("why", Value::Null),
        State::at("dialogue-remove", of(OLD), "Why this account is used", &calm)
            .answers("removal_preview", removal(None))
            .press("[data-action='remove']"),
        State::at(
            "dialogue-remove-here-only",
            of(OLD),
            "Why this account is used",
            &calm,
        )
        .answers(
            "removal_preview",
            removal(Some("Kalit knows no way to do that at Acme")),
        )
        .press("[data-action='remove']"),
        State::at("dialogue-everywhere", of(OLD), "Why this account is used", &calm)
            .answers("order_globally_preview", preview)
            .press("[data-action='use-everywhere']"),
        State::at("dialogue-one-owner", of(WORK), "Why this account is used", &calm)
            .answers("one_owner_preview", one_owner())
            .press("[data-action='one-owner']"),
        State::at("sessions", "#/sessions/main", "agent:main:telegram:42", &calm)
            .answers("sessions", &sessions),
        State::at(
            "sessions-not-now",
            "#/sessions/main",
            "gateway does not run",
            &calm,
        )
        .answers("sessions", unpinnable),
        State::at("snapshots", "#/snapshots", "missing now", &every).answers("snapshots", snapshots()),
        State::at("snapshots-none", "#/snapshots", "Nothing was sealed yet", &calm)
            .answers("snapshots", Vec::<SnapshotInfo>::new()),
        State::at("snapshot", "#/snapshots/1-a", "Put the accounts of", &every)
            .answers("snapshot_preview", put_back()),
        State::at("snapshot-refused", "#/snapshots/1-a", "were not put back", &every).refuses(
            "snapshot_preview",
            "vault.unreadable",
            "the sealed copy cannot be opened",
            "Kalit's own file cannot be read: `kalit doctor` names it.",
        ),
        State::at(
            "restore",
            "#/restore/main/openai%3Adropped",
            "What is known",
            &every,
        )
        .answers("restore_preview", restore()),
        State::at(
            "restore-looking",
            "#/restore/main/openai%3Adropped",
            "Looking at what is known",
            &every,
        )
        .never_answers("restore_preview"),
        State::at("order", "#/order/main/openai", "Order of ChatGPT in main", &calm),
        State::at("history", "#/history", "Renewed by another program", &every)
            .answers("history", history(None)),
        State::at("history-set-aside", "#/history", "could not be read", &every).answers(
            "history",
            history(Some("/home/me/.local/share/kalit/events.sqlite.broken")),
        ),
        State::at(
            "history-of-account",
            format!("#/history?agent=main&profile={WORK}"),
            "History of mary@example.com",
            &calm,
        )
        .answers("history", history(None)),
        State::at(
            "history-names-hidden",
            "#/history",
            "Removed: an account",
            &hidden,
        )
        .answers("history", history(None)),
        State::at(
            "history-sought",
            "#/history",
            "Renewed by another program",
            &every,
        )
        .answers("history", history(None))
        .search("signed out"),
        State::at(
            "history-sought-in-vain",
            "#/history",
            "Renewed by another program",
            &every,
        )
        .answers("history", history(None))
        .search("another word"),
        State::at("history-none", "#/history", "Nothing has happened yet", &calm).answers(
            "history",
            HistoryView {
                events: Vec::new(),
                ..history(None)
            },
        ),
        State::at("history-unreadable", "#/history", "later version of Kalit", &calm).refuses(
            "history",
            "vault.unreadable",
            "events.sqlite was written by a later version of Kalit",
            "Update Kalit, or move the file away to start a new history.",
        ),
        State::at("radar", "#/radar", "One login in several hands", &calm).answers("radar", radar(true)),
        State::at("radar-none", "#/radar", "No login lies where", &calm).answers("radar", radar(false)),
        State::at("radar-looking", "#/radar", "Looking where your logins lie", &calm).never_answers("radar"),
        State::at("diagnostics", "#/diagnostics", "Rules in force", &calm).answers("diagnosis", DIAGNOSIS),
        State::at(
            "diagnostics-looking",
            "#/diagnostics",
            "Looking at the installation",
            &calm,
        )
        .never_answers("diagnosis"),
        State::at("tested-none", "#/tested", "No test has run", &calm).answers("test_logins", tested),
    ]
}

fn sign_ins() -> Vec<State> {
    let calm = calm();
    let started = json!({
        "authorizeUrl": "https://auth.example.com/authorize?redirect_uri=http%3A%2F%2Flocalhost%3A1455%2Fauth%2Fcallback",
        "portNotice": null,
    });
    let busy = json!({
        "authorizeUrl": "https://auth.example.com/authorize",
        "portNotice": "port 1455 is held by codex (process 4312): paste the address of the last page",
    });
    let by_code = json!({
        "authorizeUrl": "https://auth.example.com/device?user_code=ABCD-1234",
        "portNotice": null,
        "code": {"code": "ABCD-1234", "lifetimeMs": 900_000},
    });
    let place = "#/sign-in/openai?agent=main";
    let again = format!("{place}&profile={}", WORK.replace('@', "%40").replace(':', "%3A"));
    let begun = |name, place: &str, shows| {
        State::at(name, place, shows, &calm).answers("sign_in_start", started.clone())
    };
    let failed = |code: &str, message: &str, hint: &str| json!({"state": "failed", "problem": notice(code, message, hint)});
    let openclaw = |name, shows| {
        State::at(name, place, shows, &calm)
            .answers("login_route", "open-claw")
            .answers("openclaw_logins", openclaw_logins())
            .answers("openclaw_login_start", Value::Null)
    };
    let step = |step: LoginStep| json!({"step": step});
    vec![
        State::at("sign-in-starting", place, "Getting ready", &calm).never_answers("sign_in_start"),
        begun("sign-in-waiting", place, "Waiting for you in the browser").then(
            "sign_in_start",
            "sign-in",
            json!({"state": "browser-opened"}),
        ),
        begun("sign-in-browser-failed", place, "The browser did not open").then(
            "sign_in_start",
            "sign-in",
            json!({"state": "browser-failed"}),
        ),
        State::at("sign-in-port-busy", place, "codex (process 4312)", &calm)
            .answers("sign_in_start", busy)
            .then("sign_in_start", "sign-in", json!({"state": "browser-opened"})),
        State::at(
            "sign-in-code-asking",
            "#/sign-in/xai?agent=main",
            "Asking the provider for a code",
            &calm,
        )
        .never_answers("sign_in_start"),
        State::at("sign-in-code", "#/sign-in/xai?agent=main", "ABCD-1234", &calm)
            .answers("sign_in_start", by_code.clone())
            .then("sign_in_start", "sign-in", json!({"state": "browser-opened"})),
        State::at(
            "sign-in-code-failed",
            "#/sign-in/xai?agent=main",
            "The sign-in did not work",
            &calm,
        )
        .answers("sign_in_start", by_code)
        .then(
            "sign_in_start",
            "sign-in",
            failed("login.denied", "the sign-in was refused", "Try again."),
        ),
        begun("sign-in-failed", place, "The sign-in did not work").then(
            "sign_in_start",
            "sign-in",
            failed(
                "login.denied",
                "the provider refused the sign-in",
                "Try again, or ask your workspace's administrator.",
            ),
        ),
        begun("sign-in-wrong-person", &again, "Another person signed in").then(
            "sign_in_start",
            "sign-in",
            failed(
                "profile.identity_mismatch",
                "the sign-in is ada@example.com's",
                "Choose another profile id.",
            ),
        ),
        begun("sign-in-done", place, "Signed in as mary@example.com").then(
            "sign_in_start",
            "sign-in",
            json!({"state": "done", "signed_in": signed_in()}),
        ),
        openclaw("openclaw-sign-in-starting", "OpenClaw starts its sign-in"),
        openclaw("openclaw-sign-in-code", "Enter this code")
            .then(
                "openclaw_login_start",
                "login-step",
                step(LoginStep::Url {
                    url: "https://auth.example.com/device".to_owned(),
                }),
            )
            .then(
                "openclaw_login_start",
                "login-step",
                step(LoginStep::DeviceCode {
                    code: "WDJB-MJHT".to_owned(),
                    url: None,
                }),
            ),
        openclaw("openclaw-sign-in-asks", "Which workspace?").then(
            "openclaw_login_start",
            "login-step",
            step(LoginStep::Ask {
                ask: 1,
                question: "Which workspace?".to_owned(),
                what: AskKind::Choice,
                choices: vec!["Personal".to_owned(), "Example Ltd".to_owned()],
            }),
        ),
        openclaw("openclaw-sign-in-secret", "It goes to OpenClaw alone").then(
            "openclaw_login_start",
            "login-step",
            step(LoginStep::Ask {
                ask: 1,
                question: "Paste the token".to_owned(),
                what: AskKind::Secret,
                choices: Vec::new(),
            }),
        ),
    ]
}

fn forms() -> Vec<State> {
    let calm = calm();
    vec![
        State::at("add", "#/add?agent=main", "Add an account", &calm)
            .answers("openclaw_logins", openclaw_logins()),
        State::at("settings", "#/settings", "Start when I log in", &calm).answers("settings", settings()),
        State::at("settings-reading", "#/settings", "Reading the settings", &calm).never_answers("settings"),
        State::at("new-agent", "#/new-agent", "Add an agent", &calm),
        State::at(
            "paste-token",
            "#/paste/anthropic?agent=main&kind=token",
            "Paste a token",
            &calm,
        ),
        State::at(
            "paste-key",
            "#/paste/mistral?agent=main&kind=api-key",
            "Paste an API key",
            &calm,
        ),
    ]
}

fn one_owner() -> OneOwnerPreview {
    OneOwnerPreview {
        profile_id: profile_id(WORK),
        owner: AgentId::main(),
        path: "~/.openclaw/agents/main/agent/auth-profiles.json".to_owned(),
        release: Some("2026.2.17".to_owned()),
        copies: vec![OneOwnerCopy {
            resolves: None,
            agent: AgentId::normalize("research"),
            path: "~/.openclaw/agents/research/agent/auth-profiles.json".to_owned(),
            uses_now: Some(profile_id(WORK)),
            uses_then: Some(profile_id(OLD)),
        }],
        notes: vec![String::from(
            "OpenClaw 2026.2.17 to 2026.4.21 copies main's accounts again when it next saves an agent's store: from 2026.4.29 on it does not.",
        )],
    }
}

fn calm() -> Snapshot {
    let mut main = agent("main", groups());
    main.pins = vec![PinView {
        session: "agent:main:telegram:42".to_owned(),
        profile_id: profile_id(OLD),
        source: Some("user".to_owned()),
        model: None,
    }];
    let inherited = AccountView {
        inherited: true,
        ..account(WORK, AccountState::Healthy)
    };
    let research = agent(
        "research",
        vec![provider("openai", "ChatGPT", true, vec![inherited])],
    );
    snapshot(EraView::Json, vec![main, research])
}

fn groups() -> Vec<kalit_core::view::ProviderView> {
    let work = AccountView {
        email: Some("mary@example.com".to_owned()),
        plan: Some("team".to_owned()),
        copies_in: vec![AgentId::normalize("research")],
        ..account(WORK, AccountState::Healthy)
    };
    let old = AccountView {
        plan: Some("Plus".to_owned()),
        ..account(OLD, AccountState::Healthy)
    };
    let setup = AccountView {
        kind: CredentialKind::Token,
        ..account("anthropic:manual", AccountState::Static)
    };
    vec![
        provider("openai", "ChatGPT", true, vec![work, old]),
        provider("anthropic", "Anthropic", false, vec![setup]),
        provider(
            "google",
            "Google",
            false,
            vec![account("google:default", AccountState::Static)],
        ),
    ]
}

fn kept_groups() -> Vec<kalit_core::view::ProviderView> {
    let renewal = Some("OpenClaw renews it on use, from 5 minutes before it ends.".to_owned());
    let login = AccountView {
        renewal: renewal.clone(),
        due_at: None,
        ..account(WORK, AccountState::Healthy)
    };
    let soon = AccountView {
        renewal,
        due_at: None,
        expires_at: Some(in_millis(20 * MINUTE)),
        ..account(OLD, AccountState::Healthy)
    };
    vec![provider("openai", "ChatGPT", true, vec![login, soon])]
}

/// Each state of an account once.
fn every_state() -> Snapshot {
    let spent = "Another program used this login 3 minutes earlier";
    let shared = AccountView {
        shared_with: vec!["Codex CLI".to_owned()],
        ..account("openai:shared", AccountState::Shared)
    };
    let unknown = AccountView {
        last_error: Some(notice(
            "refresh.unknown",
            "the answer was lost",
            "Kalit tries once more after a minute.",
        )),
        ..account("openai:unanswered", AccountState::Unknown)
    };
    let passed = AccountView {
        passed_over: Some("its login is in OpenClaw's encrypted side file".to_owned()),
        ..account("openai:encrypted", AccountState::NeedsDoctor)
    };
    let accounts = vec![
        account("openai:healthy", AccountState::Healthy),
        account("openai:renewing", AccountState::Renewing),
        account("openai:expired", AccountState::Expired),
        resting("openai:resting", AccountState::CoolingDown, "rate_limit"),
        resting("openai:no-credit", AccountState::Disabled, "billing"),
        passed,
        account("openai:no-secret", AccountState::Missing),
        unknown,
        shared,
        lost(
            "openai:late",
            AccountState::NotRenewed,
            LostSignal::NotRenewed,
            "Nobody has renewed it since it ended",
        ),
        restorable(
            lost(
                "openai:gone",
                AccountState::Vanished,
                LostSignal::Vanished,
                "It disappeared from the store",
            ),
            Some("1-a"),
        ),
        lost(
            "openai:suspected",
            AccountState::Suspected,
            LostSignal::Suspected,
            "The provider has refused it four times",
        ),
        lost(
            "openai:refused",
            AccountState::Refused,
            LostSignal::OpenclawRefused,
            "OpenClaw was refused",
        ),
        restorable(
            lost(
                "openai:dropped",
                AccountState::Dropped,
                LostSignal::Dropped,
                "OpenClaw could not renew it",
            ),
            None,
        ),
        lost(
            "openai:spent",
            AccountState::SignedOut,
            LostSignal::SignedOut,
            spent,
        ),
    ];
    let keys = vec![account("google:default", AccountState::Static)];
    snapshot(
        EraView::Json,
        vec![agent(
            "main",
            vec![
                provider("openai", "ChatGPT", true, accounts),
                provider("google", "Google", false, keys),
            ],
        )],
    )
}

fn providers() -> Vec<ProviderInfo> {
    let known = |id: &str, name: &str, flow: &str, host: Option<&str>| ProviderInfo {
        id: provider_id(id),
        name: name.to_owned(),
        mark: name.chars().take(2).collect(),
        flow: flow.to_owned(),
        source: "built-in".to_owned(),
        token_host: host.map(str::to_owned),
        note: None,
        error: None,
    };
    let ended = ProviderInfo {
        source: String::new(),
        note: Some("Qwen ended its free sign-in on 15 April 2026. Paste an API key of Alibaba Cloud Model Studio: `kalit paste-api-key --provider qwen`.".to_owned()),
        ..known("qwen-portal", "Qwen Portal", "ended", None)
    };
    vec![
        known("openai", "ChatGPT", "pkce", Some("auth.example.com")),
        known("anthropic", "Anthropic", "token", None),
        known("google", "Google", "api-key", None),
        known("xai", "xAI", "device", Some("auth.example.com")),
        ended,
    ]
}

fn openclaw_logins() -> Vec<OpenClawLoginChoice> {
    vec![OpenClawLoginChoice {
        provider: provider_id("openai"),
        name: "ChatGPT".to_owned(),
        mark: "Cg".to_owned(),
        methods: vec!["oauth".to_owned()],
        device_code: true,
    }]
}

fn signed_in() -> SignedIn {
    SignedIn {
        agent: AgentId::main(),
        provider: provider_id("openai"),
        profile_id: profile_id(WORK),
        email: Some("mary@example.com".to_owned()),
        plan: Some("team".to_owned()),
        expires_at: Some(in_millis(10 * DAY)),
        generation: Some("0123456789abcdef".to_owned()),
        replaced: false,
        offers_use: true,
        effective: Some(profile_id(OLD)),
        reason: Reason {
            code: "stored-order".to_owned(),
            text: "stored order".to_owned(),
            fallback_model: None,
        },
        notes: Vec::new(),
    }
}

fn settings() -> SettingsView {
    let set = |key, value: Value, default: Value| SettingView { key, value, default };
    SettingsView {
        kalit_version: env!("CARGO_PKG_VERSION"),
        schema: SCHEMA,
        file: "/home/me/.config/kalit/settings.json".to_owned(),
        settings: vec![
            set("stateDir", Value::Null, Value::Null),
            set("openclawBinary", Value::Null, Value::Null),
            set("trustPids", json!(false), json!(false)),
            set("watchOnly", json!(false), json!(false)),
            set("notifications", json!(true), json!(true)),
            set("showNames", json!(true), json!(true)),
            set("language", Value::Null, Value::Null),
            set("proxy", Value::Null, Value::Null),
            set("mutedUntil", json!(in_millis(HOUR)), Value::Null),
            set("launchAtLogin", json!(true), json!(false)),
        ],
        state_dir: "/home/me/.openclaw".to_owned(),
        openclaw: Some("/usr/bin/openclaw".to_owned()),
        openclaw_version: Some("2026.6.1".to_owned()),
    }
}

fn session(key: &str, label: Option<&str>, pinned: Option<&str>) -> SessionView {
    SessionView {
        session: key.to_owned(),
        label: label.map(str::to_owned),
        profile_id: pinned.map(profile_id),
        source: pinned.map(|_| "user".to_owned()),
        provider: Some("openai".to_owned()),
        model: Some("gpt-5".to_owned()),
        updated_at: Some(in_millis(-20 * MINUTE)),
    }
}

fn tested(id: &str, result: TestResult, text: &str) -> TestedLogin {
    TestedLogin {
        agent: AgentId::main(),
        profile_id: profile_id(id),
        result,
        text: text.to_owned(),
    }
}

fn snapshots() -> Vec<SnapshotInfo> {
    let sealed = |id: &str, hours: i64, reason: &str, missing| SnapshotInfo {
        id: id.to_owned(),
        at: Some(in_millis(-hours * HOUR)),
        reason: Some(reason.to_owned()),
        agents: vec![AgentId::main()],
        profiles: 3,
        missing,
    };
    vec![
        sealed("1-b", 1, "changed-outside", 0),
        sealed("1-a", 3, "refreshed", 1),
    ]
}

fn put_back() -> SnapshotPreview {
    let profile = |id: &str, verdict, text: &str| SnapshotProfile {
        profile_id: profile_id(id),
        provider: Some(provider_id("openai")),
        kind: CredentialKind::Oauth,
        generation: Some("0123456789abcdef".to_owned()),
        expires_at: Some(in_millis(DAY)),
        verdict,
        text: text.to_owned(),
    };
    SnapshotPreview {
        id: "1-a".to_owned(),
        at: in_millis(-3 * HOUR),
        reason: "refreshed".to_owned(),
        stores: vec![SnapshotStore {
            agent: AgentId::main(),
            path: "/home/me/.openclaw/agents/main/agent/auth-profiles.json".to_owned(),
            problem: None,
            profiles: vec![
                profile("openai:gone", PutBackVerdict::PutBack, ""),
                profile(
                    OLD,
                    PutBackVerdict::NewestInstead,
                    "the copy is spent: a newer one is known",
                ),
                profile(WORK, PutBackVerdict::Kept, ""),
                profile(
                    "openai:spent",
                    PutBackVerdict::Refused,
                    "the provider no longer accepts it",
                ),
            ],
            orders: vec![provider_id("openai")],
        }],
        offered: true,
        notes: vec!["OpenClaw's gateway runs: it takes the accounts up by itself".to_owned()],
    }
}

/// One event of each kind that there is to see.
fn history(set_aside: Option<&str>) -> HistoryView {
    let told = [
        (EventKind::Removed, "openai:gone@example.com", "kalit"),
        (EventKind::Revoked, "openai:gone@example.com", "kalit"),
        (EventKind::Refreshed, WORK, "kalit-desktop"),
        (EventKind::Adopted, WORK, "outside"),
        (EventKind::SignedOut, OLD, "refresh_token_reused"),
        (EventKind::Switched, OLD, "kalit-desktop"),
        (EventKind::SignedIn, WORK, "kalit-desktop"),
    ];
    let event = |(number, (kind, id, cause)): (i64, (EventKind, &str, &str))| Event {
        schema: SCHEMA,
        kind,
        at: in_millis(-number * 7 * HOUR),
        installation: "/home/me/.openclaw".to_owned(),
        agent: Some(AgentId::main()),
        profile_id: Some(profile_id(id)),
        generation: None,
        family: None,
        snapshot: None,
        order: None,
        cause: Some(cause.to_owned()),
        source: kind.source(Some(cause)).to_owned(),
        text: "What the command line says.".to_owned(),
    };
    HistoryView {
        schema: SCHEMA,
        events: (0..).zip(told).map(event).collect(),
        has_more: true,
        set_aside: set_aside.map(str::to_owned),
    }
}

fn why(id: &str) -> WhyView {
    WhyView {
        schema: SCHEMA,
        agent: AgentId::main(),
        profile_id: profile_id(id),
        provider: provider_id("openai"),
        state: AccountState::SignedOut,
        code: Some("refresh_token_reused".to_owned()),
        at: Some(in_millis(-2 * HOUR)),
        explanation: Explanation {
            cause: Cause::OtherProgram,
            confidence: Confidence::Certain,
            signed_out: true,
            sentence: "Codex CLI used the same login 3 minutes earlier.".to_owned(),
            evidence: vec![
                "Codex CLI held the same login and was seen to renew it for itself.".to_owned(),
                "The provider's code is refresh_token_reused.".to_owned(),
            ],
            not: vec![
                "It is not the network: the provider itself answered, with a code that Kalit knows."
                    .to_owned(),
            ],
            remedy: "Sign in again, separately for OpenClaw: then each program renews its own login."
                .to_owned(),
            paragraph: String::new(),
        },
    }
}

fn removal(why_not: Option<&str>) -> RemovalPreview {
    RemovalPreview {
        agent: AgentId::main(),
        profile_id: profile_id(OLD),
        provider: "ChatGPT".to_owned(),
        can_sign_out: why_not.is_none(),
        has_ended: false,
        why_not: why_not.map(str::to_owned),
        also_used_by: vec!["agent research".to_owned(), "Codex CLI".to_owned()],
    }
}

fn restore() -> RestorePreview {
    RestorePreview {
        agent: AgentId::main(),
        profile_id: profile_id("openai:dropped"),
        provider: provider_id("openai"),
        sealed_at: in_millis(-3 * HOUR),
        dropped_at: Some(now()),
        stores: vec!["/home/me/.openclaw/agents/main/agent/openclaw-agent.sqlite".to_owned()],
        known: vec!["OpenClaw's log says that the network was away.".to_owned()],
        warning: "If the provider has ended the login, OpenClaw drops it again.".to_owned(),
    }
}
