//! Image tags to digests: each Revision runs the content that its tags meant when it was made.
//!
//! ```text
//! Revision appears ──► queue ──► Resolver (mirror first, then registry; bounded workers, timeout)
//!                                   │ found                          │ failed
//!                                   ▼                                ▼
//!                              DigestFacts ──wake──► revision     DigestFacts (message) ──wake──► revision; again after 1 s … 1000 s
//! ```
//! The plan of a Revision reads [`DigestFacts`] only. What is a digest already is taken as it is; tags of the registries in
//! `registries-skipping-tag-resolving` are left alone. A fact is kept until the Revision's status holds the digests, or it is gone.
//!
//! [`Resolver`] is the seam to the network, implemented by the binary over `base_image`.
//! Specified by Knative's `pkg/reconciler/revision/background.go` and `resolve.go`.

mod facts;
mod request;
mod service;

#[cfg(test)]
mod tests;

use base_image::{Digest, Reference};
use futures::future::BoxFuture;

pub(crate) use facts::{DigestFacts, Resolution};
pub(crate) use service::start;

/// Why a digest could not be found; its chain of causes becomes part of the Revision's status.
pub type ResolveError = Box<dyn std::error::Error + Send + Sync>;

/// Whose credentials may be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The Revision's namespace.
    pub namespace: String,
    /// The service account that its Pods run as; empty for the namespace's default.
    pub service_account: String,
    /// The Secrets that its Pods pull with, beside those of the service account.
    pub pull_secrets: Vec<String>,
}

/// Finds the digest that an image's tag means at this moment.
pub trait Resolver: Send + Sync + 'static {
    /// The digest of `image`, as a registry (or a mirror, asked first) says. The caller bounds the time.
    fn resolve<'a>(&'a self, image: &'a Reference, access: &'a Access) -> BoxFuture<'a, Result<Digest, ResolveError>>;
}
