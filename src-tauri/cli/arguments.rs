//! The command line: OpenClaw's flag names, ids positional, secrets never.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

/// See OpenClaw's logins, renew them before they end, and switch between accounts.
#[derive(Debug, Parser)]
#[command(
    name = "kalit",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
pub struct Arguments {
    /// OpenClaw's state directory [default: $OPENCLAW_STATE_DIR, else ~/.openclaw]
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// Print JSON for programs; an error is one JSON object on stdout
    #[arg(long, global = true)]
    pub json: bool,

    /// Do not tell what takes its time
    #[arg(long, short, global = true)]
    pub quiet: bool,

    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    #[command(flatten)]
    Broker(Command),
    /// Print the script with which a shell completes Kalit's verbs and flags
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// What the broker is asked.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show every account, its state, and which one is used and why
    Status {
        #[command(flatten)]
        agent: AnyAgentArgument,
        /// Exit 1 when an account is expired, unusable or signed out, 2 when one expires within 24 hours
        #[arg(long)]
        check: bool,
    },
    /// List the profiles of an agent
    List {
        #[command(flatten)]
        agent: AgentArgument,
    },
    /// Sign in through the system browser, by Kalit or by OpenClaw itself
    Login {
        /// Provider, such as openai
        provider: String,
        #[command(flatten)]
        agent: AgentArgument,
        /// Sign in again for this profile, or choose the id of a new one
        #[arg(long, value_name = "ID")]
        profile_id: Option<String>,
        /// Let OpenClaw sign in by a code to enter on another machine
        #[arg(long)]
        device_code: bool,
        /// Let OpenClaw sign in by this method of the provider, such as setup-token
        #[arg(long, value_name = "ID", conflicts_with = "device_code")]
        method: Option<String>,
        /// Print the address instead of opening a browser, and read the redirect address from stdin
        #[arg(long)]
        no_browser: bool,
        /// Sign in for OpenClaw on that machine, through ssh: user@host, a name of ssh's configuration, or
        /// ssh://user@host:port
        #[arg(long, value_name = "HOST")]
        host: Option<String>,
        /// Use the account at once
        #[arg(long = "use")]
        use_now: bool,
    },
    /// Store a token read from stdin, such as an Anthropic setup-token
    PasteToken {
        #[command(flatten)]
        paste: PasteArguments,
        /// How long the token lives, such as 365d or 12h
        #[arg(long, value_name = "DURATION")]
        expires_in: Option<String>,
    },
    /// Store an API key read from stdin
    PasteApiKey {
        #[command(flatten)]
        paste: PasteArguments,
    },
    /// Use this account first
    Use {
        /// Profile id, such as openai:me@example.com
        profile_id: String,
        #[command(flatten)]
        agent: AgentArgument,
    },
    /// Let OpenClaw use an account at once that it leaves alone after failures
    ClearCooldown {
        /// Profile id, such as openai:me@example.com
        profile_id: String,
        #[command(flatten)]
        agent: AgentArgument,
    },
    /// Show or change the order in which a provider's accounts are tried
    Order {
        #[command(subcommand)]
        action: OrderAction,
    },
    /// Show an agent's sessions, or pin one to an account
    Sessions {
        #[command(subcommand)]
        action: SessionsAction,
    },
    /// Let OpenClaw 2026.6.5 or later use every login once, which renews those that are due
    TestLogins {
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Renew logins now
    #[command(visible_alias = "renew", after_help = "`kalit renew` is the same.")]
    Refresh {
        /// Only this profile [default: every login that can be renewed]
        profile_id: Option<String>,
        /// Only what is due
        #[arg(long, conflicts_with = "profile_id")]
        due: bool,
        #[command(flatten)]
        agent: AgentArgument,
    },
    /// Forget an account on this machine; the provider is told only if you want that
    Remove {
        /// Profile id, such as openai:me@example.com
        profile_id: String,
        #[command(flatten)]
        agent: AgentArgument,
        /// End the login at the provider first: for all who use it, perhaps your other sessions, too
        #[arg(long)]
        everywhere: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Put back a login that OpenClaw dropped, after a preview
    Restore {
        /// Profile id, such as openai:me@example.com
        profile_id: String,
        #[command(flatten)]
        agent: AgentArgument,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Show Kalit's sealed copies of the accounts, or put accounts back from one
    Snapshots {
        #[command(subcommand)]
        action: SnapshotsAction,
    },
    /// Show which logins several programs hold, and what will come of it
    Radar {
        /// Look into other programs' items in the keychain, too: it may ask whether that is allowed
        #[arg(long)]
        keychain: bool,
        /// Exit 1 when a program will be signed out if nothing is done
        #[arg(long)]
        check: bool,
    },
    /// Make main the one owner of its login: take the copies out of the other agents' stores
    OneOwner {
        profile_id: String,
        /// Do it without asking
        #[arg(long)]
        yes: bool,
    },
    /// Show what happened to the accounts, the newest first
    History {
        /// Only this profile
        #[arg(long, value_name = "ID")]
        profile: Option<String>,
        #[command(flatten)]
        agent: AnyAgentArgument,
        #[command(flatten)]
        wanted: HistoryArguments,
    },
    /// Say why an account was signed out, or why it only looks so
    Why {
        /// Profile id, such as openai:me@example.com
        profile_id: String,
        #[command(flatten)]
        agent: AgentArgument,
    },
    /// Import credentials that OpenClaw left in its older files, after a preview
    Import {
        #[command(flatten)]
        agent: AgentArgument,
        /// Import without asking
        #[arg(long)]
        yes: bool,
    },
    /// Show or add agents
    Agents {
        #[command(subcommand)]
        action: AgentsAction,
    },
    /// Show the providers one can sign in to, or trust a manifest
    Providers {
        #[command(subcommand)]
        action: ProvidersAction,
    },
    /// Show Kalit's settings, or change one
    Settings {
        #[command(subcommand)]
        action: Option<SettingsAction>,
    },
    /// Watch, renew and report without a desktop; with --json one event a line
    Watch,
    /// Explain what Kalit found: versions, locks, sealed copies, leftovers
    Doctor {
        /// Move the key of the sealed copies into the system's keychain
        #[arg(long)]
        move_key_to_keychain: bool,
        /// Leave out the home directory and e-mail addresses, to show it to others
        #[arg(long)]
        redacted: bool,
    },
}

#[derive(Debug, Args)]
pub struct AgentArgument {
    /// Agent [default: the default agent]
    #[arg(long, value_name = "ID")]
    pub agent: Option<String>,
}

#[derive(Debug, Args)]
pub struct AnyAgentArgument {
    /// Agent [default: all agents]
    #[arg(long, value_name = "ID")]
    pub agent: Option<String>,
}

#[derive(Debug, Args)]
pub struct PasteArguments {
    /// Whose token or key it is, such as anthropic
    #[arg(long, value_name = "ID")]
    pub provider: String,
    /// Where it is stored [default: <provider>:manual]
    #[arg(long, value_name = "ID")]
    pub profile_id: Option<String>,
    #[command(flatten)]
    pub agent: AgentArgument,
}

#[derive(Debug, Args)]
pub struct HistoryArguments {
    /// Only events with these words
    #[arg(long, value_name = "TEXT")]
    pub search: Option<String>,
    /// Only events of this type, such as signed-out; may be given several times
    #[arg(long = "type", value_name = "TYPE")]
    pub kinds: Vec<String>,
    /// Only events of this time until now, such as 7d or 12h
    #[arg(long, value_name = "SPAN")]
    pub since: Option<String>,
    /// Only events of the family with this fingerprint, or its beginning
    #[arg(long, value_name = "HEX")]
    pub family: Option<String>,
    /// Only events of the generation with this fingerprint, or its beginning
    #[arg(long, value_name = "HEX")]
    pub generation: Option<String>,
    /// How many events at most [default: 50, with --export all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub limit: Option<u32>,
    /// Write them to a new file instead, one JSON object a line, the oldest first
    #[arg(long, value_name = "FILE")]
    pub export: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum OrderAction {
    /// Show the stored order and what follows from it
    Get {
        /// Provider, such as openai
        #[arg(long, value_name = "ID")]
        provider: String,
        #[command(flatten)]
        agent: AgentArgument,
    },
    /// Store an order, first to last
    Set {
        /// Provider, such as openai
        #[arg(long, value_name = "ID")]
        provider: String,
        #[command(flatten)]
        agent: AgentArgument,
        #[command(flatten)]
        global: GlobalArguments,
        /// Profile ids of this provider
        #[arg(required = true, value_name = "PROFILE_ID")]
        profile_ids: Vec<String>,
    },
    /// Return to rotation
    Clear {
        /// Provider, such as openai
        #[arg(long, value_name = "ID")]
        provider: String,
        #[command(flatten)]
        agent: AgentArgument,
        #[command(flatten)]
        global: GlobalArguments,
    },
}

#[derive(Debug, Args)]
pub struct GlobalArguments {
    /// For all agents: in openclaw.json, after a preview
    #[arg(long, conflicts_with = "agent")]
    pub global: bool,
    /// Do not ask
    #[arg(long, requires = "global")]
    pub yes: bool,
}

#[derive(Debug, Subcommand)]
pub enum SessionsAction {
    /// List the sessions with their pinned accounts, the newest first
    List {
        #[command(flatten)]
        agent: AgentArgument,
    },
    /// Let a session use one account whatever the order says
    Pin {
        /// Session key, such as agent:main:main
        session: String,
        /// Profile id, such as openai:me@example.com
        profile_id: String,
        #[command(flatten)]
        agent: AgentArgument,
    },
    /// Let a session follow the order again
    Unpin {
        /// Session key, such as agent:main:main
        session: String,
        #[command(flatten)]
        agent: AgentArgument,
    },
}

#[derive(Debug, Subcommand)]
pub enum SnapshotsAction {
    /// List the snapshots, the newest first
    List,
    /// Show what a snapshot holds and what putting it back would do now
    Show {
        /// Snapshot id, as the list names it
        id: String,
        #[command(flatten)]
        agent: AnyAgentArgument,
    },
    /// Put accounts back from a snapshot, after a preview
    Restore {
        /// Snapshot id, as the list names it
        id: String,
        #[command(flatten)]
        agent: AnyAgentArgument,
        /// Only this profile, in place of what stands there [default: all that is missing]
        #[arg(long, value_name = "ID")]
        profile_id: Option<String>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum AgentsAction {
    /// List the agents with their directories and bindings
    List,
    /// Add an agent through OpenClaw
    Add {
        /// Its id
        id: String,
        /// Where it works [default: workspace-<id> in the state directory]
        #[arg(long, value_name = "DIR")]
        workspace: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub enum ProvidersAction {
    /// List providers, built in and from manifests
    List,
    /// Add a provider by its issuer: reads what the server says of itself, shows its hosts, writes a manifest
    Discover(DiscoverArguments),
    /// Trust a manifest that overrides a built-in provider's addresses
    Trust {
        /// The manifest
        file: PathBuf,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub struct DiscoverArguments {
    /// Its address, exactly as the provider writes it
    pub issuer: String,
    /// What it is called in OpenClaw's store
    #[arg(long, value_name = "ID")]
    pub id: String,
    /// The public client that is registered there
    #[arg(long, value_name = "CLIENT")]
    pub client_id: String,
    /// For people [default: the id]
    #[arg(long)]
    pub name: Option<String>,
    /// A scope to ask for; may be repeated [default: the usual ones that it offers]
    #[arg(long, value_name = "SCOPE")]
    pub scope: Vec<String>,
    /// The redirect address that is registered there [default: any port of 127.0.0.1]
    #[arg(long, value_name = "URL")]
    pub redirect: Option<String>,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Subcommand)]
pub enum SettingsAction {
    /// Change a setting, for all of Kalit's programs
    Set {
        /// Its name, as `kalit settings` shows it
        key: String,
        /// What it is to be: true, false, an absolute path; for mutedUntil 1h, tomorrow, off or a time such as 22:30
        value: String,
    },
    /// Return to the default
    Unset {
        /// Its name, as `kalit settings` shows it
        key: String,
    },
}
