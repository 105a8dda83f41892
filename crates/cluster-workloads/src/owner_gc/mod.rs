//! The owner garbage collector: an object whose owners are all gone goes too.
//!
//! It works on the metadata of every object of every kind (`catalog`). An *owner* is named by kind, name and uid; it is *absent* if the server
//! has no object of that kind and name in the dependent's namespace (or in none), or one with another uid.
//!
//! | an object | what happens |
//! |---|---|
//! | all owners absent | deleted, in the background unless its own finalizers say otherwise |
//! | some owners absent or waiting, another is there | the references to the former are removed |
//! | an owner waits for its dependents (`foregroundDeletion`) | deleted; in the foreground too if it has dependents of its own |
//! | it waits itself, and no dependent blocks it any more | its finalizer `foregroundDeletion` is removed |
//! | it is being deleted with the finalizer `orphan` | its dependents lose the reference to it, then it loses the finalizer |
//!
//! An owner that no watch has shown is looked for on the server before anything is deleted. Deletions and merges build on the version that was
//! looked at. A finalizer is removed only while every kind is known and listed. A cluster-scoped object cannot be owned by a namespaced one:
//! such a reference, and one to a kind that nobody serves, counts as there.
//!
//! This controller has no kind of its own, so it does not run on `base_controller::Controller`; its loop is `worker`. The decision is pure
//! (`plan`), its facts are a value (`graph`). Specified by `k8s.io/kubernetes/pkg/controller/garbagecollector`.

mod absent;
mod graph;
mod pending;
mod plan;
mod worker;

use base_controller::Context;

use crate::catalog::Catalog;

/// The name of this controller: of its tasks, its metrics, its identity.
pub const NAME: &str = "generic-garbage-collector";

/// Starts the collector.
pub(crate) fn start(context: &Context, catalog: &Catalog) {
    worker::start(context, catalog);
}
