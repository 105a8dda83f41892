//! The metrics of a Pod's requests, on port 9091, if the operator wants them there.

use std::sync::Arc;
use std::time::Duration;

use base_net::{Body, Response};
use base_rt::metrics::{Gauge, Histogram, Scope, exponential_buckets};
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use crate::gate::Gate;

const CONTENT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is measured.
#[derive(Clone)]
pub(super) struct RequestMetrics {
    scope: Scope,
    duration: Histogram,
    depth: Gauge,
}

impl RequestMetrics {
    pub(super) fn new() -> Self {
        let scope = Scope::root();
        let buckets = Histogram::new(exponential_buckets(0.005, 2.0, 15));
        let duration = scope.register(
            "kn_serving_invocation_duration_seconds",
            "How long the user's container takes to answer",
            buckets,
        );
        let depth =
            scope.register("kn_serving_queue_depth", "Requests that wait for the user's container", Gauge::default());
        Self { scope, duration, depth }
    }

    pub(super) fn observe(&self, duration: Duration) {
        self.duration.observe(duration.as_secs_f64());
    }

    pub(super) fn answer(&self, gate: Option<&Arc<Gate>>) -> Response {
        self.depth.set(i64::try_from(gate.map_or(0, |gate| gate.queued())).unwrap_or(i64::MAX));
        let mut response = Response::new(Body::from(self.scope.encode()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT));
        response
    }
}
