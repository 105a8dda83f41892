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
//! # Who uses what
//! - *The command line* reads a file ([`import::Archive`]) and sends it to the running instance
//!   ([`RegistryClient::push_archive`](registry_client::RegistryClient::push_archive), `list_images`, `remove_image`).
//! - *The instance* serves [`registry_server::Registry`] over the [`Store`], and puts its own images there ([`assemble`]).
//! - *Digest resolution* asks [`pull::Puller::resolve`]; [`Reference::to_knative`] writes the answer as Knative shows it.
//! - *The node* asks [`pull::Puller::pull`] for an [`Image`], holds a [`store::Lease`] on it from before its layers are unpacked until its
//!   containers are gone, opens each layer's blob ([`Store::open_blob`]), and has root unpack them from the lowest to the highest. Now
//!   and then it collects: [`Store::forget_pulled`], [`Store::collect_garbage`], [`Store::sweep_layers`].
//! - *The unpacker*, as root, works on [`unpack::LayersDir`] alone.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use base_image::assemble::{ImageSpec, LayerTree, assemble_as};
//! use base_image::media_type::Compression;
//! use base_image::{ImageConfig, OwnNames, Platform, Reference, Store};
//!
//! # let dir = tempfile::tempdir()?;
//! let own = OwnNames::new("registry.example", ["127.0.0.1:5000", "localhost:5000"]);
//! let store = Store::open(dir.path(), own)?;
//!
//! let mut files = LayerTree::new();
//! files.add_bytes("app/hello", 0o755, "#!/bin/sh\necho hello\n")?;
//! let config = ImageConfig { platform: Platform::host(), entrypoint: vec!["/app/hello".into()], ..ImageConfig::default() };
//! let spec = ImageSpec { config, layers: vec![files], compression: Compression::Zstd };
//! let hello: Reference = "localhost:5000/hello".parse()?;
//! assemble_as(&store, &spec, &hello, base_rt::Timestamp::UNIX_EPOCH)?;
//!
//! // The same image under another of its names, ready to be unpacked and run.
//! let record = store.record(&"127.0.0.1:5000/hello:latest".parse()?).ok_or("it was just put there")?;
//! let image = store.image(record.digest)?;
//! let _lease = store.lease_image(&image)?;
//! for layer in &image.layers {
//!     let _blob = store.open_blob(layer.digest)?;
//!     println!("{} becomes {}", layer.digest, layer.chain_id);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! **Trust.** Everything that comes from a file, a registry or a client is bounded by a named constant and verified by digest before
//! it has a name in the store. The store needs no privileges; only [`unpack`] runs as root, in a process that does nothing else.

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
