//! Many cold starts at once: services at zero that are all called in one moment, and again when they are back at zero.
//!
//! The baseline starts as many containers in loops, one per core, each start as in the cold start's baseline; nothing of them is removed
//! before the last has answered, as Kwick's pods stay, too.

use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::cold_start::{at_zero, first_byte};
use super::{Baseline, Figure, runc};
use crate::instance::Instance;
use crate::ksvc;
use crate::place::Place;

const SERVICES: usize = 50;
const LOOPS: usize = 2;

/// Starts per second, the first time and again.
pub(super) fn starts(place: &Place) -> Result<Vec<Figure>> {
    let loops = || runc::loops(place, LOOPS, SERVICES / LOOPS);
    let before = loops();
    let kwick = Instance::start(place, "starts")?;
    let names: Vec<String> = (0..SERVICES).map(|number| format!("start-{number}")).collect();
    at_zero(&kwick, &names, "5m")?;
    let first = all_at_once(&kwick, &names)?;
    names.iter().try_for_each(|name| ksvc::at_scale(&kwick.api, name, 0))?;
    let again = all_at_once(&kwick, &names)?;
    kwick.down()?;
    let baseline = match before.and_then(|before| Ok([before, loops()?])) {
        Ok(rates) => Baseline::Samples(format!("{LOOPS} loops of runc run, one per core"), rates.into()),
        Err(error) => Baseline::Missing(format!("{error:#}")),
    };
    let conditions = "50 services at zero, called at once, then again: starts a second until the last first byte (more is better), none failed";
    Ok(vec![Figure::new("starts", "/s", &[first, again], baseline, conditions)?])
}

/// Calls every service in one moment; how many starts that were a second.
fn all_at_once(kwick: &Instance<'_>, names: &[String]) -> Result<f64> {
    let begun = Instant::now();
    let failures: Vec<String> = std::thread::scope(|scope| {
        let call = |name: &String| first_byte(kwick, &format!("{name}.default.localhost"));
        let calls: Vec<_> = names.iter().map(|name| scope.spawn(move || call(name))).collect();
        let outcomes = calls.into_iter().map(|call| call.join().ok().context("a caller panicked").flatten());
        outcomes.filter_map(|outcome| outcome.err().map(|error| format!("{error:#}"))).collect()
    });
    if let Some(first) = failures.first() {
        bail!("{} of {} starts failed: {first}", failures.len(), names.len());
    }
    Ok(names.len() as f64 / begun.elapsed().as_secs_f64())
}
