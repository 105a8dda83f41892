//! Control groups on hosts with version 1, version 2, or both mounted ("hybrid").
//!
//! ```text
//! v2      MOUNT/kwick-INSTANCE/{spawner, c-CONTAINER}          killing and the birth place, on hybrid hosts too; limits where v2 has them
//! v1      MOUNT/kwick-INSTANCE/{spawner, c-CONTAINER}          in the hierarchies of memory, cpu (cpuacct) and pids
//! ```
//! A container has one group per hierarchy that matters ([`Group`]). It is born in the v2 one (`CLONE_INTO_CGROUP`) and enters the v1 ones
//! itself, before anything of the image runs: see [`expedite`] for why that would cost 10 ms and does not.
//!
//! Sources: `cgroups(7)`, the kernel's `cgroup-v1/` and `cgroup-v2.rst`.

pub(crate) mod expedite;
mod group;
mod layout;
mod leftovers;
mod limits;
mod usage;

pub(crate) use group::{Group, Root};
pub(crate) use layout::{Controller, Layout};
pub(crate) use leftovers::{leave_session, remove_instance};
