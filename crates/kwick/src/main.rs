//! The program: which of its roles it is asked for.
//!
//! ```text
//! kwick __spawner …    the root process that keeps containers (cluster_sandbox::spawner); told apart first, before anything else exists
//! kwick up|down        root: the instance's directory, lock and spawner; then `up` becomes the unprivileged `kwick __serve`   (cli/)
//! kwick __serve        everything that listens: API, controllers, node, gateway, registry                                 (serve/)
//! kwick gateway        the gateway before a Knative that runs elsewhere                                                   (cli/)
//! kwick queue-proxy    the sidecar of a Revision's Pods, where the node does not have it built in                          (cli/)
//! kwick status|…       commands of a client
//! ```
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod cli;
mod exit;
mod explain;
mod image;
mod instance;
mod serve;

use std::process::ExitCode;

use clap::Parser as _;
use cluster_sandbox::spawner;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if spawner::is_spawner(std::env::args_os()) {
        return spawner::run(std::env::args_os());
    }
    match cli::run(cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error),
    }
}
