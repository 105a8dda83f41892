//! Lines of log files, `TIME STREAM F|P TEXT`: put together, chosen, and made into what is shown.

use std::collections::VecDeque;

use base_rt::Timestamp;
use jiff::SignedDuration;

use super::LogOptions;

/// The longest tail that is kept in memory.
const TAIL_MAX_LINES: u64 = 1 << 20;

/// One of a container's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Stdout,
    Stderr,
}

/// One line of a log file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) at: Option<Timestamp>,
    pub(super) output: Output,
    pub(super) time: Vec<u8>,
    pub(super) text: Vec<u8>,
    pub(super) is_whole: bool,
}

impl Line {
    pub(super) fn of(at: Timestamp, text: &str) -> Self {
        let (time, text) = (at.to_string().into_bytes(), text.as_bytes().to_vec());
        Self { at: Some(at), output: Output::Stdout, time, text, is_whole: true }
    }

    /// `TIME STREAM F|P TEXT`; none if it is not that.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let (time, stream, tag, text) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let at = std::str::from_utf8(time).ok().and_then(|time| time.parse().ok());
        let output = if stream == b"stderr" { Output::Stderr } else { Output::Stdout };
        Some(Self { at, output, time: time.to_vec(), text: text.to_vec(), is_whole: tag == b"F" })
    }
}

/// Puts lines together from pieces of a file.
#[derive(Default)]
pub(super) struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Line> {
        self.rest.extend_from_slice(bytes);
        let mut lines = Vec::new();
        let mut start = 0;
        while let Some(end) = self.rest.iter().skip(start).position(|byte| *byte == b'\n').map(|at| start + at) {
            lines.extend(Line::parse(self.rest.get(start..end).unwrap_or_default()));
            start = end + 1;
        }
        self.rest.drain(..start);
        lines
    }
}

/// Which lines are wanted, and as what.
pub(super) struct Filter {
    pub(super) only: Option<Output>,
    pub(super) since: Option<Timestamp>,
    pub(super) has_timestamps: bool,
    /// Whether the next line goes on with the one before.
    pub(super) is_inside: bool,
}

impl Filter {
    pub(super) fn new(options: &LogOptions, now: Timestamp) -> Self {
        let age = options.since_s.and_then(|seconds| now.checked_sub(SignedDuration::from_secs(seconds)).ok());
        Self { only: None, since: options.since_time.or(age), has_timestamps: options.has_timestamps, is_inside: false }
    }

    pub(super) fn pass(&mut self, line: &Line) -> Option<Vec<u8>> {
        let is_late = self.since.is_none_or(|since| line.at.is_some_and(|at| at >= since));
        if !is_late || self.only.is_some_and(|only| only != line.output) {
            return None;
        }
        let mut text = Vec::with_capacity(line.time.len() + line.text.len() + 2);
        if self.has_timestamps && !self.is_inside {
            text.extend_from_slice(&line.time);
            text.push(b' ');
        }
        text.extend_from_slice(&line.text);
        if line.is_whole {
            text.push(b'\n');
        }
        self.is_inside = !line.is_whole;
        Some(text)
    }
}

/// The last lines of what is there.
pub(super) struct Tail {
    most: usize,
    pub(super) lines: VecDeque<Vec<u8>>,
}

impl Tail {
    pub(super) fn new(most: Option<u64>) -> Option<Self> {
        let most = usize::try_from(most?.min(TAIL_MAX_LINES)).ok()?;
        Some(Self { most, lines: VecDeque::new() })
    }

    pub(super) fn push(&mut self, text: Vec<u8>) {
        self.lines.push_back(text);
        if self.lines.len() > self.most {
            self.lines.pop_front();
        }
    }
}
