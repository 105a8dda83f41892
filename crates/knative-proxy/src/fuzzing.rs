//! Doors to what reads a client's headers inside this crate, for the fuzzer (`tests/fuzz`). Only with the feature `fuzzing`, and nothing but doors.

use base_net::Request;
use http::{HeaderMap, HeaderValue};

use crate::{forwarded, headers};

/// Has a request say once which host it is for, and returns that; `None` if it says none, or several.
pub fn settle_host(request: &mut Request) -> Option<HeaderValue> {
    headers::settle_host(request).ok()
}

/// What the gateway does to the headers of a request from `client` before it passes it on.
pub fn forward(headers: &mut HeaderMap, client: &HeaderValue, is_trusted: bool) {
    headers::remove_hop_by_hop(headers);
    forwarded::add_client(headers, client);
    forwarded::add_proto(headers, "http", is_trusted);
}

/// What queue-proxy adds to the headers of a request.
pub fn describe(headers: &mut HeaderMap) {
    forwarded::add_forwarded(headers);
    forwarded::add_trace(headers);
}
