//! A strict cold start: nothing of the pod exists before the request but the unpacked image and the spawner.
//!
//! Three figures of one run: Kwick whole, from the request at the gateway to the first byte; its spawner alone; and the baseline,
//! overlay, network namespace and link made by the same spawner's code and then Debian's `runc run`.

use std::io::Read;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;

use super::{Baseline, Figure, runc};
use crate::demo;
use crate::http::Request;
use crate::instance::Instance;
use crate::ksvc::{self, Ksvc, SERVICES};
use crate::place::Place;
use crate::until::pause;

/// Starts follow a quiet moment, as cold starts do.
pub(super) const QUIET: Duration = Duration::from_millis(150);

/// Measures all three.
pub(super) fn cold_start(place: &Place) -> Result<Vec<Figure>> {
    let runs = if place.full { 40 } else { 10 };
    let parts = runc::measure(place, runs);
    let whole = kwick(place, runs)?;
    let conditions = "strict: no process, namespace, cgroup, mount or link of the pod before the request; static hello, image unpacked, \
                      limits 1 CPU and 256 MiB, after 150 ms of quiet; request at the gateway → first byte";
    let (spawner, runc) = match parts {
        Ok(parts) => parts,
        Err(error) => {
            let baseline = Baseline::Missing(format!("{error:#}"));
            return Ok(vec![Figure::new("cold start", "ms", &whole, baseline, conditions)?]);
        }
    };
    let baseline = || match &runc {
        Ok(samples) => Baseline::Samples(
            "overlay, network namespace and link by our spawner, then runc run".to_owned(),
            samples.clone(),
        ),
        Err(error) => Baseline::Missing(format!("{error:#}")),
    };
    let alone = "the same start by the spawner alone: request for a pod → first byte of its server's answer";
    Ok(vec![
        Figure::new("cold start", "ms", &whole, baseline(), conditions)?,
        Figure::new("cold start, spawner alone", "ms", &spawner, baseline(), alone)?,
    ])
}

/// Many services that all went to zero, each started once.
fn kwick(place: &Place, runs: usize) -> Result<Vec<f64>> {
    let kwick = Instance::start(place, "cold")?;
    demo::quicken(&kwick.api)?;
    kwick.import_hello("hello")?;
    let names: Vec<String> = (0..runs).map(|run| format!("cold-{run}")).collect();
    for name in &names {
        let mut object = Ksvc::hello(name).object();
        // Small requests: the pods before must not keep this one from its place on the machine.
        object["spec"]["template"]["spec"]["containers"][0]["resources"] =
            json!({"limits": {"cpu": "1", "memory": "256Mi"}, "requests": {"cpu": "50m", "memory": "16Mi"}});
        kwick.api.create(SERVICES, &object)?;
        ksvc::ready(&kwick.api, name)?;
    }
    for name in &names {
        ksvc::at_scale(&kwick.api, name, 0)?;
    }
    let mut samples = Vec::new();
    for name in &names {
        pause(QUIET.max(Duration::from_secs(1)))?;
        let host = format!("{name}.default.localhost");
        samples.push(first_byte(&kwick, &host)?.as_secs_f64() * 1000.0);
    }
    kwick.down()?;
    Ok(samples)
}

fn first_byte(kwick: &Instance<'_>, host: &str) -> Result<Duration> {
    let headers = [("Host", host), ("Connection", "close")];
    let begun = Instant::now();
    let mut answer =
        kwick.gateway.connect()?.send(&Request { method: "GET", path: "/", headers: &headers, body: b"" })?;
    let mut byte = [0];
    answer.read_exact(&mut byte)?;
    let took = begun.elapsed();
    if answer.status != 200 {
        bail!("{host} answered {}", answer.status);
    }
    Ok(took)
}
