//! Which system calls a container may make: the allow list of container runtimes, as a program for the kernel.
//!
//! [`profile`] has the lists, [`compile`](self::compile) turns them into a binary search over ranges of call numbers. That keeps the
//! program short, a few hundred instructions, so that installing it costs microseconds: the kernel walks the program once for every call
//! number when it is installed, and a linear list of 350 comparisons makes that a third of a millisecond.
//!
//! A call that is not in the lists fails with EPERM; one that this table has never heard of, because it is newer, with ENOSYS, as programs
//! expect from an older kernel. Calls of another architecture (32-bit programs) are unknown too.

mod compile;
mod profile;

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::spec::{CapabilitySet, Seccomp};
use crate::sys::seccomp::Instruction;

/// Compiled filters, by what they depend on.
#[derive(Debug, Default)]
pub(crate) struct Filters(BTreeMap<u64, Rc<[Instruction]>>);

/// A cache this large means somebody plays with capabilities; it starts over.
const FILTERS_MAX: usize = 64;

impl Filters {
    /// The filter of a container, if it has one.
    pub(crate) fn get(&mut self, seccomp: Seccomp, capabilities: CapabilitySet) -> Option<Rc<[Instruction]>> {
        match seccomp {
            Seccomp::Unconfined => None,
            Seccomp::RuntimeDefault => {
                if self.0.len() >= FILTERS_MAX {
                    self.0.clear();
                }
                let compiled = self
                    .0
                    .entry(capabilities.bits())
                    .or_insert_with(|| compile::program(&profile::rules(capabilities)).into());
                Some(Rc::clone(compiled))
            }
        }
    }
}
