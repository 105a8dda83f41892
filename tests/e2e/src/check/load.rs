//! What requests in flight live through.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde_json::json;

use super::processes;
use super::scale::{CALLERS, all_answered};
use crate::instance::{Instance, ensure, name};
use crate::ksvc::{self, Ksvc, PODS};
use crate::place::Place;
use crate::until::{pause, until};

const PODS_AT_FIRST: usize = 4;
/// So many callers ask again and again while Kwick is restarted,
const PATIENT_CALLERS: usize = 10;
/// this often,
const RESTARTS: usize = 3;
/// and so long before and after each time.
const BETWEEN: Duration = Duration::from_secs(1);

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

/// Kwick is restarted while requests come and are in flight: those that it has taken end first, those that come meanwhile wait for the next
/// process, and each is answered.
pub(super) fn restarted(place: &Place) -> Result<String> {
    let kwick = Instance::start(place, "restarted")?;
    kwick.import_hello("hello")?;
    let host = ksvc::host(&Ksvc::hello("steady").scale("min-scale", "1").deploy(&kwick.api)?)?;
    let is_over = AtomicBool::new(false);
    let outcome = std::thread::scope(|scope| {
        let ask = || ask_until(&kwick, &host, &is_over);
        let callers: Vec<_> = (0..PATIENT_CALLERS).map(|_| scope.spawn(ask)).collect();
        let done = (0..RESTARTS).try_for_each(|_| {
            pause(BETWEEN)?;
            kwick.signal(Signal::SIGTERM)?;
            kwick.up_again()
        });
        let done = done.and_then(|()| pause(BETWEEN));
        is_over.store(true, Ordering::Relaxed);
        let calls = callers.into_iter().map(|caller| caller.join().ok().context("a caller ended early")?);
        let calls = calls.collect::<Result<Vec<_>>>();
        done.and(calls)
    })?;
    let count: usize = outcome.iter().map(|(count, _)| count).sum();
    let longest = outcome.iter().map(|(_, longest)| *longest).max().unwrap_or_default();
    kwick.down()?;
    Ok(format!("{RESTARTS} restarts, {count} × 200, the longest wait {} ms", longest.as_millis()))
}

/// Asks again and again, on a new connection each time; how often, and the longest that it took.
fn ask_until(kwick: &Instance<'_>, host: &str, is_over: &AtomicBool) -> Result<(usize, Duration)> {
    let (mut count, mut longest) = (0, Duration::ZERO);
    while !is_over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let (status, answer) = ksvc::ask(&kwick.gateway, host, "/?ms=200")?;
        ensure(status == 200, || format!("{status}: {answer}"))?;
        count += 1;
        longest = longest.max(begun.elapsed());
    }
    Ok((count, longest))
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
