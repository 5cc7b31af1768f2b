//! What stands in a lock file: `{"pid","createdAt","starttime"}` as OpenClaw 2026.2.17 to 2026.6.1
//! write it. Parsing never fails: a payload that names no process is simply unreadable.

use serde_json::Value;

use crate::clock::Timestamp;

/// The parsed content of a lock file. Anything missing or of a wrong type is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Payload {
    /// The owner's process id; `None` makes the payload unreadable.
    pub pid: Option<u32>,
    pub created_at: Option<Timestamp>,
    /// The owner's start in clock ticks since boot: tells a reused process id apart.
    pub starttime: Option<u64>,
}

impl Payload {
    /// Reads a payload of any release, with or without `starttime` and trailing newline.
    pub fn parse(bytes: &[u8]) -> Self {
        let value = serde_json::from_slice::<Value>(bytes).unwrap_or_default();
        Self {
            pid: value
                .get("pid")
                .and_then(Value::as_u64)
                .filter(|pid| (1..=i32::MAX as u64).contains(pid))
                .and_then(|pid| u32::try_from(pid).ok()),
            created_at: value
                .get("createdAt")
                .and_then(Value::as_str)
                .and_then(Timestamp::from_iso8601),
            starttime: value.get("starttime").and_then(Value::as_u64),
        }
    }

    /// Whether both name the same process.
    pub fn has_owner_of(&self, other: &Self) -> bool {
        (self.pid, self.starttime) == (other.pid, other.starttime)
    }

    /// `JSON.stringify(payload, null, 2)` and a newline, as 2026.5.12 and later write it.
    pub fn encode(pid: u32, created_at: Timestamp, starttime: Option<u64>) -> Vec<u8> {
        let starttime = starttime.map_or(String::new(), |ticks| format!(",\n  \"starttime\": {ticks}"));
        format!("{{\n  \"pid\": {pid},\n  \"createdAt\": \"{created_at}\"{starttime}\n}}\n").into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_millis(1_700_000_000_123);

    #[test]
    fn encodes_as_2026_6_1_does() {
        assert_eq!(
            String::from_utf8(Payload::encode(4312, AT, Some(987_654))).unwrap(),
            "{\n  \"pid\": 4312,\n  \"createdAt\": \"2023-11-14T22:13:20.123Z\",\n  \"starttime\": 987654\n}\n"
        );
        assert_eq!(
            String::from_utf8(Payload::encode(4312, AT, None)).unwrap(),
            "{\n  \"pid\": 4312,\n  \"createdAt\": \"2023-11-14T22:13:20.123Z\"\n}\n"
        );
    }

    #[test]
    fn parses_the_payloads_of_both_generations() {
        let of_2026_2_17 = b"{\n  \"pid\": 7,\n  \"createdAt\": \"2023-11-14T22:13:20.123Z\"\n}";
        let expected = Payload {
            pid: Some(7),
            created_at: Some(AT),
            starttime: None,
        };
        assert_eq!(Payload::parse(of_2026_2_17), expected);
        assert_eq!(
            Payload::parse(&Payload::encode(7, AT, Some(5))),
            Payload {
                starttime: Some(5),
                ..expected
            }
        );
    }

    #[test]
    fn what_names_no_process_is_unreadable() {
        let texts = [
            "",
            "{",
            "null",
            "[7]",
            "\"7\"",
            "{}",
            "{\"pid\":\"7\"}",
            "{\"pid\":0}",
            "{\"pid\":-7}",
            "{\"pid\":7.5}",
            "{\"pid\":4294967296}",
            "{\"pid\":2147483648}",
            "{\"pid\":1e400}",
        ];
        for text in texts {
            assert_eq!(Payload::parse(text.as_bytes()).pid, None, "{text}");
        }
        assert_eq!(Payload::parse(b"\xff\xfe").pid, None);
        assert_eq!(
            Payload::parse(b"{\"pid\":7,\"createdAt\":\"yesterday\",\"starttime\":\"9\"}"),
            Payload {
                pid: Some(7),
                created_at: None,
                starttime: None
            }
        );
    }
}
