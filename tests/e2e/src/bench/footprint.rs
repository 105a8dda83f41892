//! How fast Kwick starts, and what it holds in memory.

use std::time::Duration;

use anyhow::Result;

use super::{Baseline, Figure};
use crate::demo;
use crate::instance::{Instance, timed};
use crate::ksvc::{self, Ksvc};
use crate::memory::pss_megabytes;
use crate::place::Place;
use crate::until::pause;

/// `kwick up --detach` on a new data directory, until it returns, which is when everything is ready.
pub(super) fn up(place: &Place) -> Result<Vec<Figure>> {
    let runs = if place.full { 15 } else { 5 };
    let mut samples = Vec::new();
    // The first brings the binary into the page cache.
    for run in 0..=runs {
        let (kwick, took) = timed(|| Instance::start(place, &format!("up-{run}")))?;
        kwick.down()?;
        if run > 0 {
            samples.push(took.as_secs_f64() * 1000.0);
        }
    }
    let conditions = "`kwick up --detach`, new data directory, binary in the page cache, until the command returns";
    Ok(vec![Figure::new("up → ready", "ms", &samples, Baseline::None, conditions)?])
}

/// The proportional set size of every process that Kwick runs, with one service at zero.
pub(super) fn memory(place: &Place) -> Result<Vec<Figure>> {
    let idle = Duration::from_secs(if place.full { 60 } else { 20 });
    let kwick = Instance::start(place, "memory")?;
    demo::quicken(&kwick.api)?;
    kwick.import_hello("hello")?;
    let host = ksvc::host(&Ksvc::hello("hello").deploy(&kwick.api)?)?;
    ksvc::greet(&kwick.gateway, &host)?;
    ksvc::at_scale(&kwick.api, "hello", 0)?;
    pause(idle)?;
    let pids = [kwick.pid()?, kwick.spawner_pid()?];
    let sizes: Vec<f64> = pids.iter().map(|pid| pss_megabytes(*pid)).collect::<Result<_>>()?;
    kwick.down()?;
    let parts = sizes.iter().map(|size| format!("{size:.1}")).collect::<Vec<_>>().join(" + ");
    let conditions = format!("PSS of kwick and its spawner ({parts}), one service at zero, {} s idle", idle.as_secs());
    Ok(vec![Figure::new("memory", "MB", &[sizes.iter().sum()], Baseline::None, &conditions)?])
}
