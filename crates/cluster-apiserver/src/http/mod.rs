//! HTTP: from a request to a verb, and from its outcome to an answer.

mod ask;
pub mod body;
pub(crate) mod fair;
pub mod limits;
pub(crate) mod path;
pub(crate) mod query;
pub(crate) mod respond;
pub mod routes;
pub mod service;
