//! What a Revision has when its author says nothing.

use super::containers::has_ports;
use super::{Revision, RevisionSpec};
use crate::admission::{Context, Operation};
use crate::config::{Configs, Defaults, Flag};
use crate::meta::child_name;
use crate::quantity::Quantity;
use k8s_openapi::api::core::v1::{
    Capabilities, Container, PodSecurityContext, Probe, SeccompProfile, SecurityContext, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::{BTreeMap, BTreeSet};

impl Revision {
    /// Fills in what was left out. A Revision that exists is not touched: it must not change.
    pub fn set_defaults(&mut self, context: &Context<'_>) {
        self.spec.canonicalize();
        if context.operation != Operation::Update {
            self.spec.set_defaults(&ObjectMeta::default(), context);
        }
    }
}

impl RevisionSpec {
    /// Fills in what was left out, for a template or Revision inside of `parent`.
    pub fn set_defaults(&mut self, parent: &ObjectMeta, context: &Context<'_>) {
        let configs = context.configs;
        self.set_timeouts(&configs.defaults);
        self.container_concurrency.get_or_insert(configs.defaults.container_concurrency);
        self.name_containers(parent, &configs.defaults);
        if context.operation == Operation::Create && self.pod.enable_service_links.is_none() {
            self.pod.enable_service_links = configs.defaults.enable_service_links;
        }
        let writable = self.writable_volumes();
        let only_one = self.pod.containers.len() == 1;
        for container in &mut self.pod.containers {
            set_resources(container, &configs.defaults);
            if only_one || has_ports(container) {
                set_readiness_probe(container);
            }
            set_probe_numbers(container);
            protect_mounts(container, &writable);
        }
        self.set_security(configs);
    }

    /// Writes the Pod as Go's types do: quantities in their canonical form (`1000m` is `1`),
    /// resources always, zeros of plain numbers and flags never.
    pub fn canonicalize(&mut self) {
        let pod = &mut self.pod;
        for flag in [&mut pod.host_ipc, &mut pod.host_network, &mut pod.host_pid] {
            drop_zero(flag);
        }
        drop_zero(&mut pod.node_selector);
        for container in pod.containers.iter_mut().chain(pod.init_containers.iter_mut().flatten()) {
            canonical_container(container);
        }
        for volume in pod.volumes.iter_mut().flatten() {
            if let Some(limit) = volume.empty_dir.as_mut().and_then(|directory| directory.size_limit.as_mut()) {
                canonical(limit);
            }
        }
    }

    fn set_timeouts(&mut self, defaults: &Defaults) {
        let timeout = match self.timeout_seconds {
            None | Some(0) => defaults.revision_timeout_seconds,
            Some(seconds) => seconds,
        };
        self.timeout_seconds = Some(timeout);
        let shorter = |seconds: i64| (seconds != 0 && seconds < timeout).then_some(seconds);
        self.idle_timeout_seconds =
            self.idle_timeout_seconds.or_else(|| shorter(defaults.revision_idle_timeout_seconds));
        self.response_start_timeout_seconds =
            self.response_start_timeout_seconds.or_else(|| shorter(defaults.revision_response_start_timeout_seconds));
    }

    fn name_containers(&mut self, parent: &ObjectMeta, defaults: &Defaults) {
        let inits = self.pod.init_containers.as_deref_mut().unwrap_or_default();
        let taken: BTreeSet<String> =
            self.pod.containers.iter().chain(inits.iter()).map(|container| container.name.clone()).collect();
        name_all(&mut self.pod.containers, &taken, &defaults.user_container_name.name(parent));
        name_all(inits, &taken, &defaults.init_container_name.name(parent));
    }

    /// Volumes that a container may write to.
    fn writable_volumes(&self) -> BTreeSet<String> {
        let volumes = self.pod.volumes.iter().flatten();
        volumes
            .filter(|v| v.empty_dir.is_some() || v.persistent_volume_claim.is_some() || v.ephemeral.is_some())
            .map(|volume| volume.name.clone())
            .collect()
    }

    fn set_security(&mut self, configs: &Configs) {
        let mode = configs.features.secure_pod_defaults;
        if !matches!(mode, Flag::Enabled | Flag::AllowRootBounded) {
            return;
        }
        let pod = self.pod.security_context.clone().unwrap_or_default();
        let inits = self.pod.init_containers.iter_mut().flatten();
        for container in self.pod.containers.iter_mut().chain(inits) {
            set_security_context(container, &pod, mode);
        }
    }
}

/// Gives a name to each container without one; several are numbered, past names that are taken.
fn name_all(containers: &mut [Container], taken: &BTreeSet<String>, name: &str) {
    let number_all = containers.len() > 1;
    let mut numbered =
        (0..).map(|number: usize| child_name(name, &format!("-{number}"))).filter(|n| !taken.contains(n));
    for container in containers.iter_mut().filter(|container| container.name.is_empty()) {
        container.name =
            if number_all || taken.contains(name) { numbered.next().unwrap_or_default() } else { name.to_owned() };
    }
}

fn set_resources(container: &mut Container, defaults: &Defaults) {
    let resources = container.resources.get_or_insert_default();
    for (name, request, limit) in [
        ("cpu", defaults.revision_cpu_request, defaults.revision_cpu_limit),
        ("memory", defaults.revision_memory_request, defaults.revision_memory_limit),
        ("ephemeral-storage", defaults.revision_ephemeral_storage_request, defaults.revision_ephemeral_storage_limit),
    ] {
        set_amount(&mut resources.requests, name, request);
        set_amount(&mut resources.limits, name, limit);
    }
}

fn set_amount(list: &mut Option<BTreeMap<String, Text>>, name: &str, amount: Option<Quantity>) {
    if let Some(amount) = amount {
        list.get_or_insert_default().entry(name.to_owned()).or_insert_with(|| Text(amount.to_string()));
    }
}

fn canonical_container(container: &mut Container) {
    let resources = container.resources.get_or_insert_default();
    let lists = resources.limits.iter_mut().chain(&mut resources.requests);
    lists.flat_map(BTreeMap::values_mut).for_each(canonical);
    drop_zero(&mut resources.limits);
    drop_zero(&mut resources.requests);
    for flag in [&mut container.stdin, &mut container.stdin_once, &mut container.tty] {
        drop_zero(flag);
    }
    for port in container.ports.iter_mut().flatten() {
        drop_zero(&mut port.host_port);
    }
    let probes = [&mut container.readiness_probe, &mut container.liveness_probe, &mut container.startup_probe];
    for probe in probes.into_iter().flatten() {
        drop_zero(&mut probe.initial_delay_seconds);
        drop_zero(&mut probe.timeout_seconds);
        drop_zero(&mut probe.period_seconds);
        drop_zero(&mut probe.success_threshold);
        drop_zero(&mut probe.failure_threshold);
    }
}

/// In Kubernetes' own types such a field is no pointer: its zero (of a map: an empty one) and its absence are one.
fn drop_zero<T: Default + PartialEq>(field: &mut Option<T>) {
    if field.as_ref().is_some_and(|value| *value == T::default()) {
        *field = None;
    }
}

fn canonical(text: &mut Text) {
    if let Ok(quantity) = Quantity::parse(&text.0) {
        text.0 = quantity.to_string();
    }
}

/// The serving container is ready when its port answers; the port is filled in later.
fn set_readiness_probe(container: &mut Container) {
    let probe = container.readiness_probe.get_or_insert_default();
    let has_handler =
        probe.tcp_socket.is_some() || probe.http_get.is_some() || probe.exec.is_some() || probe.grpc.is_some();
    if !has_handler {
        probe.tcp_socket = Some(TCPSocketAction::default());
    }
}

fn set_probe_numbers(container: &mut Container) {
    if let Some(probe) = &mut container.readiness_probe {
        let unset = |value: &Option<i32>| value.unwrap_or_default() == 0;
        if unset(&probe.success_threshold) {
            probe.success_threshold = Some(1);
        }
        // Without a period Knative probes fast, and then there is nothing to count.
        if !unset(&probe.period_seconds) {
            if unset(&probe.failure_threshold) {
                probe.failure_threshold = Some(3);
            }
            if unset(&probe.timeout_seconds) {
                probe.timeout_seconds = Some(1);
            }
        }
    }
    let probes = [&mut container.readiness_probe, &mut container.liveness_probe, &mut container.startup_probe];
    for grpc in probes.into_iter().flatten().filter_map(|probe: &mut Probe| probe.grpc.as_mut()) {
        grpc.service.get_or_insert_default();
    }
}

fn protect_mounts(container: &mut Container, writable: &BTreeSet<String>) {
    for mount in container.volume_mounts.iter_mut().flatten() {
        if !writable.contains(&mount.name) {
            mount.read_only = Some(true);
        }
    }
}

fn set_security_context(container: &mut Container, pod: &PodSecurityContext, mode: Flag) {
    let needs_low_port = container.ports.iter().flatten().any(|port| port.container_port < 1024);
    let context: &mut SecurityContext = container.security_context.get_or_insert_default();
    context.allow_privilege_escalation.get_or_insert(false);
    if pod.seccomp_profile.as_ref().is_none_or(|profile| profile.type_.is_empty()) {
        let profile: &mut SeccompProfile = context.seccomp_profile.get_or_insert_default();
        if profile.type_.is_empty() {
            "RuntimeDefault".clone_into(&mut profile.type_);
        }
    }
    if context.capabilities.is_none() {
        let add = needs_low_port.then(|| vec!["NET_BIND_SERVICE".to_owned()]);
        context.capabilities = Some(Capabilities { add, drop: Some(vec!["ALL".to_owned()]) });
    }
    if mode == Flag::Enabled && pod.run_as_non_root.is_none() {
        context.run_as_non_root.get_or_insert(true);
    }
}
