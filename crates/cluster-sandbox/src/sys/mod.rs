//! The system calls that no safe library offers, one thin function each: the only `unsafe` code of the whole workspace.
//!
//! Everything else in this crate goes through `rustix`. A function here does one thing, takes and returns owned or borrowed Rust types,
//! and leaves nothing to its callers' care except what its documentation says.

pub(crate) mod async_fd;
pub(crate) mod exec;
pub(crate) mod fork;
pub(crate) mod mount;
pub(crate) mod namespaces;
pub(crate) mod seccomp;
pub(crate) mod signals;
pub(crate) mod text;
pub(crate) mod time;
