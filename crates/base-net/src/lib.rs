//! The workshop for HTTP: listeners, servers, connectors, the upstream pool, bodies, TLS, probes, the admin endpoint.
//!
//! ```text
//! Listener ──► Server (h1, h2c, TLS by sniffing) ──► a tower service ──► LocalTable │ Pool ──► Connector
//!   one per core                                      of Request → Response   a call  │ connections   TCP, Unix, supplied sockets, TLS
//! ```
//! What this crate knows: HTTP, sockets, and how requests and bodies stream between them at little cost.
//!
//! **What it must not know**: Kubernetes, Knative, containers, what a request means.
//!
//! Where to start: [`Body`], then [`serve::Server`] (in), [`pool::Pool`] (out), [`connect`] (where to), and [`workers::DataPlane`] (on which
//! thread). `examples/proxy.rs` is a whole reverse proxy.
//!
//! Invariants
//! - Nothing is copied that only passes through; nothing is formatted, and no lock shared by all requests is taken, on the warm path.
//! - A body that ends early ends with an error.
//! - Every wait has a bound: heads, idle connections, dials, pools; and so has every queue.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::expect_used))]

pub mod admin;
pub mod body;
pub mod connect;
pub mod io;
pub mod listen;
pub mod pki;
pub mod pool;
pub mod probe;
pub mod query;
pub mod resolve;
pub mod serve;
mod tasks;
pub mod timeout;
pub mod tls;
pub mod upgrade;
pub mod workers;

pub use body::{Body, BodyError, BodySender, BoxError, Request, Response};
