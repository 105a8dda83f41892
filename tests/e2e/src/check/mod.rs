//! The end-to-end checks: each drives a running Kwick as a user would and prints one line.
//!
//! Checks of serving share one instance; those that start, kill or refuse have their own. A failed check does not hide the others.

mod audit;
mod autoscale;
mod bad_image;
mod bad_input;
mod clients;
mod crash;
mod explain;
mod floors;
mod gateway;
mod helm;
mod images;
mod instances;
mod interruption;
mod jobs;
mod journeys;
mod kubectl;
mod load;
mod network;
mod parts;
mod processes;
mod programs;
mod queue_proxy;
mod refusals;
mod scale;
mod serving;
mod sessions;
mod starts;
mod stateful;
mod tls;
mod webhooks;

use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::demo;
use crate::instance::Instance;
use crate::leftovers::Picture;
use crate::place::Place;
use crate::until::{is_interrupted, until};

/// What to check.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Place,
    /// Only checks whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

/// A check cannot be made here, for this reason. It is told apart from what passed.
#[derive(Debug)]
struct LeftOut(&'static str);

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for LeftOut {}

/// A check on the shared instance; it says what came out.
struct Shared {
    name: &'static str,
    run: fn(&Instance<'_>) -> Result<String>,
}

/// A check that starts what it needs.
struct Own {
    name: &'static str,
    run: fn(&Place) -> Result<String>,
}

const SHARED: &[Shared] = &[
    Shared { name: "deploy, answer, logs, status", run: serving::deploy },
    Shared { name: "update, split, rollback, delete", run: serving::update },
    Shared { name: "kubectl, unmodified", run: kubectl::script },
    Shared { name: "an older kubectl, unmodified", run: kubectl::old_script },
    Shared { name: "kubectl in a container: exec, cp, attach, port-forward", run: sessions::script },
    Shared { name: "Jobs, CronJobs, a drain that waits", run: jobs::script },
    Shared { name: "kubectl top, an autoscaled Deployment", run: autoscale::by_usage },
    Shared { name: "a Service of the class HPA", run: autoscale::class },
    Shared { name: "Knative's parts are Pods", run: parts::are_pods },
    Shared { name: "ClusterIP and names, from host and pod", run: network::addresses_and_names },
    Shared { name: "webhooks behind a Service", run: webhooks::behind_a_service },
    Shared { name: "private names, from zero and cluster-local", run: network::private_names },
    Shared { name: "TLS by Kwick's own authority", run: tls::external_domains },
    Shared { name: "TLS inside, switched under load", run: tls::inside },
    Shared { name: "zero and back", run: scale::zero_and_back },
    Shared { name: "100 requests at zero", run: scale::burst_at_zero },
    Shared { name: "concurrency target 10 gives 10 pods", run: scale::concurrency },
    Shared { name: "pods deleted under load", run: load::pods_deleted },
    Shared { name: "a gateway alone answers before it ends", run: gateway::drains },
    Shared { name: "invalid object", run: bad_input::invalid_object },
    Shared { name: "a dry run tries the Pod", run: bad_input::dry_run },
    Shared { name: "image not found", run: bad_input::image_not_found },
    Shared { name: "crash loop", run: bad_input::crash_loop },
    Shared { name: "never ready", run: bad_input::never_ready },
    Shared { name: "a Service's life by client-go", run: journeys::client_go },
    Shared { name: "a Service's life by Python", run: journeys::python },
    Shared { name: "a Service's life by kube-rs", run: journeys::kube_rs },
    Shared { name: "a Service's life by Helm 3", run: journeys::helm_three },
    Shared { name: "a Service's life by Helm 4", run: journeys::helm_four },
    Shared { name: "kwick explain", run: explain::tells },
    Shared { name: "image with a bad digest", run: bad_image::bad_digest },
    Shared { name: "image for another architecture", run: bad_image::wrong_architecture },
    Shared { name: "image misspelled", run: bad_image::misspelled },
    Shared { name: "image damaged in the store", run: bad_image::damaged },
    Shared { name: "images from files", run: images::from_files },
    Shared { name: "crane, unmodified", run: images::crane },
    Shared { name: "one image under each of the registry's names", run: images::one_image },
];

const OWN: &[Own] = &[
    Own { name: "queue-proxy as a process", run: queue_proxy::process },
    Own { name: "refused: not root", run: refusals::not_root },
    Own { name: "refused: port taken", run: refusals::port_taken },
    Own { name: "refused: no cgroups", run: refusals::no_cgroups },
    Own { name: "refused: one port twice", run: refusals::one_port_twice },
    Own { name: "refused: log filter", run: refusals::log_filter },
    Own { name: "refused: data directory out of reach", run: refusals::out_of_reach },
    Own { name: "refused: data directory in use", run: refusals::in_use },
    Own { name: "refused: data directory newer", run: refusals::newer },
    Own { name: "refused: data directory damaged", run: refusals::damaged },
    Own { name: "refused: data directory damaged inside", run: refusals::damaged_inside },
    Own { name: "refused: own images damaged", run: refusals::damaged_list },
    Own { name: "refused: half an authority", run: refusals::half_authority },
    Own { name: "the invoking user's clients", run: clients::of_invoker },
    Own { name: "doctor", run: clients::doctor },
    Own { name: "the lower floors alone", run: floors::cluster },
    Own { name: "the gateway's port", run: gateway::port },
    Own { name: "SIGTERM and up keep the pods", run: instances::restart },
    Own { name: "a restart loses no request", run: load::restarted },
    Own { name: "the audit log", run: audit::log },
    Own { name: "data of every layout", run: instances::every_layout },
    Own { name: "Ctrl-C leaves nothing", run: instances::interrupt },
    Own { name: "demo: Ctrl-C leaves nothing", run: interruption::ctrl_c },
    Own { name: "demo: nobody left to end it", run: interruption::orphaned },
    Own { name: "start: Ctrl-C at any moment", run: starts::interrupted },
    Own { name: "start: after an end that takes time", run: starts::after_an_end },
    Own { name: "start: in a parked pod", run: starts::parked },
    Own { name: "spawner killed", run: instances::spawner_killed },
    Own { name: "first process of a container", run: instances::first_process },
    Own { name: "two instances side by side", run: instances::two },
    Own { name: "StatefulSets keep their data, a DaemonSet runs", run: stateful::keeps_data },
    Own { name: "a client-go program", run: programs::client_go },
    Own { name: "a Python program", run: programs::python },
    Own { name: "a kube-rs program", run: programs::kube_rs },
    Own { name: "Helm 3, unmodified", run: helm::three },
    Own { name: "Helm 4, unmodified", run: helm::four },
    Own { name: "kill -9 under writes and traffic", run: crash::killed },
];

/// Runs the checks; fails when one did.
pub(crate) fn run(options: &Options) -> Result<()> {
    let place = &options.place;
    let _scratch = place.open()?;
    let before = Picture::take(&place.binary("kwick"))?;
    let mut sum = Sum { only: options.only.clone(), ..Sum::default() };
    if SHARED.iter().any(|check| sum.is_wanted(check.name)) {
        shared(place, &mut sum);
    }
    for check in OWN {
        sum.check(check.name, || (check.run)(place));
    }
    sum.check("nothing is left over", || {
        // The last process of an instance ends a moment after `kwick down`.
        until("a clean machine", std::time::Duration::from_secs(10), || before.expect_nothing_new().map(Some))?;
        Ok("no process, mount, link, namespace, cgroup".to_owned())
    });
    println!("{} checks passed, {} failed, {} left out", sum.passed, sum.failed, sum.left_out);
    if sum.failed > 0 {
        bail!("{} checks failed", sum.failed);
    }
    Ok(())
}

/// Runs a check of other people's programs, and once more if it fails; both outcomes are printed.
fn twice(check: impl Fn() -> Result<String>) -> Result<String> {
    match check() {
        Err(error) if !error.is::<LeftOut>() => {
            println!("        failed at the first try: {error:#}");
            check()
        }
        done => done,
    }
}

fn shared(place: &Place, sum: &mut Sum) {
    let mut started = None;
    sum.check("start", || {
        let kwick = Instance::start(place, "shared")?;
        demo::quicken(&kwick.api)?;
        kwick.import_hello("hello").context("cannot import the sample's image")?;
        started = Some(kwick);
        Ok("up, image imported".to_owned())
    });
    let Some(kwick) = started else { return };
    for check in SHARED {
        sum.check(check.name, || (check.run)(&kwick));
    }
    sum.check("down", || kwick.down().map(|()| "stopped, data deleted".to_owned()));
}

/// Counts, and prints each check's line.
#[derive(Default)]
struct Sum {
    only: Option<String>,
    passed: usize,
    failed: usize,
    left_out: usize,
}

impl Sum {
    /// Starting, stopping and leaving nothing belong to every choice.
    fn is_wanted(&self, name: &str) -> bool {
        let always = ["start", "down", "nothing is left over"];
        self.only.as_ref().is_none_or(|only| name.contains(only.as_str()) || always.contains(&name))
    }

    fn check(&mut self, name: &str, run: impl FnOnce() -> Result<String>) {
        if !self.is_wanted(name) || is_interrupted() {
            return;
        }
        let begun = Instant::now();
        let outcome = run();
        let seconds = begun.elapsed().as_secs_f64();
        match outcome {
            Ok(detail) => {
                self.passed += 1;
                println!("ok      {name} ({seconds:.1} s): {detail}");
            }
            Err(error) if error.is::<LeftOut>() => {
                self.left_out += 1;
                println!("left out {name}: {error}");
            }
            Err(error) => {
                self.failed += 1;
                println!("FAILED  {name} ({seconds:.1} s): {error:#}");
            }
        }
    }
}
