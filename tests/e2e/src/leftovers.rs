//! What an instance could leave on the machine: a picture before, a picture after, and the difference.
//!
//! Looked at are processes, mounts, network links, named network namespaces, cgroups and firewall tables. Other programs of the machine
//! come and go as well, so processes count when they run the binary or are in a cgroup that names Kwick, the others by Kwick's names. A
//! namespace without a name goes with its last process or mount, so those tell of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A picture of the machine.
pub(crate) struct Picture {
    things: BTreeSet<String>,
    binary: PathBuf,
}

impl Picture {
    /// Takes it; `binary` is the kwick whose processes count.
    pub(crate) fn take(binary: &Path) -> Result<Self> {
        let mut things = BTreeSet::new();
        mounts(&mut things)?;
        links(&mut things)?;
        named_namespaces(&mut things);
        firewall(&mut things);
        cgroups(Path::new("/sys/fs/cgroup"), &mut things, 0);
        processes(binary, &mut things)?;
        Ok(Self { things, binary: binary.to_owned() })
    }

    /// How many processes there are.
    pub(crate) fn processes(&self) -> usize {
        self.things.iter().filter(|thing| thing.starts_with("process ")).count()
    }

    /// Fails, naming them, when things are there now that were not.
    pub(crate) fn expect_nothing_new(&self) -> Result<()> {
        let now = Self::take(&self.binary)?;
        let new: Vec<&String> = now.things.difference(&self.things).collect();
        if new.is_empty() {
            return Ok(());
        }
        bail!(
            "{} things were left behind: {}",
            new.len(),
            new.iter().map(|thing| thing.as_str()).collect::<Vec<_>>().join("; ")
        )
    }
}

fn mounts(things: &mut BTreeSet<String>) -> Result<()> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").context("cannot read the mounts")?;
    // The fifth field is where it is mounted.
    let points = text.lines().filter_map(|line| line.split(' ').nth(4)).filter(|point| point.contains("kwick"));
    things.extend(points.map(|point| format!("mount {point}")));
    Ok(())
}

fn links(things: &mut BTreeSet<String>) -> Result<()> {
    for entry in std::fs::read_dir("/sys/class/net").context("cannot read the network links")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("kw") {
            things.insert(format!("link {name}"));
        }
    }
    Ok(())
}

/// `ip netns` keeps them as files; the folder need not exist.
fn named_namespaces(things: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        things.insert(format!("namespace {}", entry.file_name().to_string_lossy()));
    }
}

/// Tables of the host's firewall; without nft there are none.
fn firewall(things: &mut BTreeSet<String>) {
    let Ok(output) = Command::new("nft").args(["list", "tables"]).output() else { return };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    things.extend(text.lines().filter(|line| line.contains("kwick")).map(|line| format!("firewall {line}")));
}

/// Cgroups whose path names Kwick. Others (a session's, a service's) come and go by themselves.
fn cgroups(folder: &Path, things: &mut BTreeSet<String>, depth: usize) {
    const MAX_DEPTH: usize = 6;
    if depth > MAX_DEPTH {
        return;
    }
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.file_name().to_string_lossy().contains("kwick") {
            things.insert(format!("cgroup {}", path.display()));
        }
        cgroups(&path, things, depth + 1);
    }
}

/// Processes of the binary, and those in a cgroup that names Kwick: containers.
fn processes(binary: &Path, things: &mut BTreeSet<String>) -> Result<()> {
    for entry in std::fs::read_dir("/proc").context("cannot read the processes")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // Either is unreadable when the process has just ended.
        let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        if program == binary || groups.contains("kwick") {
            things.insert(format!("process {pid} {}", program.display()));
        }
    }
    Ok(())
}
