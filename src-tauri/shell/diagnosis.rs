//! What `doctor` found, as text: on the terminal, and in the window to be copied.

use kalit_core::broker::{Diagnosis, MigrationView};

use crate::words::holder;

/// The facts, one a line; what belongs to a heading is set in by two spaces.
pub fn lines(diagnosis: &Diagnosis) -> Vec<String> {
    let mut lines = vec![
        format!("State directory: {}", diagnosis.state_dir),
        format!("Era: {}", diagnosis.era),
    ];
    let locks: Vec<String> = diagnosis
        .locks
        .iter()
        .map(|lock| format!("{}, held by {}", lock.path, holder(lock, diagnosis.at)))
        .collect();
    let parts: [(&str, &[String]); 6] = [
        ("Evidence", &diagnosis.evidence),
        ("Rules in force", &diagnosis.rules),
        ("Locks", &locks),
        ("Sealed copies", &diagnosis.snapshots),
        ("Rescue journal", &diagnosis.journal),
        ("Leftovers with secrets", &diagnosis.leftovers),
    ];
    for (title, facts) in parts {
        lines.push(format!("{title}:{}", if facts.is_empty() { " none" } else { "" }));
        lines.extend(facts.iter().map(|fact| format!("  {fact}")));
    }
    lines.push(format!("Key of the sealed copies: {}", diagnosis.key));
    lines.extend(diagnosis.migration.iter().flat_map(migration));
    for notice in &diagnosis.notices {
        lines.push(format!("{} [{}]", notice.message, notice.code));
        lines.push(format!("  {}", notice.hint));
    }
    lines
}

/// What an upgrade left in OpenClaw's way: the warnings stand before the remedy.
fn migration(migration: &MigrationView) -> Vec<String> {
    let title = if migration.blocks {
        "Half-migrated: OpenClaw does not work until it is finished"
    } else {
        "Half-migrated: OpenClaw goes on without what these files hold"
    };
    let mut lines = vec![title.to_owned()];
    lines.extend(migration.files.iter().map(|file| format!("  {file}")));
    lines.extend(
        migration
            .warnings
            .iter()
            .map(|warning| format!("  Mind: {warning}")),
    );
    if migration.sealed {
        lines.push("  Every login is in a sealed copy of Kalit's.".to_owned());
    }
    lines.push(format!("  Then run: {}", migration.command));
    lines
}
