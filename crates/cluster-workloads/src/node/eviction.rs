//! Pods that take more of the disk than they may are evicted, as a kubelet does: what containers have written over their images and into
//! their logs, and emptyDirs on the disk. A Pod that names no bound is not measured.
//!
//! A container has its `limits.ephemeral-storage`, a volume its `sizeLimit`, and the Pod as a whole the sum of its containers' limits. A
//! memory volume needs nobody to look: it cannot grow over its bound.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use base_controller::Informer;
use base_rt::{Phase, error_chain};
use cluster_sandbox::RefusalCode;
use cluster_sandbox::spec::{DiskUsage, PodId, VolumeKind};
use futures::stream::{self, StreamExt};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::facts::containers;
use super::kubelet::Kubelet;
use super::names;
use super::volumes::{self, Plan};
use crate::objects::pods;
use crate::objects::quantity::Milli;

/// The resource.
const STORAGE: &str = "ephemeral-storage";
/// Pods of this priority and more are the system's: they stay.
const SYSTEM_CRITICAL: i32 = 2_000_000_000;
/// How many Pods are measured at once, so that a large one delays few others.
const AT_ONCE: usize = 4;
/// What `st_blocks` counts in.
const BLOCK_BYTES: u64 = 512;

/// Looks until the process ends.
pub(crate) async fn keep(node: Arc<Kubelet>, pods: Informer<Pod>) {
    let shutdown = node.tasks.shutdown().clone();
    tokio::select! {
        biased;
        () = shutdown.reached(Phase::Lame) => {}
        () = look_often(&node, &pods) => {}
    }
}

async fn look_often(node: &Kubelet, pods: &Informer<Pod>) {
    loop {
        tokio::time::sleep(node.config.measure).await;
        stream::iter(pods.list()).for_each_concurrent(AT_ONCE, |pod| look(node, pod)).await;
    }
}

async fn look(node: &Kubelet, pod: Arc<Pod>) {
    let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or_default();
    let is_ending = pods::is_finished(&pod) || pods::is_terminating(&pod);
    if is_ending || priority >= SYSTEM_CRITICAL {
        return;
    }
    let bounds = Bounds::of(&pod);
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let (false, Ok(id)) = (bounds.is_empty(), PodId::try_new(uid)) else { return };
    let disk = match node.sandbox.disk_usage(&id).await {
        Ok(disk) => disk,
        // It has no sandbox yet, or no more.
        Err(error) if error.refusal() == Some(RefusalCode::NotFound) => return,
        Err(error) => return tracing::debug!(pod = uid, error = error_chain(&error), "a pod is not measured"),
    };
    let (of_pod, logs_dir, is_whole) = (Arc::clone(&pod), node.config.logs_dir.clone(), disk.is_whole);
    let used = tokio::task::spawn_blocking(move || Used::of(&of_pod, disk, &logs_dir)).await;
    // It is measured again soon.
    let Ok(used) = used else { return };
    match bounds.judge(&used, is_whole) {
        Verdict::Within => {}
        Verdict::Unknown => tracing::warn!(pod = uid, "what a pod takes of the disk could not be counted as a whole"),
        Verdict::Exceeded(why) => node.evict(uid, why).await,
    }
}

/// Whether a Pod takes more than it may.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Within,
    /// Not as far as it was counted.
    Unknown,
    Exceeded(String),
}

/// An amount that is not to be exceeded.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bound {
    amount: Milli,
    /// As messages show it.
    text: String,
}

impl Bound {
    /// What a quantity says; nothing is no bound.
    fn of(quantity: &Quantity) -> Option<Self> {
        let amount = Milli::parse(quantity).filter(|amount| *amount > Milli::default())?;
        Some(Self { amount, text: quantity.0.clone() })
    }

    fn is_exceeded_by(&self, bytes: u64) -> bool {
        Milli::units(bytes.into()) > self.amount
    }
}

/// What a Pod may take of the disk.
#[derive(Debug, Default, PartialEq, Eq)]
struct Bounds {
    volumes: Vec<(String, Bound)>,
    pod: Option<Bound>,
    containers: Vec<(String, Bound)>,
}

impl Bounds {
    fn of(pod: &Pod) -> Self {
        let volumes = volumes::volumes(pod).filter_map(|volume| {
            let is_on_disk = matches!(volumes::plan(volume), Ok(Plan::Empty(VolumeKind::Disk)));
            let source = volume.empty_dir.as_ref().filter(|_| is_on_disk)?;
            Some((volume.name.clone(), Bound::of(source.size_limit.as_ref()?)?))
        });
        let mains = pod.spec.iter().flat_map(|spec| &spec.containers);
        let containers = mains.filter_map(|main| Some((main.name.clone(), Bound::of(limit(main)?)?)));
        Self { volumes: volumes.collect(), containers: containers.collect(), pod: pod.spec.as_ref().and_then(whole) }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// A count that is not whole is a lower bound: it says who takes too much, and not who does not.
    fn judge(&self, used: &Used, is_whole: bool) -> Verdict {
        match self.exceeded(used) {
            Some(why) => Verdict::Exceeded(why),
            None if is_whole => Verdict::Within,
            None => Verdict::Unknown,
        }
    }

    /// What takes more than it may, in the kubelet's order and words.
    fn exceeded(&self, used: &Used) -> Option<String> {
        let of = |amounts: &BTreeMap<String, u64>, name: &str| amounts.get(name).copied().unwrap_or_default();
        let volume = self.volumes.iter().find(|(name, bound)| bound.is_exceeded_by(of(&used.volumes, name)));
        if let Some((name, bound)) = volume {
            return Some(format!("Usage of EmptyDir volume {name:?} exceeds the limit {:?}. ", bound.text));
        }
        if let Some(bound) = self.pod.as_ref().filter(|bound| bound.is_exceeded_by(used.total())) {
            let text = &bound.text;
            return Some(format!("Pod ephemeral local storage usage exceeds the total limit of containers {text}. "));
        }
        let container = self.containers.iter().find(|(name, bound)| bound.is_exceeded_by(of(&used.containers, name)));
        container.map(|(name, bound)| {
            format!("Container {name} exceeded its local ephemeral storage limit {:?}. ", bound.text)
        })
    }
}

fn limit(container: &Container) -> Option<&Quantity> {
    container.resources.as_ref()?.limits.as_ref()?.get(STORAGE)
}

/// The Pod's bound: the most that its containers may take at once, of those that say it; as their requests count ([`crate::scheduler`]).
fn whole(spec: &PodSpec) -> Option<Bound> {
    let stated = |container: &Container| limit(container).and_then(Milli::parse);
    let (mut sidecars, mut starting) = (Milli::default(), Milli::default());
    for container in spec.init_containers.iter().flatten() {
        let own = stated(container).unwrap_or_default();
        let at_once = sidecars.plus(own);
        starting = starting.max(at_once);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars = at_once;
        }
    }
    let running = spec.containers.iter().filter_map(stated).fold(sidecars, Milli::plus);
    let amount = running.max(starting);
    let all = || spec.init_containers.iter().flatten().chain(&spec.containers).filter_map(limit);
    let is_binary = all().next()?.0.ends_with('i');
    // One limit is shown as it is written.
    let as_written = all().find(|quantity| Milli::parse(quantity) == Some(amount)).map(|quantity| quantity.0.clone());
    Some(Bound { amount, text: as_written.unwrap_or_else(|| amount.text(is_binary)) })
}

/// What a Pod takes of the disk, in bytes.
#[derive(Debug, Default)]
struct Used {
    /// Its containers: what they have written, and all their logs.
    containers: BTreeMap<String, u64>,
    /// Its emptyDirs.
    volumes: BTreeMap<String, u64>,
}

impl Used {
    fn of(pod: &Pod, disk: DiskUsage, logs_dir: &Path) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let meta = &pod.metadata;
        let [namespace, name, uid] = [&meta.namespace, &meta.name, &meta.uid].map(text);
        let logs = logs_dir.join(names::log_directory([&namespace, &name, &uid]));
        let mut used = Self::default();
        for container in containers(pod) {
            // A container that has not begun has no logs.
            let bytes = logs_bytes(&logs.join(&container.name)).unwrap_or_default();
            used.containers.insert(container.name.clone(), bytes);
        }
        for (id, bytes) in disk.containers {
            if let Some(name) = names::container_of(&uid, id.as_str()) {
                *used.containers.entry(name.to_owned()).or_default() += bytes;
            }
        }
        used.volumes = disk.volumes.into_iter().map(|(name, bytes)| (name.as_str().to_owned(), bytes)).collect();
        used
    }

    fn total(&self) -> u64 {
        self.containers.values().chain(self.volumes.values()).sum()
    }
}

/// What the logs of a container's runs take.
fn logs_bytes(directory: &Path) -> io::Result<u64> {
    let files = fs::read_dir(directory)?.map(|entry| Ok(entry?.metadata()?.blocks() * BLOCK_BYTES));
    files.sum()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"namespace": "n", "name": "p", "uid": "u"}, "spec": spec})).unwrap()
    }

    fn container(name: &str, limit: &str) -> Value {
        json!({"name": name, "resources": {"limits": {STORAGE: limit}}})
    }

    fn used(containers: &[(&str, u64)], volumes: &[(&str, u64)]) -> Used {
        let map = |rows: &[(&str, u64)]| rows.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes)).collect();
        Used { containers: map(containers), volumes: map(volumes) }
    }

    const MI: u64 = 1 << 20;

    #[test]
    fn who_names_no_bound_is_not_measured() {
        let free = json!({"containers": [{"name": "c"}, container("zero", "0")], "volumes": [
            {"name": "open", "emptyDir": {}},
            {"name": "zero", "emptyDir": {"sizeLimit": "0"}},
            {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        ]});
        let bounds = Bounds::of(&pod(free));
        assert_eq!((bounds.volumes, bounds.containers), (vec![], vec![]));
        assert!(Bounds::of(&pod(json!({"containers": [{"name": "c"}]}))).is_empty());
    }

    #[test]
    fn what_is_exceeded_is_said_as_the_kubelet_says_it() {
        let bounds = Bounds::of(&pod(json!({
            "containers": [container("c", "1Mi"), container("d", "3Mi"), {"name": "free"}],
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}],
        })));
        let rows = [
            (used(&[("c", MI), ("d", MI)], &[("v", MI)]), None),
            (
                used(&[("c", 2 * MI)], &[("v", MI + 1)]),
                Some("Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". "),
            ),
            (
                used(&[("c", 2 * MI), ("free", 3 * MI)], &[]),
                Some("Pod ephemeral local storage usage exceeds the total limit of containers 4Mi. "),
            ),
            (used(&[("c", MI + 1)], &[]), Some("Container c exceeded its local ephemeral storage limit \"1Mi\". ")),
        ];
        for (used, expected) in rows {
            assert_eq!(bounds.exceeded(&used).as_deref(), expected, "{used:?}");
        }
    }

    #[test]
    fn a_part_of_a_count_accuses_and_does_not_acquit() {
        let bounds = Bounds::of(&pod(json!({"containers": [container("c", "1Mi")]})));
        let (few, many) = (used(&[("c", MI)], &[]), used(&[("c", MI + 1)], &[]));
        assert_eq!((bounds.judge(&few, true), bounds.judge(&few, false)), (Verdict::Within, Verdict::Unknown));
        for is_whole in [true, false] {
            assert!(matches!(bounds.judge(&many, is_whole), Verdict::Exceeded(_)));
        }
    }

    #[test]
    fn a_pod_may_take_what_its_containers_may_at_once() {
        let sidecar = json!({"name": "s", "restartPolicy": "Always", "resources": {"limits": {STORAGE: "500M"}}});
        let rows = [
            (json!({"containers": [container("a", "1536Ki"), container("b", "512Ki")]}), "2Mi"),
            (json!({"containers": [container("a", "1500k"), container("b", "500k")]}), "2M"),
            (json!({"containers": [container("a", "1M")], "initContainers": [sidecar, container("i", "1G")]}), "1500M"),
            (json!({"containers": [container("a", "1M")], "initContainers": [container("i", "1G")]}), "1G"),
        ];
        for (spec, expected) in rows {
            assert_eq!(Bounds::of(&pod(spec.clone())).pod.unwrap().text, expected, "{spec}");
        }
    }

    #[test]
    fn logs_of_all_runs_count_as_their_containers() {
        let directory = tempfile::tempdir().unwrap();
        let logs = directory.path().join("n_p_u/c");
        fs::create_dir_all(&logs).unwrap();
        for name in ["0.log", "1.log", "1.log.1"] {
            fs::write(logs.join(name), vec![1; MI as usize]).unwrap();
        }
        let disk = DiskUsage {
            containers: vec![("u.c.1".to_owned().try_into().unwrap(), MI), ("u.d.0".to_owned().try_into().unwrap(), 1)],
            volumes: vec![("v".to_owned().try_into().unwrap(), 7)],
            is_whole: true,
        };
        let pod = pod(json!({"containers": [{"name": "c"}, {"name": "d"}]}));
        let used = Used::of(&pod, disk, directory.path());
        assert!((4 * MI..4 * MI + (64 << 10)).contains(&used.containers["c"]), "{used:?}");
        assert_eq!((used.containers["d"], used.volumes["v"]), (1, 7));
    }
}
