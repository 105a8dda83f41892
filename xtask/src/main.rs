//! Everything a developer runs: `cargo xtask demo | test | bench | layers | …`.

mod layers;
mod sh;

use clap::{Parser, Subcommand};

/// Kwick's developer commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check that no crate names one that its layer may not know
    Layers,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Task::Layers => layers::run(),
    }
}
