use super::*;
use serde_json::json;

fn parse_new(value: Value) -> Result<Provider> {
    match parse(&value.to_string(), Some("x.json".into()), |_| None)? {
        Manifest::New(provider) => Ok(provider),
        Manifest::Override(_) => panic!("an override"),
    }
}

fn complete() -> Value {
    json!({
        "manifest": 1,
        "id": "acme",
        "aliases": ["acme-old"],
        "name": "Acme",
        "flow": "pkce",
        "authorizeUrl": "https://id.acme.example/authorize",
        "tokenUrl": "https://id.acme.example/token",
        "clientId": "client-1",
        "scopes": ["openid", "offline_access"],
        "redirect": {"host": "127.0.0.1", "ports": [4000], "path": "/cb"},
        "tokenRequest": "json",
        "authorizeParams": {"b": "2", "a": "1"},
        "claims": {"accountId": "/org/id", "subject": ["uid", "sub"]},
    })
}

fn with(field: &str, value: Value) -> Value {
    let mut manifest = complete();
    manifest[field] = value;
    manifest
}

fn without(field: &str) -> Value {
    let mut manifest = complete();
    manifest.as_object_mut().unwrap().remove(field);
    manifest
}

#[test]
fn every_field_of_a_manifest_arrives() {
    let path = |steps: &[&str]| ClaimPath(steps.iter().map(|s| (*s).to_owned()).collect());
    let expected = Provider {
        id: ProviderId::parse("acme").unwrap(),
        aliases: vec![ProviderId::parse("acme-old").unwrap()],
        name: "Acme".to_owned(),
        flow: Flow::Pkce(Authorization {
            url: Url::parse("https://id.acme.example/authorize").unwrap(),
            scopes: vec!["openid".to_owned(), "offline_access".to_owned()],
            redirect: Redirect {
                host: RedirectHost::V4,
                ports: vec![4000],
                path: "/cb".to_owned(),
            },
            params: vec![("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())],
        }),
        issues: Issues::Oauth,
        account: None,
        token: Some(TokenRoute {
            url: Url::parse("https://id.acme.example/token").unwrap(),
            client_id: "client-1".to_owned(),
            encoding: Encoding::Json,
        }),
        revoke_url: None,
        revoke_request: Encoding::Form,
        claims: ClaimNames {
            account_id: vec![path(&["org", "id"])],
            subject: vec![path(&["uid"]), path(&["sub"])],
            email: vec![path(&["email"])],
            plan: vec![],
        },
        origin: Origin::File("x.json".into()),
    };
    assert_eq!(parse_new(complete()).unwrap(), expected);
}

#[test]
fn a_manifest_with_a_mistake_is_refused_and_says_which() {
    let cases = [
        (with("manifest", json!(2)), "\"manifest\" must be 1"),
        (with("clientSecret", json!("x")), "unknown field `clientSecret`"),
        (with("id", json!("Acme")), "a provider id consists of"),
        (with("id", json!("a/b")), "a provider id consists of"),
        (with("flow", json!("implicit")), "unknown variant `implicit`"),
        (without("flow"), "\"flow\" is missing"),
        (without("authorizeUrl"), "\"authorizeUrl\" is missing"),
        (without("tokenUrl"), "\"tokenUrl\" is missing"),
        (without("clientId"), "\"clientId\" is missing"),
        (with("clientId", json!("a b")), "\"clientId\" must be"),
        (
            with("tokenUrl", json!("http://id.acme.example/token")),
            "\"tokenUrl\" must begin with https",
        ),
        (
            with("tokenUrl", json!("http://localhost:9/token")),
            "\"tokenUrl\" must begin with https",
        ),
        (
            with("tokenUrl", json!("http://127.0.0.1.evil.example/t")),
            "\"tokenUrl\" must begin with https",
        ),
        (
            with("authorizeUrl", json!("file:///etc/passwd")),
            "\"authorizeUrl\" must begin with https",
        ),
        (
            with("authorizeUrl", json!("https://u:p@acme.example/")),
            "must not contain a user",
        ),
        (with("revokeUrl", json!("nonsense")), "\"revokeUrl\" is not a URL"),
        (with("revokeRequest", json!("xml")), "unknown variant `xml`"),
        (with("scopes", json!(["a b"])), "\"scopes\" must be"),
        (
            with("redirect", json!({"host": "0.0.0.0"})),
            "\"redirect.host\" must be",
        ),
        (
            with("redirect", json!({"ports": [0]})),
            "\"redirect.ports\" must be",
        ),
        (
            with("redirect", json!({"path": "cb"})),
            "\"redirect.path\" must begin",
        ),
        (
            with("redirect", json!({"path": "/a?b"})),
            "\"redirect.path\" must begin",
        ),
        (with("redirect", json!({"bind": "x"})), "unknown field `bind`"),
        (with("tokenRequest", json!("xml")), "unknown variant `xml`"),
        (
            with("authorizeParams", json!({"state": "x"})),
            "must not set state",
        ),
        (
            with("authorizeParams", json!({"a": 1})),
            "\"authorizeParams\" must be texts",
        ),
        (
            with("claims", json!({"subject": "/a//b"})),
            "a claim name is empty",
        ),
        (with("claims", json!({"mail": "x"})), "unknown field `mail`"),
        (
            with("overrides", json!("openai")),
            "\"overrides\" must repeat \"id\"",
        ),
        (
            with("overrides", json!("acme")),
            "\"overrides\" must name a built-in provider",
        ),
        (with("issues", json!("cookie")), "unknown variant `cookie`"),
        (
            json!({"manifest": 1, "id": "k", "flow": "device", "issues": "api-key"}),
            "\"issues\" does not go with this flow",
        ),
        (with("account", json!("a b")), "\"account\" must consist"),
        (
            with("verificationHosts", json!(["https://acme.example"])),
            "\"verificationHosts\" must be",
        ),
        (
            with("verificationHosts", json!(["com"])),
            "\"verificationHosts\" must be",
        ),
        (json!([]), "invalid length 0"),
    ];
    for (manifest, expected) in cases {
        let error = parse_new(manifest.clone()).expect_err(expected);
        assert_eq!(error.code(), ErrorCode::ProviderManifestInvalid);
        assert!(
            error.message().contains(expected),
            "{manifest}: {}",
            error.message()
        );
    }
}

#[test]
fn what_a_manifest_leaves_out_has_the_documented_default() {
    let provider = parse_new(json!({
        "manifest": 1, "id": "acme", "flow": "pkce", "clientId": "c",
        "authorizeUrl": "http://127.0.0.1:9/authorize", "tokenUrl": "http://[::1]:9/token",
    }))
    .unwrap();
    assert_eq!(provider.name(), "acme");
    let authorization = provider.authorization().unwrap();
    assert_eq!(
        authorization.redirect,
        Redirect {
            host: RedirectHost::Localhost,
            ports: vec![],
            path: "/auth/callback".to_owned()
        }
    );
    assert_eq!(provider.token_route().unwrap().encoding, Encoding::Form);
}

#[test]
fn the_page_of_a_code_is_on_the_origin_of_its_endpoint_or_on_a_named_host() {
    let provider = parse_new(json!({
        "manifest": 1, "id": "acme", "flow": "device", "clientId": "c",
        "authorizeUrl": "https://auth.acme.example/device/code", "tokenUrl": "https://auth.acme.example/token",
        "verificationHosts": ["acme.example"],
    }))
    .unwrap();
    let trusts = |url: &str| provider.device().unwrap().trusts(&Url::parse(url).unwrap());
    for fine in [
        "https://auth.acme.example/device",
        "https://acme.example/device?user_code=A",
        "https://accounts.acme.example/device",
    ] {
        assert!(trusts(fine), "{fine}");
    }
    for foreign in [
        "http://acme.example/device",
        "https://evilacme.example/device",
        "https://acme.example.evil.example/device",
        "https://acme.example:8443/device",
        "https://a:b@acme.example/device",
        "javascript:alert(1)",
    ] {
        assert!(!trusts(foreign), "{foreign}");
    }
}

#[test]
fn claim_paths_follow_rfc_6901() {
    let payload = json!({"https://x/y": {"a~b": "found"}, "n": 1, "e": ""});
    let find = |text: &str| ClaimPath::parse(text).unwrap().find(&payload);
    assert_eq!(find("/https:~1~1x~1y/a~0b"), Some("found"));
    assert_eq!(find("https://x/y"), None);
    assert_eq!(find("n"), None);
    assert_eq!(find("e"), None);
    assert_eq!(find("/absent/deep"), None);
}

#[test]
fn a_recorded_token_endpoint_replaces_the_manifests() {
    let provider = parse_new(complete()).unwrap();
    let moved = provider.at_token_url("https://old.acme.example/token").unwrap();
    assert_eq!(
        moved.token_route().unwrap().url.as_str(),
        "https://old.acme.example/token"
    );
    assert_eq!(moved.token_route().unwrap().client_id, "client-1");
    let plain = provider.at_token_url("http://old.acme.example/token");
    assert_eq!(plain.unwrap_err().code(), ErrorCode::ProviderManifestInvalid);
    let static_only = parse_new(json!({"manifest": 1, "id": "k", "flow": "api-key"})).unwrap();
    let refused = static_only.at_token_url("https://a.example/");
    assert_eq!(refused.unwrap_err().code(), ErrorCode::ProfileNotRefreshable);
}

#[test]
fn the_documentation_describes_every_field_and_its_examples_are_valid() {
    let page = include_str!("../../../../docs/providers.md");
    for field in [
        "manifest",
        "id",
        "overrides",
        "aliases",
        "name",
        "flow",
        "issues",
        "account",
        "verificationHosts",
        "authorizeUrl",
        "tokenUrl",
        "revokeUrl",
        "revokeRequest",
        "clientId",
        "scopes",
        "redirect",
        "tokenRequest",
        "authorizeParams",
        "claims",
        "host",
        "ports",
        "path",
        "accountId",
        "subject",
        "email",
        "plan",
    ] {
        assert!(page.contains(&format!("\n| `{field}` |")), "{field}");
    }
    let built_in = crate::oauth::Providers::built_in().unwrap();
    let examples: Vec<&str> = page
        .split("```json\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert_eq!(examples.len(), 3);
    for example in examples {
        parse(example, Some("x.json".into()), |id| built_in.get(id)).expect(example);
    }
}
