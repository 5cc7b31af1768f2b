//! What was tried, of all parts: each attack counts once, however often it was repeated.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use kalit_journeys::proof::Figures;

/// How attacks ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Refused,
    Told,
    NotTried,
}

static TRIED: Mutex<BTreeMap<(End, &'static str), usize>> = Mutex::new(BTreeMap::new());

/// Attacks of a part that were tried and refused.
pub fn refused(part: &'static str, attacks: usize) -> Result<()> {
    count(End::Refused, part, attacks)
}

/// What Kalit cannot refuse and tells instead.
pub fn told(part: &'static str, attacks: usize) -> Result<()> {
    count(End::Told, part, attacks)
}

/// Attacks that this machine does not admit.
pub fn not_tried(why: &'static str, attacks: usize) -> Result<()> {
    count(End::NotTried, why, attacks)
}

/// Adds to a part and tells all so far.
fn count(end: End, part: &'static str, attacks: usize) -> Result<()> {
    let mut all = TRIED.lock().unwrap_or_else(PoisonError::into_inner);
    *all.entry((end, part)).or_default() += attacks;
    let mut figures = Figures::new("attacks");
    let mut total = 0;
    for ((end, part), attacks) in all.iter() {
        match end {
            End::Refused => {
                total += attacks;
                figures.row(*part, attacks);
            }
            End::Told => {
                figures.row(format!("told, not refused: {part}"), attacks);
            }
            End::NotTried => {
                figures.row(format!("not tried here: {part}"), attacks);
            }
        }
    }
    figures.row("attacks tried and refused", total);
    figures.tell()
}
