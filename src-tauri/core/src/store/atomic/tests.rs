use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::process::Command;

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A directory with a file `store` that holds `old`.
fn store() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    fs::write(&path, "old").unwrap();
    (directory, path)
}

/// Runs `test` as somebody whom file modes concern: root is let through everywhere.
#[cfg(target_os = "linux")]
fn as_plain_user(directory: &Path, test: impl FnOnce() + Send) {
    if !rustix::process::geteuid().is_root() {
        return test();
    }
    let nobody = 65_534;
    for path in [directory.to_owned()]
        .into_iter()
        .chain(names(directory).iter().map(|name| directory.join(name)))
    {
        std::os::unix::fs::lchown(path, Some(nobody), Some(nobody)).unwrap();
    }
    std::thread::scope(|scope| {
        // On Linux the user is a property of the thread; this one ends with the test.
        let test = scope.spawn(move || {
            let nobody = rustix::process::Uid::from_raw(nobody);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            test();
        });
        test.join().unwrap();
    });
}

#[test]
fn a_new_file_is_private_and_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    write_atomic(&path, b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(mode(&path), 0o600);
    assert_eq!(names(directory.path()), ["store"]);
}

#[test]
fn a_replaced_file_is_a_new_one_with_repaired_mode_and_fresh_time() {
    let (directory, path) = store();
    set_mode(&path, 0o644);
    let old = File::open(&path).unwrap();
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    old.set_modified(long_ago).unwrap();
    write_atomic(&path, b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(mode(&path), 0o600);
    assert!(fs::metadata(&path).unwrap().modified().unwrap() > long_ago);
    // A reader that had the old file open sees the old content, whole.
    let mut content = String::new();
    (&old).read_to_string(&mut content).unwrap();
    assert_eq!(content, "old");
    assert_eq!(names(directory.path()), ["store"]);
}

#[test]
fn the_temporary_file_is_private_from_the_first_byte() {
    let (directory, path) = store();
    let target = path.clone();
    write_atomic_if(&path, b"new", || {
        let temporary: Vec<String> = names(directory.path());
        assert_eq!(temporary.len(), 2);
        let name = &temporary[1];
        assert!(
            name.starts_with("store.") && name.ends_with(".kalit.tmp"),
            "{name}"
        );
        assert_eq!(mode(&directory.path().join(name)), 0o600);
        assert_eq!(fs::read(&target).unwrap(), b"old");
        Ok(())
    })
    .unwrap();
    let temporary = Temporary::beside(&path, b"").unwrap();
    assert_eq!(mode(&temporary.path), 0o600);
}

#[test]
fn a_write_that_is_called_off_changes_nothing() {
    let (directory, path) = store();
    let error = write_atomic_if(&path, b"new", || {
        Err(Error::new(ErrorCode::StoreChanged, "somebody else wrote"))
    });
    assert_eq!(error.unwrap_err().code(), ErrorCode::StoreChanged);
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(directory.path()), ["store"]);
}

#[test]
fn a_link_is_followed_once_and_stays_a_link() {
    let (elsewhere, target) = store();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    symlink(&target, &path).unwrap();
    write_atomic(&path, b"new").unwrap();
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
    assert!(fs::symlink_metadata(&target).unwrap().is_file());
    assert_eq!(fs::read(&target).unwrap(), b"new");
    assert_eq!(mode(&target), 0o600);
    assert_eq!(names(directory.path()), ["store"]);
    assert_eq!(names(elsewhere.path()), ["store"]);

    // Relative to the link, not to the working directory.
    fs::create_dir(directory.path().join("in")).unwrap();
    set_mode(&directory.path().join("in"), 0o700);
    fs::write(directory.path().join("in/real"), "old").unwrap();
    symlink("in/real", directory.path().join("relative")).unwrap();
    write_atomic(&directory.path().join("relative"), b"new").unwrap();
    assert_eq!(fs::read(directory.path().join("in/real")).unwrap(), b"new");
}

#[test]
fn links_that_lead_elsewhere_are_refused() {
    let (elsewhere, target) = store();
    let directory = tempfile::tempdir().unwrap();
    let link = |name: &str, to: &Path| {
        let path = directory.path().join(name);
        symlink(to, &path).unwrap();
        path
    };
    let second = link("second", &target);
    let refused = [
        (link("dangling", Path::new("nothing")), "leads nowhere"),
        (link("far", Path::new("no/such/dir/file")), "leads nowhere"),
        (link("loop", Path::new("loop")), "leads to another link"),
        (link("chain", &second), "leads to another link"),
        (link("directory", elsewhere.path()), "does not lead to a file"),
        (link("up", Path::new("..")), "does not lead to a file"),
    ];
    let before = names(directory.path());
    for (path, why) in refused {
        let error = write_atomic(&path, b"new").unwrap_err();
        assert_eq!(error.code(), ErrorCode::StoreSymlink);
        assert!(error.message().ends_with(why), "{error:?}");
    }
    set_mode(elsewhere.path(), 0o770);
    let error = write_atomic(&second, b"new").unwrap_err();
    assert_eq!(error.code(), ErrorCode::StoreSymlink);
    assert!(
        error
            .message()
            .ends_with("leads to a directory that others can write")
    );
    assert_eq!(fs::read(&target).unwrap(), b"old");
    assert_eq!(names(directory.path()), before);
    assert_eq!(names(elsewhere.path()), ["store"]);
}

#[test]
fn what_others_can_get_at_is_told_and_a_new_file_has_one_name() {
    let (directory, path) = store();
    set_mode(directory.path(), 0o775);
    check_exposure(&path).unwrap();
    check_exposure(&directory.path().join("none")).unwrap();
    set_mode(directory.path(), 0o777);
    let error = check_exposure(&path).unwrap_err();
    assert_eq!(error.code(), ErrorCode::StoreExposed);
    assert!(error.message().ends_with("everybody can write its directory"));
    set_mode(directory.path(), 0o700);

    let other = directory.path().join("other");
    fs::hard_link(&path, &other).unwrap();
    let error = check_exposure(&path).unwrap_err();
    assert!(error.message().contains("another name"), "{error:?}");
    write_atomic(&path, b"new").unwrap();
    check_exposure(&path).unwrap();
    assert_eq!(fs::read(&other).unwrap(), b"old");
}

#[test]
fn what_is_no_file_is_neither_read_nor_written() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().join("dir");
    fs::create_dir(&dir).unwrap();
    let fifo = directory.path().join("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let socket = directory.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    fs::write(directory.path().join("file"), "").unwrap();
    let below_a_file = directory.path().join("file/store");
    for path in [dir, fifo, socket, below_a_file] {
        assert_eq!(
            read_file(&path).unwrap_err().code(),
            ErrorCode::StoreNotAFile,
            "{path:?}"
        );
        assert_eq!(
            write_atomic(&path, b"new").unwrap_err().code(),
            ErrorCode::StoreNotAFile,
            "{path:?}"
        );
    }
    assert_eq!(names(directory.path()), ["dir", "fifo", "file", "socket"]);
}

#[test]
fn reading_tells_missing_from_unusable() {
    let (directory, path) = store();
    assert_eq!(read_file(&path).unwrap().as_deref(), Some(&b"old"[..]));
    assert_eq!(read_file(&directory.path().join("none")).unwrap(), None);
    assert_eq!(read_file(&directory.path().join("no/dir/none")).unwrap(), None);
    for (name, to) in [("dangling", "nothing"), ("loop", "loop")] {
        let link = directory.path().join(name);
        symlink(to, &link).unwrap();
        assert_eq!(
            read_file(&link).unwrap_err().code(),
            ErrorCode::StoreSymlink,
            "{name}"
        );
    }
    let link = directory.path().join("link");
    symlink(&path, &link).unwrap();
    assert_eq!(read_file(&link).unwrap().as_deref(), Some(&b"old"[..]));
}

#[test]
fn a_file_of_sixteen_megabytes_is_not_read() {
    let (_directory, path) = store();
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(json::SIZE_LIMIT as u64)
        .unwrap();
    assert_eq!(read_file(&path).unwrap_err().code(), ErrorCode::StoreTooLarge);
}

#[test]
fn a_missing_directory_is_a_failed_write() {
    let directory = tempfile::tempdir().unwrap();
    let error = write_atomic(&directory.path().join("none/store"), b"new").unwrap_err();
    assert_eq!(error.code(), ErrorCode::StoreWriteFailed);
    assert!(names(directory.path()).is_empty());
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_may_not_be_read_is_unreadable() {
    let (directory, path) = store();
    set_mode(&path, 0o000);
    as_plain_user(directory.path(), || {
        assert_eq!(read_file(&path).unwrap_err().code(), ErrorCode::StoreUnreadable);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_read_only_directory_is_a_failed_write_and_loses_nothing() {
    let (directory, path) = store();
    set_mode(directory.path(), 0o500);
    as_plain_user(directory.path(), || {
        let error = write_atomic(&path, b"new").unwrap_err();
        assert_eq!(error.code(), ErrorCode::StoreWriteFailed);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(directory.path()), ["store"]);
    });
    set_mode(directory.path(), 0o700);
}

#[cfg(target_os = "linux")]
#[test]
fn what_belongs_to_another_user_is_left_alone() {
    if !rustix::process::geteuid().is_root() {
        // Nobody else's file can be made by a plain user; root's own will do.
        let error = write_atomic(Path::new("/etc/passwd"), b"").unwrap_err();
        assert_eq!(error.code(), ErrorCode::StoreUnreadable);
        return;
    }
    let (directory, path) = store();
    std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
    let error = write_atomic(&path, b"new").unwrap_err();
    assert_eq!(error.code(), ErrorCode::StoreUnreadable);
    assert!(error.message().ends_with("it belongs to another user"));
    let link = directory.path().join("link");
    symlink(&path, &link).unwrap();
    assert_eq!(
        write_atomic(&link, b"new").unwrap_err().code(),
        ErrorCode::StoreSymlink
    );
    std::os::unix::fs::chown(directory.path(), Some(65_534), None).unwrap();
    let error = write_atomic(&directory.path().join("fresh"), b"new").unwrap_err();
    assert!(error.message().ends_with("its directory belongs to another user"));
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(fs::metadata(&path).unwrap().uid(), 65_534);
    assert_eq!(names(directory.path()), ["link", "store"]);
}

/// The name of the variable that tells the test below that it runs in its child process.
const FULL_DISK_DIRECTORY: &str = "KALIT_TEST_FULL_DISK_DIRECTORY";

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the child process learns its part from a variable"
)]
fn a_disk_that_takes_no_more_is_a_failed_write_and_loses_nothing() {
    let content = vec![b'x'; 1_000_000];
    if let Some(directory) = std::env::var_os(FULL_DISK_DIRECTORY) {
        let path = Path::new(&directory).join("store");
        let error = write_atomic(&path, &content).unwrap_err();
        assert_eq!(error.code(), ErrorCode::StoreWriteFailed);
        return;
    }
    let (directory, path) = store();
    // A limit on file sizes makes writing fail as a full disk does, without a disk to fill.
    let child = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "store::atomic::tests::a_disk_that_takes_no_more_is_a_failed_write_and_loses_nothing",
        ])
        .env(FULL_DISK_DIRECTORY, directory.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{told}");
    assert!(told.contains("1 passed"), "{told}");
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(directory.path()), ["store"]);
}

#[test]
fn the_mode_alone_is_repaired_without_a_new_file() {
    let (_directory, path) = store();
    let before = fs::metadata(&path).unwrap();
    set_mode(&path, 0o664);
    repair_mode(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    let after = fs::metadata(&path).unwrap();
    assert_eq!(
        (after.ino(), after.modified().unwrap()),
        (before.ino(), before.modified().unwrap())
    );
}

#[test]
fn temporary_files_are_known_by_their_whole_name() {
    let (directory, path) = store();
    for name in [
        "other.0123456789abcdef0123456789abcdef.kalit.tmp",
        "store.1.kalit.tmp",
        "store.8c0f9a52-1111-2222-3333-444455556666.tmp",
        "store.lock",
    ] {
        fs::write(directory.path().join(name), "").unwrap();
    }
    assert_eq!(temporary_files(&path).unwrap(), Vec::<PathBuf>::new());
    // What a write leaves when it is killed has exactly this form.
    let temporary = Temporary::beside(&path, b"").unwrap();
    assert_eq!(
        temporary_files(&path).unwrap(),
        std::slice::from_ref(&temporary.path)
    );
    drop(temporary);
    assert_eq!(temporary_files(&path).unwrap(), Vec::<PathBuf>::new());
}

#[test]
fn readers_never_see_a_part_of_a_write() {
    let (_directory, path) = store();
    let contents: Vec<Vec<u8>> = (0..8).map(|n| vec![b'a' + n; 50_000]).collect();
    fs::write(&path, &contents[0]).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                let bytes = read_file(&path).unwrap().unwrap();
                assert!(contents.contains(&bytes), "{} bytes", bytes.len());
                reads += 1;
            }
            reads
        });
        for content in contents.iter().cycle().take(100) {
            write_atomic(&path, content).unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(reader.join().unwrap() > 0);
    });
}
