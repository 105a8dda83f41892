//! What the DNS counts.

use base_rt::metrics::{Counter, Scope};

/// Of both transports together.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    pub(super) requests: Counter,
    pub(super) forwarded: Counter,
    pub(super) failed: Counter,
    pub(super) full: Counter,
}

impl Metrics {
    pub(super) fn new(scope: &Scope) -> Self {
        Self {
            requests: scope.register("requests", "Questions received", Counter::default()),
            forwarded: scope.register("forwarded", "Questions passed on to other servers", Counter::default()),
            failed: scope.register("forward_failures", "Questions that no other server answered", Counter::default()),
            full: scope.register(
                "full",
                "Questions and connections refused because a bound was reached",
                Counter::default(),
            ),
        }
    }
}
