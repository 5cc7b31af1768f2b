//! OpenClaw's calendar versions.

use std::fmt;

/// `year.month.patch` of an OpenClaw release; a suffix such as `-beta.2` or `-1` is not told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    year: u16,
    month: u16,
    patch: u16,
}

impl Version {
    /// A release by its three numbers.
    pub const fn new(year: u16, month: u16, patch: u16) -> Self {
        Self { year, month, patch }
    }

    /// Parses `2026.6.1`, `v2026.6.1`, `2026.6.1-beta.2`; anything else is no version.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix('v').unwrap_or(text);
        let core = text.split(['-', '+']).next()?;
        let mut parts = core.split('.');
        let mut number = || {
            let part = parts.next()?;
            part.bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| part.parse::<u16>().ok())?
        };
        let version = Self::new(number()?, number()?, number()?);
        parts.next().is_none().then_some(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.year, self.month, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_parsed_and_ordered_by_number() {
        let parse = |text| Version::parse(text).unwrap();
        assert_eq!(parse("2026.2.17"), Version::new(2026, 2, 17));
        assert_eq!(parse(" v2026.6.5-beta.1\n"), Version::new(2026, 6, 5));
        assert_eq!(parse("2026.4.29-1"), Version::new(2026, 4, 29));
        assert!(parse("2026.6.11") > parse("2026.6.5"));
        assert!(parse("2026.10.1") > parse("2026.9.30"));
        assert_eq!(parse("2026.6.1").to_string(), "2026.6.1");
    }

    #[test]
    fn other_text_is_no_version() {
        for text in [
            "",
            "latest",
            "2026.6",
            "2026.6.1.2",
            "2026.-6.1",
            "2026.6.x",
            "99999999.1.1",
            "2026.6.+1",
            "-",
        ] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
