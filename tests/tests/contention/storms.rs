//! The storms, release by release, and one with a program that keeps no locks.

use anyhow::Result;
use kalit_journeys::openclaw::Version;
use kalit_journeys::proof::{Figures, times};

use super::storm::{Crowd, Outcome, rage};
use super::verdict::percentile;

const CROWD: Crowd = Crowd {
    kalits: 7,
    openclaws: 4,
    command_line: true,
    lockless: 0,
    pause: 150,
};

#[tokio::test(flavor = "multi_thread")]
async fn eight_kalits_and_four_openclaws_of_2026_2_17_lose_nothing() -> Result<()> {
    nothing_is_lost(Version::V2026_2_17, "contention-2026.2.17").await
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_kalits_and_four_openclaws_of_2026_6_1_lose_nothing() -> Result<()> {
    nothing_is_lost(Version::V2026_6_1, "contention-2026.6.1").await
}

async fn nothing_is_lost(version: Version, name: &'static str) -> Result<()> {
    let outcome = rage(name, version, CROWD, times(100, 5000), true).await?;
    figures(name, &outcome).tell()?;
    let verdict = &outcome.verdict;
    assert_eq!(verdict.violations, Vec::<String>::new());
    // Each wish is fulfilled, by whomever.
    assert_eq!(verdict.given_up, 0);
    let rotations = verdict.rotated_by_kalit + verdict.rotated_by_openclaw;
    // 2026.2.17 removes locks that were let go and taken by others while it looked at them. Then two
    // hold one, and nobody can keep it from sending what the other has spent.
    let reuses = if version == Version::V2026_2_17 {
        rotations / 20
    } else {
        0
    };
    assert!(verdict.reused_by_openclaw <= reuses, "{verdict:?}");
    // Where five queue for the lock, Kalit's processes as one: a quarter of what is due to each, or a
    // tenth where chance has more to say.
    let least = rotations / times(50, 20);
    assert!(
        verdict.rotated_by_kalit.min(verdict.rotated_by_openclaw) >= least,
        "{verdict:?}"
    );
    Ok(())
}

/// The control: the same verdict finds programs that renew without locks. Two of them: Kalit's own
/// processes look again right before they send, so that one alone seldom meets them.
#[tokio::test(flavor = "multi_thread")]
async fn programs_that_renew_without_locks_are_found_out() -> Result<()> {
    let crowd = Crowd {
        kalits: 3,
        openclaws: 0,
        command_line: false,
        lockless: 2,
        pause: 0,
    };
    let outcome = rage("contention-control", Version::V2026_6_1, crowd, 2000, false).await?;
    let found = &outcome.verdict.violations;
    println!(
        "without locks, found after {} requests: {found:?}",
        outcome.verdict.requests
    );
    assert!(
        found.iter().any(|text| text.contains("was the second to send")),
        "{outcome:?}"
    );
    Ok(())
}

fn figures(name: &'static str, outcome: &Outcome) -> Figures {
    let verdict = &outcome.verdict;
    let mut figures = Figures::new(name);
    figures
        .row("rotations by Kalit", verdict.rotated_by_kalit)
        .row("rotations by OpenClaw", verdict.rotated_by_openclaw)
        .row("requests in the log", verdict.requests)
        .row("processes in the log", outcome.pids)
        .row("found renewed by another, nothing sent (Kalit)", verdict.adopted)
        .row("given up at a busy lock (Kalit)", verdict.given_up)
        .row("spent tokens sent by OpenClaw", verdict.reused_by_openclaw)
        .row(
            "of them after Kalit had told of the successor",
            verdict.late_by_openclaw,
        )
        .row("login ended by that and made anew", outcome.made_anew)
        .row("renewals that were told this end (Kalit)", verdict.told_the_end)
        .row("violations", verdict.violations.len())
        .row("time", format!("{:.1} s", outcome.took.as_secs_f64()));
    for (what, times) in [
        ("from the wish to the request (Kalit)", &verdict.waits),
        (
            "from the wish to its end, whoever renewed (Kalit)",
            &verdict.wishes,
        ),
    ] {
        for percent in [50, 99, 100] {
            figures.row(
                format!("{what}, p{percent}"),
                format!("{} ms", percentile(times, percent)),
            );
        }
    }
    for (text, times) in &outcome.failures {
        // What follows names files.
        let text = text.split(" | ").next().unwrap_or_default();
        figures.row(format!("OpenClaw: {text}"), times);
    }
    figures
}
