use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;

fn round_trip(text: &str) -> String {
    String::from_utf8(format(&parse(text.as_bytes()).unwrap())).unwrap()
}

fn refusal(bytes: &[u8]) -> (ErrorCode, String) {
    let error = parse(bytes).unwrap_err();
    (error.code(), error.message().to_owned())
}

/// Documents whose formatting must be the same in Kalit and in Node. No key looks like an
/// integer and every number is spelled as JavaScript spells it: those are the exceptions.
fn documents() -> Vec<String> {
    let mut documents: Vec<String> = [
        "{}",
        "[]",
        "null",
        "true",
        "false",
        "0",
        "-1",
        "1700000000123",
        "0.5",
        "1e+21",
        "1.5e-7",
        "9007199254740991",
        "\"\"",
        "\"plain\"",
        r#""quote \" backslash \\ slash \/ ""#,
        r#""\b\f\n\r\t""#,
        r#""\u0000\u0001\u0007\u000b\u000e\u001f""#,
        r#""\u2028 and \u2029""#,
        "\"\u{2028} and \u{2029} raw\"",
        "\"\u{7f} DEL raw\"",
        r#""\u007f DEL escaped""#,
        r#""\u0080\u009f\u00a0\u00ad""#,
        r#""\ud83d\ude80 escaped pair""#,
        "\"\u{1f680} raw pair\"",
        "\"\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467} joined\"",
        r#""\uFFFD\uFFFF\uFEFF""#,
        "\"\u{fffd}\u{ffff}\u{feff} raw\"",
        "\"\u{10ffff}\"",
        "\"e\u{301} and \u{e9}\"",
        "\"\u{5d0}\u{627}\u{202e}rtl\"",
        "\"<script>&'</script>\"",
        r#"{"a":{}}"#,
        r#"{"a":[]}"#,
        r#"{"a":{"b":{"c":{"d":[[[{}]]]}}}}"#,
        r#"[[],{},[{}],{"a":[]}]"#,
        r#"[1,[2,[3,[4]]]]"#,
        r#"{"":"empty key"}"#,
        r#"{"__proto__":{"a":1},"constructor":null,"toString":false}"#,
        r#"{"\u0001\"\\":"key with escapes","\u2028":2}"#,
        r#"{"z":1,"a":2,"m":{"y":1,"b":2}}"#,
        r#"{"$serde_json::private::Number":"1"}"#,
        r#"{"$serde_json::private::RawValue":"{}"}"#,
        r#"{"a":1,"b":2,"a":3}"#,
        "  {\n\t\"spaces\" :\r\n [ 1 , 2 ]  }\n\n",
        r#"{"version":1,"profiles":{}}"#,
        r#"{"version":1,"profiles":{"openai-codex:me@example.com":{"type":"oauth","provider":"openai-codex","access":"acc-1","refresh":"ref-1","expires":1700000000123,"email":"me@example.com"}}}"#,
        r#"{"version":1,"profiles":{"anthropic:default":{"type":"token","provider":"anthropic","token":"tok"},"x:y":{"type":"api_key","provider":"x","key":"k","metadata":{}}},"order":{"x":["x:y"]},"lastGood":{"x":"x:y"},"usageStats":{"x:y":{"errorCount":0,"failureCounts":{}}}}"#,
        r#"{"version":1,"order":{"openai":["a","b"]},"usageStats":{"a":{"lastUsed":1}}}"#,
    ]
    .map(str::to_owned)
    .to_vec();
    documents.push(format!("\"{}\"", "long ".repeat(50_000)));
    documents.push(format!("{}{}", "[".repeat(100), "]".repeat(100)));
    documents.push(format!(
        "[{}]",
        (0..2000).map(|n| n.to_string()).collect::<Vec<_>>().join(",")
    ));
    // Every character of the first two blocks, escaped.
    documents.push(format!(
        "\"{}\"",
        (0..0x180)
            .map(|code| format!("\\u{code:04x}"))
            .collect::<String>()
    ));
    documents
}

#[test]
fn formatting_is_byte_identical_to_node() {
    let documents = documents();
    assert!(documents.len() >= 50, "{} documents", documents.len());
    let formatted_by_node = through_node(&documents, "JSON.stringify(JSON.parse(t),null,2)+'\\n'");
    for (document, expected) in documents.iter().zip(formatted_by_node) {
        assert_eq!(round_trip(document), expected, "for {document:.80}");
    }
}

#[test]
fn what_node_refuses_is_refused_and_nothing_else() {
    let mut documents: Vec<String> = vec![
        "".into(),
        " ".into(),
        "\u{feff}{}".into(),
        "\u{a0}1".into(),
        "\u{b}1".into(),
        "'a'".into(),
        "undefined".into(),
        "NaN".into(),
        "Infinity".into(),
        "+1".into(),
        "-".into(),
        "01".into(),
        "-01".into(),
        ".5".into(),
        "5.".into(),
        "1e".into(),
        "1e+".into(),
        "1.e5".into(),
        "0x10".into(),
        "1_000".into(),
        "{a:1}".into(),
        "{\"a\" 1}".into(),
        "{\"a\":1,}".into(),
        "{\"a\":1 \"b\":2}".into(),
        "{\"a\":}".into(),
        "{,}".into(),
        "[1,]".into(),
        "[,1]".into(),
        "[1 2]".into(),
        "[1]]".into(),
        "{} {}".into(),
        "// c\n{}".into(),
        "/* c */{}".into(),
        "\"\\x41\"".into(),
        "\"\\u12\"".into(),
        "\"\\u12g4\"".into(),
        "\"\\u+123\"".into(),
        "\"\\u00\u{e9}\"".into(),
        "\"\\".into(),
        "\"tab\t\"".into(),
        "\"line\nbreak\"".into(),
        "\"nul\0\"".into(),
        "truE".into(),
        "true1".into(),
        "nul".into(),
    ];
    let whole =
        r#"{"version":1,"profiles":{"a:b":{"type":"token","token":"t\u00e9","n":-1.5e3,"x":[true,null]}}}"#;
    documents.extend((0..whole.len()).map(|end| whole[..end].to_owned()));
    documents.extend(self::documents());
    let verdicts = through_node(
        &documents,
        "(()=>{try{JSON.parse(t);return 'ok'}catch{return 'no'}})()",
    );
    for (document, verdict) in documents.iter().zip(verdicts) {
        let ours = if parse(document.as_bytes()).is_ok() {
            "ok"
        } else {
            "no"
        };
        assert_eq!(ours, verdict, "for {document:?}");
    }
}

#[test]
fn integer_like_keys_keep_the_order_of_the_file_unlike_javascript() {
    let document = r#"{"b":1,"2":2,"1":3}"#;
    assert_eq!(
        round_trip(document),
        "{\n  \"b\": 1,\n  \"2\": 2,\n  \"1\": 3\n}\n"
    );
    assert_eq!(
        through_node(&[document.to_owned()], "JSON.stringify(JSON.parse(t))"),
        [r#"{"1":3,"2":2,"b":1}"#]
    );
}

#[test]
fn numbers_keep_their_spelling() {
    let spellings = [
        "1.0",
        "1E5",
        "1e5",
        "1e+5",
        "1e-5",
        "-0",
        "-0.0",
        "0.10",
        "12345678901234567890",
        "1e400",
        "1700000000000.50",
    ];
    for spelling in spellings {
        assert_eq!(round_trip(spelling), format!("{spelling}\n"));
    }
}

#[test]
fn errors_name_the_place_and_never_the_content() {
    let cases: [(&[u8], &str); 8] = [
        (b"", "it is empty"),
        (b" \n\t", "it is empty"),
        (b"{\"secret-key\": ", "line 1, column 16: the text ends too early"),
        (
            b"{\n  \"a\": \"sk-SECRET\",\n}",
            "line 3, column 1: a key in double quotes is missing",
        ),
        (
            b"{\"\xc3\xa9\": sk-SECRET}",
            "line 1, column 7: a value is missing",
        ),
        (
            b"\xef\xbb\xbf{}",
            "it begins with a byte order mark, which OpenClaw does not read",
        ),
        (b"{\"a\":\"\xff\"}", "not UTF-8 after byte 6"),
        (b"{} SECRET", "line 1, column 4: there is text after the end"),
    ];
    for (bytes, message) in cases {
        assert_eq!(refusal(bytes), (ErrorCode::StoreUnparsable, message.to_owned()));
    }
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse(nested(DEPTH_LIMIT).as_bytes()).is_ok());
    assert_eq!(
        refusal(nested(DEPTH_LIMIT + 1).as_bytes()),
        (
            ErrorCode::StoreUnparsable,
            "line 1, column 129: it is nested too deeply".to_owned()
        )
    );
    assert_eq!(
        refusal("[{\"a\":".repeat(100_000).as_bytes()).0,
        ErrorCode::StoreUnparsable
    );
}

#[test]
fn sixteen_megabytes_are_too_large() {
    let mut bytes = vec![b' '; SIZE_LIMIT - 1];
    bytes[..2].copy_from_slice(b"{}");
    assert!(parse(&bytes).is_ok());
    bytes.push(b' ');
    assert_eq!(
        refusal(&bytes),
        (ErrorCode::StoreTooLarge, "it has 16 MB or more".to_owned())
    );
}

#[test]
fn a_key_that_stands_twice_is_read_as_javascript_reads_it_and_marked() {
    let parsed = parse_for_edit(b"{\"a\":1,\n \"b\":{\"c\":1,\"c\":2},\"a\":3}").unwrap();
    assert_eq!(parsed.value.to_string(), r#"{"a":3,"b":{"c":2}}"#);
    let flaw = parsed.flaw.unwrap();
    assert_eq!(flaw, Flaw::DuplicateKey(Position { line: 2, column: 13 }));
    assert_eq!(flaw.error().code(), ErrorCode::StoreDuplicateKeys);
    assert_eq!(
        flaw.error().message(),
        "line 2, column 13: a key stands twice in one object"
    );
    // The same key in two objects, and keys that differ only in their escapes' result.
    assert_eq!(parse_for_edit(br#"[{"a":1},{"a":1}]"#).unwrap().flaw, None);
    assert!(parse_for_edit(br#"{"a":1,"\u0061":2}"#).unwrap().flaw.is_some());
}

#[test]
fn half_of_a_surrogate_pair_is_readable_and_marked() {
    for (text, read) in [
        (r#"["\ud800"]"#, "\u{fffd}"),
        (r#"["\udc00\ud800"]"#, "\u{fffd}\u{fffd}"),
        (r#"["\ud800\ud83d\ude80"]"#, "\u{fffd}\u{1f680}"),
        (r#"["\udc00\udc00"]"#, "\u{fffd}\u{fffd}"),
        (r#"["\ud800\u0041"]"#, "\u{fffd}A"),
        (r#"["\udbffx"]"#, "\u{fffd}x"),
    ] {
        let parsed = parse_for_edit(text.as_bytes()).unwrap();
        assert_eq!(parsed.value[0], *read, "{text}");
        let flaw = parsed.flaw.unwrap();
        assert_eq!(flaw, Flaw::LoneSurrogate(Position { line: 1, column: 3 }));
        assert_eq!(flaw.error().code(), ErrorCode::StoreUnparsable);
    }
    assert_eq!(parse_for_edit(br#"["\ud83d\ude80"]"#).unwrap().flaw, None);
}

#[test]
fn milliseconds_are_finite_numbers() {
    let read = |text: &str| millis(&parse(text.as_bytes()).unwrap()).map(Timestamp::as_millis);
    assert_eq!(read("1700000000123"), Some(1_700_000_000_123));
    assert_eq!(read("1.7e12"), Some(1_700_000_000_000));
    assert_eq!(read("-5"), Some(-5));
    assert_eq!(read("12.9"), Some(12));
    assert_eq!(read("1e300"), Some(i64::MAX));
    assert_eq!(read("1e400"), None);
    assert_eq!(read("\"1700000000123\""), None);
    assert_eq!(read("null"), None);
}

/// Evaluates `expression` over each text `t` in real Node. Fails when there is no Node: a
/// comparison that did not run has not passed.
fn through_node(texts: &[String], expression: &str) -> Vec<String> {
    let script = format!(
        "const texts=JSON.parse(require('fs').readFileSync(0,'utf8'));\
         process.stdout.write(JSON.stringify(texts.map(t=>{expression})))"
    );
    let mut node = Command::new("node")
        .args(["-e", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("`node` must be on PATH: this test compares with real JavaScript");
    let mut stdin = node.stdin.take().unwrap();
    let input = serde_json::to_vec(texts).unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = node.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "node failed");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn many_flaws_cost_no_more_than_none() {
    use std::time::{Duration, Instant};

    const MANY: usize = 60_000;
    let timed = |text: String| {
        let begun = Instant::now();
        let flaw = parse_for_edit(text.as_bytes()).unwrap().flaw;
        (flaw.is_some(), begun.elapsed())
    };
    let keys = |name: fn(usize) -> String| {
        let pairs: Vec<String> = (0..MANY)
            .map(|number| format!("\"{}\":1", name(number)))
            .collect();
        format!("{{{}}}", pairs.join(","))
    };
    let (flawed, usual) = timed(keys(|number| format!("k{number:06}")));
    assert!(!flawed);
    let bound = 20 * usual + Duration::from_millis(100);
    for text in [
        keys(|_| "k000000".to_owned()),
        format!("[\"{}\"]", "\\ud800".repeat(MANY)),
    ] {
        let (flawed, took) = timed(text);
        assert!(flawed && took < bound, "{took:?}, without a flaw {usual:?}");
    }
}
