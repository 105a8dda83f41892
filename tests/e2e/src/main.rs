//! Drives the built binary as a black box: end-to-end checks, the demo, recorded requests, the README's commands, the benchmarks.
//!
//! It links nothing of what it checks (the spawner alone, for a benchmark's baseline): it speaks to a running instance over HTTP and through kubectl, as a user does. `cargo xtask`
//! builds it beside the binary and starts it as root. Everything it starts lives below its scratch folder and is gone when it ends,
//! also when it fails or is interrupted.
//!
//! Where to start: [`instance`] runs a Kwick, [`api`] and [`http`] talk to it, [`check`] is the list of checks.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a program for a terminal that measures by the real clock; its threads block, and it serves nobody"
)]

mod api;
mod bench;
mod check;
mod demo;
mod golden;
mod http;
mod instance;
mod knative;
mod ksvc;
mod kubectl;
mod leaks;
mod leftovers;
mod memory;
mod place;
mod readme;
mod replay;
mod serving;
mod until;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "e2e", about = "Drives a Kwick as a black box; `cargo xtask` builds and starts this")]
struct Cli {
    /// Be interrupted, as by Ctrl-C, when standard input ends
    #[arg(long)]
    until_eof: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Deploy a service, show its answer and its scaling 0→1→N→0
    Demo(demo::Options),
    /// Every end-to-end check
    Check(check::Options),
    /// Requests recorded on a kube-apiserver: how many status codes agree
    Golden(golden::Options),
    /// kn's recorded requests: methods, status codes and ends of watches
    Replay(replay::Options),
    /// Knative's own control plane on the cluster house alone
    Knative(knative::Options),
    /// Knative Serving's own tests
    Serving(serving::Options),
    /// Pods that come and go leave nothing
    Leaks(leaks::Options),
    /// Measure, each figure beside its baseline
    Bench(bench::Options),
    /// The commands of README.md
    Readme(readme::Options),
}

fn main() -> ExitCode {
    // A benchmark's baseline uses the spawner's code, which is this program, started again.
    if cluster_sandbox::spawner::is_spawner(std::env::args_os()) {
        return cluster_sandbox::spawner::run(std::env::args_os());
    }
    if let Err(error) = until::watch_signals() {
        println!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    let cli = Cli::parse();
    if cli.until_eof {
        until::watch_input();
    }
    let done = match cli.command {
        Command::Demo(options) => demo::run(&options),
        Command::Check(options) => check::run(&options),
        Command::Golden(options) => golden::run(&options),
        Command::Replay(options) => replay::run(&options),
        Command::Knative(options) => knative::run(&options),
        Command::Serving(options) => serving::run(&options),
        Command::Leaks(options) => leaks::run(&options),
        Command::Readme(options) => readme::run(&options),
        Command::Bench(options) => bench::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
