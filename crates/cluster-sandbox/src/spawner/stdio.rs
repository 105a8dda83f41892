//! Both sides of a program's standard input and output, made before it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use crate::container::stdio::{Stdio, take_over, way};

/// The side that stays here.
#[derive(Debug)]
pub(super) enum Ours {
    Pipes {
        /// Writes to the program's input, unless that is empty.
        stdin: Option<OwnedFd>,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    /// Where the terminal comes out once the program runs.
    Terminal(OwnedFd),
}

/// The program's side; it is closed here once the program has it.
#[derive(Debug)]
pub(super) enum Theirs {
    Pipes { stdin: OwnedFd, stdout: OwnedFd, stderr: OwnedFd },
    Terminal(OwnedFd),
}

/// Pipes; without an input the program reads nothing.
pub(super) fn pipes(has_input: bool) -> io::Result<(Ours, Theirs)> {
    let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
    let (stdin, our_stdin) = match has_input {
        true => pipe().map(|(reader, writer)| (reader, Some(writer)))?,
        false => (File::open("/dev/null")?.into(), None),
    };
    let ((our_stdout, stdout), (our_stderr, stderr)) = (pipe()?, pipe()?);
    let ours = Ours::Pipes { stdin: our_stdin, stdout: our_stdout, stderr: our_stderr };
    Ok((ours, Theirs::Pipes { stdin, stdout, stderr }))
}

/// A terminal.
pub(super) fn terminal() -> io::Result<(Ours, Theirs)> {
    let (ours, theirs) = way()?;
    Ok((Ours::Terminal(ours), Theirs::Terminal(theirs)))
}

impl Ours {
    /// What a client gets: writing end of the input if there is one, then the outputs' reading ends; or the terminal alone.
    pub(super) fn into_descriptors(self) -> Result<Vec<OwnedFd>, Errno> {
        match self {
            Self::Pipes { stdin, stdout, stderr } => Ok(stdin.into_iter().chain([stdout, stderr]).collect()),
            Self::Terminal(way) => take_over(&way).map(|terminal| vec![terminal]),
        }
    }
}

impl Theirs {
    pub(super) fn as_stdio(&self) -> Stdio<'_> {
        match self {
            Self::Pipes { stdin, stdout, stderr } => {
                Stdio::Pipes { stdin: stdin.as_fd(), stdout: stdout.as_fd(), stderr: stderr.as_fd() }
            }
            Self::Terminal(way) => Stdio::Terminal(way.as_fd()),
        }
    }
}
