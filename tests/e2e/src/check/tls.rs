//! TLS of public hosts by the operator's switch alone, as the README says: certificates of Kwick's own authority, and a redirect to them.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::api::{text, trusting};
use crate::http::{Request, Target};
use crate::instance::{Instance, ensure};
use crate::ksvc::{self, Ksvc};
use crate::place;
use crate::until::until_true;

const NETWORK: &str = "/api/v1/namespaces/knative-serving/configmaps/config-network";
const AUTHORITY: &str = "/api/v1/namespaces/knative-serving/secrets/kwick-serving-ca";
const NAME: &str = "secured";

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
