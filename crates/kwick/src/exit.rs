//! How a command ends: its exit code, and what the person is told.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | the command failed |
//! | 2 | the machine, the arguments or the data directory do not allow it; nothing was started or changed |
//! | 3 | the spawner died while Kwick ran; pods are lost, the next `kwick up` cleans up |

use std::fmt::Display;
use std::process::ExitCode;

/// The command failed.
pub(crate) const FAILED: u8 = 1;
/// The machine, the arguments or the data directory do not allow what was asked.
pub(crate) const REFUSED: u8 = 2;
/// The spawner died under a running Kwick.
pub(crate) const SPAWNER_DIED: u8 = 3;

/// A refusal: what is wrong, why it matters, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Refused {
    what: String,
    fix: String,
}

impl Refused {
    /// `what` is a sentence without a full stop, `fix` the next thing to do.
    pub(crate) fn error(what: impl Display, fix: impl Display) -> anyhow::Error {
        Self { what: what.to_string(), fix: fix.to_string() }.into()
    }
}

/// A command's failure with an exit code of its own.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Ended {
    /// The exit code.
    pub(crate) code: u8,
    /// What happened.
    pub(crate) message: String,
}

/// An error with its chain and its fix, for a person.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    match error.downcast_ref::<Refused>() {
        Some(refused) => format!("kwick: {error:#}\n  fix: {}", refused.fix),
        None => format!("kwick: {error:#}"),
    }
}

/// Prints an error once and gives the exit code.
#[expect(clippy::print_stderr, reason = "this is where the command line speaks to the person")]
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("{}", sentence(error));
    if error.is::<Refused>() {
        return ExitCode::from(REFUSED);
    }
    ExitCode::from(error.downcast_ref::<Ended>().map_or(FAILED, |ended| ended.code))
}
