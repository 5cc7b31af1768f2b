//! Stores made up by a seeded generator, with what a careless edit would change: unknown fields,
//! odd spellings of numbers and texts, records of ids that do not exist.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

/// The account that OpenClaw stores.
pub const THEIRS: &str = "acme:theirs";

const NUMBERS: [&str; 8] = [
    "0",
    "1.0",
    "1e5",
    "1E+5",
    "0.10",
    "1700000000123",
    "12345678901234567890123",
    "1e400",
];
/// Texts as they stand in the file.
const TEXTS: [&str; 6] = [
    r#""plain""#,
    r#""with \"quotes\" and \\""#,
    r#""\u00e9\ud83d\ude80""#,
    r#""\u0000\u001f\n""#,
    "\"\u{2028}\u{1f680}e\u{301}\"",
    r#""\/""#,
];

/// A store's text, and the random source to choose an edit with. One in 20 holds half a surrogate
/// pair, which no program can keep.
pub fn invented(seed: u64) -> (String, StdRng) {
    let mut random = StdRng::seed_from_u64(seed);
    let ids: Vec<String> = (0..5)
        .map(|n| {
            format!(
                "{}:user{n}@example.com",
                ["acme", "openai-codex", "anthropic"][n % 3]
            )
        })
        .filter(|_| random.random_bool(0.7))
        .chain([THEIRS.to_owned()])
        .collect();
    let profiles: Vec<String> = ids
        .iter()
        .map(|id| format!("\"{id}\": {}", entry(&mut random)))
        .collect();
    let mut members = vec![
        "\"version\": 1".to_owned(),
        format!("\"profiles\": {{{}}}", profiles.join(", ")),
    ];
    let named = |random: &mut StdRng| match ids.choose(random) {
        Some(id) if random.random_bool(0.8) => id.clone(),
        Some(_) | None => "acme:gone".to_owned(),
    };
    if random.random_bool(0.6) {
        let (one, other) = (named(&mut random), named(&mut random));
        members.push(format!("\"order\": {{\"acme\": [\"{one}\", \"{other}\"]}}"));
    }
    if random.random_bool(0.6) {
        members.push(format!(
            "\"lastGood\": {{\"anthropic\": \"{}\"}}",
            named(&mut random)
        ));
    }
    if random.random_bool(0.6) {
        let number = pick(&mut random, &NUMBERS);
        members.push(format!(
            "\"usageStats\": {{\"{}\": {{\"lastUsed\": {number}, \"errorCount\": 2}}}}",
            named(&mut random)
        ));
    }
    if random.random_bool(0.5) {
        members.push(format!(
            "\"unknownTop\": [{}, {}]",
            pick(&mut random, &NUMBERS),
            pick(&mut random, &TEXTS)
        ));
    }
    if random.random_bool(0.05) {
        members.push(r#""half": "\ud800""#.to_owned());
    }
    (format!("{{{}}}\n", members.join(",\n ")), random)
}

fn entry(random: &mut StdRng) -> String {
    let provider = pick(random, &["\"acme\"", "\"openai-codex\"", "\"Anthropic\""]);
    let mut fields = match random.random_range(0..10) {
        0..4 => vec![
            "\"type\": \"oauth\"".to_owned(),
            "\"access\": \"FAKE-A\"".to_owned(),
            "\"refresh\": \"FAKE-R\"".to_owned(),
            "\"expires\": 1795435200000".to_owned(),
        ],
        4..6 => vec![
            "\"type\": \"token\"".to_owned(),
            "\"token\": \"FAKE-T\"".to_owned(),
        ],
        6..9 => vec![
            "\"type\": \"api_key\"".to_owned(),
            "\"key\": \"FAKE-K\"".to_owned(),
        ],
        _ => vec!["\"type\": \"passkey\"".to_owned()],
    };
    fields.push(format!("\"provider\": {provider}"));
    for name in ["email", "displayName"] {
        if random.random_bool(0.3) {
            fields.push(format!("\"{name}\": {}", pick(random, &TEXTS)));
        }
    }
    if random.random_bool(0.3) {
        fields.push("\"accountId\": \"acc-0\"".to_owned());
    }
    if random.random_bool(0.4) {
        fields.push(format!(
            "\"unknownField\": {{\"n\": {}, \"t\": {}}}",
            pick(random, &NUMBERS),
            pick(random, &TEXTS)
        ));
    }
    let start = random.random_range(0..fields.len());
    fields.rotate_left(start);
    format!("{{{}}}", fields.join(", "))
}

fn pick<'a>(random: &mut StdRng, from: &[&'a str]) -> &'a str {
    from.choose(random).copied().unwrap_or_default()
}
