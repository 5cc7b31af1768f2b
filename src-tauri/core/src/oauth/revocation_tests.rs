use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::clock::SystemClock;
use crate::oauth::testing::{FakeServer, Reply, environment, free_port, manifest};

async fn revoke(provider: &Provider, deadline: Duration) -> RevokeAnswer {
    let endpoint = TokenEndpoint::new(&environment(), Arc::new(SystemClock)).unwrap();
    let token = Secret::new("REF+0");
    endpoint.revoke(provider, &token, None, deadline).await
}

fn at(port: u16, request: &str) -> Provider {
    manifest(&json!({
        "manifest": 1, "id": "acme", "flow": "pkce", "clientId": "client",
        "authorizeUrl": "http://127.0.0.1:9/authorize", "tokenUrl": "http://127.0.0.1:9/token",
        "revokeUrl": format!("http://127.0.0.1:{port}/revoke"), "revokeRequest": request,
    }))
}

#[tokio::test]
async fn a_revocation_is_one_request_in_the_encoding_of_the_manifest() {
    let form = "token=REF%2B0&token_type_hint=refresh_token&client_id=client";
    let json = r#"{"token":"REF+0","token_type_hint":"refresh_token","client_id":"client"}"#;
    for (request, body) in [("form", form), ("json", json)] {
        let server = FakeServer::start(vec![Reply::http(200, "text/plain", "")]).await;
        let answer = revoke(&at(server.port, request), CALL_DEADLINE).await;
        assert!(matches!(answer, RevokeAnswer::Ended), "{answer:?}");
        assert_eq!(server.bodies(), [body]);
        assert!(server.requests()[0].starts_with("POST /revoke HTTP/1.1"));
    }
}

#[tokio::test]
async fn every_answer_is_told_for_what_it_is() {
    let refusal = |status, code: &str| Reply::json(status, &json!({"error": code}));
    let cases = [
        (Reply::json(200, &json!({})), "ended"),
        (refusal(400, "invalid_grant"), "ended before"),
        (refusal(401, "refresh_token_invalidated"), "ended before"),
        (refusal(400, "unsupported_token_type"), "revoke.refused"),
        (refusal(401, "invalid_client"), "revoke.refused"),
        (Reply::http(404, "text/plain", "none"), "revoke.refused"),
        (Reply::http(503, "text/plain", ""), "provider.out_of_order"),
        (Reply::http(429, "text/plain", ""), "provider.rate_limited"),
        (
            Reply::http(502, "text/html", "<p>"),
            "doubt: provider.out_of_order",
        ),
        (
            Reply::http(200, "text/html", "<p>Wi-Fi"),
            "doubt: network.captive",
        ),
        (Reply::Drop, "unknown"),
        (Reply::Hang, "unknown"),
    ];
    for (reply, expected) in cases {
        let server = FakeServer::start(vec![reply.clone()]).await;
        let answer = revoke(&at(server.port, "form"), Duration::from_secs(1)).await;
        let told = match &answer {
            RevokeAnswer::Ended => "ended".to_owned(),
            RevokeAnswer::EndedBefore { .. } => "ended before".to_owned(),
            RevokeAnswer::Refused { error, is_doubtful } => {
                let doubt = if *is_doubtful { "doubt: " } else { "" };
                format!("{doubt}{}", error.code().as_str())
            }
            RevokeAnswer::NotSent(error) => format!("not sent: {}", error.code().as_str()),
            RevokeAnswer::Unknown => "unknown".to_owned(),
        };
        assert_eq!(told, expected, "{reply:?}");
        assert!(!format!("{answer:?}").contains("REF"), "{answer:?}");
        assert_eq!(server.requests().len(), 1, "{reply:?}");
    }
    let nobody = revoke(&at(free_port().await, "form"), CALL_DEADLINE).await;
    let RevokeAnswer::NotSent(error) = nobody else {
        panic!("{nobody:?}");
    };
    assert_eq!(error.code(), ErrorCode::NetworkUnreachable);
}
