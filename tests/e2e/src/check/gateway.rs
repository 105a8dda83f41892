//! Where the gateway listens when nobody says: port 80, or 8080 where 80 is taken, chosen once. And a gateway as a process of its own.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::api::text;
use crate::http::Target;
use crate::instance::{Instance, ensure, free_addresses};
use crate::ksvc::{self, Ksvc};
use crate::place::{self, Place, Running};
use crate::until::{until, until_true};

/// The port at which queue-proxy and the activator serve.
const SERVING_PORT: u16 = 8012;
/// The request that is in flight takes so long.
const SLOWLY: &str = "/?ms=2000";

/// The default addresses, with port 80 taken, then free. The machine's own ports may be anybody's, so this runs in a network namespace of
/// its own.
pub(super) fn port(place: &Place) -> Result<String> {
    std::thread::scope(|scope| {
        let apart = scope.spawn(|| {
            // Of this thread alone; what it starts inherits it.
            unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
            place::output(Command::new("ip").args(["link", "set", "lo", "up"]))?;
            let (first, second) = (place.scratch("port-taken"), place.scratch("port-free"));
            let seen = look(place, &first, &second);
            for folder in [first, second] {
                place::output(place.kwick(["down", "--delete-data", "--data-dir"]).arg(folder))?;
            }
            seen
        });
        apart.join().map_err(|_| anyhow!("the check ended early"))?
    })
}

fn look(place: &Place, first: &Path, second: &Path) -> Result<String> {
    let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 80)).context("cannot take port 80")?;
    expect_gateway(place, first, "127.0.0.1:8080")?;
    drop(holder);
    expect_gateway(place, first, "127.0.0.1:8080").context("the second time, with port 80 free")?;
    expect_gateway(place, second, "127.0.0.1:80")?;
    Ok("8080 where 80 is taken, and kept; else 80".to_owned())
}

/// Starts on the default addresses, looks, and stops.
fn expect_gateway(place: &Place, folder: &Path, expected: &str) -> Result<()> {
    place::output(place.kwick(["up", "--detach", "--data-dir"]).arg(folder))?;
    let status = place::output(place.kwick(["status", "-o", "json", "--data-dir"]).arg(folder));
    place::output(place.kwick(["down", "--data-dir"]).arg(folder))?;
    let status: Value = serde_json::from_str(&status?).context("kwick status is not JSON")?;
    let gateway = text(&status, "/addresses/gateway");
    ensure(gateway == expected, || format!("the gateway is at {gateway}"))
}

/// A gateway as a process of its own: SIGINT and SIGTERM have it answer what it has taken and then end well.
pub(super) fn drains(kwick: &Instance<'_>) -> Result<String> {
    let service = Ksvc::hello("drained").scale("min-scale", "1").deploy(&kwick.api)?;
    let host = ksvc::host(&service)?;
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        drained_by(kwick, &host, signal).with_context(|| format!("ended by {signal}"))?;
    }
    kwick.api.delete(&ksvc::path("drained"))?;
    Ok("SIGINT and SIGTERM end it after the request in flight".to_owned())
}

fn drained_by(kwick: &Instance<'_>, host: &str, signal: Signal) -> Result<()> {
    let addresses = free_addresses()?;
    let mut command = kwick.place().kwick(["gateway", "--kubeconfig"]);
    command.arg(kwick.folder().join("kubeconfig"));
    for (option, address) in ["--public-addr", "--private-addr", "--metrics-addr"].into_iter().zip(addresses) {
        command.arg(option).arg(address.to_string());
    }
    let mut gateway = Running::start(&mut command)?;
    let [public, ..] = addresses.map(Target::plain);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            // Until it listens nobody is asked.
            until("the gateway", ksvc::PATIENCE, || public.connect().map(Some))?;
            ksvc::ask(&public, host, SLOWLY)
        });
        let is_asked = || has_connection_to(gateway.pid(), SERVING_PORT);
        until_true("the request in flight", ksvc::PATIENCE, || Ok(asking.is_finished() || is_asked()?))?;
        gateway.signal(signal)?;
        let (status, answer) = asking.join().map_err(|_| anyhow!("the caller ended early"))??;
        ensure(status == 200, || format!("what was in flight is answered with {status}: {answer}"))
    })?;
    let status = until("the end of the gateway", ksvc::PATIENCE, || gateway.ended())?;
    ensure(status.success(), || format!("it ended with {status}"))
}

/// Whether a process has a connection to this port of whomever.
fn has_connection_to(pid: u32, port: u16) -> Result<bool> {
    let links = std::fs::read_dir(format!("/proc/{pid}/fd")).context("the process has ended")?.flatten();
    let own: Vec<String> =
        links.filter_map(|link| Some(std::fs::read_link(link.path()).ok()?.display().to_string())).collect();
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).context("the process has ended")?;
    let mut connections = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    Ok(connections.any(|fields| {
        let (Some(remote), Some(inode)) = (fields.get(2), fields.get(9)) else { return false };
        remote.ends_with(&format!(":{port:04X}")) && own.contains(&format!("socket:[{inode}]"))
    }))
}
