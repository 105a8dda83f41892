//! The log of a container that is a role of this process: its last lines, in memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base_rt::watch;
use base_rt::{Clock, Timestamp};

/// What is kept of one container's log.
const KEPT_MAX_BYTES: usize = 256 << 10;
/// The longest line; what is beyond is cut off.
const LINE_MAX_BYTES: usize = 16 << 10;

/// Takes lines. Clones write to the same log.
#[derive(Clone, Debug)]
pub struct LogSink(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    kept: Mutex<Kept>,
    /// The number of the next line, for those who follow.
    next: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<(Timestamp, String)>,
    bytes: usize,
    /// The number of the first line that is kept.
    first: u64,
}

impl LogSink {
    /// An empty log.
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Shared { clock, kept: Mutex::default(), next: watch::Sender::new(0) }))
    }

    /// Adds a line (or several, separated by newlines). Never waits; the oldest lines go.
    pub fn line(&self, text: &str) {
        let now = self.0.clock.now();
        let mut kept = self.kept();
        for line in text.lines() {
            let end = line.floor_char_boundary(LINE_MAX_BYTES);
            let line = line.get(..end).unwrap_or_default().to_owned();
            kept.bytes += line.len();
            kept.lines.push_back((now, line));
        }
        while kept.bytes > KEPT_MAX_BYTES
            && let Some((_, line)) = kept.lines.pop_front()
        {
            kept.bytes -= line.len();
            kept.first += 1;
        }
        let next = kept.first + kept.lines.len() as u64;
        drop(kept);
        self.0.next.send_replace(next);
    }

    /// The lines from number `from` on, and the number after the last of them.
    pub(super) fn read(&self, from: u64) -> (Vec<(Timestamp, String)>, u64) {
        let kept = self.kept();
        let skipped = usize::try_from(from.saturating_sub(kept.first)).unwrap_or(usize::MAX);
        let lines = kept.lines.iter().skip(skipped).cloned().collect();
        (lines, kept.first + kept.lines.len() as u64)
    }

    /// Changes when there are more lines.
    pub(super) fn next(&self) -> watch::Receiver<u64> {
        self.0.next.subscribe()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept() {
        let sink = LogSink::new(Clock::system());
        sink.line("one\ntwo");
        let (lines, next) = sink.read(0);
        assert_eq!(lines.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(next, 2);
        let long = "x".repeat(LINE_MAX_BYTES + 1);
        for _ in 0..=KEPT_MAX_BYTES / LINE_MAX_BYTES {
            sink.line(&long);
        }
        let (lines, next) = sink.read(2);
        assert_eq!(lines.len(), KEPT_MAX_BYTES / LINE_MAX_BYTES);
        assert!(lines.iter().all(|(_, line)| line.len() == LINE_MAX_BYTES));
        assert_eq!(next, 2 + KEPT_MAX_BYTES as u64 / LINE_MAX_BYTES as u64 + 1);
        assert_eq!(*sink.next().borrow(), next);
    }
}
