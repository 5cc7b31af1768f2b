use rand::Rng as _;
use rand::seq::IndexedRandom as _;

use super::*;
use crate::clock::Timestamp;
use crate::ids::ProviderId;
use crate::secret::Secret;
use crate::store::credential::NewSecret;
use crate::store::generated;

fn id(text: &str) -> ProfileId {
    ProfileId::parse(text).unwrap()
}

fn provider(text: &str) -> ProviderId {
    ProviderId::parse(text).unwrap()
}

fn parsed(text: &str) -> Document {
    Document::parse(text.as_bytes()).unwrap()
}

fn compact(document: &Document) -> String {
    json::parse(&document.to_bytes().unwrap()).unwrap().to_string()
}

fn tokens() -> NewTokens {
    NewTokens {
        access: Secret::new("A1"),
        refresh: Some(Secret::new("R1")),
        expires: Timestamp::from_millis(2_000_000_000_000),
        id_token: Some(Secret::new("I1")),
        account_id: Some("acc1".into()),
        plan: Some("plus".into()),
        email: Some("me@x.com".into()),
    }
}

fn oauth(provider_id: &str) -> NewCredential {
    NewCredential {
        provider: provider(provider_id),
        secret: NewSecret::Oauth {
            tokens: tokens(),
            client_id: None,
        },
        display_name: None,
    }
}

fn refusal<T: fmt::Debug>(result: Result<T>) -> (ErrorCode, String) {
    let error = result.unwrap_err();
    (error.code(), error.message().to_owned())
}

#[test]
fn an_empty_document_is_what_openclaw_starts_with() {
    assert_eq!(
        String::from_utf8(Document::empty().to_bytes().unwrap()).unwrap(),
        "{\n  \"version\": 1,\n  \"profiles\": {}\n}\n"
    );
}

#[test]
fn profiles_come_in_the_order_of_the_file_with_unknown_ones() {
    let document = parsed(
        r#"{"profiles":{"z:1":{"type":"token","provider":"z"},"17":{"type":"passkey"},"a:1":null,"":{}}}"#,
    );
    let ids: Vec<String> = document.profiles().map(|(id, _)| id.to_string()).collect();
    assert_eq!(ids, ["z:1", "17", "a:1"]);
    assert!(document.contains(&id("17")));
    assert!(matches!(
        document.credential(&id("a:1")),
        Some(Credential::Unknown(_))
    ));
    assert!(document.credential(&id("z:2")).is_none());
}

#[test]
fn refreshed_tokens_change_three_fields_and_nothing_else() {
    let mut document = parsed(
        r#"{"version":1,"x":1.0,"profiles":{"p:a":{"email":"old@x.com","refresh":"R0","type":"oauth","n":1E5,"access":"A0","provider":"P","expires":1.0},"p:b":{"type":"odd"}},"order":{"P":["p:a"]}}"#,
    );
    let mut new = tokens();
    new.email = None;
    new.account_id = None;
    document
        .replace_tokens(&id("p:a"), &new, RefreshedFields::Stored)
        .unwrap();
    assert_eq!(
        compact(&document),
        r#"{"version":1,"x":1.0,"profiles":{"p:a":{"email":"old@x.com","refresh":"R1","type":"oauth","n":1E5,"access":"A1","provider":"P","expires":2000000000000},"p:b":{"type":"odd"}},"order":{"P":["p:a"]}}"#
    );
}

#[test]
fn an_unrotated_refresh_token_stays() {
    let mut document = parsed(r#"{"profiles":{"p:a":{"type":"oauth","provider":"p","refresh":"R0"}}}"#);
    let mut new = tokens();
    new.refresh = None;
    document
        .replace_tokens(&id("p:a"), &new, RefreshedFields::Stored)
        .unwrap();
    assert_eq!(
        compact(&document),
        r#"{"profiles":{"p:a":{"type":"oauth","provider":"p","refresh":"R0","access":"A1","expires":2000000000000,"accountId":"acc1"}}}"#
    );
}

#[test]
fn identity_fields_are_written_where_they_were_or_where_the_release_knows_them() {
    let text = r#"{"profiles":{"p:a":{"type":"oauth","provider":"p","idToken":"I0"}}}"#;
    let mut stored = parsed(text);
    stored
        .replace_tokens(&id("p:a"), &tokens(), RefreshedFields::Stored)
        .unwrap();
    assert_eq!(
        compact(&stored),
        r#"{"profiles":{"p:a":{"type":"oauth","provider":"p","idToken":"I1","access":"A1","refresh":"R1","expires":2000000000000,"accountId":"acc1"}}}"#
    );
    let mut all = parsed(text);
    all.replace_tokens(&id("p:a"), &tokens(), RefreshedFields::All)
        .unwrap();
    assert_eq!(
        compact(&all),
        r#"{"profiles":{"p:a":{"type":"oauth","provider":"p","idToken":"I1","access":"A1","refresh":"R1","expires":2000000000000,"email":"me@x.com","accountId":"acc1","chatgptPlanType":"plus"}}}"#
    );
}

#[test]
fn only_an_oauth_login_that_lies_here_takes_tokens() {
    let mut document = parsed(
        r#"{"profiles":{"k":{"type":"api_key","provider":"p","key":"K"},"u":{"type":"odd"},"e":{"type":"oauth","provider":"p","oauthRef":{"id":"x"}}}}"#,
    );
    let before = document.clone();
    let mut replace =
        |name: &str| refusal(document.replace_tokens(&id(name), &tokens(), RefreshedFields::All));
    assert_eq!(
        replace("gone"),
        (ErrorCode::ProfileUnknown, "there is no profile gone".into())
    );
    assert_eq!(
        replace("k"),
        (ErrorCode::ProfileNotRefreshable, "k is not an OAuth login".into())
    );
    assert_eq!(replace("u").0, ErrorCode::ProfileNotRefreshable);
    assert_eq!(replace("e").0, ErrorCode::StoreEncrypted);
    assert!(document.is_same(&before));
}

#[test]
fn a_first_sign_in_makes_the_profile() {
    let mut document = Document::empty();
    document.put(&id("openai:me@x.com"), &oauth("openai")).unwrap();
    assert_eq!(
        compact(&document),
        r#"{"version":1,"profiles":{"openai:me@x.com":{"type":"oauth","provider":"openai","access":"A1","refresh":"R1","expires":2000000000000,"email":"me@x.com","idToken":"I1","accountId":"acc1","chatgptPlanType":"plus"}}}"#
    );
    let mut without_profiles = parsed(r#"{"version":1}"#);
    without_profiles
        .put(
            &id("a:b"),
            &NewCredential {
                provider: provider("a"),
                secret: NewSecret::ApiKey {
                    key: Secret::new("K"),
                    email: None,
                },
                display_name: Some("Work".into()),
            },
        )
        .unwrap();
    assert_eq!(
        compact(&without_profiles),
        r#"{"version":1,"profiles":{"a:b":{"type":"api_key","provider":"a","key":"K","displayName":"Work"}}}"#
    );
}

#[test]
fn a_new_sign_in_keeps_what_is_the_persons_and_what_is_unknown() {
    let mut document = parsed(
        r#"{"profiles":{"p:a":{"displayName":"Mine","mode":"oauth","provider":"P","access":"A0","refresh":"R0","copyToAgents":false,"enterpriseUrl":"https://e","clientId":"old","expires":1,"email":"other@x.com","later":{"n":1.0},"accountId":"acc0"}}}"#,
    );
    document.put(&id("p:a"), &oauth("p")).unwrap();
    assert_eq!(
        compact(&document),
        r#"{"profiles":{"p:a":{"displayName":"Mine","type":"oauth","provider":"p","access":"A1","refresh":"R1","copyToAgents":false,"enterpriseUrl":"https://e","expires":2000000000000,"email":"me@x.com","later":{"n":1.0},"accountId":"acc1","idToken":"I1","chatgptPlanType":"plus"}}}"#
    );
}

#[test]
fn a_pasted_token_leaves_no_secret_of_the_login_before_it() {
    let mut document = parsed(
        r#"{"profiles":{"p:a":{"type":"oauth","provider":"p","access":"A0","refresh":"R0","idToken":"I0","expires":1,"projectId":"x","copyToAgents":true},"p:k":{"type":"api_key","provider":"p","apiKey":"K0","keyRef":{"source":"env","id":"K"},"metadata":{"a":"b"}}}}"#,
    );
    let token = NewCredential {
        provider: provider("p"),
        secret: NewSecret::Token {
            token: Secret::new("T1"),
            expires: None,
            email: None,
        },
        display_name: None,
    };
    document.put(&id("p:a"), &token).unwrap();
    let key = NewCredential {
        provider: provider("p"),
        secret: NewSecret::ApiKey {
            key: Secret::new("K1"),
            email: None,
        },
        display_name: None,
    };
    document.put(&id("p:k"), &key).unwrap();
    assert_eq!(
        compact(&document),
        r#"{"profiles":{"p:a":{"type":"token","provider":"p","copyToAgents":true,"token":"T1"},"p:k":{"type":"api_key","provider":"p","key":"K1","metadata":{"a":"b"}}}}"#
    );
}

#[test]
fn an_entry_in_the_encrypted_side_file_is_never_given_inline_tokens() {
    let text = r#"{"profiles":{"p:a":{"type":"oauth","provider":"p","oauthRef":{"id":"x"}},"p:b":7}}"#;
    let mut document = parsed(text);
    assert_eq!(
        refusal(document.put(&id("p:a"), &oauth("p"))).0,
        ErrorCode::StoreEncrypted
    );
    assert_eq!(
        refusal(document.put(&id("p:b"), &oauth("p"))),
        (
            ErrorCode::StoreWrongShape,
            "profiles[\"p:b\"] is not an object".into()
        )
    );
    assert_eq!(compact(&document), text);
}

#[test]
fn removal_removes_every_mention_and_what_becomes_empty() {
    let mut document = parsed(
        r#"{"version":1,"profiles":{"p:a":{"type":"odd"},"p:b":{"type":"odd"}},"order":{"P":["p:b","p:a"],"q":["p:a"],"r":[]},"lastGood":{"p":"p:a"},"usageStats":{"p:a":{},"p:b":{"x":1}}}"#,
    );
    document.remove(&id("p:a")).unwrap();
    assert_eq!(
        compact(&document),
        r#"{"version":1,"profiles":{"p:b":{"type":"odd"}},"order":{"P":["p:b"],"r":[]},"usageStats":{"p:b":{"x":1}}}"#
    );
    assert_eq!(
        refusal(document.remove(&id("p:a"))),
        (ErrorCode::ProfileUnknown, "there is no profile p:a".into())
    );
}

#[test]
fn wrong_shapes_are_reported_and_kept() {
    assert_eq!(
        refusal(Document::parse(b"[]")),
        (
            ErrorCode::StoreWrongShape,
            "the top level is not an object".into()
        )
    );
    for profiles in ["null", "[]", "\"x\"", "1"] {
        assert_eq!(
            refusal(Document::parse(format!("{{\"profiles\":{profiles}}}").as_bytes())),
            (ErrorCode::StoreWrongShape, "profiles is not an object".into())
        );
    }
    let text = r#"{"profiles":{"a":1,"b":{"type":"x"},"c":{"type":"oauth"},"d":{"type":"oauth","provider":"p","access":7,"expires":"soon","refresh":"R"},"":{"type":"token","provider":"p"}},"order":{"p":"d","q":[1]},"lastGood":7,"usageStats":{"a":[]}}"#;
    let document = parsed(text);
    let shapes: Vec<String> = document
        .wrong_shapes()
        .iter()
        .map(|shape| shape.error().message().to_owned())
        .collect();
    assert_eq!(
        shapes,
        [
            "profiles[\"a\"] is not an object",
            "profiles[\"b\"] has no type that Kalit knows",
            "profiles[\"c\"] has no provider",
            "profiles[\"d\"].access is not a string",
            "profiles[\"d\"].expires is not a number",
            "profiles has an empty id",
            "lastGood is not an object",
            "order[\"p\"] is not a list of ids",
            "order[\"q\"] is not a list of ids",
            "usageStats[\"a\"] is not an object",
        ]
    );
    assert_eq!(compact(&document), text);
    assert_eq!(parsed(r#"{"profiles":{}}"#).wrong_shapes(), []);
}

#[test]
fn a_document_that_cannot_be_kept_is_readable_but_has_no_bytes() {
    let mut twice =
        parsed(r#"{"profiles":{"p:a":{"type":"odd"},"p:a":{"type":"token","provider":"p","token":"T"}}}"#);
    assert_eq!(
        twice.credential(&id("p:a")).unwrap().generation(),
        Some(Secret::new("T").fingerprint())
    );
    assert_eq!(twice.flaw().unwrap().code(), ErrorCode::StoreDuplicateKeys);
    twice.remove(&id("p:a")).unwrap();
    assert_eq!(refusal(twice.to_bytes()).0, ErrorCode::StoreDuplicateKeys);

    let half = parsed(r#"{"profiles":{},"x":"\ud800"}"#);
    assert_eq!(refusal(half.to_bytes()).0, ErrorCode::StoreUnparsable);
}

#[test]
fn debug_shows_ids_and_no_secret() {
    let document = parsed(r#"{"profiles":{"p:a":{"type":"token","provider":"p","token":"SECRET"}}}"#);
    assert_eq!(
        format!("{document:?}"),
        r#"Document { profiles: ["p:a"], flaw: None, .. }"#
    );
}

/// Every member of `value` but `except`, in order, with the spelling of its value.
fn members(value: &Value, except: &[&str]) -> Vec<(String, String)> {
    let members = value.as_object().into_iter().flatten();
    members
        .filter(|(name, _)| !except.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.to_string()))
        .collect()
}

#[test]
fn an_edit_of_one_profile_leaves_all_others_as_they_were() {
    let mut edits = [0; 3];
    for seed in 0..3_000 {
        let (text, mut random) = generated::store(seed);
        let before = json::parse(text.as_bytes()).unwrap();
        let mut document = parsed(&text);
        let chosen = generated::ids().choose(&mut random).cloned().unwrap();
        let chosen_id = id(&chosen);
        let edit = random.random_range(0..3);
        let done = match edit {
            0 => document.replace_tokens(&chosen_id, &tokens(), RefreshedFields::All),
            1 => document.put(&chosen_id, &oauth("p0")),
            _ => document.remove(&chosen_id),
        };
        let after = json::parse(&document.to_bytes().unwrap()).unwrap();
        if done.is_err() {
            assert_eq!(after.to_string(), before.to_string(), "seed {seed}");
            continue;
        }
        edits[edit] += 1;
        assert_eq!(
            members(&after["profiles"], &[&chosen]),
            members(&before["profiles"], &[&chosen]),
            "seed {seed}"
        );
        let touched_by_removal: &[&str] = if edit == 2 {
            &["profiles", "order", "lastGood", "usageStats"]
        } else {
            &["profiles"]
        };
        assert_eq!(
            members(&after, touched_by_removal),
            members(&before, touched_by_removal),
            "seed {seed}"
        );
        let replaced = [
            "access",
            "refresh",
            "expires",
            "idToken",
            "accountId",
            "chatgptPlanType",
            "email",
        ];
        match edit {
            0 => assert_eq!(
                members(&after["profiles"][&chosen], &replaced),
                members(&before["profiles"][&chosen], &replaced),
                "seed {seed}"
            ),
            1 => assert_eq!(
                after["profiles"][&chosen].get("unknownField"),
                before["profiles"][&chosen].get("unknownField"),
                "seed {seed}"
            ),
            _ => {
                assert!(!document.contains(&chosen_id));
                let state = document.state();
                assert!(
                    state.order.values().all(|ids| !ids.contains(&chosen_id)),
                    "seed {seed}"
                );
                assert!(
                    state.last_good.values().all(|good| *good != chosen_id),
                    "seed {seed}"
                );
                assert!(!state.usage_stats.contains_key(&chosen_id), "seed {seed}");
            }
        }
    }
    assert!(edits.iter().all(|count| *count > 100), "{edits:?}");
}

#[test]
fn a_file_that_is_nested_too_deep_is_refused_and_not_recovered() {
    for deep in ["[", "{\"a\":"].map(|opening| opening.repeat(200_000)) {
        let refused = Document::parse(deep.as_bytes()).err().map(|error| error.code());
        assert_eq!(refused, Some(ErrorCode::StoreUnparsable));
        assert!(Document::recovered(deep.as_bytes()).is_none());
    }
}
