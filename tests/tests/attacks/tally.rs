//! How many attacks were tried and refused, of all parts.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use kalit_journeys::proof::Figures;

static REFUSED: Mutex<BTreeMap<&'static str, usize>> = Mutex::new(BTreeMap::new());

/// Adds to a part and tells all so far.
pub fn refused(part: &'static str, attacks: usize) -> Result<()> {
    let mut all = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
    *all.entry(part).or_default() += attacks;
    let mut figures = Figures::new("attacks");
    for (part, attacks) in all.iter() {
        figures.row(*part, attacks);
    }
    figures.row("attacks tried and refused", all.values().sum::<usize>());
    figures.tell()
}
