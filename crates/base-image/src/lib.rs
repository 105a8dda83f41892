//! OCI images: references, credentials, pull, push, content store, unpack, assemble, registry server.
//!
//! ```text
//!  user ──reference──► Reference ──resolve──► Digest ──Store::image──► Image { config, layers } ──unpack──► directories for overlayfs
//!                                  (the store first,                        ▲
//!                                   then the registry)                      │ blobs, by digest, verified
//!  import (file) ───────────────┐                                           │
//!  push to registry_server ─────┼──────────────────► Store ─────────────────┘
//!  pull (registry_client) ──────┤
//!  assemble (files) ────────────┘
//! ```
//! What this crate knows: the OCI image, layout and distribution specifications, Docker's older forms of them, and how a layer becomes
//! a directory. **What it must not know**: Kubernetes, Knative, who runs a container and how; names of registries and ports are
//! handed in ([`OwnNames`]). Where to start: [`Reference`], then [`store`], then [`Image`].
//!
//! **Trust.** Everything that comes from a file, a registry or a client is bounded by a named constant and verified by digest before
//! it has a name in the store. The store needs no privileges; only `unpack` runs as root, in a process that does nothing else.

pub mod assemble;
pub mod compress;
pub mod config;
mod digest;
mod image;
pub mod import;
pub mod keychain;
pub mod manifest;
pub mod media_type;
mod own_names;
mod platform;
pub mod pull;
pub mod reference;
pub mod registry_client;
pub mod registry_server;
pub mod store;
pub mod tar_stream;
#[cfg(target_os = "linux")]
pub mod unpack;

pub use config::ImageConfig;
pub use digest::{Digest, DigestError, Hasher, Hashing};
pub use image::{Image, ImageMismatch, Layer};
pub use own_names::OwnNames;
pub use platform::{Platform, WrongPlatform};
pub use reference::{Reference, ReferenceError};
pub use store::Store;
