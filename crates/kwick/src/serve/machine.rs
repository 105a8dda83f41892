//! What this machine has, as the Node says it.

use std::fs;
use std::path::Path;

/// Facts about the machine; what cannot be found out is empty or nothing.
pub(super) struct Machine {
    /// Processors, in thousandths.
    pub(super) cpu_millis: u64,
    /// Memory in bytes.
    pub(super) memory_bytes: u64,
    /// The size of the data directory's file system, in bytes.
    pub(super) storage_bytes: u64,
    /// The kernel's release.
    pub(super) kernel: String,
    /// The distribution's name.
    pub(super) os_image: String,
    /// The machine's id.
    pub(super) id: String,
}

impl Machine {
    /// Looks, for an instance whose data lie in `dir`.
    pub(super) fn look(dir: &Path) -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpus = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
        Self {
            cpu_millis: cpus * 1000,
            memory_bytes: memory(&text("/proc/meminfo")),
            storage_bytes: nix::sys::statvfs::statvfs(dir).map_or(0, |stat| stat.blocks() * stat.fragment_size()),
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            os_image: os_name(&text("/etc/os-release")),
            id: text("/etc/machine-id").trim().to_owned(),
        }
    }
}

/// `MemTotal` in bytes.
fn memory(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

/// `PRETTY_NAME`, without its quotes.
fn os_name(release: &str) -> String {
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("Linux").trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_kernels_and_distributions_write() {
        assert_eq!(memory("MemTotal:       24612345 kB\nMemFree: 1 kB\n"), 24_612_345 * 1024);
        assert_eq!(memory(""), 0);
        assert_eq!(os_name("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n"), "Debian GNU/Linux 12");
        assert_eq!(os_name(""), "Linux");
    }
}
