//! Knative's own parts, as their users find them: Pods of Deployments, with addresses, metrics and logs, that come back.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::api::text;
use crate::http::Target;
use crate::instance::{Instance, ensure, name};
use crate::ksvc::{self, Ksvc};
use crate::until::until;

const SYSTEM: &str = "/api/v1/namespaces/knative-serving";
/// The parts, and where their Pods are.
pub(super) const PARTS: [(&str, &str); 3] =
    [("activator", SYSTEM), ("controller", SYSTEM), ("gateway", "/api/v1/namespaces/kwick-system")];
const METRICS_PORT: u16 = 9090;

/// Every part is a ready Pod with a log and metrics; one that is deleted is replaced, and a service at zero answers all the same.
pub(super) fn are_pods(kwick: &Instance<'_>) -> Result<String> {
    for (part, namespace) in PARTS {
        let pod = ready_pod(kwick, part, namespace, "")?;
        let log = format!("{namespace}/pods/{}/log", name(&pod));
        let log = kwick.api.open("GET", &log, "application/json", &[])?.read()?.0;
        ensure(!log.is_empty(), || format!("{part} has an empty log"))?;
        let metrics = ask(&pod, "/metrics")?;
        ensure(metrics.contains("# TYPE"), || format!("{part} tells no metrics: {metrics}"))?;
    }
    let host = ksvc::host(&Ksvc::hello("partly").deploy(&kwick.api)?)?;
    ksvc::at_scale(&kwick.api, "partly", 0)?;
    let old = endpoint(kwick)?.context("no Pod stands behind activator-service")?;
    kwick.api.delete(&format!("{SYSTEM}/pods/{old}"))?;
    ksvc::greet(&kwick.gateway, &host)?;
    ready_pod(kwick, "activator", SYSTEM, &old)?;
    let new = until("another Pod behind activator-service", ksvc::PATIENCE, || {
        Ok(endpoint(kwick)?.filter(|new| *new != old))
    })?;
    kwick.api.delete(&ksvc::path("partly"))?;
    Ok(format!("{} parts; {old} was replaced by {new}", PARTS.len()))
}

/// The ready Pod of a part that is not called `old`.
pub(super) fn ready_pod(kwick: &Instance<'_>, part: &str, namespace: &str, old: &str) -> Result<Value> {
    until(&format!("a ready Pod of {part}"), ksvc::PATIENCE, || {
        let pods = kwick.api.list(&format!("{namespace}/pods?labelSelector=app%3D{part}"))?;
        let found = pods.into_iter().find(|pod| name(pod) != old && ksvc::condition(pod, "Ready").0 == "True");
        if found.is_none() { bail!("none is ready") } else { Ok(found) }
    })
}

/// The Pod that the Endpoints of the activator's Service name.
fn endpoint(kwick: &Instance<'_>) -> Result<Option<String>> {
    let endpoints = kwick.api.get(&format!("{SYSTEM}/endpoints/activator-service"))?.context("no Endpoints")?;
    let target = "/subsets/0/addresses/0/targetRef";
    Ok((text(&endpoints, &format!("{target}/kind")) == "Pod")
        .then(|| text(&endpoints, &format!("{target}/name")).to_owned()))
}

/// Asks a Pod at its own address.
fn ask(pod: &Value, path: &str) -> Result<String> {
    let ip = text(pod, "/status/podIP").parse().context("it has no address")?;
    let (status, body) = ksvc::ask(&Target::plain(SocketAddr::new(ip, METRICS_PORT)), "metrics", path)?;
    ensure(status == 200, || format!("{path} answered {status}"))?;
    Ok(body)
}
