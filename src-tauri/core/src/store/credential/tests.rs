use serde_json::json;

use super::*;

fn provider(id: &str) -> ProviderId {
    ProviderId::parse(id).unwrap()
}

fn exposed(secret: &Option<Secret>) -> Option<&str> {
    secret.as_ref().map(Secret::expose)
}

#[test]
fn every_oauth_field_is_read() {
    let credential = Credential::read(&json!({
        "type": "oauth", "provider": " OpenAI-Codex ", "access": "A", "refresh": "R",
        "expires": 1_700_000_000_123_i64, "email": "Me@x.com", "displayName": "Me",
        "copyToAgents": true, "idToken": "I", "clientId": "C", "enterpriseUrl": "https://e",
        "projectId": "P", "accountId": "acc", "chatgptPlanType": "plus",
        "oauthRef": {"source": "openclaw-credentials"},
    }));
    assert_eq!(credential.kind(), CredentialKind::Oauth);
    assert_eq!(credential.generation(), Some(Secret::new("R").fingerprint()));
    assert!(credential.has_secret());
    let oauth = credential.as_oauth().unwrap();
    assert_eq!(
        oauth.common,
        Common {
            provider: provider("openai-codex"),
            provider_text: " OpenAI-Codex ".into(),
            email: Some("Me@x.com".into()),
            display_name: Some("Me".into()),
            copy_to_agents: Some(true),
            is_replacement: false,
        }
    );
    assert_eq!(exposed(&oauth.access), Some("A"));
    assert_eq!(exposed(&oauth.refresh), Some("R"));
    assert_eq!(exposed(&oauth.id_token), Some("I"));
    assert_eq!(
        oauth.expires,
        Expiry::At(Timestamp::from_millis(1_700_000_000_123))
    );
    assert_eq!(oauth.client_id.as_deref(), Some("C"));
    assert_eq!(oauth.account_id.as_deref(), Some("acc"));
    assert_eq!(oauth.chatgpt_plan_type.as_deref(), Some("plus"));
    assert_eq!(oauth.enterprise_url.as_deref(), Some("https://e"));
    assert_eq!(oauth.project_id.as_deref(), Some("P"));
    assert!(oauth.has_oauth_ref);
}

#[test]
fn static_types_are_read_with_their_references() {
    let Credential::ApiKey(api_key) = Credential::read(&json!({
        "type": "api_key", "provider": "cf", "key": "K", "metadata": {"accountId": "1", "n": 2},
        "keyRef": {"source": "exec", "provider": "gate", "id": "cf/work"},
    })) else {
        panic!("not an api key")
    };
    assert_eq!(exposed(&api_key.key), Some("K"));
    assert_eq!(api_key.key_ref.unwrap().label(), "ref(exec:cf/work)");
    assert_eq!(api_key.metadata.keys().collect::<Vec<_>>(), ["accountId"]);

    let Credential::Token(token) = Credential::read(&json!({
        "type": "token", "provider": "anthropic", "token": "T", "expires": 5,
        "tokenRef": {"source": "env", "id": "TOK"},
    })) else {
        panic!("not a token")
    };
    assert_eq!(exposed(&token.token), Some("T"));
    assert_eq!(
        token.token_ref,
        Some(SecretRef {
            source: "env".into(),
            provider: "default".into(),
            id: "TOK".into()
        })
    );
    assert_eq!(token.expires, Expiry::At(Timestamp::from_millis(5)));
}

#[test]
fn a_reference_in_the_place_of_the_secret_counts_as_reference() {
    let reference = json!({"source": "file", "provider": "f", "id": "/a"});
    for value in [
        json!({"type": "api_key", "provider": "p", "key": reference}),
        json!({"type": "token", "provider": "p", "token": reference}),
    ] {
        let credential = Credential::read(&value);
        assert!(credential.has_secret());
        assert_eq!(credential.generation(), None);
    }
    let broken = Credential::read(&json!({"type": "api_key", "provider": "p", "keyRef": {"source": "x"}}));
    assert!(!broken.has_secret());
}

#[test]
fn aliases_of_later_releases_are_accepted() {
    for value in [
        json!({"mode": "api_key", "provider": "p", "apiKey": "K"}),
        json!({"type": "apiKey", "provider": "p", "key": "K"}),
    ] {
        let credential = Credential::read(&value);
        assert_eq!(credential.kind(), CredentialKind::ApiKey);
        assert_eq!(credential.generation(), Some(Secret::new("K").fingerprint()));
    }
    // The field itself, whatever it holds, comes before its alias.
    let shadowed = Credential::read(&json!({"type": "new", "mode": "oauth", "provider": "p"}));
    assert_eq!(shadowed.kind(), CredentialKind::Unknown);
}

#[test]
fn entries_that_openclaw_would_drop_are_unknown() {
    let cases = [
        (json!("text"), None, UnknownWhy::NotAnObject),
        (json!(null), None, UnknownWhy::NotAnObject),
        (json!([]), None, UnknownWhy::NotAnObject),
        (json!({"provider": "P"}), Some(provider("p")), UnknownWhy::Type),
        (
            json!({"type": 7, "provider": "p"}),
            Some(provider("p")),
            UnknownWhy::Type,
        ),
        (
            json!({"type": "passkey", "provider": "p"}),
            Some(provider("p")),
            UnknownWhy::Type,
        ),
        (
            json!({"type": "oauth", "access": "A"}),
            None,
            UnknownWhy::Provider,
        ),
        (
            json!({"type": "oauth", "provider": " "}),
            None,
            UnknownWhy::Provider,
        ),
        (
            json!({"type": "oauth", "provider": 1}),
            None,
            UnknownWhy::Provider,
        ),
    ];
    for (value, provider, why) in cases {
        let Credential::Unknown(unknown) = Credential::read(&value) else {
            panic!("{value} is known")
        };
        assert_eq!(unknown, Unknown { provider, why }, "{value}");
    }
}

#[test]
fn fields_of_a_wrong_type_are_absent() {
    let credential = Credential::read(&json!({
        "type": "oauth", "provider": "p", "access": 1, "refresh": "  ", "expires": "soon",
        "email": [], "copyToAgents": "yes", "oauthRef": null,
    }));
    let oauth = credential.as_oauth().unwrap();
    assert!(!credential.has_secret());
    assert_eq!(credential.generation(), None);
    assert_eq!(oauth.expires, Expiry::Invalid);
    assert_eq!(oauth.common.email, None);
    assert_eq!(oauth.common.copy_to_agents, None);
    assert!(!oauth.has_oauth_ref);
}

#[test]
fn expiry_is_valid_only_as_a_positive_finite_number() {
    let expiry = |expires: &str| {
        let text = format!(r#"{{"type":"token","provider":"p","expires":{expires}}}"#);
        Credential::read(&json::parse(text.as_bytes()).unwrap()).expiry()
    };
    assert_eq!(expiry("1"), Expiry::At(Timestamp::from_millis(1)));
    assert_eq!(
        expiry("1.7e12").at(),
        Some(Timestamp::from_millis(1_700_000_000_000))
    );
    for invalid in ["0", "-1", "0.5", "\"1\"", "true", "1e999", "{}"] {
        assert_eq!(expiry(invalid), Expiry::Invalid, "{invalid}");
    }
    assert_eq!(expiry("null"), Expiry::Absent);
}

#[test]
fn debug_shows_no_secret() {
    let credential = Credential::read(&json!({
        "type": "api_key", "provider": "p", "key": "SECRET-1", "metadata": {"m": "SECRET-2"},
    }));
    let oauth = Credential::read(&json!({
        "type": "oauth", "provider": "p", "access": "SECRET-3", "refresh": "SECRET-4",
        "idToken": "SECRET-5",
    }));
    let shown = format!("{credential:?} {oauth:?}");
    assert!(!shown.contains("SECRET"), "{shown}");
}
