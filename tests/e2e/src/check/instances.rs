//! Restarting one instance, and running two.

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::processes;
use crate::instance::{Instance, ensure};
use crate::ksvc::{self, Ksvc};
use crate::place::Place;
use crate::until::until;

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
    kwick.down()?;
    Ok("2 pods, the same processes".to_owned())
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
