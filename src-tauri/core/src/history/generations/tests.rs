use super::*;
use crate::secret::Secret;

fn generation(name: &str) -> Fingerprint {
    Secret::new(name).fingerprint()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn sign_in(millis: i64) -> SignIn {
    SignIn {
        provider: ProviderId::parse("openai").unwrap(),
        token_url: "https://auth.openai.com/oauth/token".to_owned(),
        at: at(millis),
    }
}

#[test]
fn a_family_is_known_from_its_sign_in_to_its_newest_generation() {
    let data = tempfile::tempdir().unwrap();
    let record = Generations::open(data.path()).unwrap();
    let [first, second, third] = ["REF0", "REF1", "REF2"].map(generation);
    let family = record
        .record_sign_in(first, &sign_in(10), Some(3_600_000))
        .unwrap();
    assert_eq!(family, Family::begun_by(first));
    assert_eq!(record.last_refresh(family).unwrap(), None);
    record
        .record_rotation(first, second, at(20), Some(7_200_000))
        .unwrap();
    record.record_rotation(second, third, at(30), None).unwrap();

    // Another process, after a restart.
    let record = Generations::open(data.path()).unwrap();
    for member in [first, second, third] {
        assert_eq!(record.family_of(member).unwrap(), family);
    }
    let known = record.find(second).unwrap().unwrap();
    assert!(known.sequence < record.find(third).unwrap().unwrap().sequence);
    assert_eq!(
        known,
        Generation {
            fingerprint: second,
            family,
            sequence: known.sequence,
            superseded_by: Some(third),
            issued_at: Some(at(20)),
            lifetime_ms: Some(7_200_000),
            refusal: None,
            unknown_since: None,
            retried_at: None,
        }
    );
    assert!(record.is_superseded(first).unwrap());
    assert!(!record.is_superseded(third).unwrap());
    assert!(record.leads_to(first, third).unwrap());
    for (older, newer) in [(third, first), (second, first), (second, second)] {
        assert!(!record.leads_to(older, newer).unwrap());
    }
    assert_eq!(record.newest_of(family).unwrap().unwrap().fingerprint, third);
    assert_eq!(record.last_refresh(family).unwrap(), Some(at(30)));
    assert_eq!(record.sign_in_of(family).unwrap(), Some(sign_in(10)));
}

#[test]
fn nothing_is_known_of_a_stranger() {
    let data = tempfile::tempdir().unwrap();
    let record = Generations::open(data.path()).unwrap();
    let stranger = generation("REF9");
    assert_eq!(record.find(stranger).unwrap(), None);
    assert_eq!(record.family_of(stranger).unwrap(), Family::begun_by(stranger));
    assert!(!record.is_superseded(stranger).unwrap());
    assert_eq!(record.refusal(stranger).unwrap(), None);
    assert_eq!(record.newest_of(Family::begun_by(stranger)).unwrap(), None);
    assert_eq!(record.last_refresh(Family::begun_by(stranger)).unwrap(), None);
    assert_eq!(record.sign_in_of(Family::begun_by(stranger)).unwrap(), None);
    assert_eq!(std::fs::read_dir(data.path()).unwrap().count(), 0);
}

#[test]
fn a_login_of_another_program_gets_a_family_but_no_endpoint() {
    let data = tempfile::tempdir().unwrap();
    let record = Generations::open(data.path()).unwrap();
    let family = record
        .record_rotation(generation("REF0"), generation("REF1"), at(5), None)
        .unwrap();
    assert_eq!(family, Family::begun_by(generation("REF0")));
    assert_eq!(record.sign_in_of(family).unwrap(), None);
    assert!(record.is_superseded(generation("REF0")).unwrap());
}

#[test]
fn a_provider_that_does_not_rotate_supersedes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let record = Generations::open(data.path()).unwrap();
    let only = generation("REF0");
    let family = record.record_sign_in(only, &sign_in(1), Some(100)).unwrap();
    record.record_unknown(only, at(2)).unwrap();
    record.record_rotation(only, only, at(3), Some(200)).unwrap();
    let known = record.find(only).unwrap().unwrap();
    assert_eq!(
        (
            known.superseded_by,
            known.issued_at,
            known.lifetime_ms,
            known.unknown_since
        ),
        (None, Some(at(3)), Some(200), None)
    );
    assert_eq!(record.last_refresh(family).unwrap(), Some(at(3)));
    assert_eq!(record.newest_of(family).unwrap().unwrap().fingerprint, only);
}

#[test]
fn a_stranger_joins_the_family_that_led_to_it() {
    let data = tempfile::tempdir().unwrap();
    let record = Generations::open(data.path()).unwrap();
    let [first, second] = ["REF0", "REF1"].map(generation);
    record.record_unknown(second, at(1)).unwrap();
    let family = record.record_sign_in(first, &sign_in(1), None).unwrap();
    record.record_rotation(first, second, at(2), None).unwrap();
    assert_eq!(record.family_of(second).unwrap(), family);
    assert_eq!(record.newest_of(family).unwrap().unwrap().fingerprint, second);

    // A login of its own stays a family of its own.
    let own = generation("REF5");
    let other = record.record_sign_in(own, &sign_in(3), None).unwrap();
    record.record_rotation(second, own, at(4), None).unwrap();
    assert_eq!(record.family_of(own).unwrap(), other);
    assert!(record.is_superseded(second).unwrap());
}

#[test]
fn a_step_back_is_not_a_rotation() {
    let data = tempfile::tempdir().unwrap();
    let record = Generations::open(data.path()).unwrap();
    let [first, second, third] = ["REF0", "REF1", "REF2"].map(generation);
    let family = record.record_sign_in(first, &sign_in(1), None).unwrap();
    record.record_rotation(first, second, at(2), None).unwrap();
    record.record_rotation(second, third, at(3), None).unwrap();
    record.record_rotation(third, first, at(4), None).unwrap();
    assert!(record.is_superseded(first).unwrap());
    assert!(!record.is_superseded(third).unwrap());
    assert_eq!(record.newest_of(family).unwrap().unwrap().fingerprint, third);
    assert_eq!(record.last_refresh(family).unwrap(), Some(at(3)));
}

#[test]
fn a_refused_generation_stays_refused_in_every_process() {
    let data = tempfile::tempdir().unwrap();
    let record = Generations::open(data.path()).unwrap();
    let dead = generation("REF0");
    record
        .record_refusal(dead, "refresh_token_invalidated", at(7))
        .unwrap();
    let other = Generations::open(data.path()).unwrap();
    assert_eq!(
        other.refusal(dead).unwrap(),
        Some(Refusal {
            code: "refresh_token_invalidated".to_owned(),
            at: at(7),
            answer_was_lost: false,
        })
    );
    assert_eq!(
        other
            .newest_of(Family::begun_by(dead))
            .unwrap()
            .unwrap()
            .fingerprint,
        dead
    );
}

#[test]
fn an_unanswered_request_is_retried_once_and_its_refusal_says_so() {
    let data = tempfile::tempdir().unwrap();
    let record = Generations::open(data.path()).unwrap();
    let sent = generation("REF0");
    assert!(!record.record_retry(sent, at(1)).unwrap());
    record.record_unknown(sent, at(2)).unwrap();
    record.record_unknown(sent, at(3)).unwrap();
    assert_eq!(record.find(sent).unwrap().unwrap().unknown_since, Some(at(2)));
    assert!(record.record_retry(sent, at(62)).unwrap());
    let other = Generations::open(data.path()).unwrap();
    assert!(!other.record_retry(sent, at(63)).unwrap());
    other
        .record_refusal(sent, "refresh_token_reused", at(64))
        .unwrap();
    assert!(record.refusal(sent).unwrap().unwrap().answer_was_lost);
}

#[test]
fn an_answer_clears_the_unknown_mark() {
    let data = tempfile::tempdir().unwrap();
    let record = Generations::open(data.path()).unwrap();
    let [first, second] = ["REF0", "REF1"].map(generation);
    record.record_unknown(first, at(1)).unwrap();
    record.clear_unknown(first).unwrap();
    assert_eq!(record.find(first).unwrap().unwrap().unknown_since, None);
    record.record_unknown(first, at(2)).unwrap();
    assert!(record.record_retry(first, at(3)).unwrap());
    record.record_rotation(first, second, at(4), None).unwrap();
    let known = record.find(first).unwrap().unwrap();
    assert_eq!((known.unknown_since, known.retried_at), (None, None));
}

#[test]
fn a_notification_is_shown_once_even_when_two_processes_ask() {
    let data = tempfile::tempdir().unwrap();
    let shown: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    Generations::open(data.path())
                        .unwrap()
                        .mark_notified("family signed-out generation")
                        .unwrap()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| usize::from(thread.join().unwrap()))
            .sum()
    });
    assert_eq!(shown, 1);
    let record = Generations::open(data.path()).unwrap();
    assert!(!record.mark_notified("family signed-out generation").unwrap());
    assert!(record.mark_notified("family vanished generation").unwrap());
}

#[test]
fn a_refusal_after_an_outage_is_told_as_a_lost_answer() {
    let dir = tempfile::tempdir().unwrap();
    let record = Generations::open(dir.path()).unwrap();
    let sent = generation("R0");
    record.record_unknown(sent, Timestamp::from_millis(1)).unwrap();
    record.record_doubt(sent).unwrap();
    assert_eq!(record.find(sent).unwrap().unwrap().unknown_since, None);
    record
        .record_refusal(sent, "refresh_token_reused", Timestamp::from_millis(2))
        .unwrap();
    assert!(record.refusal(sent).unwrap().unwrap().answer_was_lost);
}

#[test]
fn no_token_is_in_the_file() {
    let data = tempfile::tempdir().unwrap();
    let record = Generations::open(data.path()).unwrap();
    record
        .record_rotation(generation("REF0-secret"), generation("REF1-secret"), at(1), None)
        .unwrap();
    for entry in std::fs::read_dir(data.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(7).any(|window| window == b"-secret"));
    }
}

#[test]
fn a_rotation_that_is_recorded_again_forgets_nothing_of_its_successor() {
    let data = tempfile::tempdir().unwrap();
    let record = Generations::open(data.path()).unwrap();
    let [zero, one] = ["REF0", "REF1"].map(generation);
    record.record_rotation(zero, one, at(1), None).unwrap();
    record.record_unknown(one, at(2)).unwrap();
    assert!(record.record_retry(one, at(3)).unwrap());
    // Another Kalit merges the entry of the first rotation.
    record.record_rotation(zero, one, at(1), None).unwrap();
    assert!(record.find(one).unwrap().unwrap().is_given_up());
}
