//! Pods that are started and stopped all the time leave nothing: no process, mount, link or file descriptor, and no memory.
//!
//! Before and after, the same things are counted, at rest: when the API has forgotten the history and the Events that it keeps for some
//! minutes. What the first Pods bring for good, such as what an allocator keeps of a peak, is not counted: the same Pods come and go before.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::api::{Api, text};
use crate::instance::{Instance, name};
use crate::ksvc;
use crate::leftovers::Picture;
use crate::memory::pss_megabytes;
use crate::place::Place;
use crate::until::{pause, until};

/// So many Pods begin in a minute.
const PER_MINUTE: u32 = 200;
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOK_AT_REST_EVERY: Duration = Duration::from_secs(5);
/// Two minutes of them bring what stays: caches, threads, connections, the allocator's peak.
const WARM_UP: u32 = 400;
/// What the API keeps is forgotten within so long.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(10 * 60);
/// What is free is given back to the kernel within so long.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(60);
/// So many bytes of history are none.
const NO_HISTORY: f64 = 1e6;
/// How much more memory may be taken.
const GROWTH_MB: f64 = 5.0;
const EVENTS: &str = "/api/v1/namespaces/default/events";

/// How long.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Place,
    /// For so many minutes Pods come and go
    #[arg(long, default_value_t = 10)]
    minutes: u32,
}

/// Starts and stops Pods, and prints what was there before and after; fails when more is there.
pub(crate) fn run(options: &Options) -> Result<()> {
    let place = &options.place;
    let _scratch = place.open()?;
    let clean = Picture::take(&place.binary("kwick"))?;
    let kwick = Instance::start_with(place, "leaks", &["--only", "cluster"])?;
    kwick.import_hello("hello")?;
    churn(&kwick.api, WARM_UP)?;
    forget(&kwick.api)?;
    pause(GIVEN_BACK_WITHIN)?;
    let before = Figures::take(&kwick)?;
    println!("before: {before}");
    let count = PER_MINUTE * options.minutes;
    let took = churn(&kwick.api, count)?.as_secs_f64() / 60.0;
    println!("{count} Pods in {took:.1} minutes: {}", Figures::take(&kwick)?);
    let begun = Instant::now();
    forget(&kwick.api)?;
    let after = until("what was there before", GIVEN_BACK_WITHIN, || {
        pause(LOOK_AT_REST_EVERY)?;
        let now = Figures::take(&kwick)?;
        now.is_no_more_than(&before).map(|()| Some(now))
    })?;
    println!("after:  {after}, {} s later", begun.elapsed().as_secs());
    kwick.down()?;
    until("a clean machine", Duration::from_secs(10), || clean.expect_nothing_new().map(Some))
}

/// Waits until Events and history are forgotten.
fn forget(api: &Api) -> Result<()> {
    // They are kept for an hour, which says nothing here.
    api.delete(EVENTS)?;
    until("an API without history", FORGOTTEN_WITHIN, || {
        // Looking costs, too.
        pause(LOOK_AT_REST_EVERY)?;
        let history = history_bytes(api)?;
        ensure!(history < NO_HISTORY, "the API still has {history} bytes of history");
        Ok(Some(()))
    })
}

fn history_bytes(api: &Api) -> Result<f64> {
    let (metrics, _) = api.open("GET", "/metrics", "text/plain", b"")?.read()?;
    let metrics = String::from_utf8_lossy(&metrics);
    let line = metrics.lines().find_map(|line| line.strip_prefix("apiserver_storage_history_bytes "));
    Ok(line.context("no bytes of history among the metrics")?.trim().parse()?)
}

/// What Kwick and its spawner hold.
#[derive(Debug)]
struct Figures {
    processes: usize,
    threads: usize,
    mounts: usize,
    links: usize,
    descriptors: [usize; 2],
    megabytes: [f64; 2],
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { processes, threads, mounts, links, descriptors, megabytes } = self;
        write!(
            f,
            "{processes} processes, {threads} threads, {mounts} mounts, {links} links, {} + {} file descriptors, PSS {:.1} + {:.1} MB",
            descriptors[0], descriptors[1], megabytes[0], megabytes[1]
        )
    }
}

impl Figures {
    fn take(kwick: &Instance<'_>) -> Result<Self> {
        let pids = [kwick.pid()?, kwick.spawner_pid()?];
        let of_both = |name: &str| {
            let paths = pids.map(|pid| format!("/proc/{pid}/{name}"));
            paths.into_iter().map(|path| fs::read_to_string(&path).with_context(|| format!("cannot read {path}")))
        };
        let lines = |name: &str| of_both(name).map(|text| Ok(text?.lines().count())).sum::<Result<usize>>();
        let entries =
            |pid: i32, name: &str| Ok::<_, anyhow::Error>(fs::read_dir(format!("/proc/{pid}/{name}"))?.count());
        let [own, spawner] = pids;
        Ok(Self {
            processes: Picture::take(&kwick.place().binary("kwick"))?.processes(),
            threads: entries(own, "task")? + entries(spawner, "task")?,
            mounts: lines("mountinfo")?,
            links: lines("net/dev")?,
            descriptors: [entries(own, "fd")?, entries(spawner, "fd")?],
            megabytes: [pss_megabytes(own)?, pss_megabytes(spawner)?],
        })
    }

    fn is_no_more_than(&self, before: &Self) -> Result<()> {
        let counts = |of: &Self| [of.processes, of.mounts, of.links, of.descriptors[0], of.descriptors[1]];
        let is_less = counts(self).iter().zip(counts(before)).all(|(now, before)| *now <= before);
        let grown = |of: &Self| of.megabytes.iter().sum::<f64>();
        ensure!(is_less && grown(self) - grown(before) < GROWTH_MB, "it holds {self}; before: {before}");
        Ok(())
    }
}

/// So many Pods begin at their rate, or as fast as this machine can, and end as soon as they run; how long it took.
fn churn(api: &Api, wanted: u32) -> Result<Duration> {
    let begun = Instant::now();
    let mut count = 0;
    while count < wanted {
        while count < wanted && Duration::from_secs(60) * count / PER_MINUTE <= begun.elapsed() {
            count += 1;
            begin(api, count)?;
        }
        end_running(api)?;
        pause(LOOK_EVERY)?;
    }
    until("the last Pods' end", ksvc::PATIENCE, || {
        end_running(api)?;
        Ok(api.list(ksvc::PODS)?.is_empty().then_some(()))
    })?;
    Ok(begun.elapsed())
}

fn begin(api: &Api, number: u32) -> Result<()> {
    let container = json!({
        "name": "c", "image": "hello", "imagePullPolicy": "IfNotPresent", "volumeMounts": [{"name": "v", "mountPath": "/v"}],
    });
    let spec = json!({
        "terminationGracePeriodSeconds": 1, "containers": [container],
        "volumes": [{"name": "v", "emptyDir": {"medium": "Memory"}}],
    });
    api.create(ksvc::PODS, &json!({"metadata": {"name": format!("brief-{number}")}, "spec": spec})).map(drop)
}

fn end_running(api: &Api) -> Result<()> {
    let pods = api.list(ksvc::PODS)?;
    let is_due =
        |pod: &&Value| text(pod, "/status/phase") == "Running" && pod.pointer("/metadata/deletionTimestamp").is_none();
    pods.iter().filter(is_due).try_for_each(|pod| api.delete(&format!("{}/{}", ksvc::PODS, name(pod))))
}
