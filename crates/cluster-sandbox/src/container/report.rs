//! What a starting container tells the spawner, over a pipe that closes when its program begins to run.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::wire::Refusal;

/// One line on the pipe.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// Something could not be had; the container starts without it.
    Notice(String),
    /// The container does not start. The last line.
    Refused(Refusal),
}

/// What is read of it at most.
pub(crate) const REPORT_MAX_BYTES: usize = 64 << 10;

/// The child's end.
#[derive(Debug)]
pub(crate) struct Reporter(File);

impl Reporter {
    pub(crate) fn new(pipe: OwnedFd) -> Self {
        Self(File::from(pipe))
    }

    pub(crate) fn notice(&mut self, text: String) {
        self.write(&Report::Notice(text));
    }

    pub(crate) fn refused(&mut self, refusal: Refusal) {
        self.write(&Report::Refused(refusal));
    }

    fn write(&mut self, report: &Report) {
        if let Ok(mut line) = serde_json::to_vec(report) {
            line.push(b'\n');
            // The spawner is gone if this fails, and with it this process in a moment.
            let _ = self.0.write_all(&line);
        }
    }
}

/// The reports among what was read until the pipe closed.
pub(crate) fn parse(bytes: &[u8]) -> Vec<Report> {
    bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}
