//! A Kubernetes-compatible API as one tower service: store, watch, patch, admission, authentication, rules, custom resources.
//!
//! What this crate knows: Kubernetes' API, to the letter of its answers. Built-in kinds are rows of a table (`kinds`) and custom ones are objects;
//! no verb has a handler per kind.
//! **What it must not know**: Knative, containers, controllers. Nothing here makes a Deployment have ReplicaSets, or gives a Service endpoints.
//!
//! Where to start: [`ApiServer`] (how it is built and reached), [`http::service`] (the way of a request), [`writes`] (the one way to the store),
//! [`store`] (revisions, watches, durability), [`kinds`] (what is particular to a built-in kind), `crd` (how objects become kinds).
//!
//! ```text
//! kube::Client ─┐                       ┌ discovery, openapi
//! HTTPS ────────┴► ApiService ► rules ► ┤ verbs ► writes ► admit ► kinds | crd+schema ► store ► journal (SQLite, memory)
//!                                       └ watch ◄──────────────────────────────────────┘
//! ```

mod admit;
pub mod audit;
mod authn;
mod authz;
mod bootstrap;
mod cel;
mod core;
mod crd;
mod discovery;
mod entropy;
pub mod facts;
pub mod field_error;
mod fields;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod hooks;
mod housekeeping;
pub mod http;
pub mod identity;
pub mod kinds;
mod measures;
mod metrics;
pub mod names;
mod negotiate;
mod openapi;
pub mod patch;
mod pattern;
pub mod pki;
pub mod proto;

mod registry;
pub mod schema;
pub mod selector;
mod serve;
mod server;
pub mod status;
pub mod store;
mod streams;
pub mod strict;
mod subresource;
mod table;
pub mod value;
mod verbs;
mod writes;

pub use base_quota::quantity;

pub use admit::service_ip::ServiceRange;
pub use admit::{Admission, AdmissionRequest, Consultation, Denied, Operation, Warnings};
pub use authn::{ServiceAccountKey, ServiceAccountKeyError};
pub use entropy::Entropy;
pub use identity::Identity;
pub use measures::{Measurement, Measures, Measuring, PodUse, Use};
pub use serve::{ServeError, TlsFiles};
pub use server::{ApiServer, ApiServerConfig, StartError};
pub use streams::{
    AttachOptions, Dialing, ExecOptions, OutputStream, PodPorts, PodSession, PodStreams, StartingSession,
};
pub use subresource::log::{LogError, LogFuture, LogOptions, LogStream, PodLogs};
