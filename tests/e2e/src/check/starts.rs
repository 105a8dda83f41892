//! Starts that somebody interrupts, one that meets the end of what was before, and pods that start in what was made ahead of them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::json;

use super::processes;
use crate::api::text;
use crate::http::Target;
use crate::instance::{Instance, ensure, free_addresses, up_options};
use crate::ksvc::{self, PODS};
use crate::leftovers::Picture;
use crate::place::{self, Place};
use crate::until::{pause, until};

/// Longer than pods that do not end by themselves are waited for.
const END_WITHIN: Duration = Duration::from_secs(60);
/// Moments of a start: before anything is made, while root prepares, while the unprivileged process starts, once it is ready.
const MOMENTS_MS: [u64; 8] = [5, 40, 70, 100, 150, 200, 300, 600];

/// Ctrl-C at several moments of a start leaves nothing but the data directory, with which the next start works.
pub(super) fn interrupted(place: &Place) -> Result<String> {
    let before = Picture::take(&place.binary("kwick"))?;
    let folder = place.scratch("interrupted");
    let options = up_options(&folder, free_addresses()?);
    for moment in MOMENTS_MS {
        let mut up = place.kwick(["up"]);
        let mut up = up.args(&options).stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("cannot start")?;
        pause(Duration::from_millis(moment))?;
        killpg(Pid::from_raw(i32::try_from(up.id())?), Signal::SIGINT).context("cannot interrupt")?;
        end_of(&mut up).with_context(|| format!("interrupted after {moment} ms"))?;
        until("a clean machine", Duration::from_secs(10), || before.expect_nothing_new().map(Some))
            .with_context(|| format!("interrupted after {moment} ms"))?;
    }
    place::output(place.kwick(["up", "--detach"]).args(&options)).context("it does not start afterwards")?;
    place::output(place.kwick(["down", "--delete-data", "--data-dir"]).arg(&folder))?;
    Ok(format!("{} starts; nothing left, and the next one served", MOMENTS_MS.len()))
}

/// A start while the spawner still ends pods that ignore its signal waits for it and says so.
pub(super) fn after_an_end(place: &Place) -> Result<String> {
    let kwick = Instance::start(place, "ending")?;
    // A first process that handles no SIGTERM does not see it.
    kwick.pack("e2e-caller", "deaf")?;
    let container = json!({"name": "c", "image": "deaf", "readinessProbe": {"tcpSocket": {"port": 8080}}});
    kwick.api.create(PODS, &json!({"metadata": {"name": "deaf"}, "spec": {"containers": [container]}}))?;
    until("the pod", ksvc::PATIENCE, || {
        let pod = kwick.api.get(&format!("{PODS}/deaf"))?.context("it is not there")?;
        Ok((ksvc::condition(&pod, "Ready").0 == "True").then_some(()))
    })?;
    let (main, spawner) = (kwick.pid()?, kwick.spawner_pid()?);
    kill(Pid::from_raw(main), Signal::SIGINT).context("cannot interrupt kwick")?;
    // It waits for the spawner, which waits for the pod.
    pause(Duration::from_secs(2))?;
    kill(Pid::from_raw(main), Signal::SIGKILL).context("kwick has not waited for its pod")?;
    let said = place::outcome(place.kwick(["up", "--detach"]).args(kwick.options()))?;
    ensure(said.status.success(), || format!("the start ended with {}: {}", said.status, place::text(&said)))?;
    ensure(kwick.spawner_pid()? != spawner, || "the ending spawner was used".to_owned())?;
    until("the pod in the new instance", ksvc::PATIENCE, || {
        let pod = kwick.api.get(&format!("{PODS}/deaf"))?.context("it is not there")?;
        Ok((ksvc::condition(&pod, "Ready").0 == "True").then_some(()))
    })?;
    kwick.api.delete(&format!("{PODS}/deaf?gracePeriodSeconds=0"))?;
    kwick.down()?;
    Ok("the start waited, and the pod was started again".to_owned())
}

/// A pod starts in a network that was parked before there was a pod, and where none is parked in a new one; either answers.
pub(super) fn parked(place: &Place) -> Result<String> {
    for (name, options, parked) in [("parking", &["--parked-pods", "2"][..], 2), ("strict", &[][..], 0)] {
        let kwick = Instance::start_with(place, name, options)?;
        kwick.import_hello("hello")?;
        let spawner = kwick.spawner_pid()?;
        // The machine's own and the instance's.
        let count = 2 + parked;
        let before = until("parked pods", ksvc::PATIENCE, || {
            let held = networks_of(spawner)?;
            if held.len() == count { Ok(Some(held)) } else { bail!("the spawner holds {} networks", held.len()) }
        })?;
        let container = json!({"name": "c", "image": "hello", "env": [{"name": "PORT", "value": "8080"}]});
        let metadata = json!({"name": "first", "labels": {"is": "first"}});
        kwick.api.create(PODS, &json!({"metadata": metadata, "spec": {"containers": [container]}}))?;
        let address = until("the pod", ksvc::PATIENCE, || {
            let pod = kwick.api.get(&format!("{PODS}/first"))?.context("it is not there")?;
            Ok((ksvc::condition(&pod, "Ready").0 == "True").then(|| text(&pod, "/status/podIP").to_owned()))
        })?;
        let target = Target::plain(SocketAddr::new(address.parse().context("the pod's address is none")?, 8080));
        until("the pod's answer", ksvc::PATIENCE, || ksvc::greet(&target, "first").map(Some))?;
        let pods = processes::of_label(&kwick.api, "is%3Dfirst")?;
        let (pid, _) = pods.values().flatten().next().context("the pod has no process")?;
        let network = std::fs::read_link(format!("/proc/{pid}/ns/net")).context("the container ended")?;
        ensure(before.contains(&network) == (parked > 0), || {
            format!("with {parked} parked pods the pod is in {}, those before were {before:?}", network.display())
        })?;
        kwick.api.delete(&format!("{PODS}/first?gracePeriodSeconds=0"))?;
        kwick.down()?;
    }
    Ok("in a parked network, and with none parked in a new one".to_owned())
}

/// The networks that a process holds open.
fn networks_of(pid: i32) -> Result<BTreeSet<PathBuf>> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).context("cannot look at the spawner")?;
    let targets = open.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
    Ok(targets.filter(|target| target.to_string_lossy().starts_with("net:[")).collect())
}

fn end_of(child: &mut Child) -> Result<()> {
    until("the end of kwick", END_WITHIN, || Ok(child.try_wait()?)).map(|_| ())
}
