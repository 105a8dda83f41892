//! What each limit is called in either version.

use super::layout::Controller;
use crate::spec::Limits;

/// A setting: a file of a group, and what to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) file: &'static str,
    pub(super) value: String,
    /// Whether a kernel without the file (no swap accounting, say) is fine.
    pub(super) is_optional: bool,
}

const CPU_PERIOD_USEC: u64 = 100_000;
/// The kernel takes no smaller quota.
const CPU_QUOTA_MIN_USEC: u64 = 1_000;
const CPU_SHARES_MIN: u64 = 2;
const CPU_SHARES_MAX: u64 = 262_144;
const CPU_SHARES_PER_CPU: u64 = 1024;
/// More processes and threads than a program needs, and few enough that one that makes them without end leaves the machine some.
const PIDS_DEFAULT: u32 = 4096;

/// The settings that put `limits` of one controller into force. What has no limit is not written: a new group has none.
pub(super) fn settings(controller: Controller, is_v2: bool, limits: &Limits) -> Vec<Setting> {
    match (controller, is_v2) {
        (Controller::Memory, true) => memory_v2(limits),
        (Controller::Memory, false) => memory_v1(limits),
        (Controller::Cpu, true) => cpu_v2(limits),
        (Controller::Cpu, false) => cpu_v1(limits),
        (Controller::Pids, _) => vec![must("pids.max", limits.pids.unwrap_or(PIDS_DEFAULT))],
    }
}

fn memory_v1(limits: &Limits) -> Vec<Setting> {
    let Some(bytes) = limits.memory_bytes else { return Vec::new() };
    // The second one includes swap, is there only with swap accounting, and must not be below the first.
    vec![must("memory.limit_in_bytes", bytes), may("memory.memsw.limit_in_bytes", bytes)]
}

fn memory_v2(limits: &Limits) -> Vec<Setting> {
    // A container whose memory is exceeded ends as a whole.
    let mut settings = vec![may("memory.oom.group", 1)];
    if let Some(bytes) = limits.memory_bytes {
        settings.push(must("memory.max", bytes));
        settings.push(may("memory.swap.max", 0));
    }
    settings
}

fn cpu_v1(limits: &Limits) -> Vec<Setting> {
    let mut settings = vec![must("cpu.shares", shares(limits))];
    settings.extend(quota_usec(limits).map(|quota| may("cpu.cfs_quota_us", quota)));
    settings
}

fn cpu_v2(limits: &Limits) -> Vec<Setting> {
    let mut settings = vec![must("cpu.weight", weight(shares(limits)))];
    settings.extend(quota_usec(limits).map(|quota| must("cpu.max", format!("{quota} {CPU_PERIOD_USEC}"))));
    settings
}

fn shares(limits: &Limits) -> u64 {
    let millis = u64::from(limits.cpu_request_millis.unwrap_or(0));
    (millis * CPU_SHARES_PER_CPU / 1000).clamp(CPU_SHARES_MIN, CPU_SHARES_MAX)
}

/// Maps 2–262144 to 1–10000, as Kubernetes does.
fn weight(shares: u64) -> u64 {
    1 + (shares.saturating_sub(CPU_SHARES_MIN) * 9999) / (CPU_SHARES_MAX - CPU_SHARES_MIN)
}

fn quota_usec(limits: &Limits) -> Option<u64> {
    let millis = u64::from(limits.cpu_limit_millis?);
    Some((millis * CPU_PERIOD_USEC / 1000).max(CPU_QUOTA_MIN_USEC))
}

fn must(file: &'static str, value: impl ToString) -> Setting {
    Setting { file, value: value.to_string(), is_optional: false }
}

fn may(file: &'static str, value: impl ToString) -> Setting {
    Setting { file, value: value.to_string(), is_optional: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(controller: Controller, is_v2: bool, limits: &Limits) -> Vec<String> {
        settings(controller, is_v2, limits).iter().map(|set| format!("{}={}", set.file, set.value)).collect()
    }

    #[test]
    fn limits_in_both_versions() {
        let limits = Limits {
            memory_bytes: Some(1 << 20),
            cpu_limit_millis: Some(1500),
            cpu_request_millis: Some(500),
            pids: Some(7),
        };
        assert_eq!(written(Controller::Cpu, false, &limits), ["cpu.shares=512", "cpu.cfs_quota_us=150000"]);
        assert_eq!(written(Controller::Cpu, true, &limits), ["cpu.weight=20", "cpu.max=150000 100000"]);
        assert_eq!(
            written(Controller::Memory, false, &limits),
            ["memory.limit_in_bytes=1048576", "memory.memsw.limit_in_bytes=1048576"]
        );
        assert_eq!(
            written(Controller::Memory, true, &limits),
            ["memory.oom.group=1", "memory.max=1048576", "memory.swap.max=0"]
        );
        assert_eq!(written(Controller::Pids, true, &limits), ["pids.max=7"]);
    }

    #[test]
    fn without_limits_the_smallest_share_and_a_number_of_processes_are_set() {
        let none = Limits::default();
        assert_eq!(written(Controller::Cpu, false, &none), ["cpu.shares=2"]);
        assert_eq!(written(Controller::Cpu, true, &none), ["cpu.weight=1"]);
        assert!(written(Controller::Memory, false, &none).is_empty());
        assert_eq!(written(Controller::Pids, false, &none), ["pids.max=4096"]);
        let tiny = Limits { cpu_limit_millis: Some(1), ..none };
        assert!(written(Controller::Cpu, false, &tiny).contains(&"cpu.cfs_quota_us=1000".to_owned()));
    }
}
