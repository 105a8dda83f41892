//! How long from an applied object to Ready, and from a burst to enough pods: seen by a watch, not by polling.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Baseline, Figure};
use crate::api::{Api, text};
use crate::demo;
use crate::instance::{Instance, name};
use crate::ksvc::{self, Ksvc, PODS, SERVICES};
use crate::place::Place;
use crate::until::pause;

const PATIENCE: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_millis(500);
const CALLERS: usize = 100;
const PODS_WANTED: usize = 10;

/// POST of a Service until a watch shows it Ready; the image is local and was used before.
pub(super) fn apply_to_ready(place: &Place) -> Result<Vec<Figure>> {
    let runs = if place.full { 30 } else { 10 };
    let kwick = Instance::start(place, "apply")?;
    kwick.import_hello("hello")?;
    Ksvc::hello("first").deploy(&kwick.api)?;
    kwick.api.delete(&ksvc::path("first"))?;
    ksvc::at_scale(&kwick.api, "first", 0)?;
    let mut samples = Vec::new();
    for run in 0..runs {
        let name = format!("applied-{run}");
        let events = watch(&kwick.api, &format!("{SERVICES}?watch=true"))?;
        pause(QUIET)?;
        let begun = Instant::now();
        Ksvc::hello(&name).create(&kwick.api)?;
        wait(&events, |object| crate::instance::name(object) == name && ksvc::is_ready(object, "True"))?;
        samples.push(begun.elapsed().as_secs_f64() * 1000.0);
        kwick.api.delete(&ksvc::path(&name))?;
        ksvc::at_scale(&kwick.api, &name, 0)?;
    }
    kwick.down()?;
    let conditions = "POST of a Service → Ready=True in a watch; static hello, image local and unpacked, one pod";
    Ok(vec![Figure::new("apply → Ready", "ms", &samples, Baseline::None, conditions)?])
}

/// A hundred slow requests at zero, ten meant for one pod: until ten pods are ready.
pub(super) fn burst(place: &Place) -> Result<Vec<Figure>> {
    let runs = if place.full { 10 } else { 3 };
    let kwick = Instance::start(place, "burst")?;
    demo::quicken(&kwick.api)?;
    kwick.import_hello("hello")?;
    let host = ksvc::host(&Ksvc::hello("slow").scale("target", "10").deploy(&kwick.api)?)?;
    let mut samples = Vec::new();
    for _ in 0..runs {
        ksvc::at_scale(&kwick.api, "slow", 0)?;
        pause(QUIET)?;
        samples.push(one_burst(&kwick, &host)?.as_secs_f64() * 1000.0);
    }
    kwick.down()?;
    let conditions = "100 requests of 5 s at once to a service at zero, target 10: the first request → the 10th pod Ready in a watch";
    Ok(vec![Figure::new("burst → 10 pods", "ms", &samples, Baseline::None, conditions)?])
}

fn one_burst(kwick: &Instance<'_>, host: &str) -> Result<Duration> {
    let events = watch(&kwick.api, &format!("{PODS}?watch=true&labelSelector=serving.knative.dev%2Fservice%3Dslow"))?;
    std::thread::scope(|scope| {
        let begun = Instant::now();
        let callers: Vec<_> =
            (0..CALLERS).map(|_| scope.spawn(|| ksvc::ask(&kwick.gateway, host, "/?ms=5000"))).collect();
        let mut ready = BTreeSet::new();
        let took = wait(&events, |pod| {
            if ksvc::condition(pod, "Ready").0 == "True" {
                ready.insert(name(pod).to_owned());
            }
            ready.len() >= PODS_WANTED
        })
        .map(|()| begun.elapsed());
        for caller in callers {
            let (status, body) = caller.join().ok().context("a caller ended early")??;
            if status != 200 {
                bail!("an answer was {status}: {}", body.trim());
            }
        }
        took
    })
}

/// The objects of a watch's events, read by a thread that ends with the watch or with its reader.
fn watch(api: &Api, path: &str) -> Result<Receiver<Value>> {
    let mut answer = api.open("GET", path, "application/json", b"")?;
    if answer.status != 200 {
        bail!("GET {path}: {}", answer.status);
    }
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        while let Ok(Some(line)) = answer.line() {
            let Ok(event) = serde_json::from_slice::<Value>(&line) else { return };
            if text(&event, "/type") == "DELETED" {
                continue;
            }
            let Some(object) = event.get("object") else { return };
            if sender.send(object.clone()).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

fn wait(events: &Receiver<Value>, mut is_it: impl FnMut(&Value) -> bool) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let object = events.recv_timeout(left).context("it did not come within a minute")?;
        if is_it(&object) {
            return Ok(());
        }
    }
}
