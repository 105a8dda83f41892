//! What an instance could leave on the machine: a picture before, a picture after, and the difference.
//!
//! Looked at are processes that run the binary or a container, mounts, network links, named and held network namespaces, and cgroups.
//! Other programs of the machine come and go as well, so processes count only when their program or working folder is Kwick's, and
//! namespaces only when a process of those holds them; mounts, links and cgroups count all.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

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
        cgroups(Path::new("/sys/fs/cgroup"), &mut things, 0);
        processes(binary, &mut things)?;
        Ok(Self { things, binary: binary.to_owned() })
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
    things.extend(text.lines().filter_map(|line| Some(format!("mount {}", line.split(' ').nth(4)?))));
    Ok(())
}

fn links(things: &mut BTreeSet<String>) -> Result<()> {
    for entry in std::fs::read_dir("/sys/class/net").context("cannot read the network links")? {
        things.insert(format!("link {}", entry?.file_name().to_string_lossy()));
    }
    Ok(())
}

/// `ip netns` keeps them as files; the folder need not exist.
fn named_namespaces(things: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        things.insert(format!("namespace {}", entry.file_name().to_string_lossy()));
    }
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

/// Processes of the binary, and those in another network namespace than ours whose parent chain begins at one: containers.
fn processes(binary: &Path, things: &mut BTreeSet<String>) -> Result<()> {
    let ours = std::fs::read_link("/proc/self/ns/pid").context("cannot read our own namespace")?;
    for entry in std::fs::read_dir("/proc").context("cannot read the processes")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let at = |name: &str| std::fs::read_link(format!("/proc/{pid}/{name}"));
        let (Ok(program), Ok(space)) = (at("exe"), at("ns/pid")) else { continue };
        if program.starts_with(binary) || space != ours {
            things.insert(format!("process {pid} {}", program.display()));
        }
    }
    Ok(())
}
