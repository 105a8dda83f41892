//! What the spawner is asked to run for a container: image, specification and the Pod's settings, put together. Pure.

use std::collections::BTreeMap;

use base_image::Image;
use cluster_sandbox::spec::{
    CapabilitySet, ContainerId, ContainerSpec, Input, LayerName, Limits, LogSpec, Mount, PodId, Seccomp, Security,
    UserSpec,
};
use k8s_openapi::api::core::v1::{Container, Pod, PodSecurityContext, ResourceRequirements, SecurityContext};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::env::Environment;
use super::expand::expand;
use super::facts::containers;
use super::names::{self, ContainerTag, SIGTERM};
use crate::objects::quantity::Milli;

/// Below it the kernel has no room for a process; a smaller limit is raised to it.
const MEMORY_MIN_BYTES: u64 = 512 << 10;

/// What a container's specification for the spawner is made from.
#[derive(Clone, Debug)]
pub(crate) struct SpecInput<'a> {
    /// The Pod.
    pub(crate) pod: &'a Pod,
    /// The container.
    pub(crate) container: &'a Container,
    /// Its image.
    pub(crate) image: &'a Image,
    /// The Pod's host name.
    pub(crate) hostname: String,
    /// The number of this run.
    pub(crate) attempt: u32,
    /// `name@digest` of the image.
    pub(crate) image_id: &'a str,
    /// Its variables.
    pub(crate) env: &'a Environment,
    /// Its mounts.
    pub(crate) mounts: Vec<Mount>,
    /// The node's memory in bytes.
    pub(crate) memory_bytes: u64,
}

/// The command line of a container: its own words in place of the image's, as far as it has some.
pub(crate) fn command(container: &Container, image: &Image, own: &BTreeMap<String, String>) -> Vec<String> {
    let known = |name: &str| own.get(name).map(String::as_str);
    let expanded = |words: &[String]| -> Vec<String> { words.iter().map(|word| expand(word, known)).collect() };
    let command = container.command.as_deref().unwrap_or_default();
    let args = container.args.as_deref().unwrap_or_default();
    let config = &image.config;
    match (command.is_empty(), args.is_empty()) {
        (true, true) => [config.entrypoint.as_slice(), config.cmd.as_slice()].concat(),
        (true, false) => [config.entrypoint.clone(), expanded(args)].concat(),
        (false, _) => [expanded(command), expanded(args)].concat(),
    }
}

/// What the spawner is asked to run.
///
/// # Errors
/// The container cannot be run as it is written; in words for its status.
pub(crate) fn make_spec(input: SpecInput<'_>) -> Result<ContainerSpec, String> {
    let SpecInput { pod, container, image, attempt, .. } = input;
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let name = |error: cluster_sandbox::spec::BadName| error.to_string();
    let id = ContainerId::try_new(names::container_id(uid, &container.name, attempt)).map_err(name)?;
    let layers = image.layers.iter().map(|layer| LayerName::try_new(layer.chain_id.hex()).map_err(name));
    let layers = layers.collect::<Result<Vec<_>, _>>()?;
    let command = command(container, image, &input.env.own);
    if command.is_empty() {
        return Err("no command specified".to_owned());
    }
    let pod_id = PodId::try_new(uid).map_err(name)?;
    let mut spec = ContainerSpec::new(pod_id, id, layers, command);
    // Container runtimes give every container its host name; the image and the container may say otherwise.
    let mut env = BTreeMap::from([("HOSTNAME".to_owned(), input.hostname)]);
    env.extend(input.env.all.clone());
    spec.env = env.into_iter().collect();
    let known = |name: &str| input.env.own.get(name).map(String::as_str);
    spec.working_dir = match container.working_dir.as_deref().filter(|dir| !dir.is_empty()) {
        Some(dir) => expand(dir, known),
        None => image.config.working_dir.clone(),
    };
    spec.user = user(pod, container, image);
    spec.mounts = input.mounts;
    spec.limits = limits(container.resources.as_ref());
    spec.security = security(pod, container)?;
    spec.oom_score_adj = Some(oom_score(pod, container, input.memory_bytes));
    spec.input = match (container.stdin, container.stdin_once) {
        (Some(true), Some(true)) => Input::Once,
        (Some(true), _) => Input::Kept,
        _ => Input::None,
    };
    spec.has_terminal = container.tty == Some(true);
    spec.log = LogSpec::new(names::log_path(pod, &container.name, attempt));
    spec.stop_signal = stop_signal(container, image);
    let tag = ContainerTag {
        container: container.name.clone(),
        attempt,
        image_id: input.image_id.to_owned(),
        stop_signal: spec.stop_signal,
    };
    spec.tag = tag.to_text();
    Ok(spec)
}

/// The signal that asks a container to end.
pub(crate) fn stop_signal(container: &Container, image: &Image) -> i32 {
    let own = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.stop_signal.as_deref());
    own.or(image.config.stop_signal.as_deref()).and_then(signal_number).unwrap_or(SIGTERM)
}

fn signal_number(text: &str) -> Option<i32> {
    const NAMES: [(&str, i32); 15] = [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("ABRT", 6),
        ("KILL", 9),
        ("USR1", 10),
        ("USR2", 12),
        ("PIPE", 13),
        ("ALRM", 14),
        ("TERM", 15),
        ("CONT", 18),
        ("STOP", 19),
        ("TSTP", 20),
        ("WINCH", 28),
        ("PWR", 30),
    ];
    if let Ok(number) = text.parse() {
        return Some(number).filter(|number| (1..=64).contains(number));
    }
    let name = text.strip_prefix("SIG").unwrap_or(text);
    if let Some(number) =
        name.strip_prefix("RTMIN").and_then(|rest| if rest.is_empty() { Some(0) } else { rest.parse().ok() })
    {
        return Some(34_i32.saturating_add(number)).filter(|number| (34..=64).contains(number));
    }
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

fn contexts<'a>(
    pod: &'a Pod,
    container: &'a Container,
) -> (Option<&'a PodSecurityContext>, Option<&'a SecurityContext>) {
    (pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref()), container.security_context.as_ref())
}

/// Whether the container refuses to run as root.
pub(crate) fn must_not_be_root(pod: &Pod, container: &Container) -> bool {
    let (of_pod, own) = contexts(pod, container);
    own.and_then(|own| own.run_as_non_root).or(of_pod.and_then(|of_pod| of_pod.run_as_non_root)).unwrap_or(false)
}

fn user(pod: &Pod, container: &Container, image: &Image) -> UserSpec {
    let (of_pod, own) = contexts(pod, container);
    let number = |own: Option<i64>, of_pod: Option<i64>| own.or(of_pod).and_then(|number| u32::try_from(number).ok());
    let groups =
        of_pod.iter().flat_map(|of_pod| of_pod.supplemental_groups.iter().flatten().copied().chain(of_pod.fs_group));
    UserSpec {
        image_user: image.config.user.clone(),
        uid: number(own.and_then(|own| own.run_as_user), of_pod.and_then(|of_pod| of_pod.run_as_user)),
        gid: number(own.and_then(|own| own.run_as_group), of_pod.and_then(|of_pod| of_pod.run_as_group)),
        supplementary_groups: groups.filter_map(|group| u32::try_from(group).ok()).collect(),
        must_not_be_root: must_not_be_root(pod, container),
    }
}

fn security(pod: &Pod, container: &Container) -> Result<Security, String> {
    let (of_pod, own) = contexts(pod, container);
    let is_privileged = own.and_then(|own| own.privileged).unwrap_or(false);
    let capabilities = own.and_then(|own| own.capabilities.as_ref());
    let list = |list: Option<&Vec<String>>| list.cloned().unwrap_or_default();
    let add = list(capabilities.and_then(|capabilities| capabilities.add.as_ref()));
    let drop = list(capabilities.and_then(|capabilities| capabilities.drop.as_ref()));
    let capabilities = match is_privileged {
        true => CapabilitySet::ALL,
        false => {
            CapabilitySet::adjusted(&add, &drop).map_err(|unknown| format!("unknown capability {:?}", unknown.0))?
        }
    };
    let profile =
        own.and_then(|own| own.seccomp_profile.as_ref()).or(of_pod.and_then(|of_pod| of_pod.seccomp_profile.as_ref()));
    let is_unconfined = is_privileged || profile.is_some_and(|profile| profile.type_ == "Unconfined");
    if profile.is_some_and(|profile| profile.type_ == "Localhost") {
        return Err("seccomp profiles of type Localhost are not supported: use RuntimeDefault".to_owned());
    }
    Ok(Security {
        capabilities,
        // What Kubernetes leaves unconfined by default is confined here: nothing ordinary needs more.
        seccomp: if is_unconfined { Seccomp::Unconfined } else { Seccomp::RuntimeDefault },
        no_new_privileges: own.and_then(|own| own.allow_privilege_escalation) == Some(false),
        is_root_read_only: own.and_then(|own| own.read_only_root_filesystem).unwrap_or(false),
        is_proc_masked: !is_privileged && own.and_then(|own| own.proc_mount.as_deref()) != Some("Unmasked"),
    })
}

fn amount(list: Option<&BTreeMap<String, Quantity>>, name: &str) -> Option<Milli> {
    list.and_then(|list| list.get(name)).and_then(Milli::parse).filter(|amount| amount.0 > 0)
}

fn limits(resources: Option<&ResourceRequirements>) -> Limits {
    let limits = resources.and_then(|resources| resources.limits.as_ref());
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    let millis = |amount: Milli| u32::try_from(amount.0).unwrap_or(u32::MAX).min(1_024_000);
    let bytes =
        |amount: Milli| u64::try_from(amount.0.saturating_add(999) / 1000).unwrap_or(u64::MAX).max(MEMORY_MIN_BYTES);
    let cpu_limit = amount(limits, "cpu");
    Limits {
        memory_bytes: amount(limits, "memory").map(bytes),
        cpu_limit_millis: cpu_limit.map(millis),
        cpu_request_millis: amount(requests, "cpu").or(cpu_limit).map(millis),
        pids: None,
    }
}

/// How willingly the kernel kills the container for memory: by the Pod's class, as the kubelet has it.
fn oom_score(pod: &Pod, container: &Container, memory_bytes: u64) -> i16 {
    const GUARANTEED: i16 = -997;
    const BEST_EFFORT: i16 = 1000;
    let resources = || containers(pod).filter_map(|container| container.resources.as_ref());
    let states_any = |resources: &ResourceRequirements| {
        ["cpu", "memory"].iter().any(|name| {
            amount(resources.limits.as_ref(), name).is_some() || amount(resources.requests.as_ref(), name).is_some()
        })
    };
    let is_fixed = |container: &Container| {
        let Some(resources) = &container.resources else { return false };
        ["cpu", "memory"].iter().all(|name| {
            let limit = amount(resources.limits.as_ref(), name);
            limit.is_some() && amount(resources.requests.as_ref(), name).or(limit) == limit
        })
    };
    if !resources().any(states_any) {
        return BEST_EFFORT;
    }
    if containers(pod).all(is_fixed) {
        return GUARANTEED;
    }
    let own = container.resources.as_ref();
    let request = amount(own.and_then(|own| own.requests.as_ref()), "memory")
        .or_else(|| amount(own.and_then(|own| own.limits.as_ref()), "memory"))
        .unwrap_or_default();
    // In thousandths of the node's memory; the amount is in thousandths of a byte.
    let share = request.0 / i128::from(memory_bytes.max(1));
    i16::try_from(1000 - share.min(998)).unwrap_or(BEST_EFFORT).clamp(2, 999)
}

#[cfg(test)]
mod tests;
