//! Users of a pod's own: a namespace in which they are numbered from 0 on, while outside they are ones that the machine has given to nobody.
//!
//! A process that enters such a namespace never comes back, so the spawner does not. A child is born in new ones, and holds them until
//! they have been opened.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_parent_process_death_signal, waitpid};

use super::home::{Namespaces, open};
use crate::spec::PodSpec;
use crate::sys::fork::Fork;

/// Makes namespaces whose users are the machine's from `first` on.
pub(super) fn found(first: u32) -> io::Result<Namespaces> {
    let kinds = libc::CLONE_NEWUSER | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    let holder = Fork { namespaces: kinds, cgroup: None }.run(|| {
        // It ends with the spawner, or when that has what it needs.
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
        loop {
            rustix::event::pause();
        }
    })?;
    let namespaces = map_and_open(holder, first);
    let ended = kill_process(holder, Signal::KILL).and_then(|()| waitpid(Some(holder), WaitOptions::empty()));
    ended?;
    namespaces
}

fn map_and_open(holder: Pid, first: u32) -> io::Result<Namespaces> {
    let process = holder.as_raw_pid().to_string();
    for map in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{process}/{map}"), format!("0 {first} {}", PodSpec::OWN_USERS))?;
    }
    Ok(Namespaces { user: Some(open(&process, "user")?), ..Namespaces::of(&process)? })
}

/// Hands out ranges of users, the lowest free one first: the first range is the machine's own.
#[derive(Debug, Default)]
pub(crate) struct UserRanges(BTreeSet<u32>);

impl UserRanges {
    /// The first user of a range that no other pod has.
    pub(crate) fn take(&mut self) -> u32 {
        let number = (1..).find(|number| !self.0.contains(number)).unwrap_or_default();
        self.0.insert(number);
        number * PodSpec::OWN_USERS
    }

    /// Gives a range back.
    pub(crate) fn free(&mut self, first: u32) {
        self.0.remove(&(first / PodSpec::OWN_USERS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_pods_have_the_same_users() {
        let mut ranges = UserRanges::default();
        assert_eq!([ranges.take(), ranges.take(), ranges.take()], [1 << 16, 2 << 16, 3 << 16]);
        ranges.free(2 << 16);
        assert_eq!([ranges.take(), ranges.take()], [2 << 16, 4 << 16]);
    }
}
