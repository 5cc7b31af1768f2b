//! Errors as people and programs see them: a stable code, a sentence, a hint and an exit code.
//! No message may contain a token, a code, a state or a response body.

use std::fmt;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure with a stable code. Callers branch on [`Error::code`], never on the text.
pub struct Error {
    code: ErrorCode,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// A failure with the code's own hint.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
            source: None,
        }
    }

    /// Replaces the code's general hint by one for this case.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Keeps the cause. It must not contain a secret either.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// What happened: lower case, without a full stop.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do next: a sentence.
    pub fn hint(&self) -> String {
        self.hint.clone().unwrap_or_else(|| self.code.hint())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.code.as_str(), self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

macro_rules! error_codes {
    ($($variant:ident, $text:literal, $exit:literal, say!($hint:literal);)*) => {
        /// Every failure that Kalit can report. Codes are never reused; `docs/errors.md` lists them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ErrorCode {
            $(#[doc = concat!("`", $text, "`, exit code ", stringify!($exit), ".")] $variant,)*
        }

        impl ErrorCode {
            /// All codes, in the order of the table.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$variant,)*];

            /// The stable dotted name.
            pub const fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$variant => $text,)* }
            }

            /// The exit code of the CLI (sysexits where one fits).
            pub const fn exit_code(self) -> u8 {
                match self { $(ErrorCode::$variant => $exit,)* }
            }

            /// What to do next, in general.
            pub fn hint(self) -> String {
                match self { $(ErrorCode::$variant => say!($hint),)* }
            }
        }
    };
}

error_codes! {
    Usage, "usage", 64, say!("Run `kalit --help` to see the commands and their flags.");
    AgentUnknown, "agent.unknown", 64, say!("Run `kalit agents list` to see the agents of this installation.");
    ProfileUnknown, "profile.unknown", 64, say!("Run `kalit list` to see the profile ids.");
    ProfileInherited, "profile.inherited", 77, say!("Switch in the main agent, or sign in separately for this agent.");
    ProfileExists, "profile.exists", 65, say!("Choose another profile id with --profile-id.");
    ProfileInUseElsewhere, "profile.identity_mismatch", 65, say!("You signed in as a different person: choose another profile id, or sign in with the right account.");
    ProfileNotRefreshable, "profile.not_refreshable", 65, say!("This credential does not renew: sign in again or paste a new one before it ends.");
    ProviderUnknown, "provider.unknown", 64, say!("Run `kalit providers list` to see the providers, or add a manifest.");
    ProviderManifestInvalid, "provider.manifest_invalid", 65, say!("Correct the manifest file; docs/providers.md describes every field.");
    ProviderManifestUntrusted, "provider.manifest_untrusted", 77, say!("Read the manifest, then run `kalit providers trust <file>`.");
    ProviderFlowUnsupported, "provider.flow_unsupported", 64, say!("Use the command for this provider's kind of login: `kalit providers list` names it.");
    ProviderEnded, "provider.ended", 69, say!("Use an API key of the provider, or another provider.");
    ProviderClientMissing, "provider.client_missing", 64, say!("Register a client at the provider and describe it in a manifest: docs/providers.md shows how.");
    ProviderDiscoveryFailed, "provider.discovery_failed", 69, say!("Describe the provider in a file: docs/providers.md shows every field.");
    ConfirmationNeeded, "confirmation.needed", 64, say!("Add --yes to go on. `kalit snapshots list` shows afterwards what can be put back.");
    StoreUnparsable, "store.unparsable", 65, say!("Nothing was changed. Repair the file by hand, or put back a copy: `kalit snapshots list` shows Kalit's.");
    StoreTooLarge, "store.too_large", 65, say!("Nothing was changed. A credential store of this size is not OpenClaw's: look at the file.");
    StoreWrongShape, "store.wrong_shape", 65, say!("Nothing was changed. A field has a type that OpenClaw does not write: look at the file.");
    StoreDuplicateKeys, "store.duplicate_keys", 65, say!("Nothing was changed. Remove the key that stands twice from the file.");
    StoreNotAFile, "store.not_a_file", 65, say!("Nothing was changed. Something else stands where OpenClaw keeps its store: move it away.");
    StoreUnreadable, "store.unreadable", 77, say!("Make the file readable for this user: it must belong to you, mode 0600.");
    StoreSymlink, "store.symlink", 77, say!("Let the link point to a file of yours in a directory of yours, or replace it by the file itself.");
    StoreExposed, "store.exposed", 77, say!("Make the directory yours alone (chmod go-w), and remove other names of the file (find -samefile).");
    StoreWriteFailed, "store.write_failed", 73, say!("Nothing was changed. Check free space and permissions of the directory, then try again.");
    StoreChanged, "store.changed", 75, say!("Another program wrote at the same moment: try again.");
    StoreUnconfirmed, "store.unconfirmed", 73, say!("The file does not hold what was written: run `kalit status` and try again.");
    StoreEncrypted, "store.encrypted", 77, say!("This login is kept in OpenClaw's encrypted side file: run `openclaw doctor --fix`.");
    StoreBusy, "store.busy", 75, say!("OpenClaw has its database locked: Kalit looks again by itself.");
    StoreCorrupt, "store.corrupt", 65, say!("Nothing was changed. Stop OpenClaw and run `openclaw doctor`; the database is damaged or none.");
    StoreSchemaUnsupported, "store.schema_unsupported", 77, say!("This OpenClaw is newer than this Kalit: update Kalit. Nothing is changed meanwhile.");
    StoreSchemaUntested, "store.schema_untested", 77, say!("This OpenClaw is newer than this Kalit: what is shown was not tested with it. Update Kalit.");
    ConfigUnparsable, "config.unparsable", 65, say!("Correct openclaw.json: comments and trailing commas are allowed, other mistakes are not.");
    ConfigUnreadable, "config.unreadable", 77, say!("Make openclaw.json readable for this user.");
    ConfigInclude, "config.include", 65, say!("Correct the $include in openclaw.json.");
    ConfigVariable, "config.variable", 65, say!("Set the environment variable that openclaw.json names, for Kalit as well.");
    ConfigWrongShape, "config.wrong_shape", 65, say!("Correct the named part of openclaw.json; until then Kalit goes on without it.");
    ConfigDuplicateKeys, "config.duplicate_keys", 65, say!("Remove the key that stands twice from openclaw.json; the last one counts.");
    StateDirMissing, "state_dir.missing", 65, say!("Install OpenClaw, set OPENCLAW_STATE_DIR, or name the directory with --state-dir.");
    EraSqlite, "era.sqlite", 77, say!("OpenClaw 2026.6.5 or later renews its logins itself when it uses them; `kalit test-logins` lets it use each once.");
    EraMixed, "era.mixed", 77, say!("JSON and SQLite stores lie side by side: run `kalit doctor`, which says what to run and what to mind first.");
    EraLeftover, "era.leftover", 77, say!("Run `kalit doctor`: it says what to run, and what to mind first.");
    PidsUntrusted, "lock.pids_untrusted", 77, say!("OpenClaw seems to run in another container: if it does not, set \"trustPids\": true in Kalit's settings.");
    LockBusy, "lock.busy", 75, say!("Wait for the other program, then try again; `kalit doctor` names who holds the lock.");
    LockBroken, "lock.broken", 75, say!("The lock was taken over while it was held: run `kalit status` and try again.");
    LockFailed, "lock.failed", 73, say!("Check free space and permissions of the directory.");
    RefreshShared, "refresh.shared", 77, say!("Another program holds the same login. Sign in separately for OpenClaw, then each renews its own.");
    RefreshSignedOut, "refresh.signed_out", 69, say!("Sign in again.");
    RefreshSuperseded, "refresh.superseded", 69, say!("A newer login is known: keep Kalit running so that it can put it back, or sign in again.");
    RefreshUnknown, "refresh.unknown", 69, say!("The answer was lost. Kalit tries once more after a minute.");
    RefreshTransient, "refresh.transient", 69, say!("The provider could not be reached or is out of order: nothing was lost, Kalit tries again.");
    RefreshClient, "refresh.client_rejected", 69, say!("The provider no longer accepts this client: update Kalit. Signing in again will not help.");
    RefreshRejected, "refresh.request_rejected", 69, say!("The provider refused the request itself: repair the profile or sign in again.");
    RevokeUnavailable, "revoke.unavailable", 69, say!("Nothing was changed. Remove it here alone, and end the login on the provider's own pages.");
    RevokeRefused, "revoke.refused", 69, say!("Nothing was removed. Try again, or remove it here alone and end the login on the provider's own pages.");
    RevokeUnknown, "revoke.unknown", 69, say!("Nothing was removed. The login may have ended: renew it to find out, or remove it here alone.");
    NetworkUnreachable, "network.unreachable", 69, say!("Check the network connection and the proxy settings.");
    NetworkTls, "network.tls", 69, say!("The server's certificate is not trusted: a proxy may intercept the connection. Check the system's certificates.");
    NetworkCaptive, "network.captive", 69, say!("A login page answered instead of the provider: sign in to the Wi-Fi first.");
    NetworkBlocked, "network.blocked", 69, say!("The provider blocks this network: check VPN and proxy.");
    ProviderRegion, "provider.region", 69, say!("The provider does not serve this region.");
    ProviderOutOfOrder, "provider.out_of_order", 69, say!("The provider is out of order: try again later.");
    ProviderRateLimited, "provider.rate_limited", 69, say!("Too many requests: wait a little.");
    ProviderAnswerMalformed, "provider.malformed_answer", 69, say!("The answer was not what a token endpoint sends: try again later.");
    ClockSkew, "clock.skew", 69, say!("Check this machine's clock: it differs from the provider's.");
    LoginPortBusy, "login.port_busy", 75, say!("Close the program that holds the port, or paste the address of the last page.");
    LoginCancelled, "login.cancelled", 69, say!("Start the sign-in again when you are ready.");
    LoginTimeout, "login.timeout", 69, say!("Start the sign-in again and finish it in time: you have five minutes, ten where OpenClaw signs in.");
    LoginDenied, "login.denied", 69, say!("The provider refused the sign-in: try again, or ask your workspace's administrator.");
    LoginEntitlement, "login.entitlement", 69, say!("Codex is not enabled for this workspace: ask the workspace's administrator.");
    LoginStateMismatch, "login.state_mismatch", 65, say!("That address belongs to another sign-in: use the page that this sign-in opened.");
    LoginIssuerMismatch, "login.issuer_mismatch", 65, say!("The answer came from another authorization server: start again.");
    LoginPasteUnusable, "login.paste_unusable", 65, say!("Paste the whole address of the last page; it begins with http://localhost and contains code=.");
    LoginExchangeFailed, "login.exchange_failed", 69, say!("The provider did not accept the sign-in: start again.");
    LoginIdentityMissing, "login.identity_missing", 69, say!("The provider's answer does not say who signed in: start again.");
    BrowserFailed, "browser.failed", 69, say!("Copy the link and open it in a browser yourself.");
    SecretPrefix, "secret.prefix", 65, say!("Check that you copied the right kind of secret for this provider.");
    SecretTooShort, "secret.too_short", 65, say!("Copy the whole secret.");
    SecretWhitespace, "secret.whitespace", 65, say!("The secret contains a space or a line break: copy it in one piece.");
    SecretEmpty, "secret.empty", 65, say!("Give the secret on standard input, one line.");
    ImportNothing, "import.nothing", 65, say!("There is no legacy credential file in this state directory.");
    ImportStale, "import.stale", 65, say!("The legacy copy is older than what the store holds: sign in instead.");
    OutputIncomplete, "output.incomplete", 73, say!("The command has ended all the same: make room, or lead its output elsewhere, and look with `kalit status`.");
    VaultFailed, "vault.failed", 73, say!("Check free space and permissions of Kalit's data directory.");
    VaultUnreadable, "vault.unreadable", 70, say!("Kalit's own file cannot be read: `kalit doctor` names it.");
    VaultUnsealed, "vault.unsealed", 73, say!("Nothing was started, because a login could be lost by it. Check free space and permissions of Kalit's data directory.");
    KeychainUnavailable, "keychain.unavailable", 69, say!("Unlock the system's keychain and try again. Without one Kalit keeps the key in its own file: nothing is lost.");
    SettingsUnknown, "settings.unknown", 64, say!("Run `kalit settings` to see the settings.");
    SettingsInvalid, "settings.invalid", 64, say!("Run `kalit settings` to see what is set.");
    SettingsUnparsable, "settings.unparsable", 65, say!("Correct Kalit's settings.json, or move it away to start with the defaults.");
    AutostartUnavailable, "autostart.unavailable", 69, say!("Nothing was changed. Let the system's own settings start `kalit-desktop --hidden`.");
    RestoreNotNeeded, "restore.not_needed", 64, say!("Nothing was changed: there is nothing to put back. `kalit status` shows what there is.");
    RestoreUnproven, "restore.unproven", 65, say!("Nothing was changed. Sign in again.");
    RestoreSpent, "restore.spent", 69, say!("Sign in again: the provider no longer accepts this login.");
    RestorePending, "restore.pending", 75, say!("Nothing was changed. Wait until OpenClaw has finished; if it was ended while it renewed, sign in again.");
    SnapshotUnknown, "snapshot.unknown", 64, say!("Run `kalit snapshots list` to see the snapshots of this installation.");
    SnapshotSuperseded, "snapshot.superseded", 69, say!("Nothing was changed. Sign in again.");
    OpenClawMissing, "openclaw.missing", 69, say!("Install OpenClaw, or name its program as \"openclawBinary\" in Kalit's settings.");
    OpenClawFailed, "openclaw.failed", 69, say!("OpenClaw's own command failed: run it by hand to see why.");
    OpenClawUnconfirmed, "openclaw.unconfirmed", 73, say!("OpenClaw said that it was done, its store says otherwise: run `kalit status` and try again.");
    OpenClawUnsupported, "openclaw.unsupported", 69, say!("This OpenClaw has no command for it: update OpenClaw.");
    OpenClawWouldRenew, "openclaw.would_renew", 75, say!("Go online or stop the gateway, then try again: a login whose renewal fails is dropped by OpenClaw.");
    GatewayNotRunning, "gateway.not_running", 69, say!("Start OpenClaw's gateway, or send `/model …@<profile>` in the session itself.");
    GatewayRunning, "gateway.running", 75, say!("Stop OpenClaw's gateway first: `openclaw gateway stop`.");
    OrderOverridden, "order.overridden", 77, say!("Change what overrides the order, then try again.");
    OrderInvalid, "order.invalid", 65, say!("Name profiles of this provider that exist in this agent's store.");
    OwnerNotNeeded, "owner.not_needed", 64, say!("Nothing was changed: no agent holds a copy of main's login. `kalit status` shows what there is.");
    RemoteNoSsh, "remote.no_ssh", 69, say!("Install an ssh client, or run `kalit login --no-browser` on the other machine.");
    RemoteUnreachable, "remote.unreachable", 69, say!("Try `ssh` to that machine by hand: what it says stands above.");
    RemoteNoProgram, "remote.no_program", 69, say!("Install Kalit or OpenClaw for that user on the other machine, on the PATH of its shell.");
    CooldownNone, "cooldown.none", 64, say!("Nothing was changed: OpenClaw does not leave this account alone. `kalit status` shows which ones rest.");
    TrayNotStarted, "tray.not_started", 69, say!("Start `kalit-desktop` by hand to see why.");
    Internal, "internal", 70, say!("This is a mistake in Kalit: please report it with `kalit doctor`.");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_every_hint_is_a_sentence() {
        let mut seen = std::collections::BTreeSet::new();
        for code in ErrorCode::ALL {
            assert!(seen.insert(code.as_str()), "{} twice", code.as_str());
            assert!(code.hint().ends_with('.'), "{}: {}", code.as_str(), code.hint());
        }
    }
}
