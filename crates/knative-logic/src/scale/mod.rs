//! How many pods a revision needs, and what is done about it.
//!
//! ```text
//! Stat ─► Windows ─► Observation ─► decide ─► Decision ─► apply ─► replicas, SKS mode, PodAutoscaler status
//!         averages    (and ready pods)   │                  │
//!                                   DeciderState        PodAutoscaler, times
//! ```
//!
//! - [`window`] and [`windows`] average what pods and activator report, second by second;
//! - [`targets`] makes a [`DeciderSpec`] of a PodAutoscaler and the operator's settings;
//! - [`decide`](fn@decide) is the decision itself, with [`panic`] and [`delay`] as its memory;
//! - [`bounds`] and [`apply`] turn what is wanted into what is done: limits, and the steps to zero;
//! - [`status`] says it in the PodAutoscaler.
//!
//! Deciding twice at one instant equals deciding once. The formulas are Knative's; where a number
//! is not one (`NaN`), it was refused before it came here.

pub mod apply;
pub mod bounds;
pub mod decide;
pub mod delay;
pub mod panic;
pub mod status;
pub mod targets;
pub mod window;
pub mod windows;

pub use decide::{DeciderState, Decision, Observation, decide};
pub use panic::Panic;
pub use targets::{DeciderSpec, ScalingMetric};
pub use windows::{Averages, Windows};
