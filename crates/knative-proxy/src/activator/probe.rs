//! Asks Pods that are not ready yet, so that a request need not wait for the news to go through the API.
//!
//! `GET /healthz` with `K-Network-Probe: queue` is answered by queue-proxy once the user's container is ready (or after its own patience).
//! A Pod that says no is asked again after a while, or when some Pod has begun to listen.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base_net::connect::Target;
use base_net::{Body, Request};
use base_rt::Tasks;
use http::header::{HOST, USER_AGENT};
use http::{HeaderValue, StatusCode, Uri};
use knative_apis::meta::header;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::throttler::Throttler;
use crate::{Upstream, headers};

/// How long a Pod that said no is left alone.
const PERIOD: Duration = Duration::from_millis(200);
/// How long an answer may take: longer than queue-proxy's own patience with a container that starts.
const TIMEOUT: Duration = Duration::from_secs(12);
/// Bytes of an answer that are read at most.
const MAX_ANSWER: usize = 64;

/// Asks Pods.
#[derive(Clone)]
pub(super) struct Prober {
    upstream: Upstream,
    tasks: Tasks,
    again: Arc<Notify>,
}

impl Prober {
    pub(super) fn new(upstream: Upstream, tasks: &Tasks) -> Self {
        Self { upstream, tasks: tasks.clone(), again: Arc::default() }
    }

    /// Those who wait to ask again do so now.
    pub(super) fn ask_again(&self) {
        self.again.notify_waiters();
    }

    /// Asks a Pod of a Revision until it is ready, or the handle is aborted.
    pub(super) fn ask(&self, throttler: &Arc<Throttler>, ip: IpAddr) -> AbortHandle {
        let (prober, throttler) = (self.clone(), Arc::downgrade(throttler));
        self.tasks.spawn_transient("activator/probe", async move {
            loop {
                let Some(target) = throttler.upgrade().map(|throttler| throttler.target(ip)) else { return };
                let again = prober.again.notified();
                if prober.is_ready(&target).await {
                    throttler.upgrade().iter().for_each(|throttler| throttler.set_answered(ip));
                    return;
                }
                // Who has been told while the Pod was asked asks at once.
                let _ = tokio::time::timeout(PERIOD, again).await;
            }
        })
    }

    async fn is_ready(&self, target: &Target) -> bool {
        let asking = async {
            let response = self.upstream.send(target, request(target)).await.ok()?;
            let is_ok = response.status() == StatusCode::OK;
            let body = response.into_body().read(MAX_ANSWER).await.ok()?;
            Some(is_ok && body == header::PROBE_QUEUE)
        };
        tokio::time::timeout(TIMEOUT, asking).await.ok().flatten().unwrap_or(false)
    }
}

fn request(target: &Target) -> Request {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = Uri::from_static("/healthz");
    let fields = request.headers_mut();
    fields.insert(headers::PROBE, HeaderValue::from_static(header::PROBE_QUEUE));
    fields.insert(USER_AGENT, HeaderValue::from_static(header::ACTIVATOR_AGENT));
    if let Ok(host) = HeaderValue::try_from(target.to_string()) {
        fields.insert(HOST, host);
    }
    request
}
