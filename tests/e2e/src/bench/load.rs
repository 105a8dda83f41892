//! A bounded load: a fixed number of requests over a few connections that stay open, on loopback only.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::http::{Request, Target};

/// What a load is.
#[derive(Clone, Copy)]
pub(super) struct Load {
    /// Connections, each with one request at a time.
    pub(super) connections: usize,
    /// Requests over each.
    pub(super) requests: usize,
}

/// Sends it; fails when an answer is not 200. How long it took.
pub(super) fn send(target: &Target, host: &str, load: Load) -> Result<Duration> {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let callers: Vec<_> =
            (0..load.connections).map(|_| scope.spawn(|| call(target, host, load.requests))).collect();
        for caller in callers {
            caller.join().ok().context("a caller ended early")??;
        }
        Ok(begun.elapsed())
    })
}

fn call(target: &Target, host: &str, requests: usize) -> Result<()> {
    let mut connection = target.connect()?;
    let headers = [("Host", host), ("User-Agent", "kwick-bench")];
    for _ in 0..requests {
        let answer = connection.send(&Request { method: "GET", path: "/", headers: &headers, body: b"" })?;
        if answer.status != 200 {
            bail!("an answer was {}", answer.status);
        }
        connection = answer.read()?.1;
    }
    Ok(())
}

/// Processor time of processes, in clock ticks of a hundredth of a second.
pub(super) fn ticks(pids: &[i32]) -> Result<u64> {
    let mut sum = 0;
    for pid in pids {
        let path = format!("/proc/{pid}/stat");
        let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let fields: Vec<&str> = stat.rsplit_once(") ").context("a stat without a name")?.1.split(' ').collect();
        // utime and stime are fields 14 and 15 of all; the state, here the first, is the third.
        for at in [11, 12] {
            sum += fields.get(at).and_then(|field| field.parse::<u64>().ok()).context("a stat without times")?;
        }
    }
    Ok(sum)
}
