//! Everything a developer runs: `cargo xtask demo | test | bench | layers | …`.

mod layers;
mod sh;

use clap::{Parser, Subcommand};

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
    /// Write Knative's CustomResourceDefinitions, made from our types, into crates/knative-apis/crds
    Crds,
    /// Check that no crate names one that its layer may not know
    Layers,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Task::Crds => sh::run("cargo", ["run", "-q", "-p", "knative-apis", "--example", "crds", "--", CRDS]),
        Task::Layers => layers::run(),
    }
}
