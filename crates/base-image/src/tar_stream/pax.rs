//! pax extended headers: records `LENGTH KEY=VALUE\n`, of which a layer uses a handful.

/// The prefix under which extended attributes are stored.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// Every record of GNU's sparse formats starts so.
const SPARSE: &[u8] = b"GNU.sparse.";

/// What the records of one extended header say.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) is_sparse: bool,
}

impl Records {
    /// `None` if the bytes are not records, or a known record's value is not of its form.
    pub(super) fn parse(mut bytes: &[u8]) -> Option<Self> {
        let mut records = Self::default();
        while !bytes.is_empty() {
            let (record, rest) = split_record(bytes)?;
            let equals = record.iter().position(|byte| *byte == b'=')?;
            let (key, value) = record.split_at(equals);
            records.take(key, value.get(1..)?)?;
            bytes = rest;
        }
        Some(records)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number(value)?),
            b"uid" => self.uid = Some(number(value)?),
            b"gid" => self.gid = Some(number(value)?),
            b"mtime" => self.mtime = Some(time(value)?),
            _ if key.starts_with(SPARSE) => self.is_sparse = true,
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Some(())
    }
}

/// The first record's `KEY=VALUE`, and what follows the record.
fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let (length, _) = bytes.split_at(space);
    let length = usize::try_from(number(length)?).ok()?;
    let (record, rest) = bytes.split_at_checked(length)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    Some((record, rest))
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

/// `[-]SECONDS[.FRACTION]`, rounded down to nanoseconds.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos = format!("{fraction:0<9.9}").parse().ok()?;
    let whole: i64 = seconds.parse().ok()?;
    if seconds.starts_with('-') && nanos > 0 {
        return Some((whole.checked_sub(1)?, 1_000_000_000 - nanos));
    }
    Some((whole, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &str) -> String {
        let body = key.len() + value.len() + 3;
        let length = (body..).find(|length| length.to_string().len() + body == *length).unwrap();
        format!("{length} {key}={value}\n")
    }

    #[test]
    fn records_are_taken_apart() {
        let text = [
            record("path", "a=b\nc"),
            record("SCHILY.xattr.security.capability", "x\u{1}"),
            record("mtime", "1700000000.5"),
            record("size", "12345678901"),
            record("comment", "…"),
        ];
        let records = Records::parse(text.concat().as_bytes()).unwrap();
        assert_eq!(records.path.unwrap(), b"a=b\nc");
        assert_eq!(records.xattrs, [(b"security.capability".to_vec(), b"x\x01".to_vec())]);
        assert_eq!(records.mtime, Some((1_700_000_000, 500_000_000)));
        assert_eq!(records.size, Some(12_345_678_901));
        assert!(!records.is_sparse);
        assert!(Records::parse(record("GNU.sparse.major", "1").as_bytes()).unwrap().is_sparse);
    }

    #[test]
    fn times_before_1970_round_down() {
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time(b"-1"), Some((-1, 0)));
        assert_eq!(time(b"1.1234567899"), Some((1, 123_456_789)));
        for bad in [&b""[..], b"x", b"1.x", b"1.2.3", b"99999999999999999999"] {
            assert_eq!(time(bad), None);
        }
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for bad in [
            "x",
            "5 a=b",
            "99 a=b\n",
            "3 a\n",
            "0 \n",
            "6 size=\n",
            "9 size=x\n",
            "-6 a=b\n",
            "18446744073709551616 a=b\n",
        ] {
            assert!(Records::parse(bad.as_bytes()).is_none(), "{bad:?}");
        }
    }
}
