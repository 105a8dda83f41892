//! The lower floors alone: a cluster without Knative.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde_json::json;

use crate::api::text;
use crate::http::Target;
use crate::instance::{Instance, ensure};
use crate::ksvc;
use crate::place::Place;
use crate::until::until;

/// `--only cluster`: a Pod answers on its address, the registry has its Service, and there is no Knative.
pub(super) fn cluster(place: &Place) -> Result<String> {
    let kwick = Instance::start_with(place, "cluster", &["--only", "cluster"])?;
    kwick.import_hello("hello")?;
    let api = &kwick.api;
    api.create(
        ksvc::PODS,
        &json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "plain", "namespace": "default"},
            "spec": {"containers": [{"name": "hello", "image": "hello", "env": [{"name": "PORT", "value": "8080"}]}]},
        }),
    )?;
    let path = format!("{}/plain", ksvc::PODS);
    let address = until("the Pod's address", ksvc::PATIENCE, || {
        let pod = api.get(&path)?.context("it is not there")?;
        let is_ready = ksvc::condition(&pod, "Ready").0 == "True";
        Ok(is_ready.then(|| text(&pod, "/status/podIP").to_owned()))
    })?;
    let target = Target::plain(SocketAddr::new(address.parse().context("the Pod's address is none")?, 8080));
    let answer = until("the Pod's answer", ksvc::PATIENCE, || ksvc::greet(&target, "plain").map(Some))?;
    ensure(answer.starts_with("Hello"), || format!("it answered {answer:?}"))?;
    let service =
        api.get("/api/v1/namespaces/kwick-system/services/registry")?.context("the registry has no Service")?;
    ensure(service.pointer("/spec/ports/0/port") == Some(&json!(80)), || format!("the registry's Service: {service}"))?;
    let knative = api.send("GET", ksvc::SERVICES, "application/json", b"")?.0;
    ensure(knative == 404, || format!("Knative's Services are answered with {knative}"))?;
    kwick.down()?;
    Ok(format!("a Pod at {address} answers, without Knative"))
}
