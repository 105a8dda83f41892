//! The machine itself: kernel, capabilities, namespaces, file systems, cgroups.

use std::fs;
use std::path::Path;

use rustix::process::{Resource, getrlimit};

use super::Fact;
use crate::cgroup::{Controller, Layout, expedite};
use crate::container::overlay::{Overlay, make_base, make_writable};
use crate::removal::remove_tree;
use crate::spec::{CapabilitySet, LayerName};

/// `cgroup.kill` is the youngest of what is used.
const KERNEL_MIN: (u32, u32) = (5, 14);
const NEEDED: [&str; 12] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_ADMIN",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_ADMIN",
    "SYS_CHROOT",
];
const NAMESPACES: [&str; 6] = ["cgroup", "ipc", "mnt", "net", "pid", "uts"];
/// What a pod of Knative's costs the client: listeners, ready sockets, connections.
const OPEN_FILES_PER_POD: u64 = 27;
/// What the client has open beside pods.
const OPEN_FILES_BESIDE: u64 = 512;
/// A limit that is not worth a word.
const OPEN_FILES_AMPLE: u64 = 16 << 10;
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

pub(super) fn root(is_root: bool) -> Fact {
    if is_root {
        return Fact::good("root", "running as root");
    }
    Fact::degraded(
        "root",
        "not running as root: capabilities, limits, overlayfs, links and the firewall could not be looked at",
        "run it as root, for instance by sudo",
    )
}

pub(super) fn kernel() -> Fact {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers =
        release.split(|char: char| !char.is_ascii_digit()).map(|number| number.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= KERNEL_MIN {
        return Fact::good("kernel", format!("Linux {release}"));
    }
    let (major, minor) = KERNEL_MIN;
    Fact::missing("kernel", format!("Linux {release} is older than {major}.{minor}"), "use a newer kernel")
}

pub(super) fn capabilities() -> Fact {
    let needed = CapabilitySet::parse(&NEEDED.map(str::to_owned)).unwrap_or_default();
    let lacking: Vec<_> = needed.difference(present()).names().collect();
    if lacking.is_empty() {
        return Fact::good("capabilities", "root has the capabilities that are needed");
    }
    let reason = format!("root lacks {} here", lacking.join(", "));
    Fact::missing("capabilities", reason, "if this is a container, run it privileged or add these capabilities")
}

pub(super) fn raising_limits() -> Fact {
    let needed = CapabilitySet::parse(&["SYS_RESOURCE".to_owned()]).unwrap_or_default();
    if present().contains(needed) {
        return Fact::good("limits", "limits of processes may be raised");
    }
    let reason = "without CAP_SYS_RESOURCE, negative oom_score_adj values and raised process limits are left out";
    Fact::degraded("limits", reason, "if this is a container or a restricted machine, add CAP_SYS_RESOURCE")
}

pub(super) fn open_files() -> Fact {
    open_files_within(getrlimit(Resource::Nofile).maximum)
}

/// The fact that follows from a hard limit; none is no limit.
pub(super) fn open_files_within(hard: Option<u64>) -> Fact {
    let Some(hard) = hard.filter(|hard| *hard < OPEN_FILES_AMPLE) else {
        return Fact::good("open files", "a process may open as many as a full machine of pods needs");
    };
    let pods = hard.saturating_sub(OPEN_FILES_BESIDE) / OPEN_FILES_PER_POD;
    let reason = format!("a process may open {hard} (the hard limit): enough for some {pods} pods");
    Fact::degraded("open files", reason, "raise the limit: ulimit -Hn in the shell, LimitNOFILE= in a systemd unit")
}

fn present() -> CapabilitySet {
    let bits = rustix::thread::capabilities(None).map_or(0, |sets| sets.effective.bits());
    let names = CapabilitySet::ALL.names().enumerate().filter(|(number, _)| bits & (1 << number) != 0);
    let names: Vec<String> = names.map(|(_, name)| name.to_owned()).collect();
    CapabilitySet::parse(&names).unwrap_or_default()
}

pub(super) fn namespaces() -> Fact {
    let lacking: Vec<_> =
        NAMESPACES.into_iter().filter(|name| !Path::new("/proc/self/ns").join(name).exists()).collect();
    if lacking.is_empty() {
        return Fact::good("namespaces", "the kernel has every kind of namespace that is needed");
    }
    Fact::missing(
        "namespaces",
        format!("the kernel has no namespaces of kind {}", lacking.join(", ")),
        "use a kernel with namespaces",
    )
}

pub(super) fn overlay(data_dir: &Path) -> Fact {
    let place = data_dir.join(format!(".preflight-{}", rustix::process::getpid().as_raw_pid()));
    let attempt = try_overlay(&place);
    let cleaned = remove_tree(&place).map_err(|error| error.to_string());
    match attempt.and(cleaned) {
        Ok(()) => Fact::good("overlayfs", format!("layers can be mounted over each other in {}", data_dir.display())),
        Err(error) => {
            let reason = format!("an overlay cannot be mounted in {}: {error}", data_dir.display());
            Fact::missing(
                "overlayfs",
                reason,
                "load the module \"overlay\"; keep the data directory on ext4, xfs or btrfs, not on NFS or another overlay",
            )
        }
    }
}

fn try_overlay(place: &Path) -> Result<(), String> {
    let make = || -> std::io::Result<()> {
        fs::create_dir(place)?;
        make_base(&place.join("base"))?;
        fs::create_dir_all(place.join("layers/one/fs"))?;
        make_writable(&place.join("writable"), 0)
    };
    make().map_err(|error| error.to_string())?;
    let layers = [LayerName::try_new("one").map_err(|error| error.to_string())?];
    let (base, layers_dir, writable) = (place.join("base"), place.join("layers"), place.join("writable"));
    // In a thread, which has its own working directory, and a mount that is attached to nothing and gone when it is closed.
    let mounted = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            crate::sys::namespaces::unshare(rustix::thread::UnshareFlags::FS).map_err(|error| error.to_string())?;
            let overlay =
                Overlay { base: &base, layers_dir: &layers_dir, layers: &layers, writable: &writable, users: None };
            overlay.mount().map(drop).map_err(|refusal| refusal.message)
        });
        thread.join()
    });
    mounted.unwrap_or_else(|_| Err("the check failed".to_owned()))
}

pub(super) fn seccomp() -> Fact {
    if Path::new("/proc/sys/kernel/seccomp/actions_avail").exists() {
        return Fact::good("seccomp", "system calls of containers can be filtered");
    }
    Fact::missing("seccomp", "the kernel cannot filter system calls", "use a kernel with CONFIG_SECCOMP_FILTER")
}

pub(super) fn devices() -> Fact {
    let lacking: Vec<_> = DEVICES.into_iter().filter(|name| !Path::new("/dev").join(name).exists()).collect();
    if lacking.is_empty() {
        return Fact::good("devices", "/dev has what containers get of it");
    }
    Fact::missing("devices", format!("/dev lacks {}", lacking.join(", ")), "make the missing device nodes")
}

pub(super) fn cgroups() -> Vec<Fact> {
    let layout = match Layout::detect() {
        Ok(layout) => layout,
        Err(error) => {
            return vec![Fact::missing(
                "cgroups",
                format!("they cannot be looked at: {error}"),
                "mount /sys/fs/cgroup",
            )];
        }
    };
    let mode = layout.mode();
    if mode == "none" {
        return vec![Fact::missing("cgroups", "none is mounted", "mount /sys/fs/cgroup")];
    }
    let lacking = Controller::ALL.into_iter().filter(|controller| layout.find(controller.name()).is_none());
    let lacking: Vec<_> = lacking.map(Controller::name).collect();
    let mut facts = vec![if lacking.is_empty() {
        Fact::good("cgroups", format!("version: {mode}; memory, cpu and pids can be limited"))
    } else {
        let reason = format!("version: {mode}; {} cannot be limited", lacking.join(", "));
        Fact::degraded(
            "cgroups",
            reason,
            "enable these controllers (kernel parameter cgroup_enable=memory, for instance)",
        )
    }];
    if mode == "v1" || mode == "hybrid" {
        facts.push(if expedite::is_possible() {
            Fact::good("container start", "moving processes between cgroups is quick")
        } else {
            let reason = "each container start takes some 10 ms longer: /sys/kernel/rcu_expedited cannot be used";
            Fact::degraded("container start", reason, "boot with cgroup version 2, or make /sys writable")
        });
    }
    facts
}
