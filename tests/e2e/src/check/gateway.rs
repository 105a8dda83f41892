//! Where the gateway listens when nobody says: port 80, or 8080 where 80 is taken, chosen once.
//!
//! The machine's own ports may be anybody's, so this runs in a network namespace of its own.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;

use crate::api::text;
use crate::instance::ensure;
use crate::place::{self, Place};

/// The default addresses, with port 80 taken, then free.
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
