//! One service's life: deployed, asked, updated, split, rolled back, deleted.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::api::text;
use crate::instance::{Instance, ensure, name};
use crate::ksvc::{self, Ksvc, PODS};
use crate::until::until_true;

/// How many requests show a split. With even halves, all on one side has a chance of 2^-60.
const SPLIT_SAMPLE: usize = 60;

/// Deployed, it answers, its logs and its status can be read.
pub(super) fn deploy(kwick: &Instance<'_>) -> Result<String> {
    let object = Ksvc::hello("greeter").env("TARGET", "e2e").deploy(&kwick.api)?;
    let host = ksvc::host(&object)?;
    let answer = ksvc::greet(&kwick.gateway, &host)?;
    ensure(answer.starts_with("Hello e2e!"), || format!("it answered {answer:?}"))?;
    ensure(host == "greeter.default.localhost", || format!("its host is {host}"))?;
    ensure(text(&object, "/status/latestReadyRevisionName") == "greeter-00001", || "no ready revision".to_owned())?;
    logs(kwick, "greeter")?;
    let status = kwick.status()?;
    let services = status.get("services").is_some_and(|services| services.to_string().contains("greeter"));
    ensure(services, || format!("kwick status does not name the service: {status}"))?;
    kwick.api.delete(&ksvc::path("greeter"))?;
    Ok(answer.trim().to_owned())
}

/// The log of the user's container tells of the request.
fn logs(kwick: &Instance<'_>, service: &str) -> Result<()> {
    until_true("the request in the pod's log", ksvc::PATIENCE, || {
        let pods = ksvc::pods(&kwick.api, service)?;
        let pod = name(pods.first().context("it has no pod")?);
        let (answer, path) = (Vec::new(), format!("{PODS}/{pod}/log?container=user-container"));
        let answer = kwick.api.open("GET", &path, "application/json", &answer)?;
        let status = answer.status;
        let log = String::from_utf8_lossy(&answer.read()?.0).into_owned();
        ensure(status == 200, || format!("{status}: {log}"))?;
        Ok(log.contains("GET / HTTP/1.1"))
    })
}

/// A new revision takes over, two share, the old one comes back, all goes.
pub(super) fn update(kwick: &Instance<'_>) -> Result<String> {
    let api = &kwick.api;
    let service = Ksvc::hello("changing");
    let host = ksvc::host(&service.clone().env("TARGET", "one").deploy(api)?)?;
    api.merge(&ksvc::path("changing"), &json!({"spec": service.clone().env("TARGET", "two").spec()}))?;
    ksvc::ready(api, "changing")?;
    answers_only(kwick, &host, "two")?;

    route(
        kwick,
        &json!([{"revisionName": "changing-00001", "percent": 50, "tag": "old"}, {"latestRevision": true, "percent": 50}]),
    )?;
    let mut counts = [0, 0];
    until_true("answers of both revisions", ksvc::PATIENCE, || {
        counts = [0, 0];
        for _ in 0..SPLIT_SAMPLE {
            let answer = ksvc::greet(&kwick.gateway, &host)?;
            match answer.split(['!', ' ']).nth(1) {
                Some("one") => counts[0] += 1,
                Some("two") => counts[1] += 1,
                _ => bail!("it answered {answer:?}"),
            }
        }
        Ok(counts.iter().all(|count| *count > 0))
    })?;
    let tagged = ksvc::greet(&kwick.gateway, &format!("old-{host}"))?;
    ensure(tagged.starts_with("Hello one!"), || format!("the tag's host answered {tagged:?}"))?;

    route(kwick, &json!([{"revisionName": "changing-00001", "percent": 100}]))?;
    answers_only(kwick, &host, "one")?;

    api.delete(&ksvc::path("changing"))?;
    until_true("404 of a deleted service", ksvc::PATIENCE, || Ok(ksvc::ask(&kwick.gateway, &host, "/")?.0 == 404))?;
    ksvc::at_scale(api, "changing", 0)?;
    let revisions = api.list("/apis/serving.knative.dev/v1/namespaces/default/revisions?labelSelector=serving.knative.dev%2Fservice%3Dchanging")?;
    ensure(revisions.is_empty(), || format!("{} revisions outlived their service", revisions.len()))?;
    Ok(format!("split {} : {}, rolled back, gone", counts[0], counts[1]))
}

fn route(kwick: &Instance<'_>, traffic: &Value) -> Result<()> {
    kwick.api.merge(&ksvc::path("changing"), &json!({"spec": {"traffic": traffic}}))?;
    ksvc::ready(&kwick.api, "changing").map(|_| ())
}

/// From some moment on, only this target answers.
fn answers_only(kwick: &Instance<'_>, host: &str, target: &str) -> Result<()> {
    const IN_A_ROW: usize = 20;
    until_true(&format!("only answers of {target:?}"), Duration::from_secs(20), || {
        for _ in 0..IN_A_ROW {
            if !ksvc::greet(&kwick.gateway, host)?.starts_with(&format!("Hello {target}!")) {
                return Ok(false);
            }
        }
        Ok(true)
    })
}
