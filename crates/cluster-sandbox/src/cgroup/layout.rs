//! Which hierarchies this machine has, and which of them controls what.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A resource controller that limits of containers need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Controller {
    Memory,
    Cpu,
    Pids,
}

impl Controller {
    pub(crate) const ALL: [Self; 3] = [Self::Memory, Self::Cpu, Self::Pids];

    /// The kernel's word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Pids => "pids",
        }
    }
}

/// A mounted version 1 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    pub(crate) mount: PathBuf,
    /// Its controllers, or `name=…`.
    pub(crate) controllers: Vec<String>,
}

/// The mounted version 2 tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unified {
    pub(crate) mount: PathBuf,
    pub(crate) controllers: Vec<String>,
}

/// The hierarchies of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) v1: Vec<Hierarchy>,
    pub(crate) v2: Option<Unified>,
}

/// Where a controller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version<'layout> {
    One(&'layout Path),
    Two(&'layout Path),
}

impl Layout {
    /// Looks at the mounts of this process.
    pub(crate) fn detect() -> io::Result<Self> {
        let mut layout = Self::parse(&fs::read_to_string("/proc/self/mountinfo")?);
        if let Some(unified) = &mut layout.v2 {
            let controllers = fs::read_to_string(unified.mount.join("cgroup.controllers"))?;
            unified.controllers = controllers.split_whitespace().map(str::to_owned).collect();
        }
        Ok(layout)
    }

    /// Reads `/proc/PID/mountinfo`; version 2's controllers are in another file.
    pub(crate) fn parse(mountinfo: &str) -> Self {
        let mut layout = Self::default();
        for line in mountinfo.lines() {
            let Some((head, tail)) = line.split_once(" - ") else { continue };
            let Some(mount) = head.split(' ').nth(4).map(unescaped) else { continue };
            let mut tail = tail.split(' ');
            let (kind, options) = (tail.next(), tail.nth(1).unwrap_or_default());
            match kind {
                Some("cgroup2") if layout.v2.is_none() => layout.v2 = Some(Unified { mount, controllers: Vec::new() }),
                Some("cgroup") => layout.add(mount, options),
                _ => {}
            }
        }
        layout
    }

    fn add(&mut self, mount: PathBuf, options: &str) {
        const NOT_CONTROLLERS: [&str; 8] =
            ["rw", "ro", "xattr", "clone_children", "cpuset_v2_mode", "noprefix", "release_agent", "favordynmods"];
        let is_controller = |option: &&str| !NOT_CONTROLLERS.contains(&option.split('=').next().unwrap_or_default());
        let controllers: Vec<_> = options.split(',').filter(is_controller).map(str::to_owned).collect();
        // The same hierarchy may be mounted twice; the first place is as good as any.
        if !controllers.is_empty() && !self.v1.iter().any(|known| known.controllers == controllers) {
            self.v1.push(Hierarchy { mount, controllers });
        }
    }

    /// Where a controller is mounted, if anywhere.
    pub(crate) fn find(&self, controller: &str) -> Option<Version<'_>> {
        let has = |controllers: &[String]| controllers.iter().any(|name| name == controller);
        let v1 = self.v1.iter().find(|hierarchy| has(&hierarchy.controllers));
        let v2 = self.v2.as_ref().filter(|unified| has(&unified.controllers));
        v1.map(|hierarchy| Version::One(&hierarchy.mount)).or_else(|| v2.map(|unified| Version::Two(&unified.mount)))
    }

    /// `v1`, `v2`, `hybrid` or `none`.
    pub(crate) fn mode(&self) -> &'static str {
        let has_v1 =
            self.v1.iter().any(|hierarchy| !hierarchy.controllers.iter().all(|name| name.starts_with("name=")));
        match (has_v1, self.v2.is_some()) {
            (true, true) => "hybrid",
            (true, false) => "v1",
            (false, true) => "v2",
            (false, false) => "none",
        }
    }
}

/// Mount points have spaces, tabs, newlines and backslashes written as three octal digits.
fn unescaped(text: &str) -> PathBuf {
    let plain = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    PathBuf::from(plain.iter().fold(text.to_owned(), |text, (escape, plain)| text.replace(escape, plain)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
24 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw
32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
34 30 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
35 30 0:30 / /mnt/with\\040space rw - cgroup cgroup rw,memory
";
    const UNIFIED: &str = "31 30 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn a_hybrid_host_has_both() {
        let layout = Layout::parse(HYBRID);
        assert_eq!(layout.mode(), "hybrid");
        assert_eq!(layout.find("cpuacct"), Some(Version::One(Path::new("/sys/fs/cgroup/cpu,cpuacct"))));
        assert_eq!(layout.find("memory"), Some(Version::One(Path::new("/sys/fs/cgroup/memory"))));
        assert_eq!(layout.find("pids"), None);
        assert_eq!(layout.v1.len(), 3, "the second mount of one hierarchy is left out");
    }

    #[test]
    fn modes_and_escapes() {
        let mut layout = Layout::parse(UNIFIED);
        assert_eq!(layout.mode(), "v2");
        assert_eq!(layout.find("memory"), None);
        layout.v2.as_mut().unwrap().controllers.push("memory".into());
        assert_eq!(layout.find("memory"), Some(Version::Two(Path::new("/sys/fs/cgroup"))));
        assert_eq!(Layout::parse("").mode(), "none");
        assert_eq!(Layout::parse(&HYBRID.replace("cgroup2", "x")).mode(), "v1");
        assert_eq!(unescaped("/a\\040b\\134c"), PathBuf::from("/a b\\c"));
    }
}
