//! Knative's decisions as pure functions: scale, rollout, traffic, revision garbage, route match, breaker.
//!
//! What this crate knows: from facts, a time and sometimes a random number, what is to be. Every
//! function is total over plain values; the same inputs give the same answer.
//!
//! **What it must not know**: clients, stores, networks, clocks, runtimes. It has no `async`, no
//! I/O, no clock and no randomness of its own (no hash maps either: their order is random).
//!
//! Where to start:
//! - [`scale::decide`] says how many pods a revision needs, [`scale::apply`] what is done about it;
//! - [`traffic::assign`] turns a Route into targets and these into an Ingress, [`rollout`] moves
//!   traffic to a new revision step by step;
//! - [`route_table::RouteTable`] finds the backend of a request, [`breaker::Breaker`] lets it wait,
//!   [`pick`] chooses its pod.

pub mod breaker;
pub mod names;
pub mod pick;
pub mod revision_gc;
pub mod rollout;
pub mod route_table;
pub mod scale;
pub mod subset;
pub mod traffic;
