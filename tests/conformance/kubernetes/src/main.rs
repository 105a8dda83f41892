//! Kwick's API server beside a real kube-apiserver and etcd: operations from a seed are sent to both, one after another, and all that they
//! answer is compared: codes, bodies, warnings, watch events, owners of fields.
//!
//! Where to start: [`generate`] draws operations from `data/`, [`run`] sends them, [`compare`] says what is the same, [`report`] groups what
//! is not. `data/known.yaml` lists what is meant to differ; of anything else there may be so many kinds as `--unexplained` says, none unless
//! said. `cargo xtask test --only conformance` builds the servers.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | both answer the same, but for what is known and allowed |
//! | 1 | it could not be compared: a server does not start, or does not answer |
//! | 3 | they differ |
#![expect(clippy::print_stdout, reason = "a program for a terminal")]

mod catalogue;
mod client;
mod compare;
mod generate;
mod operation;
mod report;
mod run;
mod servers;
mod shrink;
mod side;
mod until;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::Value;
use tokio::time::Instant;

use catalogue::Catalogue;
use client::{Client, Wire};
use compare::Pairs;
use generate::Generator;
use operation::Operation;
use report::{Group, Groups, Known};
use run::{Run, Servers};
use servers::{Kwick, Oracle, Secrets};
use until::until;

/// How long a custom resource may take until it is served.
const SERVED_WITHIN: Duration = Duration::from_secs(20);
/// The exit code that says that the servers differ in more than is known and allowed.
const DIFFERS: u8 = 3;

/// Compares Kwick's API server with a kube-apiserver.
#[derive(Parser)]
struct Options {
    /// The folder of the programs kube-apiserver and etcd
    #[arg(long)]
    oracle: PathBuf,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many operations are drawn
    #[arg(long, default_value_t = 2000)]
    operations: usize,
    /// So many kinds of differences may be unexplained
    #[arg(long, default_value_t = 0)]
    unexplained: usize,
    /// Only these of them, by number
    #[arg(long, value_delimiter = ',')]
    steps: Vec<usize>,
    /// Print what both answer to every operation on an object, given as KIND/NAMESPACE/NAME such as widgets/0/o1
    #[arg(long)]
    trace: Option<String>,
    /// Also look for the fewest operations that show a difference
    #[arg(long)]
    shrink: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match compare(&Options::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(DIFFERS),
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything was as it should be.
async fn compare(options: &Options) -> Result<bool> {
    // Another crate may have chosen already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let catalogue = Catalogue::load()?;
    let known = Known::load()?;
    let folder = tempfile::tempdir()?;
    let secrets = Secrets::generate()?;
    let kwick = Kwick::start(&secrets).await?;
    let oracle = Oracle::start(&options.oracle, folder.path(), &secrets, &kwick.tasks).await?;
    let clients = (Client::new(kwick.endpoint.clone()), Client::new(oracle.endpoint.clone()));
    let mut servers = Servers { kwick: clients.0, oracle: clients.1, pairs: Pairs::default(), runs: 0 };
    define(&mut servers, &catalogue).await?;
    let is_good = judge(options, &mut servers, &catalogue, &known).await?;
    kwick.stop();
    Ok(is_good)
}

/// Makes the custom kinds, and waits until both serve them.
async fn define(servers: &mut Servers, catalogue: &Catalogue) -> Result<()> {
    let wire = |method, path: &str, body: Option<&Value>| Wire {
        method,
        path: path.to_owned(),
        content_type: if body.is_some() { "application/json" } else { "" },
        body: body.map(Value::to_string),
    };
    for definition in &catalogue.definitions {
        let create = wire("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", Some(definition));
        let (kwick, oracle) = servers.both(&create, &create).await?;
        if !(kwick.is_success() && oracle.is_success()) {
            bail!("a definition was refused: {} {}", kwick.body, oracle.body);
        }
    }
    for kind in &catalogue.kinds {
        for version in &kind.versions {
            let list = wire("GET", &format!("{}/{version}/{}", kind.group, kind.plural), None);
            until(&format!("both serve {version} of {}", kind.plural), SERVED_WITHIN, async || {
                let (kwick, oracle) = servers.both(&list, &list).await?;
                Ok((kwick.is_success() && oracle.is_success()).then_some(()))
            })
            .await?;
        }
    }
    Ok(())
}

async fn judge(options: &Options, servers: &mut Servers, catalogue: &Catalogue, known: &Known) -> Result<bool> {
    let mut generator = Generator::new(catalogue, options.seed);
    let mut operations: Vec<Operation> = (0..options.operations).map(|_| generator.next()).collect();
    if !options.steps.is_empty() {
        operations.retain(|operation| options.steps.contains(&operation.index));
    }
    let begun = Instant::now();
    let mut groups = Groups::new();
    let mut run = Run::begin(servers, catalogue).await?;
    run.traced = options.trace.clone();
    for operation in &operations {
        let found = run.step(operation).await.with_context(|| format!("operation {}", operation.index))?;
        let Some(finding) = found else { continue };
        let signature = report::signature(catalogue, &finding);
        groups.entry(signature).or_insert(Group { count: 0, first: finding }).count += 1;
    }
    let (events, took) = (run.events, begun.elapsed().as_secs_f64());
    let mut unexplained = 0;
    for (signature, group) in &groups {
        if let Some(reason) = known.reason(signature) {
            println!("known: {signature}: {} times, first at {}: {reason}", group.count, group.first.operation.index);
            continue;
        }
        unexplained += 1;
        let end = group.first.operation.index;
        let before: Vec<Operation> = operations.iter().filter(|one| one.index <= end).cloned().collect();
        let steps = if options.shrink {
            shrink::shrink(servers, catalogue, &before, signature).await?
        } else {
            before.last().cloned().into_iter().collect()
        };
        report::show(signature, group, &steps);
    }
    let differing: usize = groups.values().map(|group| group.count).sum();
    println!(
        "\nseed {}: {} operations and {events} watch events in {took:.1} s; {differing} differ in {} ways, {unexplained} of them unexplained",
        options.seed,
        operations.len(),
        groups.len()
    );
    if unexplained > options.unexplained {
        println!("{} were to be expected at most", options.unexplained);
    }
    Ok(unexplained <= options.unexplained)
}
