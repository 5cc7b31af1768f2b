//! The menu as a person reads it.

use kalit_core::view::{CooldownView, LostSignal, Notice, RestoreView};

use super::*;
use crate::summary::samples::*;

/// The menu as a person reads it: one line an item, submenus indented.
fn read(items: &[Item], depth: usize) -> String {
    items
        .iter()
        .map(|item| {
            let mark = match &item.kind {
                Kind::Separator => "---",
                Kind::Line => "",
                Kind::Verb(_) => "> ",
                Kind::Check { checked: true, .. } => "[x] ",
                Kind::Check { checked: false, .. } => "[ ] ",
                Kind::Submenu(_) => "v ",
            };
            let below = match &item.kind {
                Kind::Submenu(items) => read(items, depth + 1),
                _ => String::new(),
            };
            format!("{}{mark}{}\n{below}", "  ".repeat(depth), item.label)
        })
        .collect()
}

fn accounts(snapshot: &Snapshot) -> Vec<String> {
    let model = menu(snapshot, NOW);
    let Some(Item {
        kind: Kind::Submenu(rows),
        ..
    }) = model
        .items
        .iter()
        .find(|item| matches!(item.kind, Kind::Submenu(_)))
    else {
        panic!("no submenu");
    };
    rows.iter().map(|row| row.label.clone()).collect()
}

#[test]
fn shared_logins_have_a_line_while_there_are_any() {
    let of = |state| {
        let account = account("openai:me@example.com", state);
        let all = snapshot(vec![agent(
            "main",
            vec![provider(OrderSource::Stored, vec![account])],
        )]);
        menu(&all, NOW).find("radar").cloned()
    };
    assert_eq!(of(AccountState::Healthy), None);
    let line = of(AccountState::Shared).unwrap();
    assert_eq!(line.label, "Shared logins…");
    assert_eq!(line.action(), Some(&Action::Open(Route::Radar)));
}

#[test]
fn the_menu_of_an_order_marks_the_account_in_use() {
    let work = account("openai:work", AccountState::Healthy);
    let spare = account("openai:spare", AccountState::Static);
    let gone = lost("openai:studio", LostSignal::SignedOut, "feed");
    let snapshot = snapshot(vec![agent(
        "main",
        vec![provider(OrderSource::Stored, vec![work, spare, gone])],
    )]);
    let expected = "\
OpenClaw: 2 ready, 1 needs you
---
v ChatGPT (main)
  [x] work · 7 h left
  [ ] spare · 7 h left, does not renew
  > studio · signed out, sign in again
  ---
  > Add ChatGPT account…
  > Sign in to work again…
  > Renew work now
  > Copy /model …@openai:work
---
> Add account…
> Renew all now
[ ] Pause renewal
v Mute notifications
  > For an hour
  > Until tomorrow
---
> Open Kalit
> Settings…
> Diagnostics…
> Quit
";
    let model = menu(&snapshot, NOW);
    assert_eq!(read(&model.items, 0), expected);
    assert_eq!(
        (model.picture, model.status.as_str()),
        (Picture::SignedOut, "OpenClaw: 2 ready, 1 needs you")
    );
}

#[test]
fn rotation_marks_nothing_and_says_which_is_next() {
    let two = vec![
        account("openai:a", AccountState::Healthy),
        account("openai:b", AccountState::Healthy),
    ];
    let snapshot = snapshot(vec![agent("main", vec![provider(OrderSource::Rotation, two)])]);
    assert_eq!(
        accounts(&snapshot)[..2],
        ["a · 7 h left · next".to_owned(), "b · 7 h left".to_owned()]
    );
    let model = menu(&snapshot, NOW);
    let first = model.find("use\u{1f}main\u{1f}openai:a").unwrap();
    let use_it = Action::Use {
        agent: AgentId::main(),
        profile: ProfileId::parse("openai:a").unwrap(),
    };
    assert_eq!(first.kind, Kind::Verb(use_it));
}

#[test]
fn an_account_that_is_signed_out_is_not_next() {
    let rotation = |account| {
        let group = provider(OrderSource::Rotation, vec![account]);
        accounts(&snapshot(vec![agent("main", vec![group])]))[0].clone()
    };
    let mut out = lost("openai:a", LostSignal::SignedOut, "feed");
    out.effective = true;
    assert_eq!(rotation(out), "a · signed out, sign in again");
    let mut suspected = lost("openai:a", LostSignal::OpenclawRefused, "feed");
    (suspected.effective, suspected.state) = (true, AccountState::Refused);
    assert_eq!(rotation(suspected), "a · OpenClaw was refused, check now · next");
}

#[test]
fn every_state_has_words_and_a_click_that_helps() {
    let click_word =
        |snapshot: &Snapshot, account: &AccountView| match click(snapshot, &snapshot.agents[0], account) {
            None => "nothing",
            Some(Action::Use { .. }) => "use",
            Some(Action::Renew { .. }) => "renew",
            Some(Action::Open(Route::SignIn { profile: Some(_), .. })) => "sign in",
            Some(_) => "other",
        };
    let cases = [
        (AccountState::Healthy, "7 h left", "use"),
        (AccountState::Static, "7 h left, does not renew", "use"),
        (AccountState::Renewing, "renewing…", "use"),
        (AccountState::Expired, "expired, renews on use", "use"),
        (AccountState::CoolingDown, "resting 3 min (rate limit)", "use"),
        (AccountState::Disabled, "disabled", "use"),
        (
            AccountState::NeedsDoctor,
            "kept in OpenClaw’s encrypted file",
            "nothing",
        ),
        (AccountState::Missing, "has no secret, sign in", "sign in"),
        (AccountState::Unknown, "renewal was not answered", "use"),
        (AccountState::Shared, "also used by Codex CLI", "use"),
        (AccountState::NotRenewed, "not renewed, renew now", "renew"),
        (AccountState::Vanished, "disappeared, sign in again", "sign in"),
        (AccountState::Refused, "OpenClaw was refused, check now", "renew"),
        (AccountState::SignedOut, "signed out, sign in again", "sign in"),
    ];
    for (state, words, does) in cases {
        let mut one = account("openai:work", state);
        one.shared_with = vec!["Codex CLI".to_owned()];
        one.cooldown = Some(CooldownView {
            until: NOW.plus_millis(3 * 60_000),
            reason: Some("rate_limit".to_owned()),
            disabled: false,
        });
        let snapshot = snapshot(vec![agent(
            "main",
            vec![provider(OrderSource::Stored, vec![one])],
        )]);
        assert_eq!(accounts(&snapshot)[0], format!("work · {words}"));
        assert_eq!(
            click_word(&snapshot, &snapshot.agents[0].providers[0].accounts[0]),
            does,
            "{state:?}"
        );
    }
}

#[test]
fn a_tenth_account_is_listed_and_an_eleventh_is_in_the_window() {
    let many = |count: usize| {
        let accounts = (0..count)
            .map(|n| account(&format!("openai:{n}"), AccountState::Healthy))
            .collect();
        accounts_of(provider(OrderSource::Stored, accounts))
    };
    fn accounts_of(provider: ProviderView) -> Vec<String> {
        accounts(&snapshot(vec![agent("main", vec![provider])]))
    }
    assert_eq!(many(10)[10], ""); // the separator
    assert_eq!(many(10).len(), 15);
    assert_eq!(many(11)[10], "More…");
    assert_eq!(many(11).len(), 16);
}

#[test]
fn an_inherited_account_is_switched_in_the_window() {
    let mut work = account("openai:work", AccountState::Healthy);
    work.inherited = true;
    let snapshot = snapshot(vec![agent(
        "research",
        vec![provider(OrderSource::Rotation, vec![work])],
    )]);
    assert_eq!(accounts(&snapshot)[0], "work · 7 h left · from main · next");
    let account = &snapshot.agents[0].providers[0].accounts[0];
    assert_eq!(
        click(&snapshot, &snapshot.agents[0], account),
        Some(Action::Open(Route::Board))
    );
}

/// main of OpenClaw's own keeping: `work` in use, `spare` usable, `lab` in this state.
fn kept(state: AccountState, restore: Option<RestoreView>) -> Snapshot {
    let mut lab = account("openai:lab", state);
    lab.restore = restore;
    let mut accounts = vec![
        account("openai:work", AccountState::Healthy),
        account("openai:spare", AccountState::Healthy),
        lab,
    ];
    for account in &mut accounts {
        account.renewal = Some("OpenClaw renews it on use.".to_owned());
    }
    let mut kept = snapshot(vec![agent("main", vec![provider(OrderSource::Stored, accounts)])]);
    kept.installation.era = EraView::Sqlite;
    kept
}

fn restorable(offered: bool) -> Option<RestoreView> {
    Some(RestoreView {
        offered,
        text: String::new(),
        sealed_at: Some(NOW),
        snapshot: None,
    })
}

#[test]
fn what_openclaw_keeps_itself_is_switched_and_not_renewed() {
    let snapshot = kept(AccountState::Dropped, restorable(true));
    let expected = "\
OpenClaw: 2 ready
---
v ChatGPT (main)
  [x] work · 7 h left
  [ ] spare · 7 h left
  > lab · dropped by OpenClaw, restore…
  ---
  > Add ChatGPT account…
  > Sign in to work again…
  > Copy /model …@openai:work
---
> Add account…
OpenClaw renews these logins on use
v Mute notifications
  > For an hour
  > Until tomorrow
---
> Open Kalit
> Settings…
> Diagnostics…
> Quit
";
    let mut model = menu(&snapshot, NOW);
    assert_eq!(read(&model.items, 0), expected);

    let (main, spare) = (AgentId::main(), ProfileId::parse("openai:spare").unwrap());
    let before = model.clone();
    model.asking(&main, &spare);
    assert!(model.same_structure(&before));
    let line = model.find("use\u{1f}main\u{1f}openai:spare").unwrap();
    assert_eq!(line.label, "spare · asking OpenClaw…");
}

#[test]
fn a_lost_login_of_openclaws_keeping_is_put_back_or_signed_in_again() {
    let lab = ProfileId::parse("openai:lab").unwrap();
    let restore = Action::Open(Route::Restore {
        agent: AgentId::main(),
        profile: lab.clone(),
    });
    let sign_in = Action::Open(Route::SignIn {
        provider: kalit_core::ids::ProviderId::parse("openai").unwrap(),
        agent: AgentId::main(),
        profile: Some(lab),
    });
    let cases = [
        (AccountState::Dropped, restorable(true), &restore),
        (AccountState::Dropped, restorable(false), &sign_in),
        (AccountState::Dropped, None, &sign_in),
        (AccountState::Refused, None, &sign_in),
        (AccountState::SignedOut, None, &sign_in),
    ];
    for (state, restore, expected) in cases {
        let snapshot = kept(state, restore);
        let lab = &snapshot.agents[0].providers[0].accounts[2];
        assert_eq!(
            click(&snapshot, &snapshot.agents[0], lab).as_ref(),
            Some(expected),
            "{state:?}"
        );
    }
}

#[test]
fn where_both_kinds_of_store_lie_nothing_is_clickable() {
    let mut mixed = kept(AccountState::Healthy, None);
    mixed.installation.era = EraView::Mixed;
    let text = read(&menu(&mixed, NOW).items, 0);
    assert!(text.contains("\n  work · 7 h left\n"), "{text}");
    assert!(!text.contains("Add ChatGPT"), "{text}");
}

#[test]
fn what_a_snapshot_holds_is_offered_in_the_menu() {
    let from_snapshot = || {
        restorable(true).map(|restore| RestoreView {
            snapshot: Some("01-ab".to_owned()),
            ..restore
        })
    };
    let mut gone = lost("openai:studio", LostSignal::Vanished, "feed");
    gone.state = AccountState::Vanished;
    gone.restore = from_snapshot();
    let mut main = agent("main", vec![provider(OrderSource::Stored, vec![gone])]);
    main.store_error = Some(Notice::new(kalit_core::ErrorCode::StoreUnparsable, "line 3"));
    main.restore = from_snapshot();
    let snapshot = snapshot(vec![main]);
    let expected = "\
OpenClaw: 0 ready, 1 needs you, can be restored
---
> main: the account file cannot be read, restore…
v ChatGPT (main)
  > studio · disappeared, restore…
  ---
  > Add ChatGPT account…
---
> Add account…
> Restore…
> Renew all now
[ ] Pause renewal
v Mute notifications
  > For an hour
  > Until tomorrow
---
> Open Kalit
> Settings…
> Diagnostics…
> Quit
";
    let model = menu(&snapshot, NOW);
    assert_eq!(read(&model.items, 0), expected);
    let leads = |id: &str| match model.find(id).and_then(Item::action) {
        Some(Action::Open(route)) => route.to_string(),
        other => panic!("{id}: {other:?}"),
    };
    assert_eq!(leads("store\u{1f}main"), "snapshots/01-ab?agent=main");
    assert_eq!(
        leads("use\u{1f}main\u{1f}openai:studio"),
        "snapshots/01-ab?agent=main&profile=openai%3Astudio"
    );
    assert_eq!(leads("snapshots"), "snapshots");
}

#[test]
fn an_unreadable_store_has_a_line_of_its_own() {
    let mut broken = agent("main", vec![]);
    broken.store_error = Some(Notice {
        code: "store.unparsable".to_owned(),
        message: "line 1".to_owned(),
        hint: String::new(),
    });
    let mut snapshot = snapshot(vec![broken]);
    snapshot.needs_you = 1;
    let model = menu(&snapshot, NOW);
    assert_eq!(model.status, "OpenClaw: 0 ready, 1 needs you");
    assert_eq!(model.items[2].label, "main: the account file cannot be read");
}

#[test]
fn the_picture_tells_the_worst_state() {
    let mut none = snapshot(vec![]);
    none.installation.era = EraView::None;
    assert_eq!(menu(&none, NOW).picture, Picture::Paused);
    assert_eq!(menu(&none, NOW).status, "OpenClaw was not found");
    let mut calm = snapshot(vec![]);
    let mut see = |worst, paused| {
        (calm.worst, calm.paused) = (worst, paused);
        (menu(&calm, NOW).picture, menu(&calm, NOW).status)
    };
    let empty = "OpenClaw: no accounts yet".to_owned();
    assert_eq!(see(Worst::Healthy, false), (Picture::Healthy, empty.clone()));
    assert_eq!(see(Worst::Notice, false), (Picture::Notice, empty.clone()));
    assert_eq!(
        see(Worst::Paused, true),
        (Picture::Paused, format!("{empty}, renewal paused"))
    );
    assert_eq!(see(Worst::SignedOut, false).0, Picture::SignedOut);

    let shared = vec![account("openai:work", AccountState::Shared)];
    let mut risky = snapshot(vec![agent("main", vec![provider(OrderSource::Stored, shared)])]);
    risky.worst = Worst::Notice;
    assert_eq!(menu(&risky, NOW).picture, Picture::Risk);
    risky.worst = Worst::SignedOut;
    assert_eq!(menu(&risky, NOW).picture, Picture::SignedOut);
}

#[test]
fn several_agents_have_a_submenu_that_tells_how_each_is_doing() {
    let of = |id: &str, accounts: Vec<AccountView>| agent(id, vec![provider(OrderSource::Stored, accounts)]);
    let healthy = || account("openai:work", AccountState::Healthy);
    let mut broken = agent("broken", vec![]);
    broken.store_error = Some(Notice::new(kalit_core::ErrorCode::StoreUnparsable, "line 3"));
    let all = snapshot(vec![
        of("main", vec![healthy()]),
        of(
            "research",
            vec![healthy(), account("openai:b", AccountState::CoolingDown)],
        ),
        of(
            "ops",
            vec![lost("openai:a", LostSignal::SignedOut, "feed"), healthy()],
        ),
        agent("idle", vec![]),
        broken,
    ]);
    let model = menu(&all, NOW);
    let agents = model.find("agents").unwrap();
    let expected = "\
v Agents
  > main · OK
  > research · 1 ready
  > ops · 1 needs you
  > idle · no accounts
  > broken · cannot be read
";
    assert_eq!(read(std::slice::from_ref(agents), 0), expected);
    let main = model.find("agent\u{1f}main").unwrap();
    assert_eq!(
        main.action(),
        Some(&Action::Open(Route::parse("agent/main").unwrap()))
    );
    let one = snapshot(vec![of("main", vec![healthy()])]);
    assert_eq!(menu(&one, NOW).find("agents"), None);
}

#[test]
fn what_can_be_done_with_the_account_in_use_follows_it_in_place() {
    let of = |first: &str, second: &str| {
        let accounts = vec![
            account(first, AccountState::Healthy),
            account(second, AccountState::CoolingDown),
        ];
        snapshot(vec![agent("main", vec![provider(OrderSource::Stored, accounts)])])
    };
    let before = of("openai:a", "openai:b");
    let labels = accounts(&before);
    let expected = [
        "Add ChatGPT account…",
        "Sign in to a again…",
        "Renew a now",
        "Copy /model …@openai:a",
        "Clear cooldown: b",
    ];
    assert_eq!(labels[3..], expected);
    let model = menu(&before, NOW);
    let does = |id: &str| model.find(id).unwrap().action().unwrap().clone();
    let a = || ProfileId::parse("openai:a").unwrap();
    let agent = AgentId::main;
    assert_eq!(
        does("copy\u{1f}main\u{1f}openai"),
        Action::Open(Route::Copy {
            agent: agent(),
            profile: a()
        })
    );
    let renew = Action::Renew {
        agent: agent(),
        profile: a(),
    };
    assert_eq!(does("renew\u{1f}main\u{1f}openai"), renew);
    let clear = Action::ClearCooldown {
        agent: agent(),
        profile: ProfileId::parse("openai:b").unwrap(),
    };
    assert_eq!(does("clear\u{1f}main\u{1f}openai:b"), clear);

    let after = menu(&of("openai:c", "openai:b"), NOW);
    let line = after.find("copy\u{1f}main\u{1f}openai").unwrap();
    assert_eq!(line.label, "Copy /model …@openai:c");
}

#[test]
fn of_many_groups_those_in_which_something_is_lost_are_listed_first() {
    let mut agents: Vec<_> = (0..12)
        .map(|n| {
            let accounts = vec![account("openai:a", AccountState::Healthy)];
            agent(&format!("a{n}"), vec![provider(OrderSource::Stored, accounts)])
        })
        .collect();
    let gone = vec![lost("openai:a", LostSignal::SignedOut, "feed")];
    agents.push(agent("last", vec![provider(OrderSource::Stored, gone)]));
    let model = menu(&snapshot(agents), NOW);
    let groups: Vec<&str> = model
        .items
        .iter()
        .map(|item| item.label.as_str())
        .filter(|label| label.starts_with("ChatGPT"))
        .collect();
    assert_eq!(groups.len(), LISTED);
    assert_eq!(groups[LISTED - 1], "ChatGPT (last)");
    assert!(model.find("more").is_some());
}

#[test]
fn a_minute_changes_texts_and_a_new_account_the_structure() {
    let state = |extra: bool| {
        let mut accounts = vec![account("openai:work", AccountState::Healthy)];
        if extra {
            accounts.push(account("openai:new", AccountState::Healthy));
        }
        snapshot(vec![agent("main", vec![provider(OrderSource::Stored, accounts)])])
    };
    let before = menu(&state(false), NOW);
    let later = menu(&state(false), NOW.plus_millis(60_000));
    assert_ne!(before, later);
    assert!(before.same_structure(&later));
    assert!(!before.same_structure(&menu(&state(true), NOW)));
    assert_eq!(until_change(&state(false), NOW), Some(1));
    assert_eq!(until_change(&snapshot(vec![]), NOW), None);
    assert!(!outdated(&state(false), NOW.plus_millis(7 * HOUR - 1)));
    assert!(outdated(&state(false), NOW.plus_millis(7 * HOUR)));
}

#[test]
fn ids_are_unique_though_agents_and_profiles_share_names() {
    let group = || {
        provider(
            OrderSource::Stored,
            vec![account("openai:work", AccountState::Healthy)],
        )
    };
    let snapshot = snapshot(vec![agent("main", vec![group()]), agent("work", vec![group()])]);
    fn ids(items: &[Item], seen: &mut Vec<String>) {
        for item in items {
            seen.push(item.id.clone());
            if let Kind::Submenu(children) = &item.kind {
                ids(children, seen);
            }
        }
    }
    let mut seen = Vec::new();
    ids(&menu(&snapshot, NOW).items, &mut seen);
    let unique: std::collections::BTreeSet<_> = seen.iter().collect();
    assert_eq!(unique.len(), seen.len());
}

#[test]
fn the_menu_mutes_and_takes_it_back() {
    let mut muted = snapshot(Vec::new());
    let action = |snapshot: &Snapshot, id: &str| menu(snapshot, NOW).find(id)?.action().cloned();
    assert_eq!(
        action(&muted, "mute-tomorrow"),
        Some(Action::Mute(Mute::Tomorrow))
    );
    assert_eq!(action(&muted, "mute-hour"), Some(Action::Mute(Mute::Hour)));
    assert_eq!(action(&muted, "unmute"), None);
    let until = NOW.plus_millis(1);
    muted.muted_until = Some(until);
    assert_eq!(action(&muted, "unmute"), Some(Action::Mute(Mute::Off)));
    assert_eq!(action(&muted, "mute-hour"), None);
    // It reads as before when that is over.
    assert!(outdated(&muted, until) && until_change(&muted, NOW).is_some());
}
