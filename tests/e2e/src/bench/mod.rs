//! `cargo xtask bench`: what Kwick costs, each figure beside its baseline of the same run, medians with their conditions.
//!
//! It prints and judges nothing: a machine's noise is no defect. A baseline whose program is not installed is named as missing.

mod api;
mod apply;
mod cold_start;
mod footprint;
mod load;
mod runc;
mod starts;
mod warm;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;

use crate::place::Place;

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Place,
    /// Only benchmarks whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Write the figures to this file as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One figure.
#[derive(Serialize)]
pub(crate) struct Figure {
    /// What was measured.
    name: String,
    /// The median.
    value: f64,
    /// What 99 of 100 samples do not exceed; of few samples the greatest.
    p99: f64,
    /// Of value, p99, min, max and baseline_value.
    unit: &'static str,
    /// What it is compared with, or why there is none.
    baseline: String,
    /// The baseline's median.
    baseline_value: Option<f64>,
    /// value / baseline_value.
    ratio: Option<f64>,
    /// How many samples the medians are of.
    runs: usize,
    min: f64,
    max: f64,
    /// How it was measured.
    conditions: String,
}

/// What a figure is measured against.
pub(crate) enum Baseline {
    /// There is nothing to compare with.
    None,
    /// Its program is not there, or failed: this is why.
    Missing(String),
    /// Its name and samples.
    Samples(String, Vec<f64>),
}

struct Benchmark {
    name: &'static str,
    run: fn(&Place) -> Result<Vec<Figure>>,
}

const BENCHMARKS: [Benchmark; 8] = [
    Benchmark { name: "up", run: footprint::up },
    Benchmark { name: "apply", run: apply::apply_to_ready },
    Benchmark { name: "burst", run: apply::burst },
    Benchmark { name: "warm", run: warm::warm_request },
    Benchmark { name: "memory", run: footprint::memory },
    Benchmark { name: "cold-start", run: cold_start::cold_start },
    Benchmark { name: "starts", run: starts::starts },
    Benchmark { name: "api", run: api::api },
];

/// Measures and prints.
pub(crate) fn run(options: &Options) -> Result<()> {
    let _scratch = options.place.open()?;
    let (mut figures, mut failures) = (Vec::new(), Vec::new());
    let wanted = |name: &str| options.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    println!("machine: {}", machine());
    for benchmark in BENCHMARKS.iter().filter(|benchmark| wanted(benchmark.name)) {
        match (benchmark.run)(&options.place) {
            Ok(some) => {
                some.iter().for_each(print);
                figures.extend(some);
            }
            Err(error) => {
                println!("{}: could not be measured: {error:#}", benchmark.name);
                failures.push(benchmark.name);
            }
        }
    }
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&figures)?;
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if !failures.is_empty() {
        bail!("could not be measured: {}", failures.join(", "));
    }
    Ok(())
}

impl Figure {
    /// A figure of samples; conditions say how they came about.
    pub(crate) fn new(
        name: &str,
        unit: &'static str,
        samples: &[f64],
        baseline: Baseline,
        conditions: &str,
    ) -> Result<Self> {
        let value = median(samples).context("nothing was measured")?;
        let (baseline, baseline_value) = match baseline {
            Baseline::None => ("none".to_owned(), None),
            Baseline::Missing(why) => (format!("missing: {why}"), None),
            Baseline::Samples(name, samples) => (name, median(&samples)),
        };
        Ok(Self {
            name: name.to_owned(),
            value,
            p99: percentile(samples, 99).unwrap_or(value),
            unit,
            baseline,
            baseline_value,
            ratio: baseline_value.map(|other| value / other),
            runs: samples.len(),
            min: samples.iter().copied().fold(f64::INFINITY, f64::min),
            max: samples.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            conditions: conditions.to_owned(),
        })
    }
}

fn print(figure: &Figure) {
    let Figure { name, value, p99, unit, min, max, runs, .. } = figure;
    println!("{name}: {value:.2} {unit} (p99 {p99:.2}, min {min:.2}, max {max:.2}, {runs} runs)");
    match (figure.baseline_value, figure.ratio) {
        (Some(baseline), Some(ratio)) => println!("    {ratio:.2} × of {}: {baseline:.2} {unit}", figure.baseline),
        _ => println!("    baseline {}", figure.baseline),
    }
    println!("    {}", figure.conditions);
}

/// The middle sample; of an even number the mean of the middle two.
fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    let upper = *sorted.get(half)?;
    if sorted.len() % 2 == 1 { Some(upper) } else { Some(f64::midpoint(*sorted.get(half - 1)?, upper)) }
}

/// The smallest sample that so many of a hundred do not exceed.
fn percentile(samples: &[f64], of_hundred: usize) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * of_hundred).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Processor, memory, kernel.
fn machine() -> String {
    let first = |path: &str, key: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
        line.split_once(':').map_or(String::new(), |(_, value)| value.trim().to_owned())
    };
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!(
        "{cores} × {}, {}, Linux {}",
        first("/proc/cpuinfo", "model name"),
        first("/proc/meminfo", "MemTotal"),
        kernel.trim()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&hundred, 99), Some(99.0));
        assert_eq!((percentile(&[2.0, 1.0], 99), percentile(&[], 99)), (Some(2.0), None));
        let other = Baseline::Samples("other".into(), vec![2.0]);
        let figure = Figure::new("x", "ms", &[5.0, 1.0, 3.0], other, "").unwrap();
        assert_eq!((figure.value, figure.ratio, figure.min, figure.max), (3.0, Some(1.5), 1.0, 5.0));
    }
}
