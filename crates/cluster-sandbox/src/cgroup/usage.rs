//! What a container's groups have counted.

use std::fs;
use std::path::Path;

use super::group::Group;
use super::layout::Controller;
use crate::spec::Usage;

impl Group {
    /// What the container has used and uses.
    pub(crate) fn usage(&self) -> Usage {
        let memory = self.directory_of(Controller::Memory);
        let memory_bytes = memory.and_then(|(directory, is_v2)| {
            number(directory, if is_v2 { "memory.current" } else { "memory.usage_in_bytes" })
        });
        let inactive = memory.and_then(|(directory, is_v2)| {
            field(directory, "memory.stat", if is_v2 { "inactive_file" } else { "total_inactive_file" })
        });
        let pids = self.directory_of(Controller::Pids);
        Usage {
            cpu_usec: self.cpu_usec(),
            working_set_bytes: memory_bytes.map(|bytes| bytes.saturating_sub(inactive.unwrap_or(0))),
            memory_bytes,
            pids: pids.and_then(|(directory, _)| number(directory, "pids.current")),
        }
    }

    /// How many of the container's processes the kernel has killed for lack of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        let count = self.directory_of(Controller::Memory).and_then(|(directory, is_v2)| {
            field(directory, if is_v2 { "memory.events" } else { "memory.oom_control" }, "oom_kill")
        });
        count.unwrap_or(0)
    }

    fn cpu_usec(&self) -> Option<u64> {
        // The v2 tree counts time even where v1 controls it.
        let v2 = self.v2.as_ref().and_then(|directory| field(directory, "cpu.stat", "usage_usec"));
        let v1 = || {
            let with_cpu = self.directory_of(Controller::Cpu).map(|(directory, _)| directory);
            let directory = self.cpuacct.as_deref().or(with_cpu)?;
            number(directory, "cpuacct.usage").map(|nsec| nsec / 1000)
        };
        v2.or_else(v1)
    }
}

fn number(directory: &Path, file: &str) -> Option<u64> {
    fs::read_to_string(directory.join(file)).ok()?.trim().parse().ok()
}

/// A line `NAME NUMBER` of a file.
fn field(directory: &Path, file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(directory.join(file)).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value?.trim().parse().ok()
}
