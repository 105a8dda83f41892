//! The processes of pods, found from outside: what adoption must keep.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use crate::api::{Api, text};
use crate::instance::{is_running, name};
use crate::ksvc;

/// A process: its id and when it began (in clock ticks since boot), which together are never used twice.
pub(super) type Process = (u32, u64);

/// The processes of a Service's pods, by pod.
pub(super) fn of_service(api: &Api, service: &str) -> Result<BTreeMap<String, Vec<Process>>> {
    let pods = ksvc::pods(api, service)?;
    pods.iter().map(|pod| Ok((name(pod).to_owned(), of_pod(text(pod, "/metadata/uid"))?))).collect()
}

/// The processes of the pods with a label that are not on their way out, by pod.
pub(super) fn of_label(api: &Api, label: &str) -> Result<BTreeMap<String, Vec<Process>>> {
    let pods = api.list(&format!("{}?labelSelector={label}", ksvc::PODS))?;
    let staying = pods.iter().filter(|pod| pod.pointer("/metadata/deletionTimestamp").is_none());
    staying.map(|pod| Ok((name(pod).to_owned(), of_pod(text(pod, "/metadata/uid"))?))).collect()
}

/// Processes in the pod's cgroups, which carry its uid.
fn of_pod(uid: &str) -> Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").context("cannot read the processes")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|text| text.parse::<u32>().ok()) else { continue };
        // A process may end meanwhile.
        let Ok(groups) = std::fs::read_to_string(format!("/proc/{pid}/cgroup")) else { continue };
        if groups.contains(uid)
            && let Some(begun) = begun(pid)
        {
            found.push((pid, begun));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Whether it still runs.
pub(super) fn is_there((pid, since): Process) -> bool {
    i32::try_from(pid).is_ok_and(is_running) && begun(pid) == Some(since)
}

fn begun(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name in parentheses; the 22nd field of all is the 20th there.
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}
