//! A program's standard input and output, on the program's side: pipes, or a terminal of the container's own `/dev/pts`.
//!
//! A terminal is made where it is to be found, by the new process; its other side goes to the spawner over a socket. What opens as
//! `/dev/pts/ptmx` is only believed to be a terminal if it is a file of the kernel's own kind: a container may mount there what it likes.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};

/// What a program gets.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stdio<'a> {
    Pipes {
        stdin: BorrowedFd<'a>,
        stdout: BorrowedFd<'a>,
        stderr: BorrowedFd<'a>,
    },
    /// Where the other side of the terminal is handed over.
    Terminal(BorrowedFd<'a>),
}

/// The file system that terminals are files of (`DEVPTS_SUPER_MAGIC`).
const DEVPTS: i128 = 0x1cd1;

impl Stdio<'_> {
    /// Whether it is a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// Becomes this process's standard input and output. To be called by a session's leader in the container's root. The user owns pipes and
    /// terminal, so that it may open `/dev/stdout` and `/dev/tty`.
    pub(crate) fn connect(self, uid: u32) -> Result<(), Errno> {
        let owner = Some(Uid::from_raw(uid));
        match self {
            Self::Pipes { stdin, stdout, stderr } => {
                for fd in [stdin, stdout, stderr] {
                    let is_pipe = FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) == FileType::Fifo;
                    if is_pipe {
                        rustix::fs::fchown(fd, owner, None)?;
                    }
                }
                rustix::stdio::dup2_stdin(stdin)?;
                rustix::stdio::dup2_stdout(stdout)?;
                rustix::stdio::dup2_stderr(stderr)
            }
            Self::Terminal(way) => {
                let (ours, theirs) = open_terminal()?;
                rustix::fs::fchown(&theirs, owner, None)?;
                hand_over(way, ours.as_fd())?;
                rustix::process::ioctl_tiocsctty(&theirs)?;
                rustix::stdio::dup2_stdin(&theirs)?;
                rustix::stdio::dup2_stdout(&theirs)?;
                rustix::stdio::dup2_stderr(&theirs)
            }
        }
    }
}

/// A new terminal: the side that is typed into, and the program's.
fn open_terminal() -> Result<(OwnedFd, OwnedFd), Errno> {
    // Without waiting: it may be a pipe that nobody writes to.
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let ours = rustix::fs::open("/dev/pts/ptmx", flags, Mode::empty())?;
    if i128::from(rustix::fs::fstatfs(&ours)?.f_type) != DEVPTS {
        return Err(Errno::NOTTY);
    }
    unlockpt(&ours)?;
    let theirs = ioctl_tiocgptpeer(&ours, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    Ok((ours, theirs))
}

/// The two ends of the way on which a terminal reaches the spawner: the spawner's and the program's.
pub(crate) fn way() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

fn hand_over(way: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(way, &[IoSlice::new(b"t")], &mut control, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).map(|_| ())
}

/// Takes the terminal that a program has handed over, without waiting for it.
pub(crate) fn take_over(way: &OwnedFd) -> Result<OwnedFd, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(way, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC)?;
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => Some(rights),
        _ => None,
    });
    rights.flatten().next().ok_or(Errno::MFILE)
}
