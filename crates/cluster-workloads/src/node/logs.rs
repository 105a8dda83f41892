//! Containers' logs, for `kubectl logs`: the files that the spawner writes, and the lines that roles of this process keep.
//!
//! The files have the format of the Container Runtime Interface, `TIME STREAM F|P TEXT`; a `P` line goes on in the next one. Following ends
//! when the container's run does. A file that has been rotated away is read to its end before the new one is opened.

use std::collections::VecDeque;
use std::io::SeekFrom;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base_rt::Timestamp;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::SignedDuration;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use super::kubelet::Kubelet;
use super::log_sink::LogSink;

/// Which part of a log is wanted, and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogOptions {
    /// The container; one that the Pod has.
    pub container: String,
    /// Whether what is still to come is wanted too.
    pub is_follow: bool,
    /// Whether the run before the present one is meant.
    pub is_previous: bool,
    /// Whether each line begins with its time.
    pub has_timestamps: bool,
    /// Only lines that are at most so old, in seconds.
    pub since_s: Option<i64>,
    /// Only lines from this time on.
    pub since_time: Option<Timestamp>,
    /// Only the last so many lines.
    pub tail_lines: Option<u64>,
    /// At most so many bytes.
    pub limit_bytes: Option<u64>,
}

/// Why a log cannot be had; the texts are the kubelet's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The container has not started; the text says why.
    #[error("{0}")]
    NotStarted(String),
    /// There is no such Pod, container or earlier run.
    #[error("{0}")]
    NotFound(String),
    /// The log cannot be read.
    #[error("{0}")]
    Failed(String),
}

/// A log as it comes. It ends early if a file cannot be read any more.
pub type LogStream = BoxStream<'static, Bytes>;

/// What the node knows of a container's runs.
#[derive(Clone, Debug)]
pub(crate) struct RunView {
    /// The number of the run that has a log: the present one, or between two the last that ended; none before the first.
    pub(crate) shown: Option<u32>,
    /// The number of the run that ended last.
    pub(crate) previous: Option<u32>,
    /// Whether the run that is shown may still write.
    pub(crate) is_running: bool,
    /// Why it does not run.
    pub(crate) waiting: String,
    /// The log of a role.
    pub(crate) sink: Option<LogSink>,
}

/// Chunks that a slow reader may be behind.
const CHUNKS: usize = 16;
/// Bytes that are read at once.
const CHUNK_BYTES: usize = 32 << 10;
/// How often a followed file is looked at.
const FOLLOW_EVERY: Duration = Duration::from_millis(100);
/// The longest tail that is kept in memory.
const TAIL_MAX_LINES: u64 = 1 << 20;

/// One log to read.
enum Source {
    File(PathBuf),
    Sink(LogSink),
}

/// Opens the log of a container.
pub(crate) fn open(node: &Arc<Kubelet>, pod: (&str, &str), options: LogOptions) -> Result<LogStream, LogError> {
    let (namespace, name) = pod;
    let (uid, view) = node
        .run_view(namespace, name, &options.container)
        .ok_or_else(|| LogError::NotFound(format!("pod \"{name}\" not found on this node")))?;
    let quoted = &options.container;
    let attempt = if options.is_previous {
        let missing = || format!("previous terminated container \"{quoted}\" in pod \"{name}\" not found");
        view.previous.ok_or_else(|| LogError::NotFound(missing()))?
    } else {
        let why = || format!("container \"{quoted}\" in pod \"{name}\" is waiting to start: {}", view.waiting);
        view.shown.ok_or_else(|| LogError::NotStarted(why()))?
    };
    let source = match view.sink.filter(|_| view.shown == Some(attempt)) {
        Some(sink) => Source::Sink(sink),
        None => {
            let path = super::names::log_path_of([namespace, name, &uid], quoted, attempt);
            Source::File(node.config.logs_dir.join(path))
        }
    };
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let reader = Reader {
        node: Arc::clone(node),
        run: (namespace.to_owned(), name.to_owned(), attempt),
        filter: Filter::new(&options, node.clock.now()),
        options,
        sender,
    };
    node.tasks.spawn_transient("node/logs", reader.run_on(source));
    Ok(Box::pin(futures::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    })))
}

struct Reader {
    node: Arc<Kubelet>,
    run: (String, String, u32),
    filter: Filter,
    options: LogOptions,
    sender: mpsc::Sender<Bytes>,
}

impl Reader {
    async fn run_on(mut self, source: Source) {
        // Who does not read any more ends it.
        let sender = self.sender.clone();
        tokio::select! {
            biased;
            () = sender.closed() => {}
            () = async {
                match source {
                    Source::File(path) => self.read_file(&path).await,
                    Source::Sink(sink) => self.read_sink(&sink).await,
                }
            } => {}
        }
    }

    fn is_running(&self) -> bool {
        let (namespace, name, attempt) = &self.run;
        let view = self.node.run_view(namespace, name, &self.options.container);
        view.is_some_and(|(_, view)| view.is_running && view.shown == Some(*attempt))
    }

    async fn read_file(&mut self, path: &Path) {
        let Ok(mut file) = File::open(path).await else { return };
        let mut lines = Lines::default();
        let mut tail = Tail::new(self.options.tail_lines);
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            // Before the read: what is written until the run has ended is there to be read afterwards.
            let is_running = self.is_running();
            let Ok(count) = file.read(&mut chunk).await else { return };
            let read = chunk.get(..count).unwrap_or_default();
            let mut out = Vec::new();
            for line in lines.push(read) {
                match (&mut tail, self.filter.pass(&line)) {
                    (Some(tail), Some(text)) => tail.push(text),
                    (None, Some(text)) => out.extend(text),
                    (_, None) => {}
                }
            }
            if count == 0
                && let Some(tail) = tail.take()
            {
                out = tail.lines.into_iter().flatten().collect();
            }
            if !self.send(out).await {
                return;
            }
            if count > 0 {
                continue;
            }
            if !self.options.is_follow || (!is_running && !is_replaced(&file, path).await) {
                return;
            }
            if is_replaced(&file, path).await {
                match File::open(path).await {
                    Ok(fresh) => file = fresh,
                    Err(_) => return,
                }
                continue;
            }
            tokio::time::sleep(FOLLOW_EVERY).await;
        }
    }

    async fn read_sink(&mut self, sink: &LogSink) {
        let mut from = 0;
        let mut next = sink.next();
        let mut tail = Tail::new(self.options.tail_lines);
        loop {
            next.mark_unchanged();
            let is_running = self.is_running();
            let (lines, until) = sink.read(from);
            from = until;
            let passed = lines.iter().filter_map(|(at, text)| self.filter.pass(&Line::of(*at, text)));
            let out: Vec<u8> = match tail.take() {
                Some(mut tail) => {
                    passed.for_each(|text| tail.push(text));
                    tail.lines.into_iter().flatten().collect()
                }
                None => passed.flatten().collect(),
            };
            if !self.send(out).await || !self.options.is_follow || !is_running {
                return;
            }
            tokio::select! {
                biased;
                _ = next.changed() => {}
                () = tokio::time::sleep(FOLLOW_EVERY) => {}
            }
        }
    }

    /// Returns whether more is wanted.
    async fn send(&mut self, mut out: Vec<u8>) -> bool {
        if let Some(limit) = &mut self.options.limit_bytes {
            out.truncate(usize::try_from(*limit).unwrap_or(usize::MAX));
            *limit -= out.len() as u64;
        }
        let is_spent = self.options.limit_bytes == Some(0);
        (out.is_empty() || self.sender.send(out.into()).await.is_ok()) && !is_spent
    }
}

/// Whether the path leads to another file by now.
async fn is_replaced(file: &File, path: &Path) -> bool {
    let (Ok(ours), Ok(there)) = (file.metadata().await, tokio::fs::metadata(path).await) else { return false };
    (ours.dev(), ours.ino()) != (there.dev(), there.ino())
}

/// One line of a log file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    at: Option<Timestamp>,
    time: Vec<u8>,
    text: Vec<u8>,
    is_whole: bool,
}

impl Line {
    fn of(at: Timestamp, text: &str) -> Self {
        Self { at: Some(at), time: at.to_string().into_bytes(), text: text.as_bytes().to_vec(), is_whole: true }
    }

    /// `TIME STREAM F|P TEXT`; none if it is not that.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let (time, _stream, tag, text) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let at = std::str::from_utf8(time).ok().and_then(|time| time.parse().ok());
        Some(Self { at, time: time.to_vec(), text: text.to_vec(), is_whole: tag == b"F" })
    }
}

/// Puts lines together from pieces of a file.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) -> Vec<Line> {
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
struct Filter {
    since: Option<Timestamp>,
    has_timestamps: bool,
    /// Whether the next line goes on with the one before.
    is_inside: bool,
}

impl Filter {
    fn new(options: &LogOptions, now: Timestamp) -> Self {
        let age = options.since_s.and_then(|seconds| now.checked_sub(SignedDuration::from_secs(seconds)).ok());
        Self { since: options.since_time.or(age), has_timestamps: options.has_timestamps, is_inside: false }
    }

    fn pass(&mut self, line: &Line) -> Option<Vec<u8>> {
        let is_late = self.since.is_none_or(|since| line.at.is_some_and(|at| at >= since));
        if !is_late {
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
struct Tail {
    most: usize,
    lines: VecDeque<Vec<u8>>,
}

impl Tail {
    fn new(most: Option<u64>) -> Option<Self> {
        let most = usize::try_from(most?.min(TAIL_MAX_LINES)).ok()?;
        Some(Self { most, lines: VecDeque::new() })
    }

    fn push(&mut self, text: Vec<u8>) {
        self.lines.push_back(text);
        if self.lines.len() > self.most {
            self.lines.pop_front();
        }
    }
}

/// The end of a log file, without times. Blocks on the disk.
pub(crate) fn last_lines(path: &Path, max_lines: usize, max_bytes: usize) -> String {
    use std::io::{Read, Seek};
    let mut bytes = Vec::new();
    if let Ok(mut file) = std::fs::File::open(path) {
        // Times and streams take about 40 bytes a line.
        let window = (max_bytes + max_lines * 64) as u64;
        let length = file.metadata().map(|metadata| metadata.len()).unwrap_or_default();
        let from = length.saturating_sub(window);
        if file.seek(SeekFrom::Start(from)).is_ok() {
            // What cannot be read is not shown.
            let _ = file.take(window).read_to_end(&mut bytes);
        }
    }
    let mut filter = Filter { since: None, has_timestamps: false, is_inside: false };
    let lines: Vec<_> = Lines::default().push(&bytes).iter().filter_map(|line| filter.pass(line)).collect();
    let skipped = lines.len().saturating_sub(max_lines);
    let text: Vec<u8> = lines.into_iter().skip(skipped).flatten().collect();
    let from = text.len().saturating_sub(max_bytes);
    String::from_utf8_lossy(text.get(from..).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests;
