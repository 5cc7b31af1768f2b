//! The loopback listener of one sign-in (RFC 8252 section 7.3): both loopback families, one path,
//! GET only, one settlement.
//!
//! Must never listen beyond the loopback interface, redirect, echo a parameter, or let a request
//! without this sign-in's `state` change anything.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::{Error, ErrorCode};

use super::page::Page;
use super::provider::Redirect;
use super::redirect::{Expected, Judgement, Stateless};
use super::settlement::{Claim, Claimed, Settled, Settlement};

/// The longest request head, in octets.
const MAX_HEAD: usize = 8 * 1024;
/// How long a client may take for its head, and for taking the answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);
/// How many clients are served at once in each family. One more, and the oldest has to go: the
/// browser says all it has to say at once, so it is never the one that dawdles.
const MAX_CONNECTIONS: usize = 8;
/// How often any free port is looked for until both families have the same one.
const EPHEMERAL_ATTEMPTS: usize = 20;

/// A bound listener that does not answer yet.
#[derive(Debug)]
pub struct CallbackListener {
    sockets: Vec<TcpListener>,
    port: u16,
}

/// Answers until it is dropped; then the port is free.
#[derive(Debug)]
pub(super) struct Serving {
    _tasks: JoinSet<()>,
}

/// No port of the redirect URI could be bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortsBusy(pub Vec<BusyPort>);

/// A port that another program holds, in one family or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusyPort {
    /// The port.
    pub port: u16,
    /// Who listens there, as far as the system tells.
    pub holder: Option<Holder>,
}

/// A program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its name.
    pub name: String,
    /// Its process id.
    pub pid: u32,
}

impl CallbackListener {
    /// Binds the first of the redirect URI's ports that is free in both loopback families. A
    /// family that this machine does not have is left out; one taken by another program makes the
    /// port busy, because the browser may choose either.
    pub async fn bind(redirect: &Redirect) -> Result<Self, PortsBusy> {
        if redirect.ports.is_empty() {
            for _ in 0..EPHEMERAL_ATTEMPTS {
                if let Some(listener) = bind_port(0).await {
                    return Ok(listener);
                }
            }
            return Err(PortsBusy(Vec::new()));
        }
        let mut busy = Vec::new();
        for &port in &redirect.ports {
            match bind_port(port).await {
                Some(listener) => return Ok(listener),
                None => busy.push(port),
            }
        }
        let named = tokio::task::spawn_blocking(move || name_holders(&busy)).await;
        Err(PortsBusy(named.unwrap_or_default()))
    }

    /// The port, the same in both families.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts to answer.
    pub(super) fn serve(self, expected: Arc<Expected>, settlement: Settlement) -> Serving {
        let mut tasks = JoinSet::new();
        for socket in self.sockets {
            tasks.spawn(accept(socket, Arc::clone(&expected), settlement.clone()));
        }
        Serving { _tasks: tasks }
    }
}

/// `None`: the port is busy. Port 0 takes any free one.
async fn bind_port(port: u16) -> Option<CallbackListener> {
    let v4 = bind_family(Ipv4Addr::LOCALHOST.into(), port).await.ok()?;
    let port = match &v4 {
        Some(socket) => socket.local_addr().ok()?.port(),
        None => port,
    };
    let v6 = bind_family(Ipv6Addr::LOCALHOST.into(), port).await.ok()?;
    let port = match (&v4, &v6) {
        (None, Some(socket)) => socket.local_addr().ok()?.port(),
        (Some(_), _) => port,
        (None, None) => return None,
    };
    Some(CallbackListener {
        sockets: v4.into_iter().chain(v6).collect(),
        port,
    })
}

/// `Ok(None)`: this machine does not have the family.
async fn bind_family(address: IpAddr, port: u16) -> io::Result<Option<TcpListener>> {
    match TcpListener::bind(SocketAddr::new(address, port)).await {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if is_family_missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// EAFNOSUPPORT has no [`io::ErrorKind`] of its own: 97 on Linux, 47 on macOS, 10047 on Windows.
fn is_family_missing(error: &io::Error) -> bool {
    let unsupported = if cfg!(windows) {
        10047
    } else if cfg!(target_os = "linux") {
        97
    } else {
        47
    };
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(unsupported)
}

/// Blocking: looks through the system's sockets and processes.
fn name_holders(ports: &[u16]) -> Vec<BusyPort> {
    let all = listeners::get_all().unwrap_or_default();
    let holder_of = |port| {
        let mut holders: Vec<Holder> = all
            .iter()
            .filter(|listener| {
                listener.socket.port() == port
                    && listener.protocol == listeners::Protocol::TCP
                    && listener.state == listeners::SocketState::Listen
            })
            .map(|listener| Holder {
                name: listener.process.name.clone(),
                pid: listener.process.pid,
            })
            .collect();
        holders.sort_by_key(|holder| holder.pid);
        holders.into_iter().next()
    };
    ports
        .iter()
        .map(|&port| BusyPort {
            port,
            holder: holder_of(port),
        })
        .collect()
}

impl PortsBusy {
    /// As an error that names ports and holders.
    pub fn to_error(&self) -> Error {
        Error::new(ErrorCode::LoginPortBusy, self.to_string())
    }
}

impl fmt::Display for PortsBusy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return formatter.write_str(&say!("no port is free for the browser's answer"));
        }
        let told = self.0.iter().map(|BusyPort { port, holder }| match holder {
            Some(Holder { name, pid }) => say!("port {port} is held by {name} (pid {pid})", port, name, pid),
            None => say!("port {port} is held by another program", port),
        });
        formatter.write_str(&told.collect::<Vec<_>>().join(", "))
    }
}

async fn accept(socket: TcpListener, expected: Arc<Expected>, settlement: Settlement) {
    let mut connections = JoinSet::new();
    // A client whose sender is dropped has to go.
    let mut served = VecDeque::new();
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                let expected = Arc::clone(&expected);
                let settlement = settlement.clone();
                let (stay, go) = oneshot::channel::<()>();
                served.retain(|stay: &oneshot::Sender<()>| !stay.is_closed());
                if served.len() == MAX_CONNECTIONS {
                    served.pop_front();
                }
                served.push_back(stay);
                connections.spawn(async move { converse(stream, go, &expected, &settlement).await });
            }
            // Out of file descriptors, most likely: others may close some.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

/// A client that has to `go` is left while it has not said all, or has been told all.
async fn converse(
    mut stream: TcpStream,
    mut go: oneshot::Receiver<()>,
    expected: &Expected,
    settlement: &Settlement,
) {
    let head = tokio::select! {
        biased;
        head = timeout(CLIENT_TIMEOUT, read_head(&mut stream)) => head,
        _ = &mut go => return,
    };
    let head = match head {
        Ok(Head::Complete(head)) => Ok(head),
        Ok(Head::TooLarge) => Err(Page::TooLarge),
        Ok(Head::Gone) => return,
        Err(_elapsed) => Err(Page::Timeout),
    };
    let (page, answer) = match head {
        Ok(head) => respond(&head, expected, settlement),
        Err(page) => (page, None),
    };
    let written = timeout(CLIENT_TIMEOUT, async {
        stream.write_all(page.to_http().as_bytes()).await?;
        stream.shutdown().await
    })
    .await;
    if let Some((claim, settled)) = answer {
        claim.resolve(settled);
    }
    if matches!(written, Ok(Ok(()))) {
        tokio::select! {
            () = linger(&mut stream) => {}
            _ = go => {}
        }
    }
}

/// Closing with unread octets would make the system discard the answer on its way out.
async fn linger(stream: &mut TcpStream) {
    let mut rest = [0; 1024];
    let drained = async {
        for _ in 0..64 {
            if !stream.read(&mut rest).await.is_ok_and(|count| count > 0) {
                break;
            }
        }
    };
    let _ = timeout(Duration::from_millis(500), drained).await;
}

enum Head {
    Complete(Vec<u8>),
    TooLarge,
    Gone,
}

async fn read_head(stream: &mut TcpStream) -> Head {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return Head::Gone,
            Ok(count) => head.extend_from_slice(&buffer[..count]),
        }
        let end = head.windows(4).position(|window| window == b"\r\n\r\n");
        match end {
            Some(end) if end <= MAX_HEAD => {
                head.truncate(end);
                return Head::Complete(head);
            }
            None if head.len() <= MAX_HEAD => {}
            Some(_) | None => return Head::TooLarge,
        }
    }
}

/// Decides about one request. Everything that could be another site's doing is refused before a
/// parameter is looked at.
pub(super) fn respond(
    head: &[u8],
    expected: &Expected,
    settlement: &Settlement,
) -> (Page, Option<(Claim, Settled)>) {
    let Some(request) = Request::parse(head) else {
        return (Page::BadRequest, None);
    };
    if !request.is_for_us(expected.redirect().port()) || request.is_from_another_sites_script() {
        return (Page::Forbidden, None);
    }
    if request.method != "GET" {
        return (Page::MethodNotAllowed, None);
    }
    let (path, query) = request.target.split_once('?').unwrap_or((request.target, ""));
    if path != expected.redirect().path() {
        return (Page::NotFound, None);
    }
    let (page, settled) = match expected.judge(query, Stateless::Refused) {
        Judgement::WrongState | Judgement::Incomplete => return (Page::BadRequest, None),
        Judgement::Code(code) => (Page::Received, Ok(code)),
        Judgement::Ended(error) => (Page::Refused, Err(error)),
    };
    match settlement.claim() {
        Claimed::First(claim) => (page, Some((claim, settled))),
        Claimed::Answered | Claimed::Cancelled => (Page::Repeated, None),
    }
}

struct Request<'a> {
    method: &'a str,
    target: &'a str,
    headers: Vec<(&'a str, &'a str)>,
}

impl<'a> Request<'a> {
    /// RFC 9112 sections 3 and 5, origin-form targets only.
    fn parse(head: &'a [u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(head).ok()?.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        if words.next().is_some() || !target.starts_with('/') || !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
            return None;
        }
        let headers = lines
            .map(|line| {
                let (name, value) = line.split_once(':')?;
                let token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
                (!name.is_empty() && name.chars().all(token)).then_some((name, value.trim()))
            })
            .collect::<Option<Vec<_>>>()?;
        Some(Self {
            method,
            target,
            headers,
        })
    }

    fn header(&self, name: &str) -> Option<&'a str> {
        self.headers
            .iter()
            .find(|(candidate, _)| candidate.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }

    /// Against DNS rebinding: exactly one `Host`, and it is a loopback spelling with our port.
    fn is_for_us(&self, port: u16) -> bool {
        let count = self
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("host"))
            .count();
        let host = self.header("host").unwrap_or_default().to_ascii_lowercase();
        let spellings = ["localhost", "127.0.0.1", "[::1]"];
        count == 1
            && spellings
                .iter()
                .any(|spelling| host == format!("{spelling}:{port}"))
    }

    /// Browsers say where a request comes from (Fetch Metadata). The redirect is a navigation of a
    /// whole tab; images, frames and fetches of other sites are not.
    fn is_from_another_sites_script(&self) -> bool {
        let navigates = match self.header("sec-fetch-mode") {
            Some(mode) => {
                mode == "navigate"
                    && self
                        .header("sec-fetch-dest")
                        .is_none_or(|dest| dest == "document")
            }
            None => false,
        };
        let foreign_site = self
            .header("sec-fetch-site")
            .is_some_and(|site| !matches!(site, "none" | "same-origin"));
        let foreign_origin = self.header("origin").is_some();
        (foreign_site || foreign_origin) && !navigates
    }
}

#[cfg(test)]
#[path = "callback_tests.rs"]
mod tests;
