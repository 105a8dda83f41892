//! Giving up everything that a container's program does not get.

use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit as KernelRlimit};
use rustix::thread::{CapabilitySet as KernelSet, CapabilitySets};

use super::identity::Identity;
use super::report::Reporter;
use super::users::Users;
use super::{Step, failed};
use crate::spec::{CapabilitySet, Rlimit, RlimitKind, Security};
use crate::sys::seccomp::{Instruction, install};

/// Nobody may look into this process (`/proc/PID/…`, ptrace) until it is the image's program.
pub(crate) fn hide() -> Step<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed("hiding the process"))
}

/// Becomes `identity` with at most `security`'s capabilities, under the filter; among the pod's own users, if it has them.
///
/// Without "no new privileges" the filter is installed while this process may still do so; the few calls after that are in every filter.
pub(crate) fn drop(
    identity: &Identity,
    security: &Security,
    filter: Option<&[Instruction]>,
    users: Option<Users<'_>>,
) -> Step<()> {
    // Who comes in has every capability there, whatever was given up before.
    users.map_or(Ok(()), Users::enter)?;
    bound(security.capabilities).map_err(failed("bounding capabilities"))?;
    if security.no_new_privileges {
        rustix::thread::set_no_new_privs(true).map_err(failed("giving up new privileges"))?;
    } else if let Some(filter) = filter {
        install(filter).map_err(failed("installing the system call filter"))?;
    }
    become_user(identity).map_err(failed(format!("becoming user {}:{}", identity.uid, identity.gid)))?;
    let effective = if identity.uid == 0 { kernel_set(security.capabilities) } else { KernelSet::empty() };
    // Nothing inheritable, nothing ambient: what a program may have later comes from the bounding set and the file it executes.
    let sets = CapabilitySets { effective, permitted: effective, inheritable: KernelSet::empty() };
    rustix::thread::set_capabilities(None, sets).map_err(failed("giving up capabilities"))?;
    match filter.filter(|_| security.no_new_privileges) {
        Some(filter) => install(filter).map_err(failed("installing the system call filter")),
        None => Ok(()),
    }
}

fn bound(allowed: CapabilitySet) -> Result<(), Errno> {
    for number in 0..u64::BITS {
        let bit = 1_u64 << number;
        if allowed.bits() & bit != 0 {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(KernelSet::from_bits_retain(bit)) {
            // Beyond the last capability that this kernel knows.
            Err(Errno::INVAL) => return Ok(()),
            outcome => outcome?,
        }
    }
    Ok(())
}

fn kernel_set(set: CapabilitySet) -> KernelSet {
    // What the machine has itself taken from the spawner cannot be given.
    let present = rustix::thread::capabilities(None).map_or(KernelSet::empty(), |sets| sets.permitted);
    KernelSet::from_bits_retain(set.bits()) & present
}

fn become_user(identity: &Identity) -> Result<(), Errno> {
    let groups: Vec<_> = identity.groups.iter().map(|group| Gid::from_raw(*group)).collect();
    rustix::thread::set_thread_groups(&groups)?;
    let gid = Gid::from_raw(identity.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    let uid = Uid::from_raw(identity.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

/// Sets process limits, as far as they may be raised.
pub(crate) fn limit(limits: &[Rlimit], reporter: &mut Reporter) -> Step<()> {
    for limit in limits {
        let resource = resource(limit.kind);
        let wanted = KernelRlimit { current: Some(limit.soft), maximum: Some(limit.hard) };
        match rustix::process::setrlimit(resource, wanted) {
            Err(Errno::PERM) => {
                let most = rustix::process::getrlimit(resource).maximum;
                let lowered =
                    KernelRlimit { current: min(Some(limit.soft), most), maximum: min(Some(limit.hard), most) };
                rustix::process::setrlimit(resource, lowered).map_err(failed(format!("limiting {:?}", limit.kind)))?;
                reporter
                    .notice(format!("{:?} was asked for as {}, this machine allows {most:?}", limit.kind, limit.hard));
            }
            outcome => outcome.map_err(failed(format!("limiting {:?}", limit.kind)))?,
        }
    }
    Ok(())
}

/// `None` is no limit, so it is the greatest.
fn min(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn resource(kind: RlimitKind) -> Resource {
    match kind {
        RlimitKind::OpenFiles => Resource::Nofile,
        RlimitKind::Core => Resource::Core,
        RlimitKind::LockedMemory => Resource::Memlock,
        RlimitKind::Stack => Resource::Stack,
    }
}

/// Sets how willingly the kernel kills this process for memory. Some machines forbid making it less willing.
pub(crate) fn set_oom_score(score: Option<i16>, reporter: &mut Reporter) -> Step<()> {
    let Some(score) = score else { return Ok(()) };
    match std::fs::write("/proc/self/oom_score_adj", score.to_string()) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            reporter.notice(format!("oom_score_adj {score} is not allowed on this machine"));
            Ok(())
        }
        outcome => outcome.map_err(failed("setting oom_score_adj")),
    }
}
