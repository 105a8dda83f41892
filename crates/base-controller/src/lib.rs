//! The workshop for controllers: informers, queue, plans and their application.
//!
//! ```text
//! API ──watch──► Informer (one cache per kind and scope) ──(old, new) → keys──► Queue ──► Controller
//!  ▲                                                                                        │ gather (caches only)
//!  └──────────────── apply (finalizer, changes, status, finalizer) ◄── Plan ◄── plan (pure) ─┘
//! ```
//! What this crate knows: Kubernetes' object model, `kube::Client`, and how a controller keeps objects true. It keeps kube's `watcher`
//! (lists, resumes, bookmarks and 410 stay upstream) and brings its own cache, index and queue, which are deterministic under tokio's paused
//! clock and fast.
//!
//! **What it must not know**: any kind in particular (but ConfigMap and Event, which every controller uses), Knative, the embedded
//! cluster, HTTP servers.
//!
//! Where to start: [`Reconciler`] (what one writes for a kind), [`Plan`] and [`Change`] (what it returns), [`apply`] (what happens to it),
//! [`Informers`] and [`Informer`] (what it reads), [`Controller`] (how the parts run).
//!
//! Invariants
//! - A reconcile decides from state, never from the event that woke it: the queue carries keys only.
//! - Only [`apply`] writes objects. (Outside the rule: [`events`], and leases.)
//! - A key is worked on by one worker at a time, and not planned again before the caches have seen what its last plan wrote.
//! - Iteration order is never hash order.

pub mod apply;
pub mod config_store;
mod context;
pub mod controller;
mod diff;
pub mod events;
pub mod explain;
pub mod hint;
pub mod informer;
mod key;
pub mod leader;
mod metrics;
mod object;
pub mod overlay;
pub mod plan;
mod queue;
mod scope;
mod tracker;
pub mod writers;

pub use context::{Context, ContextConfig};
pub use controller::{Controller, ControllerHandle, Reconciler};
pub use informer::{Delta, Index, Informer, Informers};
pub use key::{GroupKind, Key, ObjectRef};
pub use object::{Object, Revision, owner_key};
pub use plan::{Change, Condition, Finalizer, OnRefusal, Plan, PlanEvent};
pub use scope::Scope;
