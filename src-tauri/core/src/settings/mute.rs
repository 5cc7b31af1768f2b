//! Until when notifications are muted, as a person types it.

use jiff::civil;

use crate::clock::{TimeZone, Timestamp};
use crate::oauth::paste;

/// The hour at which "until tomorrow" ends, as in the window.
const MORNING: i8 = 8;

/// The end of `1h`, `1d12h` and the like from now on, of `tomorrow`, at the next `22:30`, at
/// `2026-11-28 22:30` or any ISO 8601 instant; in local time where none is said. `Some(None)` for
/// `off`, `None` for anything else.
pub fn muted_until(text: &str, now: Timestamp, time_zone: &TimeZone) -> Option<Option<Timestamp>> {
    let text = text.trim();
    if text == "off" {
        return Some(None);
    }
    if let Ok(span) = paste::expires_in(text) {
        return Some(Some(now.plus(span)));
    }
    if let Some(instant) = Timestamp::from_iso8601(text) {
        return Some(Some(instant));
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Milliseconds, not a time without its colon.
        return None;
    }
    let here = jiff::Timestamp::from_millisecond(now.as_millis()).ok()?;
    let here = here.to_zoned(time_zone.clone()).datetime();
    let tomorrow = here.date().tomorrow().ok()?;
    let end = if text == "tomorrow" {
        tomorrow.at(MORNING, 0, 0, 0)
    } else if let Ok(day) = text.parse::<civil::DateTime>() {
        day
    } else {
        let time = text.parse::<civil::Time>().ok()?;
        let today = here.date().to_datetime(time);
        if today > here {
            today
        } else {
            tomorrow.to_datetime(time)
        }
    };
    let instant = end.to_zoned(time_zone.clone()).ok()?.timestamp();
    Some(Some(Timestamp::from_millis(instant.as_millisecond())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_typed_as_a_span_a_day_a_clock_time_or_a_date() {
        let east = TimeZone::fixed(jiff::tz::offset(5));
        // 23 Nov, 17:13 there
        let now = Timestamp::from_iso8601("2025-11-23T12:13:20Z").unwrap();
        let ends = |text: &str| {
            let end = muted_until(text, now, &east);
            end.map(|end| end.map(|at| at.to_iso8601().replace(":00.000Z", "")))
        };
        let cases = [
            ("1d12h", "2025-11-25T00:13:20.000Z"),
            ("tomorrow", "2025-11-24T03:00"),
            ("22:30", "2025-11-23T17:30"),
            (" 08:05 ", "2025-11-24T03:05"),
            ("17:13", "2025-11-24T12:13"),
            ("2025-12-01 09:00", "2025-12-01T04:00"),
            ("2025-12-01T09:00:00Z", "2025-12-01T09:00"),
        ];
        for (text, end) in cases {
            assert_eq!(ends(text), Some(Some(end.to_owned())), "{text}");
        }
        assert_eq!(ends("off"), Some(None));
        for text in [
            "",
            "later",
            "1",
            "-1h",
            "25:00",
            "1763900000000",
            "2025-02-30 09:00",
        ] {
            assert_eq!(ends(text), None, "{text}");
        }
    }
}
