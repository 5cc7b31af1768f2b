use super::*;
use crate::clock::Timestamp;
use crate::ids::ProfileId;

#[test]
fn a_broken_or_later_record_is_reported_and_kept() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join(FILE);
    std::fs::write(
        &path,
        "not a database, but long enough to be looked at".repeat(40),
    )
    .unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = Marks::open(data.path()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::VaultUnreadable);
    assert_eq!(std::fs::read(&path).unwrap(), before);

    std::fs::remove_file(&path).unwrap();
    let database = Database::open(data.path()).unwrap();
    database
        .write(|transaction| transaction.pragma_update(None, "user_version", 99))
        .unwrap();
    drop(database);
    let error = Marks::open(data.path()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::VaultUnreadable);
    assert!(
        error
            .message()
            .ends_with("was written by a later version of Kalit")
    );
}

#[cfg(unix)]
#[test]
fn the_record_and_its_side_files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let data = tempfile::tempdir().unwrap();
    let dir = data.path().join("kalit");
    let marks = Marks::open(&dir).unwrap();
    assert!(!dir.exists(), "looking leaves no trace");
    let id = ProfileId::parse("openai:me").unwrap();
    let at = Timestamp::from_millis(1);
    marks.record_vanished(&dir, &id, "openai", None, at).unwrap();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&dir).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        names.push(entry.file_name());
    }
    names.sort();
    assert_eq!(
        names,
        ["history.sqlite", "history.sqlite-shm", "history.sqlite-wal"]
    );
}
