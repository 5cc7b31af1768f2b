use super::*;

fn environment(home: &Path) -> Environment {
    Environment::new([], home, home)
}

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn read_in(dir: &Path, text: &str) -> Result<Value, (ErrorCode, String)> {
    let path = write(dir, "openclaw.json", text);
    read(&path, &environment(dir))
        .map(|document| document.unwrap().value)
        .map_err(|finding| (finding.code, finding.message))
}

fn failure(dir: &Path, text: &str) -> ErrorCode {
    read_in(dir, text).unwrap_err().0
}

#[test]
fn comments_trailing_commas_and_the_rest_of_json5_are_legal() {
    let dir = tempfile::tempdir().unwrap();
    let text = "\u{feff}// a\n{ unquoted: 'single', /* b */ hex: 0x10, plus: +1.5, list: [1,2,], nan: NaN, 'long': 'a\\\nb', }\n// end";
    assert_eq!(
        read_in(dir.path(), text).unwrap(),
        json(r#"{"unquoted":"single","hex":16,"plus":1.5,"list":[1,2],"nan":null,"long":"ab"}"#)
    );
}

#[test]
fn bad_files_have_a_code_and_never_quote_the_content() {
    let dir = tempfile::tempdir().unwrap();
    for bad in [
        "",
        "   \n",
        "{",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\" 1}",
        "{a:1}}",
        "{secret: 'sk-leak}",
        "nonsense sk-leak",
        "{a:1} sk-leak",
        "\0\0\0\0",
    ] {
        let (code, message) = read_in(dir.path(), bad).unwrap_err();
        assert_eq!(code, ErrorCode::ConfigUnparsable, "{bad:?}");
        assert!(!message.contains("sk-leak"), "{message}");
        assert!(message.contains("openclaw.json"), "{message}");
    }
    let place = read_in(dir.path(), "{\n  a: ,\n}").unwrap_err().1;
    assert!(place.contains("line 2, column 6"), "{place}");
    let deep = format!("{{a:{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(failure(dir.path(), &deep), ErrorCode::ConfigUnparsable);
    let large = format!("{{a:'{}'}}", "x".repeat(16 * 1024 * 1024));
    assert_eq!(failure(dir.path(), &large), ErrorCode::ConfigUnparsable);
}

#[test]
fn a_missing_file_is_no_document() {
    let dir = tempfile::tempdir().unwrap();
    assert!(
        read(&dir.path().join("openclaw.json"), &environment(dir.path()))
            .unwrap()
            .is_none()
    );
    let below_a_file = write(dir.path(), "file", "").join("openclaw.json");
    assert!(read(&below_a_file, &environment(dir.path())).unwrap().is_none());
}

#[test]
fn a_directory_is_unreadable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("openclaw.json");
    fs::create_dir(&path).unwrap();
    let finding = read(&path, &environment(dir.path())).err().unwrap();
    assert_eq!(finding.code, ErrorCode::ConfigUnreadable);
    assert!(finding.message.ends_with("it is a directory"));
}

#[cfg(unix)]
#[test]
fn dangling_and_looping_links_and_devices_are_unreadable() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    for (name, target) in [("dangling", "nowhere"), ("loop", "loop"), ("device", "/dev/zero")] {
        let path = dir.path().join(name);
        symlink(target, &path).unwrap();
        let finding = read(&path, &environment(dir.path())).err().unwrap();
        assert_eq!(
            finding.code,
            ErrorCode::ConfigUnreadable,
            "{name}: {}",
            finding.message
        );
    }
    let link = dir.path().join("good");
    symlink(write(dir.path(), "real.json", "{a:1}"), &link).unwrap();
    let document = read(&link, &environment(dir.path())).unwrap().unwrap();
    assert_eq!(document.value, json(r#"{"a":1}"#));
}

#[cfg(unix)]
#[test]
fn a_file_without_permission_is_unreadable() {
    let finding = unreadable(Path::new("/x"), &io::ErrorKind::PermissionDenied.into());
    assert_eq!(finding.code, ErrorCode::ConfigUnreadable);
    assert!(finding.message.contains("permission denied"));
}

#[test]
fn of_duplicate_keys_the_last_counts_and_they_are_named() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "b.json5", "{ twice: 1, twice: 2 }");
    let path = write(
        dir.path(),
        "openclaw.json",
        "{ auth: 1, $include: 'b.json5', auth: 2 }",
    );
    let document = read(&path, &environment(dir.path())).unwrap().unwrap();
    assert_eq!(document.value, json(r#"{"twice":2,"auth":2}"#));
    assert_eq!(
        document.duplicates.into_iter().collect::<Vec<_>>(),
        ["auth", "twice"]
    );
}

/// Printed by `config get auth --json` of 2026.2.17, 2026.4.29 and 2026.6.1 for these files.
#[test]
fn includes_merge_as_openclaw_does() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        "conf/a.json5",
        "{ auth: { order: { anthropic: ['anthropic:a'], openai: ['openai:a'] } } }",
    );
    write(
        dir.path(),
        "conf/b.json5",
        "{ auth: { order: { anthropic: ['anthropic:b'] } } }",
    );
    let value = read_in(
        dir.path(),
        r#"{ "$include": ["./conf/a.json5", "conf/b.json5"],
             auth: { order: { anthropic: ["anthropic:c"] }, profiles: { x: 1 } } }"#,
    );
    assert_eq!(
        value.unwrap(),
        json(
            r#"{"auth":{"order":{"anthropic":["anthropic:a","anthropic:b","anthropic:c"],
            "openai":["openai:a"]},"profiles":{"x":1}}}"#
        )
    );
}

#[test]
fn an_include_is_relative_to_its_file_and_works_at_any_depth() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "conf/outer.json5", "{ $include: './inner/x.json5' }");
    write(dir.path(), "conf/inner/x.json5", "{ deep: true }");
    write(dir.path(), "conf/list.json5", "['one']");
    let value = read_in(
        dir.path(),
        "{ agents: { $include: 'conf/outer.json5', deep: 'own' }, list: { $include: 'conf/list.json5' } }",
    );
    assert_eq!(
        value.unwrap(),
        json(r#"{"agents":{"deep":"own"},"list":["one"]}"#)
    );
}

#[test]
fn broken_includes_have_their_own_code() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("inner");
    write(dir.path(), "outside.json5", "{}");
    write(&inner, "circle.json5", "{ $include: 'openclaw.json' }");
    write(&inner, "bad.json5", "{ a: ");
    write(&inner, "list.json5", "[]");
    write(&inner, "huge.json5", &format!("'{}'", "x".repeat(3 << 20)));
    fs::create_dir_all(inner.join("dir")).unwrap();
    for bad in [
        "{ $include: 'missing.json5' }",
        "{ $include: '../outside.json5' }",
        "{ $include: '/etc/hostname' }",
        "{ $include: 'circle.json5' }",
        "{ $include: 'openclaw.json' }",
        "{ $include: 'bad.json5' }",
        "{ $include: 'huge.json5' }",
        "{ $include: 'dir' }",
        "{ $include: 'list.json5', own: 1 }",
        "{ $include: ['list.json5', 1] }",
        "{ $include: 1 }",
        "{ channels: { x: { $include: 'missing.json5' } } }",
        "{ $include: 'a\\0b' }",
    ] {
        assert_eq!(failure(&inner, bad), ErrorCode::ConfigInclude, "{bad}");
    }
}

#[test]
fn ten_levels_of_includes_are_allowed_and_multiplying_ones_are_stopped() {
    let dir = tempfile::tempdir().unwrap();
    for level in 1..=11 {
        let text = format!("{{ $include: '{}.json5' }}", level + 1);
        write(dir.path(), &format!("{level}.json5"), &text);
    }
    write(dir.path(), "10.json5", "{ end: true }");
    let value = read_in(dir.path(), "{ $include: '1.json5' }");
    assert_eq!(value.unwrap(), json(r#"{"end":true}"#));
    write(dir.path(), "10.json5", "{ $include: '11.json5' }");
    write(dir.path(), "11.json5", "{ end: true }");
    assert_eq!(
        failure(dir.path(), "{ $include: '1.json5' }"),
        ErrorCode::ConfigInclude
    );

    for level in 1..=9 {
        let name = format!("'m{}.json5'", level + 1);
        let text = format!("{{ $include: [{name},{name},{name},{name},{name},{name}] }}");
        write(dir.path(), &format!("m{level}.json5"), &text);
    }
    write(dir.path(), "m10.json5", "{ list: [1] }");
    assert_eq!(
        failure(dir.path(), "{ $include: 'm1.json5' }"),
        ErrorCode::ConfigInclude
    );
}

#[cfg(unix)]
#[test]
fn a_link_out_of_the_directory_is_refused_unless_its_root_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("inner");
    let shared = write(dir.path(), "shared/x.json5", "{ x: 1 }");
    fs::create_dir_all(&inner).unwrap();
    std::os::unix::fs::symlink(&shared, inner.join("x.json5")).unwrap();
    assert_eq!(
        failure(&inner, "{ $include: 'x.json5' }"),
        ErrorCode::ConfigInclude
    );
    let allowed = environment(dir.path()).with_var("OPENCLAW_INCLUDE_ROOTS", "~/shared: :/nowhere");
    for include in ["x.json5", "../shared/x.json5"] {
        let path = write(&inner, "openclaw.json", &format!("{{ $include: '{include}' }}"));
        assert_eq!(read(&path, &allowed).unwrap().unwrap().value, json(r#"{"x":1}"#));
    }
}

#[test]
fn variables_are_substituted_by_openclaws_rules() {
    let lookup = |name: &str| match name {
        "NAME" => Some("value".to_owned()),
        "_X9" => Some("under".to_owned()),
        "EMPTY" => Some(String::new()),
        "REF" => Some("${NAME}".to_owned()),
        _ => None,
    };
    let substituted = |text: &str| {
        let mut missing = BTreeSet::new();
        let mut value = Value::from(text);
        substitute(&mut value, &lookup, &mut missing);
        (
            value.as_str().unwrap().to_owned(),
            missing.into_iter().collect::<Vec<_>>().join(","),
        )
    };
    for (text, expected, missing) in [
        ("${NAME}", "value", ""),
        ("a${NAME}b${_X9}", "avaluebunder", ""),
        ("$${NAME}", "${NAME}", ""),
        ("$$${NAME}", "$${NAME}", ""),
        (
            "${name} $NAME ${} ${9A} ${A-B}",
            "${name} $NAME ${} ${9A} ${A-B}",
            "",
        ),
        ("${NAME", "${NAME", ""),
        ("$${nope", "$${nope", ""),
        ("${GONE}-${EMPTY}", "${GONE}-${EMPTY}", "EMPTY,GONE"),
        ("${REF}", "${NAME}", ""),
        ("é${NAME}é$", "évalueé$", ""),
    ] {
        assert_eq!(
            substituted(text),
            (expected.to_owned(), missing.to_owned()),
            "{text}"
        );
    }
    assert!(has_reference("x${NAME}") && !has_reference("$${NAME}") && !has_reference("$5"));

    let mut tree = json(r#"{"${NAME}":["${NAME}",{"a":"${NAME}"},1,null]}"#);
    substitute(&mut tree, &lookup, &mut BTreeSet::new());
    assert_eq!(tree, json(r#"{"${NAME}":["value",{"a":"value"},1,null]}"#));
}
