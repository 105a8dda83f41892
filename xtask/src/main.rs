//! Everything a developer runs: `cargo xtask demo | test | bench | layers | …`.
//!
//! This program builds and arranges; it links nothing of Kwick, so that it is ready in seconds. What drives a running Kwick (demo,
//! end-to-end checks, benchmarks) is `tests/e2e`, which this program builds beside the binary and starts, as root.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a program for a terminal that reads the real clock and its environment, and blocks while others run"
)]

mod build;
mod deny;
mod drive;
mod knative;
mod layers;
mod serving;
mod sh;
mod stage;
mod test;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Where the definitions of Knative's kinds stand as files.
const CRDS: &str = "crates/knative-apis/crds";

/// Kwick's developer commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Every check; what .ci/run calls
    Test(test::Options),
    /// Build, start Kwick on a throw-away data directory, deploy samples/hello, show 0→1→N→0
    Demo(DriveOptions),
    /// Measure cold start, warm hop, apply, burst, memory and start against their baselines
    Bench(DriveOptions),
    /// Write Knative's CustomResourceDefinitions, made from our types, into crates/knative-apis/crds
    Crds,
    /// Check that no crate names one that its layer may not know
    Layers,
    /// Check the licences and sources of everything that Kwick is linked with
    Deny,
    /// Build kubectl from its public module into the target directory and print its path
    Kubectl,
    /// Build Knative Serving's own tests and their images into the target directory and print the folder
    Suites,
}

/// Handed on to the program that does it; `cargo xtask demo -- --help` lists them.
#[derive(Args)]
struct DriveOptions {
    /// Options of the command, such as --once, --full, --only NAME, --json FILE
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// What a shell says of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let code = match sh::watch_signals() {
        Ok(()) => run(command),
        Err(error) => failed(&error),
    };
    if sh::is_interrupted() { ExitCode::from(INTERRUPTED) } else { code }
}

/// A full run has a kube-apiserver to compare the API with, where Go is there to build it.
fn bench(options: &[String]) -> anyhow::Result<()> {
    if options.iter().any(|option| option == "--full") && sh::exists("go") {
        build::kube_oracle()?;
    }
    drive::build_and_run("bench", options)
}

fn run(command: Task) -> ExitCode {
    let done = match command {
        Task::Test(options) => return test::run(&options),
        Task::Demo(options) => drive::build_and_run("demo", &options.options),
        Task::Bench(options) => bench(&options.options),
        Task::Crds => sh::run("cargo", ["run", "-q", "-p", "knative-apis", "--example", "crds", "--", CRDS]),
        Task::Layers => layers::run(),
        Task::Deny => deny::run(),
        Task::Kubectl => build::kubectl().map(|path| println!("{}", path.display())),
        Task::Suites => serving::build(sh::LIMIT).map(|path| println!("{}", path.display())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}
