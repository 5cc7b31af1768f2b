use super::*;

fn russian() -> Language {
    let text = r#"{
        "name": "Русский", "locale": "ru-RU", "window": {},
        "sentences": {
            "{program} is writing": "пишет {program}",
            "{n} accounts in {agent}": {
                "one": "{n} аккаунт в {agent}", "few": "{n} аккаунта в {agent}", "many": "{n} аккаунтов в {agent}",
                "other": "{n} аккаунта в {agent}"
            }
        }
    }"#;
    serde_json::from_str(text).unwrap()
}

#[test]
fn english_stands_in_the_code() {
    let program = "openclaw";
    assert_eq!(say!("{program} is writing", program), "openclaw is writing");
    assert_eq!(say!("{left} left {{here}}", left = 3), "3 left {here}");
    let said = |n: usize| {
        plural!(
            n,
            "one account in {agent}",
            "{n} accounts in {agent}",
            agent = "main"
        )
    };
    assert_eq!(
        [said(0), said(1), said(21)],
        ["0 accounts in main", "one account in main", "21 accounts in main"]
    );
}

#[test]
fn a_language_puts_values_and_numbers_into_its_own_words() {
    let russian = russian();
    let program: &dyn fmt::Display = &"openclaw {agent}";
    let said = russian.said("{program} is writing", None, &[("program", program)]);
    assert_eq!(said.unwrap(), "пишет openclaw {agent}");
    let accounts = |n: u64| {
        let values: [(&str, &dyn fmt::Display); 2] = [("n", &n), ("agent", &"main")];
        russian.said("{n} accounts in {agent}", Some(n), &values).unwrap()
    };
    assert_eq!(
        [1, 2, 5, 11, 21, 104].map(accounts),
        [
            "1 аккаунт в main",
            "2 аккаунта в main",
            "5 аккаунтов в main",
            "11 аккаунтов в main",
            "21 аккаунт в main",
            "104 аккаунта в main"
        ]
    );
    assert_eq!(russian.said("not in the file", None, &[]), None);
}

#[test]
fn the_first_known_language_of_the_system_is_taken() {
    assert_eq!(first_known(["C.UTF-8", "en_GB.UTF-8"]), "en");
    assert_eq!(first_known(["EN-us"]), "en");
    assert_eq!(first_known([]), "en");
    assert_eq!(first_known(["tlh"]), "en");
    for code in codes() {
        let locale = format!("{code}_XX.UTF-8@euro");
        assert_eq!(first_known(["tlh", &locale, "en"]), code);
    }
}

#[test]
fn what_a_language_lacks_stands_in_english_in_the_window() {
    let map = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
    let english = map(r#"{"a": "A", "n": {"one": "1", "other": "{n}"}, "d": {"x": "X", "y": "Y"}}"#);
    let other = map(r#"{"n": {"one": "один", "few": "{n}", "other": "{n}"}, "d": {"x": "Икс"}}"#);
    let expected =
        map(r#"{"a": "A", "n": {"one": "один", "few": "{n}", "other": "{n}"}, "d": {"x": "Икс", "y": "Y"}}"#);
    assert_eq!(over(english, other), expected);
}
