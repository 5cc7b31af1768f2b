//! A network between Kalit and a token endpoint that can be as bad as any: it stands on a loopback
//! port of its own, passes connections on, and does to them what the test says until it is mended.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The longest message that is looked into, in octets.
const LONGEST: usize = 64 * 1024;
/// A connection that is not there after this time is not answered at all.
const UNANSWERED: Duration = Duration::from_millis(300);

/// What happens to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It reaches the endpoint.
    Mended,
    /// It is never taken up: no answer to the first packet.
    BlackHole,
    /// It is taken up, and nothing is said.
    Deaf,
    /// It is reset before a word was said.
    Reset,
    /// It reaches another port.
    Elsewhere(u16),
    /// The request is read and goes no further; these octets are the answer.
    Answer(Vec<u8>, Then),
    /// The endpoint gets the request; so much of its answer comes back, then the connection ends.
    Lost(Part),
}

/// What follows an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Close,
    /// Nothing, for ever.
    Silence,
    /// More of the body, for ever.
    Flood,
}

/// How much of the endpoint's answer comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Nothing,
    HalfTheHead,
    HalfTheBody,
    /// All of it, with the promise of more.
    WholeBody,
}

/// The running network; dropping it ends every connection.
#[derive(Debug)]
pub struct BadNetwork {
    address: SocketAddr,
    fault: watch::Sender<Fault>,
    seen: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    /// What keeps a black hole full.
    fillers: Vec<TcpStream>,
    _tasks: JoinSet<()>,
}

impl BadNetwork {
    /// Listens on a loopback address, with port 0 on a free one, and leads to `upstream` on 127.0.0.1.
    pub async fn start(address: SocketAddr, upstream: u16) -> Result<Self> {
        let socket = if address.is_ipv6() {
            TcpSocket::new_v6()?
        } else {
            TcpSocket::new_v4()?
        };
        socket.bind(address)?;
        // A short queue, so that it can be filled.
        let listener = socket.listen(1)?;
        let address = listener.local_addr()?;
        let (fault, faults) = watch::channel(Fault::Mended);
        let (seen, open) = (Arc::default(), Arc::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(
            listener,
            upstream,
            faults,
            Arc::clone(&seen),
            Arc::clone(&open),
        ));
        Ok(Self {
            address,
            fault,
            seen,
            open,
            fillers: Vec::new(),
            _tasks: tasks,
        })
    }

    /// `host:port`, for an address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were taken up and, where a request is waited for, brought one.
    pub fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Whether only the end of the client's patience ends a connection.
    pub fn hangs(&self) -> bool {
        match &*self.fault.borrow() {
            Fault::BlackHole | Fault::Deaf | Fault::Answer(_, Then::Silence) => true,
            Fault::Mended
            | Fault::Reset
            | Fault::Elsewhere(_)
            | Fault::Answer(_, Then::Close | Then::Flood)
            | Fault::Lost(_) => false,
        }
    }

    /// What happens to connections from now on.
    pub async fn set(&mut self, fault: Fault) -> Result<()> {
        self.fillers.clear();
        self.fault.send_replace(fault.clone());
        if fault != Fault::BlackHole {
            return Ok(());
        }
        loop {
            match tokio::time::timeout(UNANSWERED, TcpStream::connect(self.address)).await {
                Ok(filler) => self.fillers.push(filler?),
                Err(_elapsed) => return Ok(()),
            }
            if self.fillers.len() > 64 {
                bail!("{} does not fill up", self.address);
            }
        }
    }
}

async fn accept(
    listener: TcpListener,
    upstream: u16,
    mut faults: watch::Receiver<Fault>,
    seen: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
) {
    let mut connections = JoinSet::new();
    loop {
        let taken = tokio::select! {
            taken = listener.accept(), if *faults.borrow() != Fault::BlackHole => taken,
            changed = faults.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        let Ok((stream, _)) = taken else { continue };
        let fault = faults.borrow().clone();
        let (seen, open) = (Arc::clone(&seen), Arc::clone(&open));
        open.fetch_add(1, Ordering::SeqCst);
        connections.spawn(async move {
            // an error here is a client that went away
            let _ = serve(stream, upstream, fault, &seen).await;
            open.fetch_sub(1, Ordering::SeqCst);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(mut stream: TcpStream, upstream: u16, fault: Fault, seen: &AtomicUsize) -> Result<()> {
    let count = || seen.fetch_add(1, Ordering::SeqCst);
    match fault {
        Fault::Mended => {
            count();
            pass_on(stream, upstream).await
        }
        Fault::Elsewhere(port) => {
            count();
            pass_on(stream, port).await
        }
        // It came while the hole was dug.
        Fault::BlackHole | Fault::Deaf => {
            count();
            until_it_hangs_up(stream).await
        }
        Fault::Reset => {
            stream.set_zero_linger()?;
            count();
            Ok(())
        }
        Fault::Answer(answer, then) => {
            message(&mut stream).await?;
            stream.write_all(&answer).await?;
            count();
            match then {
                Then::Close => Ok(stream.shutdown().await?),
                Then::Silence => until_it_hangs_up(stream).await,
                Then::Flood => loop {
                    stream.write_all(&[b'x'; 16 * 1024]).await?;
                },
            }
        }
        Fault::Lost(part) => {
            let request = message(&mut stream).await?;
            let mut endpoint = TcpStream::connect(("127.0.0.1", upstream)).await?;
            endpoint.write_all(&request).await?;
            let answer = message(&mut endpoint).await?;
            let answer = part.of(&answer);
            stream.write_all(&answer).await?;
            count();
            Ok(stream.shutdown().await?)
        }
    }
}

async fn until_it_hangs_up(mut stream: TcpStream) -> Result<()> {
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok(())
}

async fn pass_on(mut stream: TcpStream, port: u16) -> Result<()> {
    let mut endpoint = TcpStream::connect(("127.0.0.1", port)).await?;
    copy_bidirectional(&mut stream, &mut endpoint).await?;
    Ok(())
}

/// One HTTP/1.1 message with a `content-length`, whole.
async fn message(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut octets = Vec::new();
    loop {
        if let Some(length) = length_of(&octets)
            && octets.len() >= length
        {
            return Ok(octets);
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await? {
            0 => bail!("no whole message"),
            count => octets.extend_from_slice(&buffer[..count]),
        }
        if octets.len() > LONGEST {
            bail!("a message that is too long");
        }
    }
}

/// How long a message is by its head, once that is there.
fn length_of(octets: &[u8]) -> Option<usize> {
    let head = head_of(octets)?;
    let text = String::from_utf8_lossy(&octets[..head]).to_ascii_lowercase();
    let value = text.split("content-length:").nth(1)?.split("\r\n").next()?;
    Some(head + value.trim().parse::<usize>().ok()?)
}

/// Where the head ends, its empty line included.
fn head_of(octets: &[u8]) -> Option<usize> {
    let end = octets.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(end + 4)
}

impl Part {
    fn of(self, answer: &[u8]) -> Vec<u8> {
        let head = head_of(answer).unwrap_or(0);
        match self {
            Self::Nothing => Vec::new(),
            Self::HalfTheHead => answer[..head / 2].to_vec(),
            Self::HalfTheBody => answer[..head + (answer.len() - head) / 2].to_vec(),
            Self::WholeBody => {
                let text = String::from_utf8_lossy(answer);
                let promised = format!("content-length: {}", answer.len() - head);
                let more = format!("content-length: {}", answer.len() - head + 100);
                text.replacen(&promised, &more, 1).into_bytes()
            }
        }
    }
}
