//! What Pods and the machine use. It is measured when somebody asks and not before: what has been measured lately is told again, and the first
//! who asks waits for a short measurement.
//!
//! The processor is measured between two readings of what control groups have counted; memory as it is at the second one. Containers that were
//! not there at both leave their Pod out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base_rt::{Timestamp, error_chain};
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::facts::containers;
use super::kubelet::Kubelet;
use super::names;

/// How long a measurement is told again.
const FRESH: Duration = Duration::from_secs(5);
/// The least time between two readings, and the most.
const WINDOW: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(120));
/// The unit of `/proc/stat`, in microseconds.
const TICK_USEC: u64 = 10_000;

/// What something uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// Of a processor, in billionths.
    pub cpu_nanos: u64,
    /// Memory in bytes that could not be taken back at once.
    pub memory_bytes: u64,
}

/// What a Pod's containers use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodUse {
    /// The Pod's namespace.
    pub namespace: String,
    /// The Pod's name.
    pub name: String,
    /// Its containers by their names; those that are roles of this process are none.
    pub containers: Vec<(String, Use)>,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measurement {
    /// The end of it.
    pub at: Timestamp,
    /// How long it took.
    pub window: Duration,
    /// The machine as a whole.
    pub machine: Use,
    /// Pods of which everything is known.
    pub pods: Vec<PodUse>,
}

/// What has been counted since the start of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    cpu_usec: u64,
    memory_bytes: u64,
}

#[derive(Debug)]
struct Reading {
    taken: Instant,
    machine: Count,
    /// By the containers' names at the spawner.
    containers: BTreeMap<String, Count>,
}

/// Keeps the last reading and the last measurement.
#[derive(Debug, Default)]
pub(crate) struct Meter(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    reading: Option<Reading>,
    told: Option<(Instant, Arc<Measurement>)>,
}

impl Meter {
    /// What Pods and the machine use.
    ///
    /// # Errors
    /// Why that is not known, in words.
    pub(crate) async fn measure(&self, node: &Kubelet) -> Result<Arc<Measurement>, String> {
        let mut kept = self.0.lock().await;
        if let Some((_, told)) = kept.told.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return Ok(Arc::clone(told));
        }
        let is_of_use = |reading: &Reading| (WINDOW.0..WINDOW.1).contains(&reading.taken.elapsed());
        let before = match kept.reading.take().filter(is_of_use) {
            Some(before) => before,
            None => {
                let before = read(node).await?;
                tokio::time::sleep(WINDOW.0).await;
                before
            }
        };
        let after = read(node).await?;
        let window = after.taken.duration_since(before.taken);
        let pods = node.pods();
        let measured = Arc::new(Measurement {
            at: node.clock.now(),
            window,
            machine: used(before.machine, after.machine, window),
            pods: pods.iter().filter_map(|pod| used_by(pod, &before, &after)).collect(),
        });
        *kept = Kept { told: Some((after.taken, Arc::clone(&measured))), reading: Some(after) };
        Ok(measured)
    }
}

async fn read(node: &Kubelet) -> Result<Reading, String> {
    let (containers, _) = node.sandbox.usage(&[]).await.map_err(|error| error_chain(&error))?;
    let containers = containers.into_iter().filter_map(|(id, usage)| {
        let count = Count { cpu_usec: usage.cpu_usec?, memory_bytes: usage.working_set_bytes? };
        Some((id.as_str().to_owned(), count))
    });
    let containers = containers.collect();
    let [stat, meminfo] = ["/proc/stat", "/proc/meminfo"].map(tokio::fs::read_to_string);
    let (stat, meminfo) = futures::try_join!(stat, meminfo).map_err(|error| error_chain(&error))?;
    Ok(Reading { taken: Instant::now(), machine: machine(&stat, &meminfo), containers })
}

fn used(before: Count, after: Count, window: Duration) -> Use {
    let spent = u128::from(after.cpu_usec.saturating_sub(before.cpu_usec)) * 1_000_000_000;
    let cpu_nanos = u64::try_from(spent / window.as_micros().max(1)).unwrap_or(u64::MAX);
    Use { cpu_nanos, memory_bytes: after.memory_bytes }
}

/// What a Pod uses; nothing if no container of it runs, or one began meanwhile.
fn used_by(pod: &Pod, before: &Reading, after: &Reading) -> Option<PodUse> {
    let uid = pod.metadata.uid.as_deref()?;
    let window = after.taken.duration_since(before.taken);
    let mut used_by_name = BTreeMap::new();
    // Names of a Pod's containers begin with its uid.
    for (id, count) in after.containers.range(uid.to_owned()..).take_while(|(id, _)| id.starts_with(uid)) {
        let Some(name) = names::container_of(uid, id) else { continue };
        used_by_name.insert(name.to_owned(), used(*before.containers.get(id)?, *count, window));
    }
    let in_order = containers(pod).filter_map(|of| used_by_name.remove_entry(&of.name));
    let containers: Vec<(String, Use)> = in_order.collect();
    let (namespace, name) = (pod.metadata.namespace.clone()?, pod.metadata.name.clone()?);
    (!containers.is_empty()).then_some(PodUse { namespace, name, containers })
}

/// What the kernel says of the whole machine.
fn machine(stat: &str, meminfo: &str) -> Count {
    let all = stat.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or_default();
    let ticks: Vec<u64> = all.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guests' time is in the first two.
    let idle: u64 = ticks.iter().skip(3).take(2).sum();
    let busy = ticks.iter().take(8).sum::<u64>().saturating_sub(idle);
    let kibibytes = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default()
    };
    let memory = kibibytes("MemTotal").saturating_sub(kibibytes("MemAvailable"));
    Count { cpu_usec: busy * TICK_USEC, memory_bytes: memory * 1024 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn count(cpu_usec: u64) -> Count {
        Count { cpu_usec, memory_bytes: 7 }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pods_containers_are_measured_between_two_readings() {
        let reading = |containers: &[(&str, u64)]| Reading {
            taken: Instant::now(),
            machine: Count::default(),
            containers: containers.iter().map(|(id, usec)| ((*id).to_owned(), count(*usec))).collect(),
        };
        let before = reading(&[("u.c.0", 1_000_000), ("u.d.0", 0), ("v.c.0", 0)]);
        tokio::time::advance(Duration::from_secs(2)).await;
        let pod = |uid: &str| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"namespace": "n", "name": "p", "uid": uid},
                "spec": {"containers": [{"name": "d"}, {"name": "c"}, {"name": "role"}]},
            }))
            .unwrap()
        };
        let after = reading(&[("u.c.0", 2_000_000), ("u.d.0", 0), ("v.c.1", 500)]);
        let used = used_by(&pod("u"), &before, &after).unwrap();
        let of = |cpu_nanos| Use { cpu_nanos, memory_bytes: 7 };
        assert_eq!(used.containers, [("d".to_owned(), of(0)), ("c".to_owned(), of(500_000_000))]);
        assert_eq!(used_by(&pod("v"), &before, &after), None, "it began meanwhile");
        assert_eq!(used_by(&pod("w"), &before, &after), None, "nothing of it runs");
    }

    #[test]
    fn the_kernel_tells_of_the_machine() {
        let stat = "cpu  10 1 5 1000 50 2 3 4 9 9\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        let meminfo = "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 400 kB\n";
        assert_eq!(machine(stat, meminfo), Count { cpu_usec: 25 * TICK_USEC, memory_bytes: 600 * 1024 });
        assert_eq!(machine("", ""), Count::default());
    }
}
