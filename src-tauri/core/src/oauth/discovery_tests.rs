//! What servers say of themselves, as Keycloak, oidc-provider and others do, and what must not be believed.

use super::*;
use crate::clock::{ManualClock, Timestamp};
use crate::oauth::testing::{FakeServer, Reply};
use tempfile::TempDir;

struct Bed {
    home: TempDir,
    server: FakeServer,
}

impl Bed {
    /// The replies are told the server's own address.
    async fn new(replies: impl Fn(&str) -> Vec<Reply>) -> Self {
        let server = FakeServer::start_with(|port| replies(&format!("http://127.0.0.1:{port}"))).await;
        Self {
            home: tempfile::tempdir().unwrap(),
            server,
        }
    }

    fn environment(&self) -> Environment {
        let home = self.home.path();
        Environment::new([], home, home).with_var("KALIT_CONFIG_DIR", &home.display().to_string())
    }

    fn issuer(&self, path: &str) -> Issuer {
        Issuer {
            url: format!("http://127.0.0.1:{}{path}", self.server.port),
            id: ProviderId::parse("acme").unwrap(),
            name: Some("Acme".to_owned()),
            client_id: "client-1".to_owned(),
            scopes: Vec::new(),
            redirect: None,
        }
    }

    async fn discover(&self, issuer: &Issuer) -> Result<Discovered> {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
        discover(&self.environment(), clock, issuer).await
    }

    fn paths(&self) -> Vec<String> {
        let requests = self.server.requests();
        let path = |request: &String| request.split(' ').nth(1).unwrap().to_owned();
        requests.iter().map(path).collect()
    }
}

fn metadata(issuer: &str) -> Value {
    json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/auth"),
        "token_endpoint": format!("{issuer}/token"),
        "revocation_endpoint": format!("{issuer}/revoke"),
        "device_authorization_endpoint": format!("{issuer}/device/auth"),
        "code_challenge_methods_supported": ["plain", "S256"],
        "scopes_supported": ["openid", "email", "offline_access", "phone"],
    })
}

#[tokio::test]
async fn a_server_becomes_a_provider_that_only_its_owner_can_read() {
    let bed = Bed::new(|issuer| vec![Reply::json(200, &metadata(issuer))]).await;
    let issuer = bed.issuer("");
    let found = bed.discover(&issuer).await.unwrap();
    assert_eq!(
        (found.flow(), found.hosts()),
        ("pkce", &[format!("127.0.0.1:{}", bed.server.port)][..])
    );
    assert!(!found.file().exists(), "nothing is written before it was seen");
    found.write().unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(found.file()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let providers = Providers::load(&bed.environment()).unwrap();
    assert!(providers.rejected().is_empty(), "{:?}", providers.rejected());
    let acme = providers.get(&issuer.id).unwrap();
    let authorization = acme.authorization().unwrap();
    assert_eq!(authorization.scopes, ["openid", "email", "offline_access"]);
    assert_eq!(
        authorization.params,
        [("prompt".to_owned(), "consent".to_owned())]
    );
    assert_eq!(authorization.redirect.host, RedirectHost::V4);
    assert_eq!(
        acme.revoke_url().unwrap().as_str(),
        format!("{}/revoke", issuer.url)
    );
    assert_eq!((acme.name(), acme.account()), ("Acme", None));
    assert_eq!(bed.paths(), ["/.well-known/oauth-authorization-server"]);

    let again = bed.discover(&issuer).await.unwrap_err();
    assert_eq!(again.code(), ErrorCode::ProviderManifestInvalid);
}

#[tokio::test]
async fn an_issuer_with_a_path_is_asked_at_both_places() {
    let bed = Bed::new(|issuer| {
        let nothing = Reply::http(404, "text/html", "<html></html>");
        vec![
            nothing,
            Reply::json(200, &metadata(&format!("{issuer}/realms/one"))),
        ]
    })
    .await;
    bed.discover(&bed.issuer("/realms/one")).await.unwrap();
    assert_eq!(
        bed.paths(),
        [
            "/.well-known/oauth-authorization-server/realms/one",
            "/realms/one/.well-known/openid-configuration"
        ]
    );
}

#[tokio::test]
async fn without_s256_a_code_is_used() {
    for field in ["code_challenge_methods_supported", "authorization_endpoint"] {
        let bed = Bed::new(|issuer| {
            let mut metadata = metadata(issuer);
            metadata.as_object_mut().unwrap().remove(field);
            vec![Reply::json(200, &metadata)]
        })
        .await;
        assert_eq!(
            bed.discover(&bed.issuer("")).await.unwrap().flow(),
            "device",
            "{field}"
        );
    }
}

#[tokio::test]
async fn what_a_person_names_stands_in_the_file() {
    let bed = Bed::new(|issuer| vec![Reply::json(200, &metadata(issuer))]).await;
    let mut issuer = bed.issuer("");
    issuer.scopes = vec!["chutes:invoke".to_owned()];
    issuer.redirect = Some("http://127.0.0.1:1456/oauth-callback".to_owned());
    bed.discover(&issuer).await.unwrap().write().unwrap();
    let providers = Providers::load(&bed.environment()).unwrap();
    let acme = providers.get(&issuer.id).unwrap();
    let authorization = acme.authorization().unwrap();
    assert_eq!(authorization.scopes, ["chutes:invoke"]);
    assert_eq!(
        (
            authorization.redirect.ports.as_slice(),
            authorization.redirect.path.as_str()
        ),
        (&[1456][..], "/oauth-callback")
    );
    assert_eq!(acme.account(), Some("default"));
    issuer.id = ProviderId::parse("other").unwrap();
    for foreign in [
        "https://127.0.0.1:1456/cb",
        "http://evil.example/cb",
        "http://127.0.0.1/cb?a=b",
    ] {
        issuer.redirect = Some(foreign.to_owned());
        assert_eq!(
            bed.discover(&issuer).await.unwrap_err().code(),
            ErrorCode::Usage,
            "{foreign}"
        );
    }
}

#[tokio::test]
async fn metadata_that_cannot_be_believed_or_used_make_no_file() {
    type Spoil = fn(&mut Value);
    let cases: [(Spoil, ErrorCode); 6] = [
        (
            |it| it["issuer"] = "https://evil.example".into(),
            ErrorCode::ProviderDiscoveryFailed,
        ),
        (
            |it| it["issuer"] = format!("{}/", it["issuer"].as_str().unwrap()).into(),
            ErrorCode::ProviderDiscoveryFailed,
        ),
        (
            |it| it["issuer"] = Value::Null,
            ErrorCode::ProviderDiscoveryFailed,
        ),
        (
            |it| {
                it["code_challenge_methods_supported"] = json!(["plain"]);
                it["device_authorization_endpoint"] = Value::Null;
            },
            ErrorCode::ProviderDiscoveryFailed,
        ),
        (
            |it| it["token_endpoint"] = "http://evil.example/token".into(),
            ErrorCode::ProviderManifestInvalid,
        ),
        (
            |it| it["token_endpoint"] = Value::Null,
            ErrorCode::ProviderManifestInvalid,
        ),
    ];
    for (spoil, expected) in cases {
        let bed = Bed::new(|issuer| {
            let mut metadata = metadata(issuer);
            spoil(&mut metadata);
            vec![Reply::json(200, &metadata)]
        })
        .await;
        let error = bed.discover(&bed.issuer("")).await.unwrap_err();
        assert_eq!(error.code(), expected, "{}", error.message());
        assert!(!error.message().contains("evil.example"), "{}", error.message());
        assert!(!bed.home.path().join("providers").exists());
    }
    let silent = Bed::new(|_| vec![Reply::http(404, "text/plain", "no")]).await;
    let error = silent.discover(&silent.issuer("")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ProviderDiscoveryFailed);
    let busy = Bed::new(|_| vec![Reply::http(503, "text/plain", "no")]).await;
    let error = busy.discover(&busy.issuer("")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ProviderOutOfOrder);
    let mut issuer = busy.issuer("");
    issuer.url = "http://id.acme.example".to_owned();
    let error = busy.discover(&issuer).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ProviderManifestInvalid);
}
