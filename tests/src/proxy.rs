//! A proxy on loopback that speaks CONNECT (RFC 9110, section 9.3.6) and SOCKS5 (RFC 1928) on one
//! port and writes down what it was asked for. It leads to 127.0.0.1 and nowhere else.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The longest head of a CONNECT request.
const LONGEST_HEAD: usize = 8192;

/// A running proxy; dropping it closes the listener and every tunnel.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1. With a password (`name:password`), CONNECT needs it.
    pub async fn start(password: Option<&str>) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let log = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&log);
        let credentials = password.map(|password| format!("basic {}", STANDARD.encode(password)));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut tunnels = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, credentials) = (Arc::clone(&seen), credentials.clone());
                tunnels.spawn(async move {
                    // an error here is a client that went away or asked for nonsense
                    let _ = serve(stream, &seen, credentials.as_deref()).await;
                });
            }
        });
        Ok(Self {
            address,
            log,
            _tasks: tasks,
        })
    }

    /// `host:port` of the proxy.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was asked for so far: `CONNECT host:port`, `SOCKS5 host:port`, and `refused …`.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(mut stream: TcpStream, log: &Mutex<Vec<String>>, credentials: Option<&str>) -> Result<()> {
    let note = |line: String| log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    let mut first = [0];
    stream.peek(&mut first).await?;
    let port = if first == [5] {
        let (host, port) = socks(&mut stream).await?;
        note(format!("SOCKS5 {host}:{port}"));
        port
    } else {
        let (target, authorization) = connect(&mut stream).await?;
        if credentials.is_some_and(|wanted| authorization.as_deref() != Some(wanted)) {
            note(format!("refused CONNECT {target}"));
            let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n";
            return Ok(stream.write_all(refusal.as_bytes()).await?);
        }
        note(format!("CONNECT {target}"));
        let (_, port) = target.rsplit_once(':').context("no port")?;
        port.parse()?
    };
    let mut upstream = TcpStream::connect(("127.0.0.1", port)).await?;
    let reply: &[u8] = if first == [5] {
        &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    } else {
        b"HTTP/1.1 200 OK\r\n\r\n"
    };
    stream.write_all(reply).await?;
    copy_bidirectional(&mut stream, &mut upstream).await?;
    Ok(())
}

/// The target of a CONNECT request, and its `Proxy-Authorization` in lower case up to the
/// credentials.
async fn connect(stream: &mut TcpStream) -> Result<(String, Option<String>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(head.len() < LONGEST_HEAD, "the head does not end");
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head)?;
    let mut lines = head.lines();
    let target = lines
        .next()
        .and_then(|line| line.strip_prefix("CONNECT ")?.split(' ').next())
        .context("no CONNECT")?;
    let authorization = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let (scheme, rest) = value.trim().split_once(' ')?;
        name.eq_ignore_ascii_case("proxy-authorization")
            .then(|| format!("{} {rest}", scheme.to_lowercase()))
    });
    Ok((target.to_owned(), authorization))
}

/// The address that a SOCKS5 client without a password asks for.
async fn socks(stream: &mut TcpStream) -> Result<(String, u16)> {
    let mut greeting = [0; 2];
    stream.read_exact(&mut greeting).await?;
    let mut methods = vec![0; usize::from(greeting[1])];
    stream.read_exact(&mut methods).await?;
    stream.write_all(&[5, 0]).await?;
    let mut request = [0; 4];
    stream.read_exact(&mut request).await?;
    let host = match request[3] {
        1 => {
            let mut address = [0; 4];
            stream.read_exact(&mut address).await?;
            std::net::Ipv4Addr::from(address).to_string()
        }
        3 => {
            let mut name = vec![0; usize::from(stream.read_u8().await?)];
            stream.read_exact(&mut name).await?;
            String::from_utf8(name)?
        }
        other => bail!("address type {other}"),
    };
    Ok((host, stream.read_u16().await?))
}
