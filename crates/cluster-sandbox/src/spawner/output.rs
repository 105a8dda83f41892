//! A container's output in its log: what was written, when, to which stream, line by line.
//!
//! ```text
//! 2016-10-06T00:17:09.669794202Z stdout F a whole line
//! 2016-10-06T00:17:09.669794202Z stderr P the beginning of a very long or unfinished one
//! ```
//! That is the format of the Container Runtime Interface, which every log tool of Kubernetes reads. A line is cut into parts of 16 KiB; a
//! full file is renamed (`LOG.1`, `LOG.2`, …) and the oldest forgotten. A disk that refuses to be written never stops a container.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base_rt::Timestamp;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::poll::Stream;
use crate::container::tree::{Kind, Tree};
use crate::spec::LogSpec;

/// The longest part of a line.
const LINE_MAX_BYTES: usize = 16 << 10;
/// The owner's group may read.
const FILE_MODE: Mode = Mode::from_raw_mode(0o640);

/// The log of one container.
#[derive(Debug)]
pub(crate) struct Log {
    directory: OwnedFd,
    name: String,
    path: PathBuf,
    max_bytes: u64,
    max_files: u16,
    file: File,
    written: u64,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// Whether the beginning of a line is written before its end has come: somebody may wait for it.
    is_prompt: bool,
    is_failing: bool,
}

impl Log {
    /// Opens a log below `logs_dir`, making directories on the way. A file that is there is appended to. If it `is_prompt`, what has been
    /// taken is in the file, also the beginning of a line.
    pub(crate) fn open(logs_dir: &Path, spec: &LogSpec, is_prompt: bool) -> io::Result<Self> {
        let top = File::open(logs_dir)?;
        let parent = spec.path.parent().unwrap_or(Path::new(""));
        let parent = Tree::without_links(top.as_fd()).handle_or_make(parent, Kind::Directory)?;
        let name = spec.path.file_name().and_then(|name| name.to_str()).unwrap_or("log").to_owned();
        let file = open_file(&parent, &name)?;
        let written = file.metadata()?.size();
        Ok(Self {
            directory: parent,
            name,
            path: logs_dir.join(&spec.path),
            max_bytes: spec.max_bytes,
            max_files: spec.max_files,
            file,
            written,
            stdout: Vec::new(),
            stderr: Vec::new(),
            is_prompt,
            is_failing: false,
        })
    }

    /// The file being written.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes what a container wrote. Returns whether the file was full and has been replaced.
    pub(crate) fn append(&mut self, stream: Stream, bytes: &[u8], now: Timestamp) -> bool {
        let prefix = prefix(stream, now);
        let held = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let mut lines = Vec::with_capacity(bytes.len() + prefix.len() * 4);
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = LINE_MAX_BYTES - held.len();
            let newline = rest.iter().take(room).position(|byte| *byte == b'\n');
            let (part, after) = rest.split_at(newline.unwrap_or(room.min(rest.len())));
            held.extend_from_slice(part);
            rest = after;
            if newline.is_some() {
                rest = rest.get(1..).unwrap_or_default();
                put_line(&mut lines, &prefix, 'F', held);
            } else if held.len() == LINE_MAX_BYTES {
                put_line(&mut lines, &prefix, 'P', held);
            }
        }
        if self.is_prompt && !held.is_empty() {
            put_line(&mut lines, &prefix, 'P', held);
        }
        self.write(&lines)
    }

    /// Writes what is left of an unfinished line; the stream has ended.
    pub(crate) fn finish(&mut self, stream: Stream, now: Timestamp) {
        let prefix = prefix(stream, now);
        let held = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        if !held.is_empty() {
            let mut lines = Vec::new();
            put_line(&mut lines, &prefix, 'P', held);
            self.write(&lines);
        }
    }

    fn write(&mut self, lines: &[u8]) -> bool {
        if lines.is_empty() {
            return false;
        }
        let is_full = self.written > 0 && self.written.saturating_add(lines.len() as u64) > self.max_bytes;
        let is_rotated = is_full && self.note(|log| log.rotate());
        if self.note(|log| log.file.write_all(lines)) {
            self.written += lines.len() as u64;
        }
        is_rotated
    }

    /// Says once when a log begins to fail; goes on without it.
    fn note(&mut self, work: impl FnOnce(&mut Self) -> io::Result<()>) -> bool {
        let outcome = work(self);
        if let (Err(error), false) = (&outcome, self.is_failing) {
            tracing::warn!(log = %self.path.display(), %error, "a container's log cannot be written; its output is lost");
        }
        self.is_failing = outcome.is_err();
        outcome.is_ok()
    }

    fn rotate(&mut self) -> io::Result<()> {
        let numbered = |number: u16| if number == 0 { self.name.clone() } else { format!("{}.{number}", self.name) };
        let oldest = self.max_files - 1;
        match rustix::fs::unlinkat(&self.directory, numbered(oldest), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        for number in (0..oldest).rev() {
            match rustix::fs::renameat(&self.directory, numbered(number), &self.directory, numbered(number + 1)) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.file = open_file(&self.directory, &self.name)?;
        self.written = 0;
        Ok(())
    }
}

fn open_file(directory: &OwnedFd, name: &str) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(directory, name, flags, FILE_MODE)?))
}

fn prefix(stream: Stream, now: Timestamp) -> String {
    let stream = match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    };
    format!("{now:.9} {stream} ")
}

fn put_line(lines: &mut Vec<u8>, prefix: &str, tag: char, held: &mut Vec<u8>) {
    lines.extend_from_slice(prefix.as_bytes());
    lines.extend_from_slice(&[tag as u8, b' ']);
    lines.append(held);
    lines.push(b'\n');
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn log(directory: &Path, max_bytes: u64, max_files: u16) -> Log {
        Log::open(directory, &LogSpec { path: "pod/a/0.log".into(), max_bytes, max_files }, false).unwrap()
    }

    fn read(directory: &Path, name: &str) -> String {
        fs::read_to_string(directory.join("pod/a").join(name)).unwrap()
    }

    #[test]
    fn lines_have_time_stream_and_tag() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = log(directory.path(), 1 << 20, 2);
        let now: Timestamp = "2016-10-06T00:17:09.5Z".parse().unwrap();
        log.append(Stream::Stdout, b"one\ntwo", now);
        log.append(Stream::Stderr, b"\nerr", now);
        log.append(Stream::Stdout, b" more\n", now);
        log.finish(Stream::Stdout, now);
        log.finish(Stream::Stderr, now);
        let lines = read(directory.path(), "0.log");
        let expected = "stdout F one\nstderr F \nstdout F two more\nstderr P err\n";
        assert_eq!(
            lines,
            expected.lines().map(|line| format!("2016-10-06T00:17:09.500000000Z {line}\n")).collect::<String>()
        );
        assert_eq!(fs::metadata(log.path()).unwrap().mode() & 0o777, 0o640);
    }

    #[test]
    fn long_lines_are_cut_and_lose_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = log(directory.path(), 1 << 20, 2);
        let long = "x".repeat(LINE_MAX_BYTES * 2 + 5);
        for chunk in long.as_bytes().chunks(1000) {
            log.append(Stream::Stdout, chunk, Timestamp::UNIX_EPOCH);
        }
        log.append(Stream::Stdout, b"\n", Timestamp::UNIX_EPOCH);
        let text = read(directory.path(), "0.log");
        let tags: Vec<_> = text.lines().map(|line| line.split(' ').nth(2).unwrap()).collect();
        assert_eq!(tags, ["P", "P", "F"]);
        let content: String = text.lines().map(|line| line.split(' ').nth(3).unwrap()).collect();
        assert_eq!(content, long);
        // Exactly the bound, then a newline: one part and an empty end.
        log.append(Stream::Stdout, &[b'y'; LINE_MAX_BYTES], Timestamp::UNIX_EPOCH);
        log.append(Stream::Stdout, b"\n", Timestamp::UNIX_EPOCH);
        assert!(read(directory.path(), "0.log").ends_with("stdout F \n"));
    }

    #[test]
    fn a_prompt_is_written_before_its_line_ends() {
        let directory = tempfile::tempdir().unwrap();
        let spec = LogSpec { path: "pod/a/0.log".into(), max_bytes: 1 << 20, max_files: 2 };
        let mut log = Log::open(directory.path(), &spec, true).unwrap();
        for chunk in ["one\n$ ", "ls", "\n"] {
            log.append(Stream::Stdout, chunk.as_bytes(), Timestamp::UNIX_EPOCH);
        }
        let text = read(directory.path(), "0.log");
        let parts: Vec<_> = text.lines().map(|line| line.splitn(3, ' ').nth(2).unwrap()).collect();
        assert_eq!(parts, ["F one", "P $ ", "P ls", "F "]);
    }

    #[test]
    fn full_files_are_renamed_and_the_oldest_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = log(directory.path(), 4096, 3);
        let mut rotations = 0;
        for number in 0..300 {
            let line = format!("line {number} {}\n", "x".repeat(50));
            rotations += u32::from(log.append(Stream::Stdout, line.as_bytes(), Timestamp::UNIX_EPOCH));
        }
        assert!(rotations > 3);
        let names: Vec<_> =
            fs::read_dir(directory.path().join("pod/a")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 3);
        let all = ["0.log.2", "0.log.1", "0.log"].map(|name| read(directory.path(), name));
        assert!(all.iter().all(|text| text.len() <= 4096));
        let numbers: Vec<u32> =
            all.concat().lines().map(|line| line.split(' ').nth(4).unwrap().parse().unwrap()).collect();
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "contiguous over the files");
        assert_eq!(numbers.last(), Some(&299));
        let one = Log::open(directory.path(), &LogSpec { path: "b.log".into(), max_bytes: 4096, max_files: 1 }, false);
        let mut one = one.unwrap();
        for _ in 0..300 {
            one.append(Stream::Stdout, b"0123456789012345678901234567890123456789\n", Timestamp::UNIX_EPOCH);
        }
        assert!(fs::metadata(directory.path().join("b.log")).unwrap().len() <= 4096);
    }
}
