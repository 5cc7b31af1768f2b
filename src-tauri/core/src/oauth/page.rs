//! The constant pages of the loopback listener. Nothing of a request is ever repeated in them.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// What the browser is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    /// The code arrived.
    Received,
    /// The provider refused.
    Refused,
    /// Not of this sign-in, or incomplete.
    BadRequest,
    /// Another host, or another site's script.
    Forbidden,
    NotFound,
    MethodNotAllowed,
    /// The head did not come in time.
    Timeout,
    /// The sign-in has its answer already.
    Repeated,
    /// The head is too long.
    TooLarge,
}

impl Page {
    fn parts(self) -> (&'static str, String, String) {
        match self {
            Page::Received => (
                "200 OK",
                say!("Back to Kalit"),
                say!("Kalit finishes the sign-in by itself. You can close this tab."),
            ),
            Page::Refused => (
                "200 OK",
                say!("Not signed in"),
                say!(
                    "The provider did not allow this sign-in. Kalit says what to do next. You can close this tab."
                ),
            ),
            Page::BadRequest => (
                "400 Bad Request",
                say!("Not this sign-in"),
                say!(
                    "This address does not belong to the sign-in that Kalit is waiting for. Go back to the page that Kalit opened."
                ),
            ),
            Page::Forbidden => (
                "403 Forbidden",
                say!("Not allowed"),
                say!("This page is for the sign-in only."),
            ),
            Page::NotFound => (
                "404 Not Found",
                say!("Nothing here"),
                say!("This page is for the sign-in only."),
            ),
            Page::MethodNotAllowed => (
                "405 Method Not Allowed",
                say!("Not allowed"),
                say!("This page is for the sign-in only."),
            ),
            Page::Timeout => (
                "408 Request Timeout",
                say!("Too slow"),
                say!("The request did not arrive in time."),
            ),
            Page::Repeated => (
                "409 Conflict",
                say!("Already done"),
                say!("This sign-in has its answer already. You can close this tab."),
            ),
            Page::TooLarge => (
                "431 Request Header Fields Too Large",
                say!("Too long"),
                say!("The request is longer than a sign-in's."),
            ),
        }
    }

    /// The whole HTTP response.
    pub(super) fn to_http(self) -> String {
        let (status, title, text) = self.parts();
        let language = crate::language::spoken();
        let body = format!(
            "<!doctype html><html lang=\"{language}\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>Kalit: {title}</title>\
             <style>{STYLE}</style></head><body><main><h1>{title}</h1><p>{text}</p></main></body></html>"
        );
        let allow = if self == Page::MethodNotAllowed {
            "Allow: GET\r\n"
        } else {
            ""
        };
        format!(
            "HTTP/1.1 {status}\r\n\
             Content-Type: text/html; charset=utf-8\r\n\
             Content-Length: {length}\r\n\
             {allow}\
             Content-Security-Policy: {policy}\r\n\
             X-Content-Type-Options: nosniff\r\n\
             X-Frame-Options: DENY\r\n\
             Cross-Origin-Opener-Policy: same-origin\r\n\
             Cross-Origin-Resource-Policy: same-origin\r\n\
             Referrer-Policy: no-referrer\r\n\
             Cache-Control: no-store\r\n\
             Connection: close\r\n\r\n\
             {body}",
            length = body.len(),
            policy = *POLICY,
        )
    }
}

const STYLE: &str = ":root{color-scheme:light dark}\
body{margin:0;min-height:100vh;display:grid;place-items:center;background:#E6ECE9;color:#14201D;\
font:1rem/1.5 system-ui,sans-serif}\
main{max-width:26rem;padding:2rem}\
h1{margin:0 0 .5rem;font-size:1.4rem;color:#0B5D70}\
p{margin:0}\
@media(prefers-color-scheme:dark){body{background:#0E1414;color:#E7EEEB}h1{color:#76CBDB}}";

/// Only the style above may apply; nothing runs, nothing is loaded, nothing is framed.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let digest = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});
