//! Stores made up by a seeded generator, for properties that must hold for any store.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

/// Texts that are awkward to write: escapes, other planes, keys that JavaScript treats specially.
const TEXTS: &[&str] = &[
    "",
    "plain",
    "with \"quotes\" and \\ backslash",
    "line\nbreak\ttab\u{8}\u{c}\r",
    "\u{0}\u{1f}\u{7f}",
    "\u{2028}\u{2029}\u{feff}",
    "\u{1f680} e\u{301} \u{5d0}",
    "__proto__",
    "$serde_json::private::Number",
    "</script>",
];

/// Numbers in spellings that a careless rewrite would change.
const NUMBERS: &[&str] = &[
    "0",
    "-0",
    "1.0",
    "1e5",
    "1E+5",
    "0.10",
    "-12.50e-3",
    "1700000000123",
    "12345678901234567890123",
    "1e400",
];

/// A store in JSON text, and the random source to choose an edit with.
pub(crate) fn store(seed: u64) -> (String, StdRng) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut members = vec![format!("\"profiles\":{}", profiles(&mut random))];
    for name in ["version", "order", "lastGood", "usageStats", "kept", "1"] {
        if random.random_bool(0.6) {
            let value = match name {
                "version" => "1".to_owned(),
                "order" if random.random_bool(0.8) => order(&mut random),
                "lastGood" if random.random_bool(0.8) => last_good(&mut random),
                "usageStats" if random.random_bool(0.8) => usage_stats(&mut random),
                _ => value(&mut random, 3),
            };
            members.push(format!("\"{name}\":{value}"));
        }
    }
    let start = random.random_range(0..members.len());
    members.rotate_left(start);
    (format!("{{{}}}", members.join(",")), random)
}

/// The ids that generated stores use.
pub(crate) fn ids() -> Vec<String> {
    let mut ids: Vec<String> = (0..8)
        .map(|n| format!("p{}:user{n}@example.com", n % 3))
        .collect();
    ids.extend(["weird \"id\"\n", "\u{1f680}", "17"].map(str::to_owned));
    ids
}

fn profiles(random: &mut StdRng) -> String {
    object(random, ids(), |random| match random.random_range(0..6) {
        0 | 1 => credential(
            random,
            "oauth",
            &["access", "refresh", "idToken", "accountId", "chatgptPlanType"],
        ),
        2 => credential(random, "token", &["token", "email"]),
        3 => credential(random, "api_key", &["key", "displayName"]),
        4 => credential(random, "passkey", &["blob"]),
        _ => value(random, 3),
    })
}

fn credential(random: &mut StdRng, kind: &str, texts: &[&str]) -> String {
    let mut members = vec![
        format!("\"type\":\"{kind}\""),
        format!("\"provider\":\"p{}\"", random.random_range(0..3)),
        format!("\"expires\":{}", pick(random, NUMBERS)),
    ];
    for name in texts {
        if random.random_bool(0.8) {
            members.push(format!("\"{name}\":\"{name}-{}\"", random.random::<u32>()));
        }
    }
    if random.random_bool(0.5) {
        members.push(format!("\"unknownField\":{}", value(random, 2)));
    }
    let start = random.random_range(0..members.len());
    members.rotate_left(start);
    format!("{{{}}}", members.join(","))
}

fn order(random: &mut StdRng) -> String {
    object(
        random,
        ["p0", "P1", " p2 "].map(str::to_owned).to_vec(),
        |random| list(random, |random| text(&pick(random, &ids()))),
    )
}

fn last_good(random: &mut StdRng) -> String {
    object(
        random,
        ["p0", "P1", " p2 "].map(str::to_owned).to_vec(),
        |random| text(&pick(random, &ids())),
    )
}

fn usage_stats(random: &mut StdRng) -> String {
    object(random, ids(), |random| {
        format!(
            "{{\"lastUsed\":{},\"x\":{}}}",
            pick(random, NUMBERS),
            value(random, 2)
        )
    })
}

fn value(random: &mut StdRng, depth: u32) -> String {
    let kinds = if depth == 0 { 4 } else { 6 };
    match random.random_range(0..kinds) {
        0 => "null".to_owned(),
        1 => random.random_bool(0.5).to_string(),
        2 => pick(random, NUMBERS).to_owned(),
        3 => text(pick(random, TEXTS)),
        4 => list(random, |random| value(random, depth - 1)),
        _ => {
            let keys = TEXTS.iter().map(|text| (*text).to_owned()).collect();
            object(random, keys, |random| value(random, depth - 1))
        }
    }
}

fn object(
    random: &mut StdRng,
    mut keys: Vec<String>,
    mut member: impl FnMut(&mut StdRng) -> String,
) -> String {
    keys.retain(|_| random.random_bool(0.5));
    let members: Vec<String> = keys
        .iter()
        .map(|key| format!("{}:{}", text(key), member(random)))
        .collect();
    format!("{{{}}}", members.join(","))
}

fn list(random: &mut StdRng, mut item: impl FnMut(&mut StdRng) -> String) -> String {
    let items: Vec<String> = (0..random.random_range(0..4)).map(|_| item(random)).collect();
    format!("[{}]", items.join(","))
}

fn text(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn pick<T: Clone>(random: &mut StdRng, from: &[T]) -> T {
    from.choose(random).unwrap().clone()
}
