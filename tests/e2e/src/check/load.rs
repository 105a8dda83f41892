//! What requests in flight live through.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::processes;
use super::scale::{CALLERS, all_answered};
use crate::instance::{Instance, ensure, name};
use crate::ksvc::{self, Ksvc, PODS};
use crate::until::until;

const PODS_AT_FIRST: usize = 4;

/// Every pod is deleted, and the Service updated, while a hundred slow requests are in the containers: each is answered.
pub(super) fn pods_deleted(kwick: &Instance<'_>) -> Result<String> {
    let service = Ksvc::hello("steady").scale("min-scale", &PODS_AT_FIRST.to_string());
    let host = ksvc::host(&service.clone().deploy(&kwick.api)?)?;
    until("all pods", ksvc::PATIENCE, || {
        let ready = ksvc::ready_pods(&kwick.api, "steady")?;
        if ready >= PODS_AT_FIRST { Ok(Some(())) } else { bail!("{ready} are ready") }
    })?;
    // The sample has a thread for each connection, and a connection has a request at a time.
    let idle = threads(kwick)?;
    let mut gone = 0;
    all_answered(kwick, &host, "/?ms=8000", || {
        let all = idle + CALLERS;
        until("every request in a container", ksvc::PATIENCE, || {
            let threads = threads(kwick)?;
            if threads >= all { Ok(Some(())) } else { bail!("{threads} threads of {all}") }
        })?;
        for pod in ksvc::pods(&kwick.api, "steady")? {
            kwick.api.delete(&format!("{PODS}/{}", name(&pod)))?;
            gone += 1;
        }
        let update = service.clone().env("TARGET", "update").spec();
        kwick.api.merge(&ksvc::path("steady"), &json!({ "spec": update }))?;
        Ok(())
    })?;
    ksvc::ready(&kwick.api, "steady")?;
    let answer = ksvc::greet(&kwick.gateway, &host)?;
    ensure(answer.starts_with("Hello update!"), || format!("it answered {answer:?}"))?;
    kwick.api.delete(&ksvc::path("steady"))?;
    Ok(format!("{gone} pods deleted, {CALLERS} × 200"))
}

/// Threads of the Service's containers.
fn threads(kwick: &Instance<'_>) -> Result<usize> {
    let processes: BTreeMap<_, _> = processes::of_service(&kwick.api, "steady")?;
    let of_process = |(pid, _): &processes::Process| {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).context("a container ended")?;
        Ok(tasks.count())
    };
    processes.values().flatten().map(of_process).sum()
}
