//! Starting, restarting and ending instances, also on what an older one left, and running two.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{parts, processes};
use crate::demo;
use crate::instance::{Instance, ensure};
use crate::ksvc::{self, Ksvc};
use crate::leftovers::Picture;
use crate::place::{self, Place};
use crate::until::until;

const END_WITHIN: Duration = Duration::from_secs(40);

/// SIGTERM ends Kwick alone; the next `kwick up` has the same processes.
pub(super) fn restart(place: &Place) -> Result<String> {
    let kwick = Instance::start(place, "restart")?;
    kwick.import_hello("hello")?;
    let host = ksvc::host(&Ksvc::hello("kept").scale("min-scale", "2").deploy(&kwick.api)?)?;
    ksvc::at_scale(&kwick.api, "kept", 2)?;
    let before = processes::of_service(&kwick.api, "kept")?;
    ensure(before.len() == 2 && before.values().all(|pod| !pod.is_empty()), || {
        format!("no processes found: {before:?}")
    })?;
    let (main, spawner) = (kwick.pid()?, kwick.spawner_pid()?);
    kwick.signal(Signal::SIGTERM)?;
    kwick.up_again().context("it does not start again")?;
    let object = ksvc::ready(&kwick.api, "kept")?;
    let after = processes::of_service(&kwick.api, "kept")?;
    ensure(after == before, || format!("the pods' processes were {before:?} and are {after:?}"))?;
    ensure(kwick.spawner_pid()? == spawner, || "there is another spawner".to_owned())?;
    ensure(kwick.pid()? != main, || "kwick was not restarted".to_owned())?;
    ensure(ksvc::host(&object)? == host, || "its URL changed".to_owned())?;
    ksvc::greet(&kwick.gateway, &host)?;
    // Going to zero and back needs Knative's parts, which were taken back as well.
    for (part, namespace) in parts::PARTS {
        parts::ready_pod(&kwick, part, namespace, "")?;
    }
    demo::quicken(&kwick.api)?;
    let host = ksvc::host(&Ksvc::hello("later").deploy(&kwick.api)?)?;
    ksvc::at_scale(&kwick.api, "later", 0)?;
    ksvc::greet(&kwick.gateway, &host)?;
    kwick.down()?;
    Ok("2 pods, the same processes; another service went to zero and came back".to_owned())
}

/// What the Kwick of each layout of the data directory has written is served by this one.
pub(super) fn every_layout(place: &Place) -> Result<String> {
    let kept = place.workspace("crates/kwick/testdata/layouts");
    let mut count = 0;
    for layout in std::fs::read_dir(&kept).with_context(|| format!("cannot list {}", kept.display()))? {
        let layout = layout?.file_name().to_string_lossy().into_owned();
        let folder = place.scratch("kept");
        place::output(Command::new("cp").arg("-r").arg(kept.join(&layout)).arg(&folder))?;
        let record: Value = serde_json::from_slice(&std::fs::read(folder.join("instance.json"))?)?;
        let uid = record.get("uid").and_then(Value::as_u64).context("the record has no uid")?;
        let owned = ["state", "images"].map(|name| folder.join(name));
        place::output(Command::new("chown").arg("-R").arg(format!("{uid}:{uid}")).args(owned))?;
        let kwick = Instance::start_with(place, "kept", &["--only", "api"])
            .with_context(|| format!("layout {layout} is not served"))?;
        let path = "/api/v1/namespaces/kept/secrets/kept";
        let secret = kwick.api.get(path)?.context("the Secret is gone")?;
        let word = secret.pointer("/data/password").and_then(Value::as_str);
        ensure(word == Some("a2VwdA=="), || format!("the Secret holds {word:?}"))?;
        let path = "/apis/example.com/v1/namespaces/kept/keepsakes/kept";
        kwick.api.get(path)?.context("the custom resource is gone")?;
        kwick.api.delete(path)?;
        kwick.down()?;
        count += 1;
    }
    ensure(count > 0, || "there is none".to_owned())?;
    Ok(format!("{count} layouts"))
}

/// Two instances serve a service of the same name, and the end of one is not the other's.
pub(super) fn two(place: &Place) -> Result<String> {
    let first = Instance::start(place, "first")?;
    let second = Instance::start(place, "second")?;
    let mut hosts = Vec::new();
    for (kwick, target) in [(&first, "first"), (&second, "second")] {
        kwick.import_hello("hello")?;
        let service = Ksvc::hello("same").env("TARGET", target).scale("min-scale", "1");
        hosts.push(ksvc::host(&service.deploy(&kwick.api)?)?);
    }
    for (kwick, (host, target)) in [&first, &second].into_iter().zip(hosts.iter().zip(["first", "second"])) {
        let answer = ksvc::greet(&kwick.gateway, host)?;
        ensure(answer.starts_with(&format!("Hello {target}!")), || format!("the {target} answered {answer:?}"))?;
    }
    second.down()?;
    let host = hosts.first().context("no host")?;
    let answer =
        until("an answer of the one that stays", ksvc::PATIENCE, || ksvc::greet(&first.gateway, host).map(Some))?;
    ensure(answer.starts_with("Hello first!"), || format!("it answered {answer:?}"))?;
    first.down()?;
    Ok("both answered; one ended, the other did not".to_owned())
}

/// Ctrl-C on a foreground `kwick up` is `kwick down`.
pub(super) fn interrupt(place: &Place) -> Result<String> {
    let before = Picture::take(&place.binary("kwick"))?;
    let (kwick, mut child) = in_foreground(place, "interrupt")?;
    kill(Pid::from_raw(kwick.pid()?), Signal::SIGINT).context("cannot interrupt kwick")?;
    let status = end_of(&mut child)?;
    ensure(status.success(), || format!("it ended with {status}"))?;
    until("a clean machine", Duration::from_secs(10), || before.expect_nothing_new().map(Some))?;
    kwick.down()?;
    Ok("exit code 0, nothing left".to_owned())
}

/// Without its spawner Kwick says so and ends; the next start replaces the pods.
pub(super) fn spawner_killed(place: &Place) -> Result<String> {
    let (kwick, mut child) = in_foreground(place, "spawner")?;
    kill(Pid::from_raw(kwick.spawner_pid()?), Signal::SIGKILL).context("cannot kill the spawner")?;
    let status = end_of(&mut child)?;
    ensure(status.code() == Some(3), || format!("it ended with {status}"))?;
    kwick.up_again().context("it does not start again")?;
    let host = ksvc::host(&ksvc::ready(&kwick.api, "kept")?)?;
    until("an answer", ksvc::PATIENCE, || ksvc::greet(&kwick.gateway, &host).map(Some))?;
    kwick.down()?;
    Ok("exit code 3; the next start serves again".to_owned())
}

/// In a PID namespace of its own, as in a container, the spawner is the first process and Kwick its child.
pub(super) fn first_process(place: &Place) -> Result<String> {
    let before = Picture::take(&place.binary("kwick"))?;
    let kwick = Instance::start(place, "first-process")?;
    place::output(&mut kwick.kwick(&["down"]))?;
    let mut namespace = Command::new("unshare");
    namespace.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(place.binary("kwick")).arg("up");
    namespace.args(kwick.options()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut namespace = namespace.spawn().context("cannot make a PID namespace")?;
    let outcome = serve_as_first_process(&kwick, namespace.id());
    if outcome.is_err() {
        // With it goes everything in the namespace.
        let _ = namespace.kill();
    }
    let status = end_of(&mut namespace)?;
    outcome?;
    ensure(status.success(), || format!("it ended with {status}"))?;
    until("a clean machine", Duration::from_secs(10), || before.expect_nothing_new().map(Some))?;
    kwick.down()?;
    Ok("a service answered; Ctrl-C, exit code 0, nothing left".to_owned())
}

fn serve_as_first_process(kwick: &Instance<'_>, namespace: u32) -> Result<()> {
    let spawner = until("kwick in its namespace", ksvc::PATIENCE, || kwick.spawner_pid().map(Some))?;
    ensure(spawner == 1, || format!("the spawner is process {spawner}"))?;
    kwick.import_hello("hello")?;
    let host = ksvc::host(&Ksvc::hello("inside").scale("min-scale", "1").deploy(&kwick.api)?)?;
    ksvc::greet(&kwick.gateway, &host)?;
    let children = std::fs::read_to_string(format!("/proc/{namespace}/task/{namespace}/children"));
    let first = children.context("cannot find the first process")?.trim().parse().context("no first process")?;
    kill(Pid::from_raw(first), Signal::SIGINT).context("cannot interrupt the first process")
}

/// An instance with one running pod, whose Kwick is our child.
fn in_foreground<'a>(place: &'a Place, name: &str) -> Result<(Instance<'a>, Child)> {
    let kwick = Instance::start(place, name)?;
    kwick.import_hello("hello")?;
    Ksvc::hello("kept").scale("min-scale", "1").deploy(&kwick.api)?;
    kwick.signal(Signal::SIGTERM)?;
    let mut up = place.kwick(["up"]);
    let child =
        up.args(kwick.options()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("cannot start kwick")?;
    until("kwick in the foreground", ksvc::PATIENCE, || kwick.pid().map(Some))?;
    ksvc::ready(&kwick.api, "kept")?;
    Ok((kwick, child))
}

fn end_of(child: &mut Child) -> Result<ExitStatus> {
    until("the end of kwick", END_WITHIN, || Ok(child.try_wait()?))
}
