//! TLS by the operator's switches alone, as the README says: certificates of Kwick's own authority for public hosts, a redirect to them, and TLS
//! between gateway, activator and queue-proxy.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::api::{text, trusting};
use crate::http::{Request, Target};
use crate::instance::{Instance, ensure, name};
use crate::ksvc::{self, Ksvc};
use crate::place;
use crate::until::until_true;

const NETWORK: &str = "/api/v1/namespaces/knative-serving/configmaps/config-network";
const AUTHORITY: &str = "/api/v1/namespaces/knative-serving/secrets/kwick-serving-ca";
const OBSERVABILITY: &str = "/api/v1/namespaces/knative-serving/configmaps/config-observability";
const ACTIVATORS: &str = "/api/v1/namespaces/knative-serving/pods?labelSelector=app%3Dactivator";
const NAME: &str = "secured";
/// The Service that is called while TLS inside is switched on and off.
const INSIDE: &str = "inside";
/// What a request log says of each request.
const LOGGED: &str = "mark {{.Request.RequestURI}} tls {{.Request.TLS}}";
/// Requests that are looked for in the logs.
const MARKED: u32 = 20;

/// Switched on, used, made the only way, and switched off.
pub(super) fn external_domains(kwick: &Instance<'_>) -> Result<String> {
    let set = |data: Value| kwick.api.merge(NETWORK, &json!({ "data": data })).map(drop);
    set(json!({"external-domain-tls": "Enabled"}))?;
    let used = use_it(kwick, &set);
    set(json!({"external-domain-tls": null, "http-protocol": null}))?;
    used?;
    kwick.api.delete(&ksvc::path(NAME))?;
    Ok("a certificate of the authority in a Secret, and plain HTTP redirected to it".to_owned())
}

fn use_it(kwick: &Instance<'_>, set: &dyn Fn(Value) -> Result<()>) -> Result<()> {
    Ksvc::hello(NAME).deploy(&kwick.api)?;
    let url = || -> Result<String> {
        let service = kwick.api.get(&ksvc::path(NAME))?.context("the Service is not there")?;
        Ok(text(&service, "/status/url").to_owned())
    };
    until_true("a URL with https", ksvc::PATIENCE, || Ok(url()?.starts_with("https://")))?;
    let secret = kwick.api.get(AUTHORITY)?.context("there is no authority")?;
    let authority = STANDARD.decode(text(&secret, "/data/tls.crt")).context("the authority's certificate")?;
    let status = place::output(&mut kwick.kwick(&["status", "-o", "json"]))?;
    let status: Value = serde_json::from_str(&status).context("kwick status is not JSON")?;
    let address: SocketAddr = text(&status, "/addresses/gatewayTls").parse().context("no address for TLS")?;
    let url = url()?;
    let authority_of_url = url.trim_start_matches("https://");
    let (name, port) = authority_of_url.split_once(':').unwrap_or((authority_of_url, "443"));
    ensure(port == address.port().to_string(), || format!("{url} is not at {address}"))?;
    let target = Target { tls: Some(Arc::new(trusting(&authority)?)), ..Target::plain(address) }.named(name);
    let request = Request { method: "GET", path: "/", headers: &[("Host", name)], body: &[] };
    let (status, body) = target.ask(&request)?;
    let body = String::from_utf8_lossy(&body);
    ensure(status == 200 && body.starts_with("Hello"), || format!("by TLS: {status} {body}"))?;
    set(json!({"http-protocol": "Redirected"}))?;
    until_true("a redirect", ksvc::PATIENCE, || Ok(kwick.gateway.ask(&request)?.0 == 301))?;
    ensure(target.ask(&request)?.0 == 200, || "TLS is redirected as well".to_owned())
}

/// Switched on and off under requests, none of which fails; meanwhile every request goes by TLS from hop to hop.
pub(super) fn inside(kwick: &Instance<'_>) -> Result<String> {
    let set = |map: &str, data: Value| kwick.api.merge(map, &json!({ "data": data })).map(drop);
    let log = json!({"logging.enable-request-log": "true", "logging.request-log-template": LOGGED});
    set(OBSERVABILITY, log)?;
    let host = ksvc::host(&Ksvc::hello(INSIDE).scale("min-scale", "1").deploy(&kwick.api)?)?;
    let is_over = AtomicBool::new(false);
    let switched = std::thread::scope(|scope| {
        let calling = scope.spawn(|| call_until(kwick, &host, &is_over));
        let switched = switch(kwick, &host, &|is_on| {
            set(NETWORK, json!({"system-internal-tls": if is_on { json!("Enabled") } else { Value::Null }}))
        });
        is_over.store(true, Ordering::Release);
        let called = calling.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        switched.and(called)
    });
    set(NETWORK, json!({"system-internal-tls": null}))?;
    set(OBSERVABILITY, json!({"logging.enable-request-log": null, "logging.request-log-template": null}))?;
    let calls = switched?;
    kwick.api.delete(&ksvc::path(INSIDE))?;
    Ok(format!("{MARKED} requests by TLS, {calls} × 200 while it was switched"))
}

/// Calls until it is over; how often, if each call was answered.
fn call_until(kwick: &Instance<'_>, host: &str, is_over: &AtomicBool) -> Result<u32> {
    let mut calls = 0;
    while !is_over.load(Ordering::Acquire) {
        let (status, body) = ksvc::ask(&kwick.gateway, host, "/")?;
        ensure(status == 200, || format!("call {calls} was answered {status}: {body}"))?;
        calls += 1;
        std::thread::park_timeout(Duration::from_millis(20));
    }
    Ok(calls)
}

fn switch(kwick: &Instance<'_>, host: &str, set: &dyn Fn(bool) -> Result<()>) -> Result<()> {
    set(true)?;
    until_true("a request by TLS", ksvc::PATIENCE, || Ok(marked(kwick, host, "first")? == Some(true)))?;
    for nth in 0..MARKED {
        let mark = format!("on-{nth}");
        ensure(marked(kwick, host, &mark)? == Some(true), || format!("{mark} did not go by TLS"))?;
    }
    let [activator] =
        kwick.api.list(ACTIVATORS)?.try_into().map_err(|_| anyhow!("there is more than one activator"))?;
    let log = log_of(kwick, "knative-serving", name(&activator), "activator")?;
    ensure(log.lines().any(|line| says(line, "on-0") == Some(true)), || {
        format!("the activator has logged no TLS: {log}")
    })?;
    set(false)?;
    until_true("a request without TLS", ksvc::PATIENCE, || Ok(marked(kwick, host, "last")? == Some(false)))
}

/// Asks once, with a mark; whether queue-proxy had it by TLS, if it has logged it.
fn marked(kwick: &Instance<'_>, host: &str, mark: &str) -> Result<Option<bool>> {
    ksvc::ask(&kwick.gateway, host, &format!("/?mark={mark}"))?;
    for pod in ksvc::pods(&kwick.api, INSIDE)? {
        // One that is about to go may be gone.
        let log = log_of(kwick, "default", name(&pod), "queue-proxy").unwrap_or_default();
        if let Some(said) = log.lines().rev().find_map(|line| says(line, mark)) {
            return Ok(Some(said));
        }
    }
    Ok(None)
}

/// What a line says of the request with this mark: whether it came by TLS.
fn says(line: &str, mark: &str) -> Option<bool> {
    let (_, said) = line.split_once(&format!("mark /?mark={mark} tls "))?;
    Some(said.starts_with("{772 "))
}

fn log_of(kwick: &Instance<'_>, namespace: &str, pod: &str, container: &str) -> Result<String> {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/log?container={container}");
    let answer = kwick.api.open("GET", &path, "", &[])?;
    let status = answer.status;
    let log = String::from_utf8_lossy(&answer.read()?.0).into_owned();
    ensure(status == 200, || format!("the log of {pod}: {status} {log}"))?;
    Ok(log)
}
