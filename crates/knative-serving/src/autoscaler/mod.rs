//! The autoscaler: the shell around `knative_logic::scale`.
//!
//! ```text
//! StatMessage (activator, queue-proxies) ──► windows ──► decide, at once if a bound is crossed, else on the 2 s tick
//!                                               ▲               │
//!              PodAutoscalers, Pods, config ────┘               └──► DecisionFacts ──wake──► podautoscaler
//! ```
//! One task owns all windows and deciders; one timer serves them all. A Revision at zero without traffic is *asleep*: it costs its memory
//! and nothing else until a statistic, a Pod or its PodAutoscaler changes. What is decided is a fact with its reasons ([`DecisionFact`]),
//! which `explain` shows.
//!
//! Pods that push their statistics say nothing while they have nothing to do, so a Revision with ready Pods is taken to have measured zero in
//! each second without a report, as a scrape would show. Windows live in memory: after a start nothing scales down until one stable window
//! of samples is there.
//!
//! Specified by Knative's `pkg/autoscaler`.

mod decider;
mod facts;
mod metrics;
mod service;

#[cfg(test)]
mod tests;

pub use decider::Decider;
pub use facts::DecisionFact;
pub(crate) use facts::DecisionFacts;
pub(crate) use service::{Inputs, start};
