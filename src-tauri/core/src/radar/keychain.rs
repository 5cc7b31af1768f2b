//! The logins that other programs keep in the system's keychain. Only ever looked at because a person
//! asked for it: reading another program's item may make the keychain ask whether it is allowed.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{Found, Holder, Place, Program, Unreadable, json};
use crate::environment::Environment;
use crate::vault::{keychain, short_digest};

/// Those that can: Codex CLI with `cli_auth_credentials_store`, and on macOS Claude Code.
pub const PROGRAMS: &[Program] = if cfg!(target_os = "macos") {
    &[Program::Codex, Program::Claude]
} else {
    &[Program::Codex]
};

/// Looks for the items of [`PROGRAMS`]; one that is not there is no login.
pub async fn read(environment: &Environment) -> Found {
    let mut found = Found::default();
    for program in PROGRAMS.iter().copied() {
        let file = program.file(environment);
        let Some((service, account)) = item(program, environment, &file) else {
            continue;
        };
        let path = PathBuf::from(format!("keychain:{service}"));
        let place = Place::Program(program);
        let unreadable = |reason: &str| Unreadable {
            place,
            path: path.clone(),
            reason: reason.to_owned(),
        };
        match keychain::read_foreign(service, account).await {
            Ok(None) => {}
            Ok(Some(bytes)) => match json::read_logins(&Zeroizing::new(bytes)) {
                Some(logins) => found
                    .holders
                    .extend(logins.generations.into_iter().map(|generation| Holder {
                        place,
                        path: path.clone(),
                        generation,
                        account_id: logins.account_id.clone(),
                        changed_at: None,
                    })),
                None => found.unreadable.push(unreadable("not JSON")),
            },
            Err(error) => found.unreadable.push(unreadable(error.message())),
        }
    }
    found
}

/// Service and account of the item that belongs to a program's directory.
fn item(program: Program, environment: &Environment, file: &Path) -> Option<(String, String)> {
    match program {
        Program::Codex => {
            let home = file.parent()?;
            let home = home.canonicalize().unwrap_or_else(|_| home.to_owned());
            Some((
                "Codex Auth".to_owned(),
                format!("cli|{}", short_digest(home.to_string_lossy().as_bytes())),
            ))
        }
        Program::Claude => {
            let own = environment
                .var("CLAUDE_CONFIG_DIR")
                .map(|dir| short_digest(dir.as_bytes()));
            let service = match own {
                Some(digits) => format!("Claude Code-credentials-{}", &digits[..8]),
                None => "Claude Code-credentials".to_owned(),
            };
            let user = environment.var("USER").unwrap_or("claude-code-user");
            Some((service, user.to_owned()))
        }
        Program::Gemini | Program::Qwen | Program::MiniMax => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_named_as_their_programs_name_them() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap();
        let environment = Environment::new(
            [
                ("HOME".to_owned(), home.display().to_string()),
                ("USER".to_owned(), "ann".to_owned()),
            ],
            &home,
            &home,
        );
        let of = |program: Program, environment: &Environment| {
            item(program, environment, &program.file(environment)).unwrap()
        };
        let codex = home.join(".codex").display().to_string();
        assert_eq!(
            of(Program::Codex, &environment),
            (
                "Codex Auth".to_owned(),
                format!("cli|{}", short_digest(codex.as_bytes()))
            )
        );
        assert_eq!(
            of(Program::Claude, &environment),
            ("Claude Code-credentials".to_owned(), "ann".to_owned())
        );
        let (service, _) = of(Program::Claude, &environment.with_var("CLAUDE_CONFIG_DIR", "/c"));
        assert_eq!(
            service,
            format!("Claude Code-credentials-{}", &short_digest(b"/c")[..8])
        );
        // SHA-256 of the empty text.
        assert_eq!(short_digest(b""), "e3b0c44298fc1c14");
    }
}
