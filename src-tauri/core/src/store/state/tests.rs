use super::*;

fn id(text: &str) -> ProfileId {
    ProfileId::parse(text).unwrap()
}

fn ids(texts: &[&str]) -> Vec<ProfileId> {
    texts.iter().map(|text| id(text)).collect()
}

fn provider(text: &str) -> ProviderId {
    ProviderId::parse(text).unwrap()
}

fn document(text: &str) -> Document {
    Document::parse(text.as_bytes()).unwrap()
}

fn state_file(text: &str) -> StateFile {
    StateFile::parse(text.as_bytes()).unwrap()
}

fn compact(bytes: Result<Vec<u8>>) -> String {
    json::parse(&bytes.unwrap()).unwrap().to_string()
}

/// The two files after the order of provider `p` became `order`.
fn after_setting(profiles: &str, state: &str, order: &[&str], in_state_file: bool) -> (String, String) {
    let (mut profiles, mut state) = (document(profiles), state_file(state));
    let mut edit = StateEdit::new(profiles.state().overlaid_by(state.state()));
    edit.set_order(&provider("p"), &ids(order));
    edit.apply(&mut profiles, &mut state, in_state_file).unwrap();
    (compact(profiles.to_bytes()), compact(state.to_bytes()))
}

#[test]
fn auth_state_wins_per_provider_and_per_id() {
    let older = document(
        r#"{"profiles":{},"order":{"A":["a:1"],"b":["b:1"]},"lastGood":{"a":"a:1","b":"b:1"},"usageStats":{"a:1":{"lastUsed":1,"errorCount":3},"b:1":{"lastUsed":2}}}"#,
    );
    let newer = state_file(
        r#"{"version":1,"order":{"a":["a:2"],"c":["c:1"]},"lastGood":{"B":"b:2"},"usageStats":{"a:1":{"lastUsed":5}}}"#,
    );
    let used = |millis| UsageStats {
        last_used: Some(Timestamp::from_millis(millis)),
        ..UsageStats::default()
    };
    assert_eq!(
        older.state().overlaid_by(newer.state()),
        AuthState {
            order: [
                (provider("a"), ids(&["a:2"])),
                (provider("b"), ids(&["b:1"])),
                (provider("c"), ids(&["c:1"])),
            ]
            .into(),
            last_good: [(provider("a"), id("a:1")), (provider("b"), id("b:2"))].into(),
            usage_stats: [(id("a:1"), used(5)), (id("b:1"), used(2))].into(),
        }
    );
}

#[test]
fn every_usage_field_is_read() {
    let state = document(
        r#"{"usageStats":{"p:a":{"lastUsed":1,"errorCount":2,"failureCounts":{"auth":3,"timeout":0,"x":"y"},"lastFailureAt":4,"cooldownUntil":5.9,"cooldownReason":"rate_limit","cooldownModel":"m","disabledUntil":6,"disabledReason":"billing","blockedUntil":7,"blockedReason":"subscription_limit","blockedSource":"wham","blockedModel":"n","later":1}}}"#,
    )
    .state();
    let at = |millis| Some(Timestamp::from_millis(millis));
    assert_eq!(
        state.usage_stats[&id("p:a")],
        UsageStats {
            last_used: at(1),
            error_count: Some(2),
            failure_counts: [("auth".to_owned(), 3)].into(),
            last_failure_at: at(4),
            cooldown_until: at(5),
            cooldown_reason: Some("rate_limit".into()),
            cooldown_model: Some("m".into()),
            disabled_until: at(6),
            disabled_reason: Some("billing".into()),
            blocked_until: at(7),
            blocked_reason: Some("subscription_limit".into()),
            blocked_source: Some("wham".into()),
            blocked_model: Some("n".into()),
        }
    );
}

#[test]
fn values_of_a_wrong_type_are_absent() {
    let state = document(
        r#"{"order":{"a":"a:1","b":[7,null," b:1 ",""],"c":[],"":["x"]},"lastGood":{"a":7,"b":""},"usageStats":{"p:a":{"lastUsed":"1","errorCount":-1,"failureCounts":[],"cooldownUntil":1e999,"cooldownReason":7,"disabledUntil":null},"p:b":3}}"#,
    )
    .state();
    assert_eq!(
        state,
        AuthState {
            order: [(provider("b"), ids(&["b:1"]))].into(),
            last_good: BTreeMap::new(),
            usage_stats: [(id("p:a"), UsageStats::default())].into(),
        }
    );
    assert_eq!(
        document(r#"{"order":[],"lastGood":"x","usageStats":7}"#).state(),
        AuthState::default()
    );
}

#[test]
fn the_order_goes_to_the_order_file_and_to_no_other() {
    let profiles = r#"{"version":1,"profiles":{"p:a":1,"p:b":2},"lastGood":{"p":"p:a"}}"#;
    assert_eq!(
        after_setting(profiles, r#"{"version":1}"#, &["p:b", "p:a", "p:b"], true),
        (
            profiles.to_owned(),
            r#"{"version":1,"order":{"p":["p:b","p:a"]}}"#.to_owned()
        )
    );
    assert_eq!(
        after_setting(profiles, r#"{"version":1}"#, &["p:b", "p:a"], false),
        (
            r#"{"version":1,"profiles":{"p:a":1,"p:b":2},"lastGood":{"p":"p:a"},"order":{"p":["p:b","p:a"]}}"#
                .to_owned(),
            r#"{"version":1}"#.to_owned()
        )
    );
}

#[test]
fn the_spelling_of_the_provider_that_the_file_has_is_reused() {
    let state = r#"{"version":1,"order":{"x":["x:1"]," P ":["p:a"],"p":["p:old"]},"kept":1.0}"#;
    assert_eq!(
        after_setting(r#"{"profiles":{"p:b":1}}"#, state, &["p:b", "p:a"], true).1,
        r#"{"version":1,"order":{"x":["x:1"]," P ":["p:b","p:a"]},"kept":1.0}"#
    );
}

#[test]
fn a_cleared_order_leaves_no_older_copy_in_force() {
    let profiles = r#"{"profiles":{"p:a":1},"order":{"P":["p:a"]}}"#;
    let state = r#"{"version":1,"order":{"p":["p:a"],"q":["q:1"]},"lastGood":{}}"#;
    // An empty list means the same as clearing.
    for order in [&[][..], &["p:a"][..]] {
        let (mut profiles, mut state) = (document(profiles), state_file(state));
        let mut edit = StateEdit::new(profiles.state().overlaid_by(state.state()));
        edit.set_order(&provider("p"), &ids(order));
        if !order.is_empty() {
            edit.clear_order(&provider("p"));
        }
        assert_eq!(edit.order(&provider("p")), None);
        edit.apply(&mut profiles, &mut state, true).unwrap();
        assert_eq!(compact(profiles.to_bytes()), r#"{"profiles":{"p:a":1}}"#);
        assert_eq!(
            compact(state.to_bytes()),
            r#"{"version":1,"order":{"q":["q:1"]},"lastGood":{}}"#
        );
    }
}

#[test]
fn an_order_names_profiles_that_exist_or_stand_in_it_already() {
    let mut profiles = document(r#"{"profiles":{"p:a":1},"order":{"p":["p:inherited"]}}"#);
    let mut state = StateFile::empty();
    let mut edit = StateEdit::new(profiles.state());
    assert_eq!(edit.order(&provider("p")), Some(&ids(&["p:inherited"])[..]));
    edit.set_order(&provider("p"), &ids(&["p:a", "p:inherited"]));
    assert_eq!(
        edit.order(&provider("p")),
        Some(&ids(&["p:a", "p:inherited"])[..])
    );
    edit.apply(&mut profiles, &mut state, false).unwrap();

    edit.set_order(&provider("p"), &ids(&["p:a", "p:elsewhere"]));
    let error = edit.apply(&mut profiles, &mut state, false).unwrap_err();
    assert_eq!(error.code(), ErrorCode::OrderInvalid);
    assert_eq!(error.message(), "p:elsewhere is not in this agent's store");
}

#[test]
fn an_order_record_of_a_wrong_type_is_not_written_over() {
    let mut profiles = document(r#"{"profiles":{"p:a":1},"order":7}"#);
    let mut edit = StateEdit::new(profiles.state());
    edit.set_order(&provider("p"), &ids(&["p:a"]));
    let error = edit
        .apply(&mut profiles, &mut StateFile::empty(), false)
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::StoreWrongShape);
    edit.clear_order(&provider("p"));
    edit.apply(&mut profiles, &mut StateFile::empty(), false).unwrap();
    assert_eq!(
        compact(profiles.to_bytes()),
        r#"{"profiles":{"p:a":1},"order":7}"#
    );
}

/// Both files after the cooldown of `p:a` was cleared.
fn after_clearing(profiles: &str, state: &str) -> (String, String) {
    let (mut profiles, mut state) = (document(profiles), state_file(state));
    let mut edit = StateEdit::new(profiles.state().overlaid_by(state.state()));
    edit.clear_cooldown(&id("p:a"));
    assert!(edit.changes_something());
    edit.apply(&mut profiles, &mut state, true).unwrap();
    (compact(profiles.to_bytes()), compact(state.to_bytes()))
}

#[test]
fn a_cleared_cooldown_takes_the_fields_of_every_release_and_keeps_the_others() {
    // 2026.2.17; 2026.4.29; 2026.6.1; 2026.9.6, each with fields that are not of the windows.
    for (before, after) in [
        (
            r#"{"lastUsed":1,"errorCount":3,"failureCounts":{"billing":3},"lastFailureAt":2,"cooldownUntil":4,"disabledUntil":5,"disabledReason":"billing"}"#,
            r#"{"lastUsed":1,"errorCount":0,"lastFailureAt":2}"#,
        ),
        (
            r#"{"cooldownUntil":4,"cooldownReason":"rate_limit","cooldownModel":"m","lastUsed":1.0,"later":{"kept":[1e5]}}"#,
            r#"{"lastUsed":1.0,"later":{"kept":[1e5]},"errorCount":0}"#,
        ),
        (
            r#"{"blockedReason":"subscription_limit","blockedSource":"wham","blockedModel":"m","errorCount":1,"lastFailureAt":2,"blockedUntil":9}"#,
            r#"{"errorCount":0,"lastFailureAt":2}"#,
        ),
        (
            r#"{"blockedScope":"model","cooldownClassification":"x","lastProbeAt":7,"disabledReason":"auth_permanent","disabledUntil":8,"errorCount":1}"#,
            r#"{"lastProbeAt":7,"errorCount":0}"#,
        ),
    ] {
        let other = r#"{"cooldownUntil":4,"errorCount":2}"#;
        let with = |stats: &str| {
            format!(r#"{{"version":1,"usageStats":{{"p:b":{other},"p:a":{stats}}},"order":{{"p":["p:a"]}}}}"#)
        };
        let empty = r#"{"version":1}"#;
        assert_eq!(
            after_clearing(empty, &with(before)),
            (empty.to_owned(), with(after))
        );
        assert_eq!(
            after_clearing(&with(before), empty),
            (with(after), empty.to_owned())
        );
    }
}

#[test]
fn a_cleared_cooldown_leaves_no_older_copy_in_force() {
    let older = r#"{"profiles":{},"usageStats":{"p:a":{"disabledUntil":5}}}"#;
    let newer = r#"{"version":1,"usageStats":{"p:a":{"cooldownUntil":4}}}"#;
    assert_eq!(
        after_clearing(older, newer),
        (
            r#"{"profiles":{},"usageStats":{"p:a":{"errorCount":0}}}"#.to_owned(),
            r#"{"version":1,"usageStats":{"p:a":{"errorCount":0}}}"#.to_owned()
        )
    );
}

#[test]
fn where_nothing_holds_a_profile_back_nothing_is_cleared() {
    for text in [
        r#"{"version":1}"#,
        r#"{"version":1,"usageStats":{}}"#,
        r#"{"version":1,"usageStats":7}"#,
        r#"{"version":1,"usageStats":{"p:a":7,"p:b":{"cooldownUntil":4}}}"#,
        r#"{"version":1,"usageStats":{"p:a":{"errorCount":2,"failureCounts":{"auth":2},"cooldownReason":"auth"}}}"#,
    ] {
        assert_eq!(after_clearing(text, text), (text.to_owned(), text.to_owned()));
    }
}

#[test]
fn a_state_file_is_blank_only_without_anything_of_anybody() {
    for (text, blank) in [
        (r#"{"version":1}"#, true),
        (r#"{"version":1,"order":{},"usageStats":{}}"#, true),
        (r#"{"version":1,"order":{"p":["a"]}}"#, false),
        (r#"{"version":1,"kept":{}}"#, false),
        (r#"{"version":1,"order":[]}"#, false),
    ] {
        assert_eq!(state_file(text).is_blank(), blank, "{text}");
    }
    let wrong = StateFile::parse(b"[]").unwrap_err();
    assert_eq!(wrong.code(), ErrorCode::StoreWrongShape);
    let twice = state_file(r#"{"order":{},"order":{}}"#).to_bytes().unwrap_err();
    assert_eq!(twice.code(), ErrorCode::StoreDuplicateKeys);
}
