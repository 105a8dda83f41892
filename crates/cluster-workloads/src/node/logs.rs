//! Containers' logs, for `kubectl logs`: the files that the spawner writes, and the lines that roles of this process keep.
//!
//! The files have the format of the Container Runtime Interface, `TIME STREAM F|P TEXT`; a `P` line goes on in the next one. Following ends
//! when the container's run does. A file that has been rotated away is read to its end before the new one is opened.

mod lines;

use std::io::SeekFrom;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base_rt::Timestamp;
use bytes::Bytes;
use futures::stream::BoxStream;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;

use super::kubelet::Kubelet;
use super::log_sink::LogSink;
use lines::{Filter, Line, Lines, Tail};

pub(crate) use lines::Output;

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
/// The same if somebody waits for an answer to what they have typed.
const ATTENTIVE_EVERY: Duration = Duration::from_millis(20);

/// One log to read.
enum Source {
    File(PathBuf),
    /// A file that is read from where it is now.
    Opened(File, PathBuf),
    /// Lines, and the number of the first.
    Sink(LogSink, u64),
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
        Some(sink) => Source::Sink(sink, 0),
        None => {
            let path = super::names::log_path_of([namespace, name, &uid], quoted, attempt);
            Source::File(node.config.logs_dir.join(path))
        }
    };
    let run = (namespace.to_owned(), name.to_owned(), attempt);
    Ok(read(node, run, (source, Manner { only: None, every: FOLLOW_EVERY }), options))
}

/// What a container that runs writes to one of its outputs from now on, as soon as it does, until it ends.
pub(crate) async fn follow(
    node: &Arc<Kubelet>,
    run: (&str, &str, u32),
    (uid, view): (&str, &RunView),
    (container, output): (&str, Output),
) -> std::io::Result<LogStream> {
    let (namespace, name, attempt) = run;
    let source = match &view.sink {
        Some(sink) => Source::Sink(sink.clone(), sink.read(u64::MAX).1),
        None => {
            let path = super::names::log_path_of([namespace, name, uid], container, attempt);
            let path = node.config.logs_dir.join(path);
            let mut file = File::open(&path).await?;
            file.seek(SeekFrom::End(0)).await?;
            Source::Opened(file, path)
        }
    };
    let options = LogOptions { container: container.to_owned(), is_follow: true, ..LogOptions::default() };
    let manner = Manner { only: Some(output), every: ATTENTIVE_EVERY };
    Ok(read(node, (namespace.to_owned(), name.to_owned(), attempt), (source, manner), options))
}

fn read(
    node: &Arc<Kubelet>,
    run: (String, String, u32),
    (source, manner): (Source, Manner),
    options: LogOptions,
) -> LogStream {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let filter = Filter { only: manner.only, ..Filter::new(&options, node.clock.now()) };
    let reader = Reader { node: Arc::clone(node), run, filter, manner, options, sender };
    node.tasks.spawn_transient("node/logs", reader.run_on(source));
    Box::pin(futures::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    }))
}

/// How a log is read, beside what was asked for.
struct Manner {
    /// Only this output.
    only: Option<Output>,
    /// How often a followed file is looked at.
    every: Duration,
}

struct Reader {
    node: Arc<Kubelet>,
    run: (String, String, u32),
    filter: Filter,
    manner: Manner,
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
                    Source::File(path) => {
                        if let Ok(file) = File::open(&path).await {
                            self.read_file(file, &path).await;
                        }
                    }
                    Source::Opened(file, path) => self.read_file(file, &path).await,
                    Source::Sink(sink, from) => self.read_sink(&sink, from).await,
                }
            } => {}
        }
    }

    fn is_running(&self) -> bool {
        let (namespace, name, attempt) = &self.run;
        let view = self.node.run_view(namespace, name, &self.options.container);
        view.is_some_and(|(_, view)| view.is_running && view.shown == Some(*attempt))
    }

    async fn read_file(&mut self, mut file: File, path: &Path) {
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
            tokio::time::sleep(self.manner.every).await;
        }
    }

    async fn read_sink(&mut self, sink: &LogSink, mut from: u64) {
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
                () = tokio::time::sleep(self.manner.every) => {}
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
    let mut filter = Filter { only: None, since: None, has_timestamps: false, is_inside: false };
    let lines: Vec<_> = Lines::default().push(&bytes).iter().filter_map(|line| filter.pass(line)).collect();
    let skipped = lines.len().saturating_sub(max_lines);
    let text: Vec<u8> = lines.into_iter().skip(skipped).flatten().collect();
    let from = text.len().saturating_sub(max_bytes);
    String::from_utf8_lossy(text.get(from..).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests;
