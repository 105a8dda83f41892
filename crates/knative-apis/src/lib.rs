//! Every Knative noun: types, defaults, validation, conditions, annotation names, CRDs.
//!
//! What this crate knows: the shape of each Knative object and ConfigMap, the words that go with
//! them (labels, annotations, headers, conditions, reasons, messages) and what Knative's webhooks
//! would have said about an object. Everything is a function over values: time, configuration and
//! the user's name come in as arguments.
//!
//! **What it must not know**: any client, store, network, clock or runtime. It has no `async`, no
//! I/O and no randomness, and it decides nothing about scale or traffic (`knative-logic` does).
//!
//! Where to start:
//! - [`serving::v1::Service`] is the type a user writes; its folder shows how every kind is built
//!   (`types`, `defaults`, `validation`, `lifecycle`).
//! - [`condition`] derives `Ready` from the rest, [`field_error`] words a user's mistake.
//! - [`admission`] is the one table from kind to (default, validate), what the API server calls.
//! - [`config`] parses the ConfigMaps, [`crds`] describes the kinds to an API server.
//!
//! Texts, numbers and names are those of Knative Serving v1.23, because clients match on them.

pub mod admission;
pub mod annotations;
pub mod autoscaling;
pub mod caching;
pub mod condition;
pub mod config;
pub mod crds;
pub mod duck;
pub mod duration;
pub mod field_error;
pub mod go_text;
pub mod meta;
pub mod networking;
pub mod quantity;
pub mod serving;
pub mod stat;
pub mod template;
pub mod validation;

mod kind;
mod open_enum;
mod serde_util;
