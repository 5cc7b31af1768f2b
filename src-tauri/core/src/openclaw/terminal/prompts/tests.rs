//! Over what real releases wrote to a terminal of 1000 columns; state and challenge are replaced.

use super::*;

const AUTHORIZE: &str = "https://auth.openai.com/oauth/authorize?response_type=code&client_id=app_EMoamEEZ73f0CkXaXp7hrann\
    &redirect_uri=http%3A%2F%2Flocalhost%3A1455%2Fauth%2Fcallback&scope=openid+profile+email+offline_access\
    &code_challenge=fake-challenge-0000000000000000000000000000&code_challenge_method=S256\
    &state=fake-state-000000000000000000000&id_token_add_organizations=true&codex_cli_simplified_flow=true&originator=openclaw";
const REDIRECT: &str = "http://localhost:1455/auth/callback?code=ac_fake&state=wrong";
const PASTE: &str = "Paste the authorization code (or full redirect URL):";

enum Answer {
    Text(&'static str),
    Choice(usize),
}

/// The steps of a recording fed in pieces of `size`; the questions are answered as they were then.
fn replayed(recording: &[u8], size: usize, answers: &[Answer]) -> (Vec<LoginStep>, Prompts) {
    let (mut prompts, mut steps) = (Prompts::default(), Vec::new());
    let mut answers = answers.iter();
    for piece in recording.chunks(size) {
        for step in prompts.feed(piece) {
            if let LoginStep::Ask { ask, .. } = step {
                match answers.next() {
                    Some(Answer::Text(text)) => drop(prompts.keys_for(ask, &Secret::new(*text)).unwrap()),
                    Some(Answer::Choice(choice)) => drop(prompts.keys_to_choose(ask, *choice).unwrap()),
                    None => panic!("another question: {step:?}"),
                }
            }
            steps.push(step);
        }
    }
    steps.extend(prompts.finish());
    assert!(answers.next().is_none(), "not everything was asked: {steps:?}");
    (steps, prompts)
}

fn ask(ask: u32, question: &str, what: AskKind) -> LoginStep {
    LoginStep::Ask {
        ask,
        question: question.to_owned(),
        what,
        choices: Vec::new(),
    }
}

fn said(line: &str) -> LoginStep {
    LoginStep::Said {
        line: line.to_owned(),
    }
}

fn url(url: &str) -> LoginStep {
    LoginStep::Url { url: url.to_owned() }
}

fn openai_steps(recording: &[u8], size: usize) -> Vec<LoginStep> {
    let (steps, prompts) = replayed(recording, size, &[Answer::Text(REDIRECT)]);
    let why = prompts.last_line().unwrap();
    assert!(
        why.contains("(callback_validation_failed): State mismatch"),
        "{why}"
    );
    let told = format!("{steps:?}");
    assert!(!told.contains("ac_fake") && !told.contains("=wrong"), "{told}");
    steps
}

#[test]
fn the_address_and_the_paste_box_of_2026_6_1_and_2026_7_1() {
    let failed = "Error: OpenAI Codex OAuth failed (callback_validation_failed): State mismatch";
    let twice = format!("{failed} | State mismatch");
    let june = &include_bytes!("../../recordings/2026.6.1-openai.txt")[..];
    let july = &include_bytes!("../../recordings/2026.7.1-openai.txt")[..];
    for (recording, last) in [(june, None), (july, Some(said(&twice)))] {
        for size in [1, 7] {
            let steps = openai_steps(recording, size);
            let mut expected = vec![
                said("You are running in a remote/VPS environment."),
                said("A URL will be shown for you to open in your LOCAL browser."),
                said("Open it, sign in, then paste the redirect URL here."),
                said("If this OpenClaw process can receive the browser callback, sign-in may finish"),
                said("automatically before you paste."),
                said("OAuth URL ready"),
                said("Open this URL in your LOCAL browser:"),
                url(AUTHORIZE),
                ask(1, PASTE, AskKind::Secret),
                said(failed),
                said("Trouble with OAuth? See https://docs.openclaw.ai/start/faq"),
            ];
            expected.extend(last.clone());
            assert_eq!(steps, expected);
        }
    }
}

#[test]
fn the_address_and_the_paste_box_of_2026_9_6() {
    let recording = include_bytes!("../../recordings/2026.9.6-openai.txt");
    for size in [1, 5] {
        let steps = openai_steps(recording, size);
        let urls: Vec<_> = steps
            .iter()
            .filter(|step| matches!(step, LoginStep::Url { .. }))
            .collect();
        assert_eq!(urls, [&url(AUTHORIZE)]);
        let asks = steps.iter().filter(|step| matches!(step, LoginStep::Ask { .. }));
        assert_eq!(asks.collect::<Vec<_>>(), [&ask(1, PASTE, AskKind::Secret)]);
        assert!(steps.contains(&said("Agent: main")), "{steps:?}");
    }
}

#[test]
fn a_choice_a_refused_token_and_a_good_one_of_2026_9_6() {
    let recording = include_bytes!("../../recordings/2026.9.6-anthropic.txt");
    let good = "sk-ant-oat01-FAKEFAKEFAKEFAKEFAKEFAKEFAKEFAKEFAKEFAKEFAKEFAKEFAKEFAKEFAKEFAKEFAKEFAKE00";
    let answers = [
        Answer::Choice(1),
        Answer::Text("sk-ant-oat01-short"),
        Answer::Text(good),
    ];
    let (steps, _) = replayed(recording, 1, &answers);
    let choices = [
        "Claude CLI (Keep using a local Claude CLI login and run Anthropic models through the Claude CLI runtime)",
        "Anthropic setup-token",
        "Anthropic API key",
    ];
    let choice = LoginStep::Ask {
        ask: 1,
        question: "Auth method for Anthropic".to_owned(),
        what: AskKind::Choice,
        choices: choices.map(str::to_owned).into(),
    };
    let start = steps.iter().position(|step| *step == choice).unwrap();
    let token = "Paste Anthropic setup-token";
    let expected = [
        ask(2, token, AskKind::Secret),
        said("Token looks too short; paste the full setup-token"),
        ask(3, token, AskKind::Secret),
    ];
    assert_eq!(steps[start + 1..start + 4], expected);
    assert!(steps.contains(&said("Auth profile: anthropic:default (anthropic/token)")));
    assert!(!format!("{steps:?}").contains("FAKE"), "{steps:?}");
}

#[test]
fn a_device_code_is_told_with_its_address_and_a_note_is_not_opened() {
    // As 2026.9.6 (openai, minimax) and its note() write it.
    let mut prompts = Prompts::default();
    let steps = prompts.feed(
        "◇  OpenAI Codex device code ─────╮\r\n│  Open this URL in your LOCAL browser and enter the code below.  │\r\n\
         │  URL: <https://auth.openai.com/codex/device>  │\r\n│  Code: ABCD-EFGHI  │\r\n\
         │  Code expires in 15 minutes. Never share it.  │\r\n├────╯\r\n\
         If prompted, enter the code WXYZ1234.\r\nSee https://console.example.com/keys for more.\r\n"
            .as_bytes(),
    );
    let code = |code: &str| LoginStep::DeviceCode {
        code: code.to_owned(),
        url: Some("https://auth.openai.com/codex/device".to_owned()),
    };
    let expected = [
        said("Open this URL in your LOCAL browser and enter the code below."),
        url("https://auth.openai.com/codex/device"),
        code("ABCD-EFGHI"),
        said("Code expires in 15 minutes. Never share it."),
        code("WXYZ1234"),
        said("See https://console.example.com/keys for more."),
    ];
    assert_eq!(steps, expected);
}

#[test]
fn only_addresses_of_a_sign_in_are_opened() {
    let opened = |word: &str| address(word).is_some_and(|url| opens(&url, true));
    assert!(opened("https://github.com/login/device"));
    assert!(opened("<http://127.0.0.1:4000/authorize?x=1>"));
    for other in [
        "http://auth.example.com/authorize",
        "https://docs.openclaw.ai/oauth",
        "http://localhost:1455/auth/callback",
        "https://1.2.3.4/oauth/authorize",
        "file:///etc/passwd",
        "javascript:alert(1)",
    ] {
        assert!(!opened(other), "{other}");
    }
}

#[test]
fn yes_or_no_is_a_choice_of_two() {
    let mut prompts = Prompts::default();
    let steps = prompts.feed("◆  Go on?\r\n│  ● Yes / ○ No\r\n└\r\n".as_bytes());
    let expected = LoginStep::Ask {
        ask: 1,
        question: "Go on?".to_owned(),
        what: AskKind::Confirm,
        choices: vec!["Yes".to_owned(), "No".to_owned()],
    };
    assert_eq!(steps, [expected]);
    assert_eq!(prompts.keys_to_choose(1, 2).unwrap_err().code(), ErrorCode::Usage);
    assert_eq!(prompts.keys_to_choose(1, 1).unwrap(), b"\x1b[B\r");
    // Answered once.
    assert_eq!(prompts.keys_to_choose(1, 0).unwrap_err().code(), ErrorCode::Usage);
}

#[test]
fn an_answer_of_two_lines_or_to_another_question_is_not_typed() {
    let mut prompts = Prompts::default();
    prompts.feed("◆  GitHub domain\r\n│  _\r\n└\r\n".as_bytes());
    let two = prompts.keys_for(1, &Secret::new("a\rb")).unwrap_err();
    assert_eq!(two.code(), ErrorCode::SecretWhitespace);
    assert_eq!(
        prompts.keys_for(7, &Secret::new("a")).unwrap_err().code(),
        ErrorCode::Usage
    );
    assert_eq!(prompts.keys_to_choose(1, 0).unwrap_err().code(), ErrorCode::Usage);
    // An empty one takes what is offered.
    assert_eq!(*prompts.keys_for(1, &Secret::new(" ")).unwrap(), b"\r");
}

#[test]
fn no_output_panics_and_no_state_of_the_page_is_lost() {
    let recording = include_bytes!("../../recordings/2026.9.6-openai.txt");
    let mut seed = 11_u64;
    for _ in 0..60 {
        let mut bytes = recording.to_vec();
        for _ in 0..40 {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let at = usize::try_from(seed >> 33).unwrap() % bytes.len();
            bytes[at] = (seed >> 20) as u8;
        }
        let mut prompts = Prompts::default();
        for piece in bytes.chunks(97) {
            prompts.feed(piece);
        }
        prompts.finish();
        assert!(prompts.read_to <= prompts.page.end().max(prompts.page.row()));
    }
}
