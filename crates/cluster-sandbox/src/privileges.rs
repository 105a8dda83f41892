//! Becoming the unprivileged client.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::{Gid, Uid};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::CapabilitySet as KernelSet;

use crate::spawner::Owner;
use crate::sys::exec::close_on_exec_from;

/// Executes `command` in place of this process as `owner`: no groups but its own, no capabilities, none to be had from any program it may
/// execute, and no new privileges. Returns only on failure; the process is then half changed and should end.
///
/// Executing afresh, rather than going on after the change, is what makes the process an ordinary one: its `/proc` files are its own, and
/// no memory of what root did is left, nor a descriptor of root's but the standard ones and those in `kept`. The environment is the caller's
/// to choose. The caller is root. Threads other than the calling one end.
pub fn exec_as(owner: Owner, command: &mut Command, kept: &[BorrowedFd<'_>]) -> io::Error {
    match keep_only(kept).and_then(|()| give_up(owner)) {
        Ok(()) => command.exec(),
        Err(error) => error,
    }
}

/// Lets this process, and what it becomes, open as many files as the machine allows it: each pod costs a few dozen.
///
/// # Errors
/// What the kernel says.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let present = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: present.maximum, ..present })?)
}

fn keep_only(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    close_on_exec_from(3)?;
    Ok(kept.iter().try_for_each(|descriptor| fcntl_setfd(descriptor, FdFlags::empty()))?)
}

fn give_up(owner: Owner) -> io::Result<()> {
    for number in 0..u64::BITS {
        let bit = KernelSet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(bit) {
            // Beyond the last capability that this kernel knows.
            Err(rustix::io::Errno::INVAL) => break,
            outcome => outcome?,
        }
    }
    rustix::thread::set_no_new_privs(true)?;
    rustix::thread::set_thread_groups(&[])?;
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    // With no user id 0 left, the kernel empties the capability sets.
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}
