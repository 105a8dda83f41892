use super::*;

const LOG: &[u8] = b"2026-01-01T00:00:00Z stdout F one\n2026-01-01T00:00:01Z stderr P tw\n2026-01-01T00:00:01Z stderr F o\n2026-01-01T00:00:02Z stdout F \nbroken\n";

fn passed(options: &LogOptions) -> String {
    let mut filter = Filter::new(options, "2026-01-01T00:00:03Z".parse().unwrap());
    let mut lines = Lines::default();
    // However the bytes come.
    let parsed: Vec<Line> = LOG.chunks(7).flat_map(|chunk| lines.push(chunk)).collect();
    let text: Vec<u8> = parsed.iter().filter_map(|line| filter.pass(line)).flatten().collect();
    String::from_utf8(text).unwrap()
}

#[test]
fn lines_are_put_together() {
    assert_eq!(passed(&LogOptions::default()), "one\ntwo\n\n");
    let timed = LogOptions { has_timestamps: true, ..LogOptions::default() };
    assert_eq!(passed(&timed), "2026-01-01T00:00:00Z one\n2026-01-01T00:00:01Z two\n2026-01-01T00:00:02Z \n");
    let late = LogOptions { since_time: "2026-01-01T00:00:02Z".parse().ok(), ..LogOptions::default() };
    assert_eq!(passed(&late), "\n");
    let young = LogOptions { since_s: Some(2), ..LogOptions::default() };
    assert_eq!(passed(&young), "two\n\n");
}

#[test]
fn the_end_of_a_log_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    std::fs::write(&path, LOG).unwrap();
    assert_eq!(last_lines(&path, 3, 100), "two\n\n");
    assert_eq!(last_lines(&path, 80, 3), "o\n\n");
    assert_eq!(last_lines(&directory.path().join("none"), 80, 100), "");
}
