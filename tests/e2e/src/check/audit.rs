//! The audit log of a running Kwick.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::api::text;
use crate::instance::{Instance, ensure};
use crate::place::Place;

/// Requests stand in the file as the policy says, also those from before a restart.
pub(super) fn log(place: &Place) -> Result<String> {
    let folder = place.scratch("audited");
    let policy = place.scratch("policy.yaml");
    let rules = "[{level: Request, resources: [{group: '', resources: [configmaps]}], omitStages: [RequestReceived]}]";
    std::fs::write(&policy, format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: {rules}\n"))?;
    let (log, policy) = (folder.join("audit/audit.log"), policy.display().to_string());
    let path = log.display().to_string();
    let options = ["--only", "api", "--audit-log-path", &path, "--audit-policy-file", &policy];
    let kwick = Instance::start_with(place, "audited", &options)?;
    let configs = "/api/v1/namespaces/default/configmaps";
    kwick.api.create(configs, &json!({"metadata": {"name": "before"}, "data": {"word": "kept"}}))?;
    kwick.signal(nix::sys::signal::Signal::SIGTERM)?;
    kwick.up_again()?;
    kwick.api.create(configs, &json!({"metadata": {"name": "after"}, "data": {"word": "kept"}}))?;
    kwick.signal(nix::sys::signal::Signal::SIGTERM)?;
    let events = events(&log)?;
    for name in ["before", "after"] {
        let is_meant = |event: &&Value| text(event, "/verb") == "create" && text(event, "/objectRef/name") == name;
        let event = events.iter().find(is_meant).with_context(|| format!("the creation of {name} is missing"))?;
        ensure(text(event, "/requestObject/data/word") == "kept", || format!("no body in {event}"))?;
        ensure(text(event, "/sourceIPs/0") == "127.0.0.1", || format!("no source in {event}"))?;
    }
    kwick.down()?;
    Ok(format!("{} events", events.len()))
}

fn events(log: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
    text.lines().map(|line| serde_json::from_str(line).context("a line is no event")).collect()
}
