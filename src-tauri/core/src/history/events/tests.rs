use std::fs;

use super::*;
use crate::clock::Timestamp;
use crate::ids::{AgentId, ProfileId};

const ALL: About<'static> = About {
    installation: "/a",
    agent: None,
    profile_id: None,
};
const FIRST: Option<&str> = Some("0123456789abcdef");
const SECOND: Option<&str> = Some("fedcba9876543210");

fn event(kind: EventKind, at: i64, generation: Option<&str>) -> Event {
    Event {
        schema: 1,
        kind,
        at: Timestamp::from_millis(at),
        installation: "/a".to_owned(),
        agent: Some(AgentId::main()),
        profile_id: ProfileId::parse("openai:me@example.com"),
        generation: generation.map(str::to_owned),
        family: None,
        snapshot: None,
        order: None,
        cause: None,
        source: kind.source(None).to_owned(),
        text: "Something happened.".to_owned(),
    }
}

fn renewed(at: i64) -> Event {
    event(EventKind::Refreshed, at, FIRST)
}

fn kinds(history: &History) -> Vec<EventKind> {
    let events = history.newest(ALL, 100, |_| true).unwrap();
    events.into_iter().rev().map(|event| event.kind).collect()
}

#[test]
fn events_come_back_newest_first_by_installation_agent_and_profile() {
    let data = tempfile::tempdir().unwrap();
    let history = History::open(data.path());
    let elsewhere = Event {
        installation: "/b".to_owned(),
        ..renewed(2)
    };
    let of_work = Event {
        agent: Some(AgentId::normalize("work")),
        profile_id: ProfileId::parse("openai:other"),
        ..renewed(4)
    };
    for event in [&renewed(1), &elsewhere, &renewed(3), &of_work] {
        history.append(event).unwrap();
    }
    // The start of a process is none of an account's.
    history.append(&event(EventKind::Started, 5, None)).unwrap();
    let again = History::open(data.path());
    assert_eq!(
        again.newest(ALL, 10, |_| true).unwrap(),
        [of_work.clone(), renewed(3), renewed(1)]
    );
    assert_eq!(
        again.newest(ALL, 1, |_| true).unwrap(),
        std::slice::from_ref(&of_work)
    );
    let main = About {
        agent: Some("main"),
        ..ALL
    };
    assert_eq!(
        again.newest(main, 10, |_| true).unwrap(),
        [renewed(3), renewed(1)]
    );
    let other = About {
        profile_id: Some("openai:other"),
        ..ALL
    };
    assert_eq!(again.newest(other, 10, |_| true).unwrap(), [of_work]);
}

#[test]
fn looking_at_an_empty_history_leaves_no_trace_and_sees_what_begins_later() {
    let data = tempfile::tempdir().unwrap();
    let dir = data.path().join("kalit");
    let reader = History::open(&dir);
    assert_eq!(reader.newest(ALL, 5, |_| true).unwrap(), []);
    assert!(!dir.exists());
    History::open(&dir).append(&renewed(1)).unwrap();
    assert_eq!(reader.newest(ALL, 5, |_| true).unwrap(), [renewed(1)]);
}

#[test]
fn what_several_processes_notice_is_told_once() {
    let data = tempfile::tempdir().unwrap();
    let (one, other) = (History::open(data.path()), History::open(data.path()));
    for kind in [
        EventKind::Vanished,
        EventKind::Dropped,
        EventKind::StoreUnreadable,
    ] {
        one.append(&event(kind, 1, FIRST)).unwrap();
        other.append(&event(kind, 200, FIRST)).unwrap();
    }
    assert_eq!(
        kinds(&one),
        [
            EventKind::Vanished,
            EventKind::Dropped,
            EventKind::StoreUnreadable
        ]
    );
    // A person may do the same thing again.
    for at in [300, 400] {
        one.append(&event(EventKind::Switched, at, None)).unwrap();
    }
    assert_eq!(kinds(&one).len(), 5);
}

#[test]
fn a_sign_in_is_not_told_again_by_who_sees_it_in_the_store() {
    for generation in [FIRST, None] {
        let signed_in = event(EventKind::SignedIn, 10, generation);
        let seen = event(EventKind::Added, 20, FIRST);
        for order in [[&signed_in, &seen], [&seen, &signed_in]] {
            let data = tempfile::tempdir().unwrap();
            let history = History::open(data.path());
            order.into_iter().for_each(|event| history.append(event).unwrap());
            assert_eq!(kinds(&history), [EventKind::SignedIn], "{order:?}");
        }
    }
}

#[test]
fn the_events_of_an_account_are_those_of_its_family_under_other_names_too() {
    let data = tempfile::tempdir().unwrap();
    let history = History::open(data.path());
    let family = "00000000feedbeef";
    let own = renewed(1);
    let of_work = Event {
        agent: Some(AgentId::normalize("work")),
        family: Some(family.to_owned()),
        ..renewed(2)
    };
    let renamed = Event {
        profile_id: ProfileId::parse("openai:copy"),
        ..of_work.clone()
    };
    let other = Event {
        family: None,
        ..renamed.clone()
    };
    // A row of a version that did not keep whose doing it was.
    let old = Event {
        source: "unknown".to_owned(),
        ..renewed(5)
    };
    for event in [&own, &of_work, &renamed, &other, &old] {
        history.append(event).unwrap();
    }
    let id = ProfileId::parse("openai:me@example.com").unwrap();
    let found = |family, limit| history.of_account("/a", &id, family, limit).unwrap();
    let told = Event {
        source: "kalit".to_owned(),
        ..old
    };
    assert_eq!(found(None, 9), [told.clone(), of_work.clone(), own.clone()]);
    assert_eq!(found(Some(family), 9), [told.clone(), renamed, of_work, own]);
    assert_eq!(found(Some(family), 1), [told]);
}

#[test]
fn an_order_of_kalits_own_is_not_told_again_by_who_sees_it_in_the_store() {
    let order = |names: &[&str]| names.iter().map(|name| ProfileId::parse(name).unwrap()).collect();
    let told = |kind, at, cause: &str, ids: &[&str]| Event {
        order: Some(order(ids)),
        cause: Some(cause.to_owned()),
        source: EventKind::source(kind, Some(cause)).to_owned(),
        profile_id: None,
        ..event(kind, at, None)
    };
    let [one, other] = [["openai:one", "openai:two"], ["openai:two", "openai:one"]];
    let switched = told(EventKind::Switched, 10, "kalit", &other);
    let seen = told(EventKind::OrderChanged, 20, "outside", &other);
    for order in [[&switched, &seen], [&seen, &switched]] {
        let data = tempfile::tempdir().unwrap();
        let history = History::open(data.path());
        order.into_iter().for_each(|event| history.append(event).unwrap());
        assert_eq!(kinds(&history), [EventKind::Switched], "{order:?}");
    }
    let data = tempfile::tempdir().unwrap();
    let history = History::open(data.path());
    let back = told(EventKind::OrderChanged, 30, "outside", &one);
    let elsewhere = told(EventKind::OrderChanged, 40, "kalit", &["google:one"]);
    let again = told(EventKind::OrderChanged, 50, "outside", &other);
    for event in [&switched, &seen, &back, &elsewhere, &back, &again] {
        history.append(event).unwrap();
    }
    assert_eq!(
        history.newest(ALL, 9, |_| true).unwrap(),
        [again, elsewhere, back, switched]
    );
}

#[test]
fn what_comes_back_or_comes_anew_is_told_again() {
    let data = tempfile::tempdir().unwrap();
    let history = History::open(data.path());
    let told = [
        event(EventKind::SignedIn, 1, FIRST),
        event(EventKind::Changed, 2, SECOND),
        event(EventKind::Removed, 3, SECOND),
        event(EventKind::Added, 4, SECOND),
    ];
    told.iter().for_each(|event| history.append(event).unwrap());
    assert_eq!(kinds(&history), told.map(|event| event.kind));
}

#[test]
fn the_oldest_events_make_room() {
    let data = tempfile::tempdir().unwrap();
    let history = History::open(data.path());
    history.append(&renewed(1)).unwrap();
    history
        .database
        .write(|transaction| {
            transaction.execute(
                "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
                 INSERT INTO event (installation, at, type, event) SELECT '/a', i, 'later', '{}' FROM n",
                [NEWEST],
            )
        })
        .unwrap();
    let oldest = || {
        history
            .database
            .read((0, 0), |connection| {
                connection.query_row("SELECT min(at), count(*) FROM event", [], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
            })
            .unwrap()
    };
    assert_eq!(oldest(), (1, NEWEST));
    history.append(&renewed(NEWEST + 1)).unwrap();
    assert_eq!(oldest(), (2, NEWEST));
    // Rows of a later version are left out.
    assert_eq!(history.newest(ALL, 5, |_| true).unwrap(), [renewed(NEWEST + 1)]);
}

#[test]
fn many_processes_append_at_once_from_the_first_moment() {
    let data = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let data = data.path();
            scope.spawn(move || {
                let history = History::open(data);
                for at in 0..10 {
                    history.append(&renewed(writer * 100 + at)).unwrap();
                }
            });
        }
    });
    let history = History::open(data.path());
    assert_eq!(history.newest(ALL, 1000, |_| true).unwrap().len(), 80);
    let mode: String = history
        .database
        .read(String::new(), |connection| {
            connection.pragma_query_value(None, "journal_mode", |row| row.get(0))
        })
        .unwrap();
    assert_eq!(mode, "wal");
}

#[test]
fn a_broken_history_is_set_aside_and_begun_anew_by_every_process() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join(FILE);
    let long_lived = History::open(data.path());
    long_lived.append(&renewed(1)).unwrap();
    assert_eq!(long_lived.set_aside(), None);
    long_lived.database.close();
    let before = "no database at all, but long enough to be looked at ".repeat(40);
    for side in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(data.path().join(format!("{FILE}{side}")));
    }
    fs::write(&path, &before).unwrap();

    let history = History::open(data.path());
    history.append(&renewed(2)).unwrap();
    assert_eq!(history.newest(ALL, 5, |_| true).unwrap(), [renewed(2)]);
    let aside = history.set_aside().unwrap();
    assert_eq!(fs::read_to_string(aside).unwrap(), before);
    #[cfg(unix)]
    {
        // Whoever had it open goes on in the new one.
        long_lived.append(&renewed(3)).unwrap();
        fs::rename(&path, data.path().join("moved")).unwrap();
        long_lived.append(&renewed(4)).unwrap();
        assert_eq!(history.newest(ALL, 5, |_| true).unwrap(), [renewed(4)]);
    }
}

#[test]
fn a_page_that_broke_later_is_noticed_by_the_next_look() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join(FILE);
    let history = History::open(data.path());
    for at in 0..200 {
        history.append(&renewed(at)).unwrap();
    }
    let emptied =
        |connection: &Connection| connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    history.database.read((), emptied).unwrap();
    history.database.close();
    let mut bytes = fs::read(&path).unwrap();
    let half = bytes.len() / 2;
    bytes[4096..half].fill(0xA5);
    fs::write(&path, &bytes).unwrap();
    assert_eq!(history.newest(ALL, 5, |_| true).unwrap(), []);
    assert_eq!(fs::read(history.set_aside().unwrap()).unwrap(), bytes);
    history.append(&renewed(1000)).unwrap();
    assert_eq!(history.newest(ALL, 5, |_| true).unwrap(), [renewed(1000)]);
}

#[test]
fn a_history_of_a_later_version_is_told_and_kept() {
    let data = tempfile::tempdir().unwrap();
    let history = History::open(data.path());
    history.append(&renewed(1)).unwrap();
    history
        .database
        .write(|transaction| transaction.pragma_update(None, "user_version", 99))
        .unwrap();
    let history = History::open(data.path());
    for error in [
        history.newest(ALL, 5, |_| true).unwrap_err(),
        history.append(&renewed(2)).unwrap_err(),
    ] {
        assert_eq!(error.code(), ErrorCode::VaultUnreadable);
        assert!(
            error
                .message()
                .ends_with("was written by a later version of Kalit")
        );
    }
    assert_eq!(history.set_aside(), None);
}

#[cfg(unix)]
#[test]
fn the_history_and_its_side_files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let data = tempfile::tempdir().unwrap();
    let dir = data.path().join("kalit");
    let history = History::open(&dir);
    history.append(&renewed(1)).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(mode(&entry.path()), 0o600);
        names.push(entry.file_name());
    }
    names.sort();
    assert_eq!(names, ["events.sqlite", "events.sqlite-shm", "events.sqlite-wal"]);
    assert_eq!(mode(&dir), 0o700);
}
