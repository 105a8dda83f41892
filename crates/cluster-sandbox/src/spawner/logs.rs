//! Logs that nobody needs any more.
//!
//! A container's log outlives it, and its pod here, because who runs pods may still show it. It is removed when that one says so.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, OFlags, renameat, unlinkat};
use rustix::io::Errno;

use super::answers::{Outcome, Said, refuse, refuse_failed};
use super::jobs::DEAD;
use super::server::Spawner;
use crate::container::tree::Tree;
use crate::spec::check_log_path;
use crate::wire::{Answer, Refusal, RefusalCode};

impl Spawner {
    /// Takes a log with its older files, or a directory of logs, out of the way; a directory's content goes soon.
    pub(super) fn remove_logs(&mut self, path: &Path) -> Outcome {
        check_log_path(path).map_err(refuse)?;
        if self.is_logging_to(path) {
            let message = format!("a container writes its log in {}", path.display());
            return Err(Refusal::new(RefusalCode::Busy, message));
        }
        // Logs outlive the spawner, so its name says which one's it is.
        let aside = self.unique(&format!("{DEAD}{}", self.started_at.as_millisecond()));
        match take_away(&self.config.logs_dir, path, &aside) {
            Ok(true) => self.discard(self.config.logs_dir.join(aside)),
            Ok(false) | Err(Errno::NOENT) => {}
            Err(error) => return Err(refuse_failed("removing logs")(error)),
        }
        Ok(Said::plain(Answer::Done))
    }
}

/// Removes a file and its older ones, or renames a directory to `aside`: whether it was that.
fn take_away(logs_dir: &Path, path: &Path, aside: &str) -> Result<bool, Errno> {
    let top = File::open(logs_dir).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let name = path.file_name().and_then(|name| name.to_str()).ok_or(Errno::INVAL)?;
    let parent = path.parent().unwrap_or(Path::new(""));
    let parent = Tree::without_links(top.as_fd()).open(parent, OFlags::PATH | OFlags::DIRECTORY)?;
    match unlinkat(&parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => return renameat(&parent, name, &top, aside).map(|()| true),
        outcome => outcome?,
    }
    // They are numbered without a gap.
    for number in 1_u16.. {
        match unlinkat(&parent, format!("{name}.{number}"), AtFlags::empty()) {
            Err(Errno::NOENT) => break,
            outcome => outcome?,
        }
    }
    Ok(false)
}
