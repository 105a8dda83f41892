//! kill -9 of Kwick, and of its spawner, at random moments, under API writes and traffic.
//!
//! After each: every write that had been acknowledged is there, the resourceVersion has not gone back, services answer. After Kwick's end
//! the pods' processes are the same; right before it a Deployment grows, and the pod that has just begun to run stays as well. With the
//! spawner every pod dies, also those that it is just starting: nothing of them runs, and others do in their place. The moments, and who is
//! killed, come from a fixed seed, which the line names.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::processes;
use crate::api::{Api, text};
use crate::demo;
use crate::instance::{Instance, ensure};
use crate::ksvc::{self, Ksvc};
use crate::leftovers::Picture;
use crate::place::Place;
use crate::until::{pause, until};

const SEED: u64 = 20_261_124;
const ROUNDS: u64 = 20;
const ROUNDS_FULL: u64 = 500;
/// One of so many rounds kills the spawner.
const SPAWNER_EVERY: u64 = 4;
/// Kwick lives between 50 and this many milliseconds after it is ready.
const LIFE_MS: u64 = 700;
/// The spawner lives up to so many milliseconds after a Deployment has begun to grow.
const GROWS_MS: u64 = 300;
/// So many ConfigMaps are written in turn, so that creates, updates and deletes of one name follow each other.
const NAMES: u64 = 23;
/// The Deployment that grows, and its pods' label.
const GROWING: &str = "/apis/apps/v1/namespaces/default/deployments/growing";
const GROWING_PODS: &str = "app%3Dgrowing";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Kills it again and again.
pub(super) fn killed(place: &Place) -> Result<String> {
    let before = Picture::take(&place.binary("kwick"))?;
    let kwick = Instance::start(place, "crash")?;
    demo::quicken(&kwick.api)?;
    kwick.import_hello("hello")?;
    let steady = ksvc::host(&Ksvc::hello("steady").scale("min-scale", "1").deploy(&kwick.api)?)?;
    let sleepy = ksvc::host(&Ksvc::hello("sleepy").deploy(&kwick.api)?)?;
    grow_from_one(&kwick.api)?;
    let journal = Journal::default();
    let (is_over, answers) = (AtomicBool::new(false), AtomicU64::new(0));
    let rounds = if place.full { ROUNDS_FULL } else { ROUNDS };
    let spawners = std::thread::scope(|scope| {
        scope.spawn(|| write(&kwick.api, &journal, &is_over));
        scope.spawn(|| traffic(&kwick, [&steady, &sleepy], &answers, &is_over));
        let done = kill_often(&kwick, &steady, &journal, rounds);
        is_over.store(true, Ordering::SeqCst);
        done
    })?;
    for service in ["steady", "sleepy"] {
        ksvc::ready(&kwick.api, service)?;
    }
    journal.check(&kwick.api)?;
    ksvc::greet(&kwick.gateway, &sleepy)?;
    kwick.down()?;
    until("a clean machine", Duration::from_secs(10), || before.expect_nothing_new().map(Some))?;
    let (writes, answers) = (journal.acknowledged(), answers.load(Ordering::SeqCst));
    Ok(format!(
        "{rounds} times (seed {SEED}), {spawners} of them the spawner; {writes} acknowledged writes kept, {answers} answers, pods adopted"
    ))
}

/// How often it was the spawner.
fn kill_often(kwick: &Instance<'_>, steady: &str, journal: &Journal, rounds: u64) -> Result<u64> {
    let mut random = SEED;
    let mut spawners = 0;
    let mut pods = processes::of_service(&kwick.api, "steady")?;
    ensure(pods.values().any(|pod| !pod.is_empty()), || "the pod's process was not found".to_owned())?;
    for round in 1..=rounds {
        let context = || format!("after kill {round} (seed {SEED})");
        pause(Duration::from_millis(50 + next(&mut random) % (LIFE_MS - 50)))?;
        let is_spawner = next(&mut random).is_multiple_of(SPAWNER_EVERY);
        if is_spawner {
            spawners += 1;
            let before = pods.values().flatten().copied().collect();
            kill_spawner(kwick, before, &mut random).with_context(context)?;
        } else {
            kill_kwick(kwick, journal).with_context(context)?;
        }
        shrink(&kwick.api).context("the Deployment does not shrink")?;
        journal.check(&kwick.api).with_context(context)?;
        until("an answer", ksvc::PATIENCE, || ksvc::greet(&kwick.gateway, steady).map(Some)).with_context(context)?;
        let now = processes::of_service(&kwick.api, "steady").with_context(context)?;
        ensure(is_spawner || now == pods, || {
            format!("the pods' processes were {pods:?} and are {now:?}, {}", context())
        })?;
        pods = now;
    }
    Ok(spawners)
}

/// Kills Kwick as soon as the Deployment has grown.
fn kill_kwick(kwick: &Instance<'_>, journal: &Journal) -> Result<()> {
    let grown = {
        // A durable write would take the new pod's object to the disk with it.
        let _quiet = journal.lock();
        let grown = grow(&kwick.api).context("the Deployment does not grow")?;
        kwick.signal(Signal::SIGKILL)?;
        grown
    };
    kwick.up_again()?;
    let now = processes::of_label(&kwick.api, GROWING_PODS)?;
    ensure(now == grown, || format!("the grown pods' processes were {grown:?} and are {now:?}"))
}

/// Kills the spawner while the Deployment grows. Nothing of what ran runs any more, and the Deployment has its pods.
fn kill_spawner(kwick: &Instance<'_>, mut before: Vec<processes::Process>, random: &mut u64) -> Result<()> {
    before.extend(running(&kwick.api, 1)?.into_values().flatten());
    kwick.api.merge(GROWING, &json!({"spec": {"replicas": 2}}))?;
    pause(Duration::from_millis(next(random) % GROWS_MS))?;
    kwick.kill_spawner()?;
    kwick.up_again()?;
    let left: Vec<_> = before.into_iter().filter(|process| processes::is_there(*process)).collect();
    ensure(left.is_empty(), || format!("processes outlived their spawner: {left:?}"))?;
    running(&kwick.api, 2).map(drop)
}

/// Makes the Deployment and waits for its first pod.
fn grow_from_one(api: &Api) -> Result<()> {
    let labels = json!({"app": "growing"});
    let container = json!({"name": "c", "image": "hello", "imagePullPolicy": "IfNotPresent"});
    let deployment = json!({"metadata": {"name": "growing"}, "spec": {
        "replicas": 1, "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
    }});
    api.create(GROWING.trim_end_matches("/growing"), &deployment)?;
    running(api, 1).map(drop)
}

/// One more pod; the processes as soon as it has one.
fn grow(api: &Api) -> Result<BTreeMap<String, Vec<processes::Process>>> {
    api.merge(GROWING, &json!({"spec": {"replicas": 2}}))?;
    running(api, 2)
}

fn shrink(api: &Api) -> Result<()> {
    api.merge(GROWING, &json!({"spec": {"replicas": 1}}))?;
    running(api, 1).map(drop)
}

fn running(api: &Api, count: usize) -> Result<BTreeMap<String, Vec<processes::Process>>> {
    until(&format!("{count} running pods"), ksvc::PATIENCE, || {
        let pods = processes::of_label(api, GROWING_PODS)?;
        Ok((pods.len() == count && pods.values().all(|pod| pod.len() == 1)).then_some(pods))
    })
}

/// What was written and acknowledged, by one writer.
#[derive(Default)]
struct Journal(Mutex<Written>);

#[derive(Default)]
struct Written {
    /// By name: what an acknowledged write left there, nothing for a deletion.
    known: BTreeMap<String, Option<String>>,
    /// A write that was sent and not answered: it may have happened or not.
    pending: Option<(String, Option<String>)>,
    revision: u64,
    acknowledged: u64,
}

impl Journal {
    fn lock(&self) -> std::sync::MutexGuard<'_, Written> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn acknowledged(&self) -> u64 {
        self.lock().acknowledged
    }

    /// Compares with what is there. The writer waits meanwhile, so nothing changes.
    fn check(&self, api: &Api) -> Result<()> {
        let written = self.lock();
        let list = api.get(MAPS)?.context("there are no ConfigMaps")?;
        let revision: u64 =
            text(&list, "/metadata/resourceVersion").parse().context("a list without a resourceVersion")?;
        ensure(revision >= written.revision, || {
            format!("the resourceVersion went from {} back to {revision}", written.revision)
        })?;
        let items = list.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        let found: BTreeMap<&str, &str> =
            items.iter().map(|item| (text(item, "/metadata/name"), text(item, "/data/value"))).collect();
        for (name, value) in &written.known {
            let now = found.get(name.as_str()).map(|value| (*value).to_owned());
            let may_be = written.pending.as_ref().filter(|(pending, _)| pending == name).map(|(_, value)| value);
            if now != *value && Some(&now) != may_be {
                bail!("{name} was acknowledged as {value:?} and is {now:?}");
            }
        }
        Ok(())
    }
}

/// Creates, updates and deletes ConfigMaps one after another, and notes what was acknowledged.
fn write(api: &Api, journal: &Journal, is_over: &AtomicBool) {
    let mut number = 0;
    while !is_over.load(Ordering::SeqCst) {
        number += 1;
        let mut written = journal.lock();
        if let Some((name, _)) = written.pending.clone() {
            // Learn first what became of the write that was not answered.
            match value(api, &name) {
                Ok(now) => {
                    written.known.insert(name, now);
                    written.pending = None;
                }
                Err(_) => {
                    drop(written);
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                }
            }
        }
        let name = format!("w-{}", number % NAMES);
        let is_there = written.known.get(&name).is_some_and(Option::is_some);
        let wanted = (!is_there || number % 3 != 0).then(|| number.to_string());
        written.pending = Some((name.clone(), wanted.clone()));
        drop(written);
        let outcome = send(api, &name, is_there, wanted.as_deref());
        let mut written = journal.lock();
        if let Ok(revision) = outcome {
            written.revision = written.revision.max(revision);
            written.acknowledged += 1;
            written.known.insert(name, wanted);
            written.pending = None;
        }
    }
}

fn value(api: &Api, name: &str) -> Result<Option<String>> {
    Ok(api.get(&format!("{MAPS}/{name}"))?.map(|map| text(&map, "/data/value").to_owned()))
}

/// One write; the resourceVersion of what it left, 0 of a deletion.
fn send(api: &Api, name: &str, is_there: bool, wanted: Option<&str>) -> Result<u64> {
    let path = format!("{MAPS}/{name}");
    let object = match (wanted, is_there) {
        (None, _) => return api.delete(&path).map(|()| 0),
        (Some(value), true) => api.merge(&path, &json!({"data": {"value": value}}))?,
        (Some(value), false) => {
            let map =
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": value}});
            api.create(MAPS, &map)?
        }
    };
    text(&object, "/metadata/resourceVersion").parse().context("an object without a resourceVersion")
}

/// Asks both services all the time; what fails while Kwick is down is not counted.
fn traffic(kwick: &Instance<'_>, hosts: [&str; 2], answers: &AtomicU64, is_over: &AtomicBool) {
    let mut number = 0_u64;
    while !is_over.load(Ordering::SeqCst) {
        number += 1;
        // Mostly the steady one; the other one now and then, so that it also goes to zero.
        let host = if number.is_multiple_of(400) { hosts[1] } else { hosts[0] };
        if ksvc::greet(&kwick.gateway, host).is_ok() {
            answers.fetch_add(1, Ordering::SeqCst);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// splitmix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
