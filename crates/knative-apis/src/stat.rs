//! What queue-proxy and the activator tell the autoscaler about a revision.

use crate::meta::Key;
use serde::{Deserialize, Serialize};

/// One measurement of one pod, or of the activator on behalf of a revision.
///
/// The *proxied* parts are included in the totals: the activator reports them too, and the
/// autoscaler counts them once by subtracting.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stat {
    /// The pod that measured.
    pub pod_name: String,
    /// Requests in flight, averaged over the time since the last measurement.
    pub average_concurrent_requests: f64,
    /// The part of them that came through the activator.
    pub average_proxied_concurrent_requests: f64,
    /// Requests received since the last measurement.
    pub request_count: f64,
    /// The part of them that came through the activator.
    pub proxied_request_count: f64,
    /// How long the process has been up, in seconds.
    pub process_uptime: f64,
    /// When it was measured, in seconds since the Unix epoch.
    pub timestamp: i64,
}

impl Stat {
    /// Concurrency that nobody else reports.
    pub fn own_concurrency(&self) -> f64 {
        self.average_concurrent_requests - self.average_proxied_concurrent_requests
    }

    /// Requests that nobody else reports.
    pub fn own_requests(&self) -> f64 {
        self.request_count - self.proxied_request_count
    }
}

/// A measurement and the revision it is about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatMessage {
    /// The revision.
    pub key: Key,
    /// The measurement.
    pub stat: Stat,
}
