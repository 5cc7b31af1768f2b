//! Journeys of Kalit against real parts: an authorization server, a token endpoint that can
//! misbehave, a certified authorization server, a real desktop session and a real browser.
//! Nothing here is linked into the app.

#[cfg(target_os = "linux")]
pub mod acts;
#[cfg(target_os = "linux")]
pub mod aftermath;
pub mod authserver;
pub mod bad_network;
#[cfg(target_os = "linux")]
pub mod browser;
pub mod canary;
pub mod codex;
#[cfg(target_os = "linux")]
pub mod desktop;
pub mod dialogue;
pub mod gateway;
pub mod http;
pub mod kalit;
#[cfg(target_os = "linux")]
pub mod notifications;
pub mod npm;
pub mod oidc;
pub mod openclaw;
#[cfg(target_os = "linux")]
pub mod points;
pub mod process;
pub mod proof;
pub mod proxy;
pub mod renewal;
#[cfg(target_os = "linux")]
pub mod steps;
pub mod token_endpoint;
#[cfg(target_os = "linux")]
pub mod trace;
pub mod tray;
pub mod wait;
#[cfg(target_os = "linux")]
pub mod webview;
