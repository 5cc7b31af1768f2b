//! What Linux says of a process and its children: memory, CPU ticks, wake-ups (`/proc`).

use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// A process and everything it started, itself first.
pub fn family(pid: u32) -> Vec<u32> {
    let mut parents: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(parent) = stat(child).and_then(|fields| fields.get(1)?.parse().ok()) {
            parents.entry(parent).or_default().push(child);
        }
    }
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(&member) = all.get(next) {
        all.extend(parents.remove(&member).unwrap_or_default());
        next += 1;
    }
    all
}

/// Proportional set size of a family in bytes.
pub fn pss(pid: u32) -> u64 {
    let of = |pid: &u32| {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()
    };
    family(pid).iter().filter_map(of).sum::<u64>() * 1024
}

/// User and system time of a process in ticks of 10 ms.
pub fn ticks(pid: u32) -> u64 {
    let fields = stat(pid).unwrap_or_default();
    // utime and stime are the fields 14 and 15 of the line; the first two are cut off
    let tick = |index: usize| {
        fields
            .get(index)
            .and_then(|field| field.parse::<u64>().ok())
            .unwrap_or_default()
    };
    tick(11) + tick(12)
}

/// Voluntary context switches per thread: how often something woke it.
pub fn switches(pid: u32) -> HashMap<String, u64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    tasks
        .filter_map(|task| {
            Some((
                task.file_name().to_string_lossy().into_owned(),
                voluntary(&task.path())?,
            ))
        })
        .collect()
}

/// What was added since `before`, threads that ended left out.
pub fn switches_since(before: &HashMap<String, u64>, pid: u32) -> u64 {
    let after = switches(pid);
    after
        .iter()
        .map(|(task, count)| count - before.get(task).copied().unwrap_or_default().min(*count))
        .sum()
}

fn voluntary(task: &Path) -> Option<u64> {
    let status = fs::read_to_string(task.join("status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?
        .trim()
        .parse()
        .ok()
}

/// The fields of `/proc/PID/stat` after the name: state, parent, …
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split_ascii_whitespace().map(str::to_owned).collect())
}
