//! A small HTTP/1.1 server for the test parts: one function answers a request, and it may also
//! misbehave (drop the connection, never answer), which is what the tests are about.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderName, HeaderValue};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use url::Url;

/// A request as the test parts want it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The server's port that it came in by.
    pub port: u16,
    pub method: String,
    /// Without the query.
    pub path: String,
    /// Decoded query pairs, in order.
    pub query: Vec<(String, String)>,
    /// Lower-case names, in order.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        value_of(&self.headers, name)
    }

    /// A query parameter.
    pub fn query(&self, name: &str) -> Option<&str> {
        value_of(&self.query, name)
    }

    /// The pairs of a form body, in the order sent.
    pub fn form(&self) -> Vec<(String, String)> {
        url::form_urlencoded::parse(&self.body).into_owned().collect()
    }
}

/// The first value under `name`.
pub fn value_of<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
}

/// What a test part does with a request.
#[derive(Debug)]
pub enum Answer {
    Reply(Reply),
    /// Close the connection without a byte.
    Drop,
    /// Keep the connection open and say nothing.
    Hang,
}

/// A response.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(status: u16, value: &serde_json::Value) -> Self {
        Self::text(status, "application/json", value.to_string())
    }

    pub fn html(status: u16, body: impl Into<String>) -> Self {
        Self::text(status, "text/html; charset=utf-8", body)
    }

    pub fn text(status: u16, content_type: &str, body: impl Into<String>) -> Self {
        let headers = vec![
            ("content-type", content_type.to_owned()),
            ("cache-control", "no-store".to_owned()),
        ];
        Self {
            status,
            headers,
            body: body.into().into_bytes(),
        }
    }

    pub fn redirect(location: &str) -> Self {
        Self {
            status: 303,
            headers: vec![("location", location.to_owned())],
            body: Vec::new(),
        }
    }
}

/// A listening server; dropping it closes the listener and every connection.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Server {
    /// Serves plain HTTP on `127.0.0.1:port`; port 0 takes a free one.
    pub async fn plain<F, Fut>(port: u16, answer: F) -> Result<Self>
    where
        F: Fn(Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Answer> + Send + 'static,
    {
        Self::listen(port, None, answer).await
    }

    /// Serves HTTPS on a free port of 127.0.0.1.
    pub async fn tls<F, Fut>(config: rustls::ServerConfig, answer: F) -> Result<Self>
    where
        F: Fn(Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Answer> + Send + 'static,
    {
        Self::listen(0, Some(tokio_rustls::TlsAcceptor::from(Arc::new(config))), answer).await
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    async fn listen<F, Fut>(port: u16, tls: Option<tokio_rustls::TlsAcceptor>, answer: F) -> Result<Self>
    where
        F: Fn(Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Answer> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", port))
            .await
            .with_context(|| format!("listening on 127.0.0.1:{port}"))?;
        let address = listener.local_addr()?;
        let answer = Arc::new(answer);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // dropping this set, with the accepting task, ends all connections
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, answer) = (tls.clone(), Arc::clone(&answer));
                connections.spawn(async move {
                    match tls {
                        None => connection(stream, address.port(), answer).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                connection(stream, address.port(), answer).await;
                            }
                        }
                    }
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self {
            address,
            _tasks: tasks,
        })
    }
}

/// Posts a form over plain HTTP; the status and the body.
pub async fn post_form(url: &str, form: String) -> Result<(u16, String)> {
    body_of(send(form_request(url, form)?).await?).await
}

/// Posts a form and returns where the answer redirects to.
pub async fn post_form_for_location(url: &str, form: String) -> Result<String> {
    let response = send(form_request(url, form)?).await?;
    let location = response
        .headers()
        .get("location")
        .context("the answer is no redirect")?;
    Ok(location.to_str()?.to_owned())
}

/// Gets a page over plain HTTP without following redirects; the status and the body.
pub async fn fetch(url: &str) -> Result<(u16, String)> {
    body_of(send(hyper::Request::get(url).body(Full::default())?).await?).await
}

/// A browser without a face: keeps cookies, shows redirects instead of following them.
#[derive(Debug, Default)]
pub struct Visitor {
    cookies: BTreeMap<String, String>,
}

/// What a visitor was shown.
#[derive(Debug)]
pub struct Page {
    pub status: u16,
    /// Where it leads, made absolute.
    pub location: Option<Url>,
    pub body: String,
}

impl Visitor {
    /// Gets a page.
    pub async fn get(&mut self, url: &Url) -> Result<Page> {
        let request = hyper::Request::get(url.as_str());
        self.visit(url, request, String::new()).await
    }

    /// Gets a page under another `Host`.
    pub async fn get_as_host(&mut self, url: &Url, host: &str) -> Result<Page> {
        let request = hyper::Request::get(url.as_str()).header("host", host);
        self.visit(url, request, String::new()).await
    }

    /// Sends a form.
    pub async fn post(&mut self, url: &Url, form: &[(&str, &str)]) -> Result<Page> {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let kind = "application/x-www-form-urlencoded";
        let request = hyper::Request::post(url.as_str()).header("content-type", kind);
        self.visit(url, request, form).await
    }

    async fn visit(
        &mut self,
        url: &Url,
        request: hyper::http::request::Builder,
        body: String,
    ) -> Result<Page> {
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = request
            .header("cookie", cookies.join("; "))
            .body(Full::new(Bytes::from(body)))?;
        let response = send(request).await?;
        for cookie in response.headers().get_all("set-cookie") {
            let pair = cookie.to_str()?.split(';').next().unwrap_or_default();
            if let Some((name, value)) = pair.split_once('=') {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let location = match response.headers().get("location") {
            Some(location) => Some(url.join(location.to_str()?)?),
            None => None,
        };
        let (status, body) = body_of(response).await?;
        Ok(Page {
            status,
            location,
            body,
        })
    }
}

fn form_request(url: &str, form: String) -> Result<hyper::Request<Full<Bytes>>> {
    let request = hyper::Request::post(url).header("content-type", "application/x-www-form-urlencoded");
    Ok(request.body(Full::new(Bytes::from(form)))?)
}

async fn send(request: hyper::Request<Full<Bytes>>) -> Result<hyper::Response<Incoming>> {
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http();
    Ok(client.request(request).await?)
}

async fn body_of(response: hyper::Response<Incoming>) -> Result<(u16, String)> {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

async fn connection<S, F, Fut>(stream: S, port: u16, answer: Arc<F>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send + 'static,
{
    let service = hyper::service::service_fn(move |request| {
        let answer = Arc::clone(&answer);
        async move {
            let request = read(request, port).await.map_err(|_| Dropped)?;
            match answer(request).await {
                Answer::Reply(reply) => Ok(write(reply)),
                Answer::Drop => Err(Dropped),
                Answer::Hang => {
                    std::future::pending::<Infallible>().await;
                    Err(Dropped)
                }
            }
        }
    });
    // an error here is a client that went away, or a connection dropped on purpose
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

#[derive(Debug)]
struct Dropped;

impl std::fmt::Display for Dropped {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("connection dropped")
    }
}

impl std::error::Error for Dropped {}

async fn read(request: hyper::Request<Incoming>, port: u16) -> hyper::Result<Request> {
    let (parts, body) = request.into_parts();
    let query = url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
    let headers = parts.headers.iter().map(|(name, value)| {
        (
            name.as_str().to_owned(),
            String::from_utf8_lossy(value.as_bytes()).into_owned(),
        )
    });
    Ok(Request {
        port,
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: query.into_owned().collect(),
        headers: headers.collect(),
        body: body.collect().await?.to_bytes().to_vec(),
    })
}

fn write(reply: Reply) -> hyper::Response<Full<Bytes>> {
    let mut response = hyper::Response::new(Full::new(Bytes::from(reply.body)));
    *response.status_mut() =
        hyper::StatusCode::from_u16(reply.status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response
                .headers_mut()
                .append(HeaderName::from_static(name), value);
        }
    }
    response
}

/// A port that was free a moment ago.
pub fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?
        .local_addr()?
        .port())
}
