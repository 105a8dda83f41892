//! The file: lines wait in a bounded queue for a thread that appends them, so that no request waits for a disk.
//!
//! A full file is put aside under the time of its end (`audit-2026-12-01T10-00-00.000.log` beside `audit.log`, as kube-apiserver names them), and the
//! oldest of those are removed. What finds no room in the queue, or cannot be written, is lost, and told once it goes on.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use base_rt::Clock;
use jiff::{Span, Timestamp};

use super::AuditConfig;
use crate::metrics::Metrics;

/// So many bytes of lines wait.
const MAX_WAITING_BYTES: usize = 16 << 20;
/// The times in the names of files that were put aside.
const TIME: &str = "%Y-%m-%dT%H-%M-%S%.3f";

/// Takes lines.
pub(super) struct Log {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    metrics: Metrics,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// So many lines were lost since that was told.
    lost: u64,
    is_closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    /// Opens the file, or makes it, for the owner alone, and starts the thread.
    pub(super) fn open(config: AuditConfig, clock: Clock, metrics: &Metrics) -> io::Result<Self> {
        let mut writer = Writer::open(config, clock)?;
        let shared = Arc::new(Shared { queue: Mutex::default(), work: Condvar::new(), metrics: metrics.clone() });
        let work = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("audit-log".to_owned()).spawn(move || run(&work, &mut writer))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Takes a line, unless too much waits already.
    pub(super) fn put(&self, line: Vec<u8>) {
        let mut queue = self.shared.lock();
        self.shared.metrics.audit_events.inc();
        if queue.bytes + line.len() > MAX_WAITING_BYTES || queue.is_closed {
            queue.lost += 1;
            drop(queue);
            self.shared.metrics.audit_errors.inc();
            return;
        }
        queue.bytes += line.len();
        queue.lines.push_back(line);
        drop(queue);
        self.shared.work.notify_one();
    }

    /// Writes what waits and ends the thread.
    pub(super) fn close(&self) {
        self.shared.lock().is_closed = true;
        self.shared.work.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the writer of the audit log panicked");
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.close();
    }
}

fn run(shared: &Shared, writer: &mut Writer) {
    let mut is_failing = false;
    let mut failed = 0;
    loop {
        let mut queue = shared.lock();
        while queue.lines.is_empty() && !queue.is_closed {
            queue = shared.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if queue.lines.is_empty() {
            return;
        }
        let lines = std::mem::take(&mut queue.lines);
        // Their room is free when they are written: until then they are in memory.
        drop(queue);
        let mut bytes = 0;
        for line in lines {
            bytes += line.len();
            match writer.write(&line) {
                Ok(()) => is_failing = false,
                Err(error) => {
                    failed += 1;
                    shared.metrics.audit_errors.inc();
                    if !std::mem::replace(&mut is_failing, true) {
                        let path = writer.config.path.display();
                        tracing::error!(%path, %error, "audit events cannot be written and are lost");
                    }
                }
            }
        }
        let mut queue = shared.lock();
        queue.bytes = queue.bytes.saturating_sub(bytes);
        let lost = std::mem::take(&mut queue.lost) + if is_failing { 0 } else { std::mem::take(&mut failed) };
        drop(queue);
        if lost > 0 {
            tracing::warn!(lost, "audit events were lost: the disk was slow, full or not to be written");
        }
    }
}

/// Appends to the file, and puts it aside when it is full.
struct Writer {
    config: AuditConfig,
    clock: Clock,
    file: File,
    size: u64,
}

impl Writer {
    fn open(config: AuditConfig, clock: Clock) -> io::Result<Self> {
        let (file, size) = append_to(&config.path)?;
        Ok(Self { config, clock, file, size })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        if self.size > 0 && self.size + length > self.config.max_size_mb << 20 {
            self.rotate()?;
        }
        let written = self.file.write_all(line);
        match written {
            Ok(()) => self.size += length,
            // Half a line would spoil the next one. What cannot be cut off either stays.
            Err(_) => self.file.set_len(self.size)?,
        }
        written
    }

    fn rotate(&mut self) -> io::Result<()> {
        let now = self.clock.now();
        fs::rename(&self.config.path, aside(&self.config.path, now))?;
        (self.file, self.size) = append_to(&self.config.path)?;
        self.forget(now)
    }

    /// Removes what was put aside too long ago, or is too much.
    fn forget(&self, now: Timestamp) -> io::Result<()> {
        let AuditConfig { path, max_backups, max_age_days, .. } = &self.config;
        let mut all = Vec::new();
        for entry in fs::read_dir(folder(path))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            all.extend(put_aside_at(path, &name).map(|time| (time, name)));
        }
        all.sort_unstable();
        all.reverse();
        let oldest = now.checked_sub(Span::new().hours(24 * i64::from(*max_age_days))).unwrap_or(now);
        for (index, (time, name)) in all.iter().enumerate() {
            let is_too_much = *max_backups > 0 && index >= *max_backups;
            if is_too_much || (*max_age_days > 0 && *time < oldest) {
                fs::remove_file(folder(path).join(name))?;
            }
        }
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What stands before and behind the time in the name of a file that is put aside.
fn around(path: &Path) -> (String, String) {
    let part = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    let extension = part(path.extension()).map(|extension| format!(".{extension}"));
    (format!("{}-", part(path.file_stem()).unwrap_or_default()), extension.unwrap_or_default())
}

fn aside(path: &Path, time: Timestamp) -> PathBuf {
    let (before, behind) = around(path);
    folder(path).join(format!("{before}{}{behind}", time.strftime(TIME)))
}

/// When a file of this name was put aside, if it is one.
fn put_aside_at(path: &Path, name: &str) -> Option<Timestamp> {
    let (before, behind) = around(path);
    let time = name.strip_prefix(&before)?.strip_suffix(&behind)?;
    let time = jiff::civil::DateTime::strptime(TIME, time).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use base_rt::metrics::Scope;

    use super::*;
    use crate::audit::Policy;

    fn config(path: &Path) -> AuditConfig {
        let path = path.to_owned();
        AuditConfig { policy: Policy::metadata(), path, max_size_mb: 1, max_backups: 2, max_age_days: 0 }
    }

    #[test]
    fn a_full_file_is_put_aside_and_the_oldest_go() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("audit.log");
        fs::write(folder.path().join("audit-other.log"), "somebody else's").expect("write");
        for year in ["2022", "2023"] {
            fs::write(folder.path().join(format!("audit-{year}-01-01T00-00-00.000.log")), "").expect("write");
        }
        let clock = Clock::starting_at("2024-01-01T00:00:00Z".parse().expect("time"));
        let mut writer = Writer::open(config(&path), clock).expect("open");
        let line = vec![b'x'; 700 << 10];
        for _ in 0..2 {
            writer.write(&line).expect("write");
        }
        let mut names: Vec<_> =
            fs::read_dir(folder.path()).expect("list").map(|e| e.expect("entry").file_name()).collect();
        names.sort();
        assert_eq!(names.len(), 4, "{names:?}");
        assert_eq!(names[0], "audit-2023-01-01T00-00-00.000.log");
        assert!(names[1].to_string_lossy().starts_with("audit-2024-01-01T"), "{names:?}");
        assert_eq!(fs::metadata(&path).expect("file").len(), 700 << 10);
        writer.config.max_backups = 0;
        writer.config.max_age_days = 30;
        writer.forget(clock.now()).expect("forget");
        assert!(!folder.path().join(&names[0]).exists() && folder.path().join(&names[1]).exists());
    }

    #[test]
    fn what_finds_no_room_is_lost_and_counted() {
        let folder = tempfile::tempdir().expect("folder");
        let metrics = Metrics::new(&Scope::root());
        let clock = Clock::starting_at("2024-01-01T00:00:00Z".parse().expect("time"));
        let path = folder.path().join("audit.log");
        let log = Log::open(config(&path), clock, &metrics).expect("open");
        log.put(vec![b'x'; MAX_WAITING_BYTES + 1]);
        assert_eq!(metrics.audit_errors.get(), 1);
        log.put(b"kept\n".to_vec());
        log.close();
        assert_eq!(fs::read_to_string(&path).expect("read"), "kept\n");
        log.put(b"too late\n".to_vec());
        assert_eq!((metrics.audit_events.get(), metrics.audit_errors.get()), (3, 2));
    }

    #[test]
    fn a_disk_that_is_full_loses_lines_and_nothing_else() {
        let metrics = Metrics::new(&Scope::root());
        let clock = Clock::starting_at("2024-01-01T00:00:00Z".parse().expect("time"));
        let log = Log::open(config(Path::new("/dev/full")), clock, &metrics).expect("open");
        log.put(b"lost\n".to_vec());
        log.close();
        assert_eq!(metrics.audit_errors.get(), 1);
    }
}
