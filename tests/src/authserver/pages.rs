//! The server's pages: plain HTML with real buttons, every value escaped, no script.

use super::grants::{ACCOUNTS, Standing};

const STYLE: &str = "\
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}\
body{max-width:34rem;margin:4rem auto;padding:0 1rem}\
main{border:1px solid #8884;border-radius:12px;padding:1.5rem 2rem}\
h1{font-size:1.3rem;margin:0 0 .5rem}p{margin:.5rem 0}small{opacity:.7}\
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.5rem .5rem .5rem 0}\
button{font:inherit;padding:.45rem 1.4rem;border-radius:8px;border:1px solid #8888;cursor:pointer}\
button.primary{background:#1a6b4f;border-color:#1a6b4f;color:#fff}\
select{font:inherit;padding:.35rem;width:100%}.actions{display:flex;gap:.75rem;margin-top:1.25rem}";

/// The consent page for an open request.
pub(super) fn consent(request: &str, redirect_uri: &str) -> String {
    let options: String = ACCOUNTS
        .iter()
        .map(|account| {
            let email = escape(account.email);
            format!(
                "<option value=\"{email}\">{email} ({})</option>",
                escape(account.plan)
            )
        })
        .collect();
    page(
        "Allow access?",
        &format!(
            "<h1>Allow this program to use your account?</h1>\
             <p>It will be signed in until you revoke it on <a href=\"/\">the accounts page</a>.</p>\
             <form method=\"post\" action=\"/oauth/decision\">\
             <input type=\"hidden\" name=\"request\" value=\"{}\">\
             <p><label for=\"account\">Account</label><select id=\"account\" name=\"account\">{options}</select></p>\
             <p><small>You will be sent back to {}</small></p>\
             <div class=\"actions\">\
             <button class=\"primary\" id=\"allow\" name=\"decision\" value=\"allow\">Allow</button>\
             <button id=\"deny\" name=\"decision\" value=\"deny\">Deny</button></div></form>",
            escape(request),
            escape(redirect_uri)
        ),
    )
}

/// The accounts with their logins.
pub(super) fn accounts(standings: &[Standing]) -> String {
    let rows: String = standings
        .iter()
        .map(|standing| {
            let email = escape(standing.account.email);
            let state = match standing.live {
                0 => "signed out".to_owned(),
                1 => "1 login".to_owned(),
                more => format!("{more} logins"),
            };
            format!(
                "<tr data-account=\"{email}\"><td>{email}<br><small>{}</small></td>\
                 <td>{state}<br><small>{} refreshed, {} ended</small></td>\
                 <td><form method=\"post\" action=\"/accounts/revoke\">\
                 <input type=\"hidden\" name=\"account\" value=\"{email}\">\
                 <button>Revoke</button></form></td></tr>",
                escape(standing.account.plan),
                standing.refreshes,
                standing.ended
            )
        })
        .collect();
    page(
        "Accounts",
        &format!(
            "<h1>Accounts of this server</h1><table>{rows}</table><p><small>Invented people, for the demo.</small></p>"
        ),
    )
}

/// One sentence.
pub(super) fn notice(text: &str) -> String {
    page("Authorization server", &format!("<h1>{}</h1>", escape(text)))
}

fn page(title: &str, main: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}</title>\
         <style>{STYLE}</style></head><body><main>{main}</main></body></html>",
        escape(title)
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
