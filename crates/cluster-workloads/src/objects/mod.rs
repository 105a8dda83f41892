//! What several controllers read from objects: pure functions over Kubernetes' types.
//!
//! Each file answers one question: who controls it (`owners`), is it mine (`claim`), does the selector take it (`labels`), in which state is a
//! Pod (`pods`), how much is a quantity (`quantity`), what is a child called (`names`), on which nodes may it be (`affinity`), which volume
//! suits a claim (`storage`), which templates did a workload have (`revisions`), which Pods go first (`ranking`), how many are so many percent
//! (`percent`). No file knows a controller.

pub(crate) mod affinity;
pub(crate) mod claim;
pub(crate) mod labels;
pub(crate) mod names;
pub(crate) mod owners;
pub(crate) mod percent;
pub(crate) mod pods;
pub(crate) mod quantity;
pub(crate) mod ranking;
pub(crate) mod revisions;
pub(crate) mod storage;
