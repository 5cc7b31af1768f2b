//! What the log of a storm says: who sent a spent token, what was sent after somebody had been
//! told of its successor, and whether an answer got lost.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use serde_json::Value;

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Kalit,
    OpenClaw,
}

/// A request as the endpoint saw it, with the process that sent it.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Epoch milliseconds of its arrival.
    pub at: i64,
    pub port: u16,
    pub pid: u32,
    pub by: By,
    pub sent: String,
    /// The generation in the answer, if it rotated.
    pub issued: Option<String>,
    /// It had been spent before.
    pub reuse: bool,
}

/// How one renewal of Kalit's ended, as it was told.
#[derive(Clone, Debug)]
pub struct Renewal {
    pub port: u16,
    /// Epoch milliseconds.
    pub began: i64,
    pub ended: i64,
    /// `refreshed`, `adopted`, `failed`.
    pub result: String,
    pub error: Option<String>,
}

/// A time in which the login was over, until it was made anew: epoch milliseconds.
#[derive(Debug)]
pub struct Ending {
    since: i64,
    until: Option<i64>,
}

/// The figures, and everything that must not be.
#[derive(Debug, Default)]
pub struct Verdict {
    pub requests: usize,
    pub rotated_by_kalit: usize,
    pub rotated_by_openclaw: usize,
    /// Renewals of Kalit's that found the login renewed by another and sent nothing.
    pub adopted: usize,
    /// Renewals that Kalit gave up because a lock was busy for a minute.
    pub given_up: usize,
    /// Spent tokens that OpenClaw was the second to send.
    pub reused_by_openclaw: usize,
    /// How often it sent one that Kalit had told to be replaced.
    pub late_by_openclaw: usize,
    /// When families were over because of that.
    pub endings: Vec<Ending>,
    /// Renewals of Kalit's that were told such an end.
    pub told_the_end: usize,
    /// From the wish to the request, locks included, in milliseconds: sorted.
    pub waits: Vec<i64>,
    /// From the wish to its end, whoever renewed: sorted.
    pub wishes: Vec<i64>,
    /// One sentence for each violation. Empty is well.
    pub violations: Vec<String>,
}

impl Verdict {
    /// Reads the log, and what Kalit's processes told.
    pub fn of(log: &[Sent], renewals: &[Renewal]) -> Self {
        let mut verdict = Self {
            requests: log.len(),
            ..Self::default()
        };
        verdict.follow(log);
        let told = verdict.match_what_was_told(log, renewals);
        verdict.nothing_after_it_was_told(log, &told);
        verdict
    }

    /// The store ends with the endpoint's newest tokens, and nothing is left lying around.
    pub fn look_at_the_end(
        &mut self,
        stored: &Value,
        refresh: Option<&str>,
        access: Option<&str>,
        left_behind: &[PathBuf],
    ) {
        if stored["refresh"].as_str() != refresh || stored["access"].as_str() != access {
            let text = format!(
                "the store ends with {}, the endpoint with {refresh:?}",
                stored["refresh"]
            );
            self.violations.push(text);
        }
        if !left_behind.is_empty() {
            self.violations.push(format!("left behind: {left_behind:?}"));
        }
    }

    /// Follows the generations in the order in which the endpoint issued them.
    fn follow(&mut self, log: &[Sent]) {
        let mut current: Option<&str> = None;
        for sent in log {
            if let Some(issued) = &sent.issued {
                match sent.by {
                    By::Kalit => self.rotated_by_kalit += 1,
                    By::OpenClaw => self.rotated_by_openclaw += 1,
                }
                match (current, self.endings.last_mut()) {
                    (Some(current), _) if current == sent.sent => {}
                    (Some(_), Some(Ending { until, .. })) if until.is_none() => *until = Some(sent.at),
                    (Some(lost), _) => self.violations.push(format!("nobody ever used {lost}")),
                    (None, _) => {}
                }
                current = Some(issued);
            } else if sent.reuse && sent.by == By::Kalit {
                let text = format!("Kalit (pid {}) was the second to send {}", sent.pid, sent.sent);
                self.violations.push(text);
            } else if sent.reuse {
                self.reused_by_openclaw += 1;
                if self.endings.last().is_none_or(|ending| ending.until.is_some()) {
                    self.endings.push(Ending {
                        since: sent.at,
                        until: None,
                    });
                }
            }
        }
    }

    /// Pairs Kalit's renewals with their requests: when which generation was said to be replaced.
    fn match_what_was_told(&mut self, log: &[Sent], renewals: &[Renewal]) -> Vec<(i64, String)> {
        let mut rotations: BTreeMap<u16, Vec<&Sent>> = BTreeMap::new();
        for sent in log
            .iter()
            .filter(|sent| sent.by == By::Kalit && sent.issued.is_some())
        {
            rotations.entry(sent.port).or_default().push(sent);
        }
        let mut next: BTreeMap<u16, usize> = BTreeMap::new();
        let mut told = Vec::new();
        for renewal in renewals {
            self.wishes.push(renewal.ended - renewal.began);
            match (renewal.result.as_str(), renewal.error.as_deref()) {
                ("refreshed", None) => {
                    let place = next.entry(renewal.port).or_default();
                    let request = rotations.get(&renewal.port).and_then(|all| all.get(*place));
                    *place += 1;
                    let Some(request) = request else {
                        self.violations
                            .push(format!("told, but never rotated: {renewal:?}"));
                        continue;
                    };
                    self.waits.push(request.at - renewal.began);
                    told.push((renewal.ended, request.sent.clone()));
                }
                ("adopted", None) => self.adopted += 1,
                ("failed", Some("lock.busy")) => self.given_up += 1,
                ("failed", Some("refresh.signed_out")) if self.was_over(renewal) => self.told_the_end += 1,
                _ => self.violations.push(format!("{renewal:?}")),
            }
        }
        for (port, all) in &rotations {
            let told = next.get(port).copied().unwrap_or_default();
            if told != all.len() {
                self.violations
                    .push(format!("{} rotations of a Kalit, {told} told", all.len()));
            }
        }
        self.waits.sort_unstable();
        self.wishes.sort_unstable();
        told.sort();
        told
    }

    /// Whether OpenClaw had ended the login while this renewal ran.
    fn was_over(&self, renewal: &Renewal) -> bool {
        let mut endings = self.endings.iter();
        endings.any(|ending| {
            ending.since <= renewal.ended && ending.until.is_none_or(|until| until >= renewal.began)
        })
    }

    /// Once Kalit has told that a generation is replaced, nobody sends it or an older one.
    fn nothing_after_it_was_told(&mut self, log: &[Sent], told: &[(i64, String)]) {
        let mut age: HashMap<&str, usize> = HashMap::new();
        for sent in log.iter().filter(|sent| sent.issued.is_some()) {
            let next = age.len();
            age.entry(&sent.sent).or_insert(next);
        }
        let mut told = told.iter().peekable();
        let mut newest_replaced = None;
        let mut by_time: Vec<&Sent> = log.iter().collect();
        by_time.sort_by_key(|sent| sent.at);
        for sent in by_time {
            while let Some((_, replaced)) = told.next_if(|(at, _)| *at < sent.at) {
                newest_replaced = newest_replaced.max(age.get(replaced.as_str()).copied());
            }
            let age = age.get(sent.sent.as_str()).copied();
            match sent.by {
                _ if age.is_none() || age > newest_replaced => {}
                By::OpenClaw => self.late_by_openclaw += 1,
                By::Kalit => self.violations.push(format!(
                    "Kalit (pid {}) sent {} after it was told that it was replaced",
                    sent.pid, sent.sent
                )),
            }
        }
    }
}

/// The least value that this share (in percent) of the sorted values does not exceed.
pub fn percentile(sorted: &[i64], percent: usize) -> i64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * percent / 100).copied().unwrap_or_default()
}

/// The control: a log and what was told of it, with one thing wrong at a time.
#[test]
fn each_kind_of_violation_is_found() {
    use By::{Kalit, OpenClaw};
    let sent = |at, by, sent: &str, issued: Option<&str>| Sent {
        at,
        port: if by == Kalit { 1 } else { 2 },
        pid: 7,
        by,
        sent: sent.to_owned(),
        issued: issued.map(str::to_owned),
        reuse: issued.is_none(),
    };
    let told = |began, result: &str, error: Option<&str>| Renewal {
        port: 1,
        began,
        ended: began + 10,
        result: result.to_owned(),
        error: error.map(str::to_owned),
    };
    let found = |log: &[Sent], renewals: &[Renewal]| Verdict::of(log, renewals).violations;
    let well = [
        sent(5, Kalit, "a", Some("b")),
        sent(20, OpenClaw, "b", Some("c")),
        sent(35, Kalit, "c", Some("d")),
    ];
    let renewals = [
        told(0, "refreshed", None),
        told(20, "adopted", None),
        told(32, "refreshed", None),
    ];
    assert_eq!(found(&well, &renewals), Vec::<String>::new());
    let only = |violations: Vec<String>, text: &str| {
        assert!(
            violations.len() == 1 && violations[0].contains(text),
            "{text}: {violations:?}"
        );
    };

    let reused = |at, by| [&well[..], &[sent(at, by, "c", None)]].concat();
    only(found(&reused(36, Kalit), &renewals), "second to send c");
    assert_eq!(found(&reused(36, OpenClaw), &renewals), Vec::<String>::new());
    let late = Verdict::of(&reused(50, OpenClaw), &renewals);
    assert_eq!((late.reused_by_openclaw, late.late_by_openclaw), (1, 1));
    let late = found(&reused(50, Kalit), &renewals);
    assert!(
        late.iter().any(|text| text.contains("after it was told")),
        "{late:?}"
    );

    let anew = sent(60, OpenClaw, "x", Some("y"));
    let lost = [&well[..], std::slice::from_ref(&anew)].concat();
    only(found(&lost, &renewals), "nobody ever used d");
    let ended = [reused(36, OpenClaw), vec![anew]].concat();
    let signed_out = |began| {
        [
            &renewals[..],
            &[told(began, "failed", Some("refresh.signed_out"))],
        ]
        .concat()
    };
    assert_eq!(found(&ended, &signed_out(40)), Vec::<String>::new());
    only(found(&ended, &signed_out(61)), "refresh.signed_out");
    only(found(&well, &signed_out(40)), "refresh.signed_out");

    only(found(&well, &renewals[..2]), "2 rotations of a Kalit, 1 told");
    let once_more = [&renewals[..], &[told(50, "refreshed", None)]].concat();
    assert!(found(&well, &once_more)[0].contains("never rotated"));

    let mut end = Verdict::of(&well, &renewals);
    let stored = serde_json::json!({"refresh": "d", "access": "D"});
    end.look_at_the_end(&stored, Some("d"), Some("D"), &[]);
    assert_eq!(end.violations, Vec::<String>::new());
    end.look_at_the_end(&stored, Some("e"), Some("D"), &[PathBuf::from("x.lock")]);
    assert_eq!(end.violations.len(), 2);
}
