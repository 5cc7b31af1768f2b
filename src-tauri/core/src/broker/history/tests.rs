use super::*;
use crate::clock::Timestamp;
use crate::event::EventKind;
use crate::ids::{AgentId, ProfileId};

fn event(kind: EventKind, at: i64, id: &str, cause: Option<&str>) -> Event {
    Event {
        schema: SCHEMA,
        kind,
        at: Timestamp::from_millis(at),
        installation: "/a".to_owned(),
        agent: Some(AgentId::main()),
        profile_id: ProfileId::parse(id),
        generation: Some("0123456789abcdef".to_owned()),
        family: Some("fedcba9876543210".to_owned()),
        snapshot: None,
        order: None,
        cause: cause.map(str::to_owned),
        source: kind.source(cause).to_owned(),
        text: format!("{id}: something happened"),
    }
}

#[test]
fn events_are_searched_by_words_kind_time_family_and_generation() {
    let refused = event(
        EventKind::SignedOut,
        5,
        "openai:ada",
        Some("refresh_token_reused"),
    );
    let wanted = |request: HistoryRequest| {
        let words: Vec<String> = request.search.iter().flat_map(|text| words(text)).collect();
        is_wanted(&refused, &request, &words)
    };
    let asked = HistoryRequest::default;
    let searched = |text: &str| {
        wanted(HistoryRequest {
            search: Some(text.to_owned()),
            ..asked()
        })
    };
    assert!(wanted(asked()));
    for text in [
        "ADA",
        "reused openai",
        "signed-out",
        "kalit",
        "main",
        "something happened",
        " ",
    ] {
        assert!(searched(text), "{text}");
    }
    assert!(!searched("ada bob"));
    // The name of a field is none of the words.
    assert!(!searched("profileId"));
    let kinds = |kinds: &[EventKind]| {
        wanted(HistoryRequest {
            kinds: kinds.to_vec(),
            ..asked()
        })
    };
    assert!(kinds(&[EventKind::Refreshed, EventKind::SignedOut]));
    assert!(!kinds(&[EventKind::Refreshed]));
    let since = |at| {
        wanted(HistoryRequest {
            since: Some(Timestamp::from_millis(at)),
            ..asked()
        })
    };
    assert!(since(5) && !since(6));
    let of = |family: Option<&str>, generation: Option<&str>| {
        wanted(HistoryRequest {
            family: family.map(str::to_owned),
            generation: generation.map(str::to_owned),
            ..asked()
        })
    };
    assert!(of(Some("FEDC"), None) && of(None, Some("0123456789abcdef")));
    assert!(!of(Some("0123"), None) && !of(None, Some("fedc")));
}

#[test]
fn an_export_is_whole_private_and_goes_over_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.jsonl");
    let events = [
        event(EventKind::SignedIn, 1, "openai:ada", Some("kalit")),
        event(EventKind::Refreshed, 2, "openai:ada", Some("kalit")),
    ];
    write_new(&path, &events).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let read: Vec<Event> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(read, events);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let error = not_written(&path, write_new(&path, &[]).unwrap_err());
    assert_eq!(error.code(), ErrorCode::Usage);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    let nowhere = dir.path().join("nowhere/events.jsonl");
    let error = not_written(&nowhere, write_new(&nowhere, &[]).unwrap_err());
    assert_eq!(error.code(), ErrorCode::OutputIncomplete);
}
