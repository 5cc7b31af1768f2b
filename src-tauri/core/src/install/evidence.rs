//! Which OpenClaw uses a state directory: versions found without starting anything. The newest
//! decides the era and the provider id, the oldest decides which locks are taken.

use std::path::PathBuf;

use super::config::ConfigRead;
use super::era::Markers;
use super::program::Program;
pub use super::version::Version;

/// Every trace of an OpenClaw release, for `doctor` and for the rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// In the order in which they were looked for.
    pub sources: Vec<EvidenceSource>,
    /// The newest known release; `None`: unknown.
    pub newest: Option<Version>,
    /// The oldest known release; `None`: unknown.
    pub oldest: Option<Version>,
}

/// One trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceSource {
    /// What it is, for people: `program on PATH`, `meta.lastTouchedVersion`.
    pub what: String,
    /// Where it was found.
    pub path: PathBuf,
    /// The release it tells of; `None` when it tells only that there is one.
    pub version: Option<Version>,
}

impl Evidence {
    pub(super) fn gather(programs: &[Program], config: &ConfigRead, markers: &Markers) -> Self {
        let mut sources: Vec<EvidenceSource> = programs
            .iter()
            .map(|program| EvidenceSource {
                what: match program.what {
                    "PATH" => say!("program on PATH"),
                    "setting" => say!("program named in Kalit's settings"),
                    "gateway unit" => say!("program of the gateway service"),
                    manager => say!("package installed by {manager}", manager),
                },
                path: program
                    .package
                    .clone()
                    .unwrap_or_else(|| program.launcher.clone()),
                version: program.version,
            })
            .collect();
        if let Some(version) = config.config.last_touched_version {
            sources.push(EvidenceSource {
                what: say!("meta.lastTouchedVersion of the configuration"),
                path: config.path.clone(),
                version: Some(version),
            });
        }
        sources.extend(markers.found.iter().map(|marker| EvidenceSource {
            what: marker.what.clone(),
            path: marker.path.clone(),
            version: marker.version,
        }));
        Self::from_sources(sources)
    }

    fn from_sources(sources: Vec<EvidenceSource>) -> Self {
        let versions = || sources.iter().filter_map(|source| source.version);
        Self {
            newest: versions().max(),
            oldest: versions().min(),
            sources,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_and_oldest_come_from_all_sources_that_tell_a_version() {
        let source = |version: Option<&str>| EvidenceSource {
            what: "x".to_owned(),
            path: PathBuf::from("/x"),
            version: version.and_then(Version::parse),
        };
        let evidence = Evidence::from_sources(vec![
            source(Some("2026.4.29")),
            source(None),
            source(Some("2026.10.1")),
            source(Some("2026.2.17")),
        ]);
        assert_eq!(evidence.newest, Version::parse("2026.10.1"));
        assert_eq!(evidence.oldest, Version::parse("2026.2.17"));
        let unknown = Evidence::from_sources(vec![source(None)]);
        assert_eq!((unknown.newest, unknown.oldest), (None, None));
    }
}
