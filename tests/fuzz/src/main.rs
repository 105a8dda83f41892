//! Fuzzing on stable Rust: a kept corpus (`corpus/TARGET/*`), mutated from a seed, against everything that reads hostile bytes.
//!
//! Each target runs in a process of its own with bounded memory and, like a request, on a small stack. What it is working on lies in a file,
//! so that whatever ends it (a panic, an overflow of the stack, memory, a hang) leaves the input to replay:
//!
//! ```text
//! fuzz run [--seconds 5 | --inputs 10000] [--seed 1] [--target NAME]     all targets, one after the other
//! fuzz replay TARGET FILE                                                one input
//! ```
//! An input that found something belongs into the corpus once it is repaired. Where to start: [`targets`].
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a program for a terminal that measures by the real clock"
)]

mod corpus;
mod mutate;
mod supervise;
mod targets;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(name = "fuzz", about = "Mutates a kept corpus against everything that reads hostile bytes")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fuzz every target, or one
    Run {
        #[command(flatten)]
        bounds: Bounds,
        /// What mutations follow from; a fresh one if left out
        #[arg(long)]
        seed: Option<u64>,
        #[arg(long, value_name = "NAME")]
        target: Option<String>,
        /// Where inputs that found something are kept
        #[arg(long, value_name = "DIR", default_value = "target/fuzz")]
        findings: PathBuf,
    },
    /// Try one input
    Replay { target: String, file: PathBuf },
    /// What `run` starts for each target
    #[command(hide = true)]
    Work {
        #[command(flatten)]
        bounds: Bounds,
        target: String,
        seed: u64,
        current: PathBuf,
    },
}

/// When a target has been tried enough; after 5 seconds unless said otherwise.
#[derive(Args, Clone, Copy, Debug)]
#[group(multiple = false)]
struct Bounds {
    /// So long for each target
    #[arg(long)]
    seconds: Option<u64>,
    /// So many inputs for each target. With a seed they are always the same, so what a gate tries does not follow from how fast the machine is
    #[arg(long)]
    inputs: Option<u64>,
}

/// The same, as one value.
#[derive(Clone, Copy, Debug)]
enum Enough {
    After(Duration),
    Inputs(u64),
}

impl From<Bounds> for Enough {
    fn from(Bounds { seconds, inputs }: Bounds) -> Self {
        match inputs {
            Some(count) => Self::Inputs(count),
            None => Self::After(Duration::from_secs(seconds.unwrap_or(5))),
        }
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Run { bounds, seed, target, findings } => {
            let seed = seed.unwrap_or_else(fresh_seed);
            supervise::all(target.as_deref(), bounds.into(), seed, &findings)
        }
        Command::Replay { target, file } => {
            let input = std::fs::read(&file).with_context(|| format!("read {}", file.display()))?;
            work::replay(&target, input)
        }
        Command::Work { bounds, target, seed, current } => work::work(&target, bounds.into(), seed, &current),
    }
}

fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or_default()
}
