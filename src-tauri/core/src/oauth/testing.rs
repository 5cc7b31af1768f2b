//! What the tests of this module share: providers, JWTs, free ports and a token endpoint of wire
//! octets.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::environment::Environment;
use crate::ids::ProviderId;

use super::manifest::{self, Manifest};
use super::provider::Provider;
use super::providers::Providers;

pub(crate) fn openai() -> Provider {
    let id = ProviderId::parse("openai").unwrap();
    Providers::built_in().unwrap().get(&id).unwrap().clone()
}

pub(crate) fn manifest(value: &Value) -> Provider {
    match manifest::parse(&value.to_string(), None, |_| None).unwrap() {
        Manifest::New(provider) | Manifest::Override(provider) => provider,
    }
}

/// A provider like OpenAI whose endpoints are at `token_url` and whose redirect uses `ports`.
pub(crate) fn loopback_provider(token_url: &str, ports: &[u16]) -> Provider {
    let override_text = json!({
        "manifest": 1, "id": "openai", "overrides": "openai",
        "authorizeUrl": token_url.replace("/token", "/authorize"), "tokenUrl": token_url,
        "redirect": {"ports": ports},
    })
    .to_string();
    let built_in = Providers::built_in().unwrap();
    match manifest::parse(&override_text, Some("x.json".into()), |id| built_in.get(id)).unwrap() {
        Manifest::New(provider) | Manifest::Override(provider) => provider,
    }
}

pub(crate) fn jwt(payload: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2ln", part(&json!({"alg": "none"})), part(payload))
}

pub(crate) fn environment() -> Environment {
    Environment::new([], "/nonexistent", "/nonexistent")
}

/// A port that is free on both loopback families, each time another one. Below the range from
/// which systems take ports by themselves, so that no other socket slips in before it is used.
pub(crate) async fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..1000 {
        let offset = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        let port = 20_000 + u16::try_from(offset).unwrap();
        let v4 = TcpListener::bind(("127.0.0.1", port)).await;
        let v6 = TcpListener::bind(("::1", port)).await;
        if v4.is_ok() && (v6.is_ok() || !has_v6().await) {
            return port;
        }
    }
    panic!("no free port");
}

pub(crate) async fn has_v6() -> bool {
    TcpListener::bind(("::1", 0)).await.is_ok()
}

/// Waits for a condition, at most ten seconds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

/// What a [`FakeServer`] does with a request that it has read.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Sends these octets and closes.
    Octets(Vec<u8>),
    /// Closes without a word.
    Drop,
    /// Says nothing until the client goes away.
    Hang,
    /// A JSON answer in which `$name` is what the request's form has under that name.
    Echo(&'static str, String),
    /// Sends the octets one after the other with a pause.
    Slowly(Vec<u8>, Duration),
}

impl Reply {
    pub(crate) fn http(status: u16, content_type: &str, body: &str) -> Self {
        Self::with_headers(status, &format!("Content-Type: {content_type}\r\n"), body)
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::http(status, "application/json", &body.to_string())
    }

    /// `headers` end with a line break each.
    pub(crate) fn with_headers(status: u16, headers: &str, body: &str) -> Self {
        let length = body.len();
        Self::Octets(
            format!(
                "HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
            .into_bytes(),
        )
    }
}

/// A server that reads a whole HTTP request, keeps it, and replies as told; the last reply repeats.
pub(crate) struct FakeServer {
    pub(crate) port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl FakeServer {
    pub(crate) async fn start(replies: Vec<Reply>) -> Self {
        Self::start_with(|_| replies).await
    }

    /// The replies may name the port.
    pub(crate) async fn start_with(replies: impl FnOnce(u16) -> Vec<Reply>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let replies = replies(port);
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&kept), replies.clone()));
            }
        });
        Self { port, requests }
    }

    pub(crate) fn token_url(&self) -> String {
        format!("http://127.0.0.1:{}/token", self.port)
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// The bodies of the requests.
    pub(crate) fn bodies(&self) -> Vec<String> {
        self.requests()
            .iter()
            .map(|request| request.split_once("\r\n\r\n").unwrap().1.to_owned())
            .collect()
    }
}

async fn answer(mut stream: TcpStream, kept: Arc<Mutex<Vec<String>>>, replies: Vec<Reply>) {
    let Some(request) = read_request(&mut stream).await else {
        return;
    };
    let body = request.split_once("\r\n\r\n").unwrap_or_default().1.to_owned();
    let reply = {
        let mut kept = kept.lock().unwrap();
        kept.push(request);
        replies[(kept.len() - 1).min(replies.len() - 1)].clone()
    };
    let reply = match reply {
        Reply::Echo(name, answer) => {
            let mut sent = url::form_urlencoded::parse(body.as_bytes());
            let value = sent.find(|(known, _)| known == name).unwrap().1.into_owned();
            Reply::http(
                200,
                "application/json",
                &answer.replace(&format!("${name}"), &value),
            )
        }
        other => other,
    };
    match reply {
        Reply::Echo(..) => unreachable!("replaced above"),
        Reply::Octets(octets) => {
            let _ = stream.write_all(&octets).await;
            let _ = stream.shutdown().await;
        }
        Reply::Drop => {}
        Reply::Hang => {
            let mut rest = [0; 64];
            while stream.read(&mut rest).await.is_ok_and(|count| count > 0) {}
        }
        Reply::Slowly(octets, pause) => {
            for octet in octets {
                if stream.write_all(&[octet]).await.is_err() {
                    return;
                }
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// Reads head and body (by `Content-Length`) of one request.
pub(crate) async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut octets = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).await.ok()?;
        if count == 0 {
            return None;
        }
        octets.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&octets);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length: usize = head
            .lines()
            .find_map(|line| {
                line.to_lowercase()
                    .strip_prefix("content-length:")
                    .map(str::to_owned)
            })
            .map_or(0, |value| value.trim().parse().unwrap());
        if body.len() >= length {
            return Some(text.into_owned());
        }
    }
}
