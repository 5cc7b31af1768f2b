//! Where logins lie besides OpenClaw's stores.

use std::path::PathBuf;

use crate::environment::Environment;

const UNMOVED: &str = template!("an OpenClaw with both JSON and SQLite stores");
const LEFTOVER: &str = template!("a leftover of OpenClaw");

/// A file with logins that is none of OpenClaw's stores in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// It renews the login on its own: the generation is shared.
    Program(Program),
    /// `auth-profiles.json` of an installation of both eras: it counts until it has been moved into a
    /// database.
    Unmoved,
    /// A cache, backup or archive that nobody renews: reported, no obstacle.
    Leftover,
}

impl Place {
    /// For people, as a template of [`crate::language`].
    pub const fn name(self) -> &'static str {
        match self {
            Self::Program(program) => program.name(),
            Self::Unmoved => UNMOVED,
            Self::Leftover => LEFTOVER,
        }
    }
}

/// A program that OpenClaw's users sign in with, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Program {
    Codex,
    Claude,
    Gemini,
    Qwen,
    MiniMax,
}

impl Program {
    pub const ALL: [Self; 5] = [Self::Codex, Self::Claude, Self::Gemini, Self::Qwen, Self::MiniMax];

    /// What it calls itself.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Codex => "Codex CLI",
            Self::Claude => "Claude Code",
            Self::Gemini => "Gemini CLI",
            Self::Qwen => "Qwen CLI",
            Self::MiniMax => "MiniMax CLI",
        }
    }

    /// A stable word, for events and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Codex => "codex-cli",
            Self::Claude => "claude-code",
            Self::Gemini => "gemini-cli",
            Self::Qwen => "qwen-cli",
            Self::MiniMax => "minimax-cli",
        }
    }

    /// The program that has this word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|program| program.word() == word)
    }

    /// The file with its login, unless it keeps that in the keychain. The variables are those that the
    /// programs follow themselves.
    pub fn file(self, environment: &Environment) -> PathBuf {
        let home = environment.home();
        let own_dir = |variable: &str, default: &str| match environment.var(variable) {
            Some(dir) => environment.working_dir().join(dir),
            None => home.join(default),
        };
        match self {
            Self::Codex => own_dir("CODEX_HOME", ".codex").join("auth.json"),
            Self::Claude => own_dir("CLAUDE_CONFIG_DIR", ".claude").join(".credentials.json"),
            Self::Gemini => home.join(".gemini/oauth_creds.json"),
            Self::Qwen => home.join(".qwen/oauth_creds.json"),
            Self::MiniMax => home.join(".minimax/oauth_creds.json"),
        }
    }
}
