//! Every state of the window's page in a real browser engine (Linux), light, dark and in the smallest
//! window: nothing is cut off, the rules of axe-core for accessibility hold, and a picture of each is
//! left in `target/gallery` beside a page that shows all of them. The page is the window's own; in the
//! program's place stands `harness/gallery.js`, which answers with the types that core answers with.
//! `KALIT_GALLERY_LANGUAGE` names another of the languages in `lang`, whose pictures are left in a folder
//! of its name.
#![cfg(target_os = "linux")]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fantoccini::Locator;
use kalit_journeys::browser::Browser;
use kalit_journeys::desktop::DesktopSession;
use kalit_journeys::http::{Answer, Reply, Server};
use kalit_journeys::npm;
use kalit_journeys::process::{build_dir, harness, workspace};
use kalit_journeys::wait::until;
use serde_json::Value;

#[path = "gallery/accounts.rs"]
mod accounts;
#[path = "gallery/keys.rs"]
mod keys;
#[path = "gallery/language.rs"]
mod language;
#[path = "gallery/radar.rs"]
mod radar;
#[path = "gallery/search.rs"]
mod search;
#[path = "gallery/states.rs"]
mod states;

use language::Language;
use states::{State, states};

const SOON: Duration = Duration::from_secs(20);

/// How the page is shown.
struct Look {
    name: &'static str,
    gtk_theme: &'static str,
    width: u32,
}

const LOOKS: [Look; 3] = [
    Look {
        name: "light",
        gtk_theme: "Adwaita",
        width: 1000,
    },
    Look {
        name: "dark",
        gtk_theme: "Adwaita:dark",
        width: 1000,
    },
    // The smallest window, which is also a common one at 200 %.
    Look {
        name: "narrow",
        gtk_theme: "Adwaita",
        width: 480,
    },
];
const HEIGHT: u32 = 780;
/// No picture is higher.
const HIGHEST: u32 = 3000;

/// What axe-core is asked; what it answers is put into one line each.
const AUDIT: &str = "
    const done = arguments[0];
    const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
    axe.run(document, { runOnly: { type: 'tag', values: tags } }).then(
        result => done({
            passes: result.passes.length,
            violations: result.violations.flatMap(rule => rule.nodes.map(node =>
                `${rule.id}: ${node.target.join(' ')}: ${node.failureSummary.replace(/\\s+/g, ' ')}`)),
        }),
        error => done({ passes: 0, violations: [String(error)] }));";

/// Whether the page has stood still for a while.
const AT_REST: &str = "return document.readyState === 'complete' && Date.now() - window.kalitMoved > 500";
/// How high the window would have to be.
const SHEET: &str = "return document.documentElement.scrollHeight + window.outerHeight - window.innerHeight";
/// What the page threw.
const THROWN: &str = "return window.kalitThrown.join(' ')";

#[tokio::test]
async fn every_state_is_whole_and_accessible_in_every_look() -> Result<()> {
    let language = Language::wanted()?;
    let all = build_dir()?.with_file_name("gallery");
    let dir = language.dir(&all);
    // Other languages are longer: with English they are looked at where there is least room.
    let others: Vec<Language> = Language::others().filter(|_| language.is_english()).collect();
    let least = LOOKS.iter().min_by_key(|look| look.width).context("no looks")?;
    let looks = LOOKS.iter().map(|look| (&language, look));
    let looks: Vec<_> = looks.chain(others.iter().map(|other| (other, least))).collect();
    for (language, look) in &looks {
        let _ = fs::remove_dir_all(language.dir(&all).join(look.name));
    }
    let session = DesktopSession::start(&[]).await?;
    let states = states();
    let looked = looks
        .iter()
        .map(|(language, look)| every_state(&session, language, &states, look, language.dir(&all)));
    let looked = futures_util::future::try_join_all(looked).await?;
    let checks: u64 = looked.iter().map(|(checks, _)| checks).sum();
    let faults: Vec<String> = looked.into_iter().flat_map(|(_, faults)| faults).collect();
    fs::write(dir.join("index.html"), page(&language, &states))?;
    println!(
        "gallery: {} states in {} looks, {checks} rules held; {}",
        states.len(),
        looks.len(),
        dir.join("index.html").display()
    );
    ensure!(faults.is_empty(), "\n{}", faults.join("\n"));
    Ok(())
}

/// All states in one look: the number of rules that held, and what did not.
async fn every_state(
    session: &DesktopSession,
    language: &Language,
    states: &[State],
    look: &Look,
    dir: PathBuf,
) -> Result<(u64, Vec<String>)> {
    let shown = Arc::new(Mutex::new(Value::Null));
    let server = serve(language, Arc::clone(&shown)).await?;
    let browser = Browser::in_theme(session, look.gtk_theme).await?;
    let client = browser.client();
    client.set_window_rect(0, 0, look.width, HEIGHT).await?;
    let dir = dir.join(look.name);
    fs::create_dir_all(&dir)?;
    let (mut checks, mut faults) = (0, Vec::new());
    for state in states {
        *shown.lock().expect("the state") = state.json();
        let url = format!("http://127.0.0.1:{}/index.html{}", server.port(), state.place);
        let looked = look_at(&browser, language, &url, state, &mut faults).await;
        checks += looked.with_context(|| format!("{} ({})", state.name, look.name))?;
        // The whole sheet, not only what the window shows at first.
        let sheet = client
            .execute(SHEET, Vec::new())
            .await?
            .as_u64()
            .context("no height")?;
        let height = u32::try_from(sheet)?.clamp(HEIGHT, HIGHEST);
        client.set_window_rect(0, 0, look.width, height).await?;
        browser
            .screenshot(&dir.join(format!("{}.png", state.name)))
            .await?;
        client.set_window_rect(0, 0, look.width, HEIGHT).await?;
    }
    browser.close().await?;
    Ok((checks, faults))
}

/// The control: an image without a name, and one that is too wide, are found.
#[tokio::test]
async fn what_is_not_accessible_or_cut_off_is_found() -> Result<()> {
    let session = DesktopSession::start(&[]).await?;
    let browser = Browser::in_theme(&session, "Adwaita").await?;
    let states = states();
    let state = states.first().context("no states")?;
    let english = Language::english();
    let server = serve(&english, Arc::new(Mutex::new(state.json()))).await?;
    let url = format!("http://127.0.0.1:{}/index.html{}", server.port(), state.place);
    let mut faults = Vec::new();
    look_at(&browser, &english, &url, state, &mut faults).await?;
    let before = faults.len();
    let spoil = "const image = document.createElement('img');
        image.style.width = '4000px';
        image.src = 'nothing.png';
        document.querySelector('main').append(image);";
    browser.client().execute(spoil, Vec::new()).await?;
    audit(&browser, state, &mut faults).await?;
    ensure!(
        faults.iter().any(|fault| fault.contains("image-alt")),
        "{faults:?}"
    );
    ensure!(faults.iter().any(|fault| fault.contains("wide")), "{faults:?}");
    ensure!(faults.len() > before);
    browser.close().await
}

/// Shows a state and audits it; the number of rules that held.
async fn look_at(
    browser: &Browser,
    language: &Language,
    url: &str,
    state: &State,
    faults: &mut Vec<String>,
) -> Result<u64> {
    // An address that differs in its last part only would not be loaded anew.
    browser.open("about:blank").await?;
    browser.open(url).await?;
    let shown = if language.is_english() {
        until(&format!("{:?} on the page", state.shows), SOON, || async {
            let text = browser.text().await.ok()?;
            text.contains(state.shows).then_some(())
        })
        .await
    } else {
        // Which words stand there then is known in English only.
        until("a page at rest", SOON, || async {
            let at_rest = browser.client().execute(AT_REST, Vec::new()).await.ok()?;
            (at_rest == Value::Bool(true)).then_some(())
        })
        .await
    };
    if let Err(error) = shown {
        let thrown = browser.client().execute(THROWN, Vec::new()).await?;
        let text = browser.text().await?;
        return Err(error.context(format!("the page threw {thrown} and shows:\n{text}")));
    }
    if let Some(words) = state.search {
        let field = Locator::Css("input[type=search]");
        browser.client().find(field).await?.send_keys(words).await?;
    }
    if let Some(css) = state.press {
        browser.press(css).await?;
        let open = "return document.querySelector('dialog[open]') !== null";
        until("the dialog", SOON, || async {
            let open = browser.client().execute(open, Vec::new()).await.ok()?;
            (open == Value::Bool(true)).then_some(())
        })
        .await?;
    }
    audit(browser, state, faults).await
}

async fn audit(browser: &Browser, state: &State, faults: &mut Vec<String>) -> Result<u64> {
    let client = browser.client();
    let unanswered = client
        .execute("return window.kalitUnanswered.join(' ')", Vec::new())
        .await?;
    ensure!(unanswered == "", "no answer to {unanswered}");
    let thrown = client.execute(THROWN, Vec::new()).await?;
    ensure!(thrown == "", "the page threw {thrown}");
    let wide = client
        .execute(
            "return [document.documentElement.scrollWidth, window.innerWidth]",
            Vec::new(),
        )
        .await?;
    if wide[0].as_u64() > wide[1].as_u64() {
        faults.push(format!(
            "{}: {} wide in a window of {}",
            state.name, wide[0], wide[1]
        ));
    }
    let answer = client.execute_async(AUDIT, Vec::new()).await?;
    for violation in answer["violations"].as_array().into_iter().flatten() {
        faults.push(format!(
            "{}: {}",
            state.name,
            violation.as_str().unwrap_or_default()
        ));
    }
    let passes = answer["passes"].as_u64().unwrap_or_default();
    ensure!(passes > 10, "axe-core checked next to nothing: {answer}");
    Ok(passes)
}

/// The window's page from `ui`, with the state that is shown and what stands in the program's place.
async fn serve(language: &Language, shown: Arc<Mutex<Value>>) -> Result<Server> {
    let ui = workspace().join("ui");
    let axe = fs::read_to_string(npm::installed("axe-core")?.join("node_modules/axe-core/axe.min.js"))?;
    let texts = language.texts()?;
    let stub = fs::read_to_string(harness("gallery.js"))?;
    Server::plain(0, move |request| {
        let answer = match request.path.as_str() {
            "/axe.js" => Ok(Reply::text(200, "text/javascript", axe.clone())),
            "/program.js" => {
                let state = shown.lock().expect("the state").to_string();
                Ok(Reply::text(
                    200,
                    "text/javascript",
                    format!("window.kalitState = {state};\nwindow.kalitState.answers.texts = {{ value: {texts} }};\n{stub}"),
                ))
            }
            path => file(&ui, path),
        };
        let reply = answer.unwrap_or_else(|error| Reply::text(404, "text/plain", error.to_string()));
        async move { Answer::Reply(reply) }
    })
    .await
}

fn file(ui: &Path, path: &str) -> Result<Reply> {
    let name = path.trim_start_matches('/');
    ensure!(!name.contains(".."), "outside");
    let text = fs::read_to_string(ui.join(name)).with_context(|| name.to_owned())?;
    let kind = match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript",
        Some("css") => "text/css",
        _ => bail!("{name} is no part of the page"),
    };
    let app = "<script type=\"module\"";
    let with_program = format!("<script src=\"program.js\"></script><script src=\"axe.js\"></script>{app}");
    Ok(Reply::text(200, kind, text.replacen(app, &with_program, 1)))
}

/// All pictures side by side.
fn page(language: &Language, states: &[State]) -> String {
    let mut rows = String::new();
    for state in states {
        let name = state.name;
        let _ = write!(rows, "<h2>{name}</h2><p>");
        for look in &LOOKS {
            let path: PathBuf = [look.name, &format!("{name}.png")].iter().collect();
            let path = path.display();
            let _ = write!(
                rows,
                "<a href=\"{path}\"><img src=\"{path}\" alt=\"{name}, {}\" height=\"390\"></a> ",
                look.name
            );
        }
        rows.push_str("</p>\n");
    }
    let code = language.code();
    format!(
        "<!doctype html><html lang=\"{code}\"><meta charset=\"utf-8\"><title>Kalit: every state</title>\n{rows}"
    )
}
