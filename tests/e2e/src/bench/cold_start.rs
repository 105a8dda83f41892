//! Cold starts. In a strict one nothing of the pod exists before the request but the unpacked image and the spawner; in a pooled one the
//! spawner has parked pods ahead, as it does where it is told to.
//!
//! Figures of one run: Kwick whole, from the request at the gateway to the first byte, strict and pooled in turns; its spawner alone; and
//! the baseline, overlay, network namespace and link made by the same spawner's code and then Debian's `runc run`.

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

/// Measures all of them.
pub(super) fn cold_start(place: &Place) -> Result<Vec<Figure>> {
    let runs = if place.full { 40 } else { 10 };
    let parts = runc::measure(place, runs);
    let [strict, pooled] = kwick(place, runs)?;
    let conditions = "strict: no process, namespace, cgroup, mount or link of the pod before the request; static hello, image unpacked, \
                      limits 1 CPU and 256 MiB, after 1 s of quiet; request at the gateway → first byte";
    let conditions_pooled = "pooled: the same, but with two pods parked ahead";
    let (spawner, runc) = match parts {
        Ok(parts) => parts,
        Err(error) => {
            let baseline = || Baseline::Missing(format!("{error:#}"));
            return Ok(vec![
                Figure::new("cold start, strict", "ms", &strict, baseline(), conditions)?,
                Figure::new("cold start, pooled", "ms", &pooled, baseline(), conditions_pooled)?,
            ]);
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
        Figure::new("cold start, strict", "ms", &strict, baseline(), conditions)?,
        Figure::new("cold start, pooled", "ms", &pooled, baseline(), conditions_pooled)?,
        Figure::new("cold start, spawner alone", "ms", &spawner, baseline(), alone)?,
    ])
}

/// Strict and pooled starts, by two instances in turns, so that both meet the same moments of the machine.
fn kwick(place: &Place, runs: usize) -> Result<[Vec<f64>; 2]> {
    let strict = Instance::start(place, "strict")?;
    let pooled = Instance::start_with(place, "pooled", &["--parked-pods", "2"])?;
    let both = [&strict, &pooled];
    let names: Vec<String> = (0..runs).map(|run| format!("cold-{run}")).collect();
    both.iter().try_for_each(|kwick| at_zero(kwick, &names, "50m"))?;
    let mut samples = [Vec::new(), Vec::new()];
    for name in &names {
        for (kwick, samples) in both.iter().zip(&mut samples) {
            // Also long enough for a pod to be parked.
            pause(QUIET.max(Duration::from_secs(1)))?;
            samples.push(first_byte(kwick, &format!("{name}.default.localhost"))?.as_secs_f64() * 1000.0);
        }
    }
    strict.down()?;
    pooled.down()?;
    Ok(samples)
}

/// Makes services that all went to zero. What their pods reserve of a processor is small: those before must not keep others from their place
/// on the machine.
pub(super) fn at_zero(kwick: &Instance<'_>, names: &[String], cpu: &str) -> Result<()> {
    demo::quicken(&kwick.api)?;
    kwick.import_hello("hello")?;
    for name in names {
        let mut object = Ksvc::hello(name).object();
        object["spec"]["template"]["spec"]["containers"][0]["resources"] =
            json!({"limits": {"cpu": "1", "memory": "256Mi"}, "requests": {"cpu": cpu, "memory": "16Mi"}});
        kwick.api.create(SERVICES, &object)?;
        ksvc::ready(&kwick.api, name)?;
    }
    names.iter().try_for_each(|name| ksvc::at_scale(&kwick.api, name, 0))
}

pub(super) fn first_byte(kwick: &Instance<'_>, host: &str) -> Result<Duration> {
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
