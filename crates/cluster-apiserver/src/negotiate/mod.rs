//! Forms of bodies: what a client takes, what it sends.

pub(crate) mod accept;
pub(crate) mod decode;
mod go_json;
pub(crate) mod yaml;

pub(crate) use go_json::{kind as json_kind, no_map, no_type_meta, syntax_error as json_syntax_error};
