//! What the state machine has to know of a Pod's specification, read once.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, Probe};

/// When containers are restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RestartPolicy {
    /// However they ended.
    Always,
    /// When they failed.
    OnFailure,
    /// Not at all.
    Never,
}

impl RestartPolicy {
    fn parse(text: Option<&str>) -> Self {
        match text {
            Some("OnFailure") => Self::OnFailure,
            Some("Never") => Self::Never,
            _ => Self::Always,
        }
    }

    /// Whether a container that ended with `code` is started again.
    pub(crate) fn restarts(self, code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => code != 0,
            Self::Never => false,
        }
    }
}

/// What a container is for its Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It runs to its end before the next one starts.
    Init,
    /// An init container that goes on running.
    Sidecar,
    /// A container of the Pod proper.
    Main,
}

/// How often a probe has to agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Threshold {
    /// Failures in a row that count.
    pub(crate) failures: u32,
    /// Successes in a row that count.
    pub(crate) successes: u32,
    /// The grace period of a container that this probe ends; the Pod's if none.
    pub(crate) grace: Option<Duration>,
}

impl Threshold {
    fn of(probe: &Probe) -> Self {
        let count = |number: Option<i32>, default| {
            number.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0).unwrap_or(default)
        };
        Self {
            failures: count(probe.failure_threshold, 3),
            successes: count(probe.success_threshold, 1),
            grace: probe.termination_grace_period_seconds.map(seconds),
        }
    }
}

/// One container.
#[derive(Clone, Debug)]
pub(crate) struct ContainerFacts {
    /// Its name.
    pub(crate) name: String,
    /// What it is for its Pod.
    pub(crate) role: Role,
    /// When it is restarted.
    pub(crate) restart: RestartPolicy,
    /// Its probes, by [`ProbeKind`]'s order.
    pub(crate) probes: [Option<Threshold>; 3],
    /// Whether it has a `postStart` hook.
    pub(crate) has_hook: bool,
}

/// What a probe decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ProbeKind {
    /// Whether the others begin.
    Startup = 0,
    /// Whether it goes on running.
    Liveness = 1,
    /// Whether it takes traffic.
    Readiness = 2,
}

impl ProbeKind {
    /// As Kubernetes' messages begin.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }

    /// The container's probe of this kind.
    pub(crate) fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Self::Startup => container.startup_probe.as_ref(),
            Self::Liveness => container.liveness_probe.as_ref(),
            Self::Readiness => container.readiness_probe.as_ref(),
        }
    }
}

impl ContainerFacts {
    fn of(container: &Container, role: Role, restart: RestartPolicy) -> Self {
        let probe = |kind: ProbeKind| kind.of(container).map(Threshold::of);
        Self {
            name: container.name.clone(),
            role,
            restart,
            probes: [probe(ProbeKind::Startup), probe(ProbeKind::Liveness), probe(ProbeKind::Readiness)],
            has_hook: container.lifecycle.as_ref().is_some_and(|lifecycle| lifecycle.post_start.is_some()),
        }
    }

    /// The thresholds of a probe, if there is one.
    pub(crate) fn probe(&self, kind: ProbeKind) -> Option<Threshold> {
        let [startup, liveness, readiness] = self.probes;
        match kind {
            ProbeKind::Startup => startup,
            ProbeKind::Liveness => liveness,
            ProbeKind::Readiness => readiness,
        }
    }
}

/// A Pod's containers in the order of their starts (init containers first), and what its specification says of its end.
#[derive(Clone, Debug)]
pub(crate) struct PodFacts {
    /// Its containers.
    pub(crate) containers: Vec<ContainerFacts>,
    /// When the Pod's containers are restarted.
    pub(crate) restart: RestartPolicy,
    /// `namespace`, `name`, `uid`, for messages.
    pub(crate) identity: [String; 3],
    /// How long its containers have to end.
    pub(crate) grace: Duration,
    /// How long it may be active, if that is bounded.
    pub(crate) deadline: Option<Duration>,
}

/// The longest time that is waited for anything a specification names.
const MAX_WAIT: Duration = Duration::from_secs(366 * 24 * 3600);
/// What a Pod has that names no grace period.
const GRACE: Duration = Duration::from_secs(30);

/// A number of seconds from a specification as a time that can be waited.
pub(crate) fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default()).min(MAX_WAIT)
}

/// How long the Pod may be active. That may be changed while it is.
pub(crate) fn deadline(pod: &Pod) -> Option<Duration> {
    pod.spec.as_ref()?.active_deadline_seconds.map(seconds)
}

/// The Pod's containers in the order of [`PodFacts::containers`].
pub(crate) fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = pod.spec.as_ref();
    let inits = spec.into_iter().flat_map(|spec| spec.init_containers.iter().flatten());
    inits.chain(spec.into_iter().flat_map(|spec| &spec.containers))
}

impl PodFacts {
    /// The Pod as the kubelet's messages name it.
    pub(crate) fn full_name(&self) -> String {
        let [namespace, name, uid] = &self.identity;
        format!("{name}_{namespace}({uid})")
    }

    /// What `pod` says.
    pub(crate) fn of(pod: &Pod) -> Self {
        let spec = pod.spec.as_ref();
        let restart = RestartPolicy::parse(spec.and_then(|spec| spec.restart_policy.as_deref()));
        let inits = spec.map_or(0, |spec| spec.init_containers.as_ref().map_or(0, Vec::len));
        let facts = containers(pod).enumerate().map(|(at, container)| {
            let is_sidecar = container.restart_policy.as_deref() == Some("Always");
            match (at < inits, is_sidecar) {
                (true, true) => ContainerFacts::of(container, Role::Sidecar, RestartPolicy::Always),
                (true, false) => {
                    // An init container that ended well has ended for good.
                    let restart = if restart == RestartPolicy::Never { restart } else { RestartPolicy::OnFailure };
                    ContainerFacts::of(container, Role::Init, restart)
                }
                (false, _) => ContainerFacts::of(container, Role::Main, restart),
            }
        });
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let meta = &pod.metadata;
        Self {
            containers: facts.collect(),
            restart,
            identity: [text(&meta.namespace), text(&meta.name), text(&meta.uid)],
            grace: spec.and_then(|spec| spec.termination_grace_period_seconds).map_or(GRACE, seconds),
            deadline: deadline(pod),
        }
    }
}
