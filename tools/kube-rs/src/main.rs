//! A program as people write them with kube-rs, after its examples, against the API of the kubeconfig in KUBECONFIG. Its argument is the
//! image of a shell; with a second one, the address of Knative's gateway, it is that of samples/hello, and the program goes through the life
//! of a Knative Service. It prints a line for each thing that works and ends with 1 at the first that does not.

mod api;
mod control;
mod election;
mod pods;
mod serving;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use kube::Client;

const NAMESPACE: &str = "kube-rs";
/// How long a step may take.
const PATIENCE: Duration = Duration::from_secs(90);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// What every step uses.
struct Ground {
    client: Client,
    image: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let image = std::env::args().nth(1).context("usage: kube-rs IMAGE [GATEWAY]")?;
    let on = Ground { client: Client::try_default().await?, image };
    if let Some(gateway) = std::env::args().nth(2) {
        return serving::journey(&on, &gateway).await;
    }
    step("namespace", api::make_namespace(&on)).await?;
    step("discovery, dynamic lists", api::discover(&on)).await?;
    step("create, get, entry, replace, pages, delete", api::write_and_read(&on)).await?;
    step("patches of four kinds, conflicts", api::patch(&on)).await?;
    step("a derived CRD, its scale", control::define(&on)).await?;
    step("watcher, reflector, streamed lists", control::reflect(&on)).await?;
    step("controller with owned objects, status, events", control::generate(&on)).await?;
    step("controller with finalizer", control::synchronise(&on)).await?;
    step("election by Lease", election::elect(&on)).await?;
    step("log", pods::log(&on)).await?;
    step("exec, terminal", pods::exec(&on)).await?;
    step("attach", pods::attach(&on)).await?;
    step("copies by tar", pods::copy(&on)).await?;
    step("port-forward", pods::forward(&on)).await?;
    step("cordon, eviction", pods::cordon_and_evict(&on)).await?;
    step("namespace gone with all in it", api::delete_namespace(&on)).await
}

async fn step(name: &str, run: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::time::timeout(PATIENCE, Box::pin(run))
        .await
        .context("it takes too long")
        .flatten()
        .context(name.to_owned())?;
    println!("{name}");
    Ok(())
}

/// Looks until it is so, or the step's time is over.
async fn until(mut is_so: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    while !is_so().await? {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

/// The code of what was refused.
fn refused<T>(outcome: kube::Result<T>) -> Option<u16> {
    match outcome {
        Err(kube::Error::Api(status)) => Some(status.code),
        _ => None,
    }
}
