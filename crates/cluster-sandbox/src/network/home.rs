//! Stepping into namespaces and back: the spawner has one thread, which always returns to where it came from.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use super::users;
use crate::sys::fork::exit_now;
use crate::sys::namespaces::unshare;

/// The namespaces that a pod's containers share.
#[derive(Debug)]
pub(crate) struct Namespaces {
    pub(crate) net: OwnedFd,
    pub(crate) ipc: OwnedFd,
    pub(crate) uts: OwnedFd,
    /// The users, if they are its own; the others are theirs.
    pub(crate) user: Option<OwnedFd>,
}

/// The namespaces that this process belongs in.
#[derive(Debug)]
pub(crate) struct Home(Namespaces);

impl Home {
    /// Where this process is now.
    pub(crate) fn here() -> io::Result<Self> {
        Ok(Self(Namespaces::current()?))
    }

    /// Does `work` inside the network namespace `net`.
    pub(crate) fn visit<R>(&self, net: BorrowedFd<'_>, work: impl FnOnce() -> R) -> io::Result<R> {
        move_into_link_name_space(net, Some(LinkNameSpaceType::Network))?;
        let _way_back = WayBack { home: self, is_whole: false };
        Ok(work())
    }

    /// Does `work` inside a pod's namespaces.
    pub(crate) fn visit_pod<R>(&self, pod: &Namespaces, work: impl FnOnce() -> R) -> io::Result<R> {
        let _way_back = WayBack { home: self, is_whole: true };
        pod.enter()?;
        Ok(work())
    }

    /// Makes a network namespace and does `work` in it.
    pub(crate) fn found_network<R>(&self, work: impl FnOnce() -> R) -> io::Result<(OwnedFd, R)> {
        unshare(UnshareFlags::NEWNET)?;
        let _way_back = WayBack { home: self, is_whole: false };
        let net = open("self", "net")?;
        Ok((net, work()))
    }

    /// Makes the namespaces of a pod and does `work` in them. Users of its own are the machine's from `users` on.
    pub(crate) fn found_pod<R>(&self, users: Option<u32>, work: impl FnOnce() -> R) -> io::Result<(Namespaces, R)> {
        if let Some(first) = users {
            let namespaces = users::found(first)?;
            let _way_back = WayBack { home: self, is_whole: true };
            namespaces.enter()?;
            return Ok((namespaces, work()));
        }
        unshare(UnshareFlags::NEWNET | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS)?;
        let _way_back = WayBack { home: self, is_whole: true };
        let namespaces = Namespaces::current()?;
        Ok((namespaces, work()))
    }
}

impl Namespaces {
    fn current() -> io::Result<Self> {
        Self::of("self")
    }

    /// Those of a process, but for its users.
    pub(super) fn of(process: &str) -> io::Result<Self> {
        let open = |kind| open(process, kind);
        Ok(Self { net: open("net")?, ipc: open("ipc")?, uts: open("uts")?, user: None })
    }

    /// Moves this process into them, for good. Its user stays what it is.
    pub(crate) fn enter(&self) -> io::Result<()> {
        move_into_link_name_space(self.net.as_fd(), Some(LinkNameSpaceType::Network))?;
        move_into_link_name_space(self.ipc.as_fd(), Some(LinkNameSpaceType::InterProcessCommunication))?;
        move_into_link_name_space(self.uts.as_fd(), Some(LinkNameSpaceType::HostNameAndNISDomainName))?;
        Ok(())
    }
}

struct WayBack<'home> {
    home: &'home Home,
    is_whole: bool,
}

impl Drop for WayBack<'_> {
    fn drop(&mut self) {
        let home = &self.home.0;
        let returned = if self.is_whole {
            home.enter()
        } else {
            move_into_link_name_space(home.net.as_fd(), Some(LinkNameSpaceType::Network)).map_err(io::Error::from)
        };
        if returned.is_err() {
            // Going on would mean opening sockets and links in a stranger's network. Ending lets the next start clean up.
            exit_now(LOST);
        }
    }
}

/// The exit code of a spawner that could not get back to its namespaces.
const LOST: u8 = 71;

pub(super) fn open(process: &str, kind: &str) -> io::Result<OwnedFd> {
    Ok(File::open(format!("/proc/{process}/ns/{kind}"))?.into())
}
