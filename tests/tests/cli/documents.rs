//! `docs/errors.md` is the table of `kalit_core::ErrorCode`. `KALIT_WRITE_DOCS=1` writes it anew.

use std::fmt::Write;

use kalit_core::ErrorCode;
use kalit_journeys::process::workspace;

const HEAD: &str = "# Error codes

A failure has a stable code, a sentence about this case and a sentence that says what to do next. With
`--json` it is `{\"error\":{\"code\",\"message\",\"hint\"}}` on stdout, without it code and hint are on
stderr. Codes are never reused for something else. The exit codes:

| exit code | meaning |
|---|---|
| 0 | done |
| 1, 2 | `status --check` only: 1, an account is expired, without a usable secret, or signed out; 2, one expires within 24 hours; 1 wins |
| 64 | usage: an unknown flag, agent, profile or provider, or a confirmation that is missing |
| 65 | input that cannot be used, or a store or configuration that does not parse |
| 69 | the network, the provider, or another part that is not available |
| 70 | a mistake in Kalit or in its own files |
| 73 | cannot write |
| 75 | busy: try again |
| 77 | not permitted, also for a login that another program shares |

What happened stands in the message; the last column is the general hint, which a case may replace by
a closer one.

| code | exit code | what to do next |
|---|---|---|
";

#[test]
fn the_table_of_error_codes_is_the_one_in_the_program() {
    let mut expected = HEAD.to_owned();
    for code in ErrorCode::ALL {
        let hint = code.hint().replace('|', "\\|").replace('<', "\\<");
        writeln!(
            expected,
            "| `{}` | {} | {hint} |",
            code.as_str(),
            code.exit_code()
        )
        .unwrap();
    }
    let path = workspace().join("docs/errors.md");
    if std::env::var_os("KALIT_WRITE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "run the test with KALIT_WRITE_DOCS=1 to write docs/errors.md anew"
    );
}
