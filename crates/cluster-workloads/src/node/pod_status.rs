//! A Pod's status from its state, in the kubelet's form: phase, conditions in its order and with its reasons, containers' states.

use std::net::IpAddr;

use base_rt::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::facts::{RestartPolicy, Role, containers};
use super::pod_state::{Cell, Ended, Ground, Phase, PodState, Running};

/// Before a run's name in a status.
const RUNTIME: &str = "kwick://";
/// The conditions that the node decides, in the kubelet's order.
const READY_TO_START: &str = "PodReadyToStartContainers";
const INITIALIZED: &str = "Initialized";
const READY: &str = "Ready";
const CONTAINERS_READY: &str = "ContainersReady";
const POD_SCHEDULED: &str = "PodScheduled";

/// What a condition says, before it has a time.
struct Verdict {
    type_: &'static str,
    is_true: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

/// The status of `pod` in `state`. Conditions that `previous` has with the same answer keep their times; those of others stay.
pub(crate) fn make_status(
    pod: &Pod,
    state: &PodState,
    previous: Option<&PodStatus>,
    place: (IpAddr, Timestamp),
) -> PodStatus {
    let (host_ip, now) = place;
    let phase = phase(state);
    let statuses = |is_wanted: fn(Role) -> bool| -> Vec<ContainerStatus> {
        let pairs = containers(pod).zip(&state.cells).filter(|(_, cell)| is_wanted(cell.facts.role));
        pairs.map(|(container, cell)| container_status(container, cell)).collect()
    };
    let inits = statuses(|role| role != Role::Main);
    let ip = state.ip.filter(|_| state.sandbox != Ground::Gone || state.deletion.is_none()).map(|ip| ip.to_string());
    let evicted = state.evicted();
    PodStatus {
        phase: Some(phase.to_owned()),
        reason: evicted.map(|eviction| eviction.reason.to_owned()),
        message: evicted.map(|eviction| eviction.message.clone()),
        conditions: Some(conditions(pod, state, previous, (phase, now))),
        host_ip: Some(host_ip.to_string()),
        host_ips: Some(vec![HostIP { ip: host_ip.to_string() }]),
        pod_ips: ip.clone().map(|ip| vec![PodIP { ip }]),
        pod_ip: ip,
        start_time: Some(Time(state.started_at)),
        init_container_statuses: Some(inits).filter(|inits| !inits.is_empty()),
        container_statuses: Some(statuses(|role| role == Role::Main)),
        qos_class: pod.status.as_ref().and_then(|status| status.qos_class.clone()),
        observed_generation: pod.metadata.generation,
        ..PodStatus::default()
    }
}

/// The kubelet's `getPhase`.
pub(crate) fn phase(state: &PodState) -> &'static str {
    let failed_init = |cell: &Cell| {
        cell.facts.role == Role::Init
            && cell.facts.restart == RestartPolicy::Never
            && matches!(&cell.phase, Phase::Ended(ended) if ended.code != 0)
    };
    if state.evicted().is_some() || state.cells.iter().any(failed_init) {
        return "Failed";
    }
    let has_ended = state.deletion.is_some() && state.is_finished();
    if !state.is_initialized() && !has_ended {
        return "Pending";
    }
    let (mut waiting, mut running, mut stopped, mut succeeded, mut mains) = (0, 0, 0, 0, 0);
    for cell in state.cells.iter().filter(|cell| cell.facts.role == Role::Main) {
        mains += 1;
        match (&cell.phase, &cell.last) {
            (Phase::Running(run), _) if run.hook.is_none() => running += 1,
            (Phase::Ended(ended), _) => {
                stopped += 1;
                succeeded += i32::from(ended.code == 0);
            }
            (_, Some(_)) => stopped += 1,
            (_, None) => waiting += 1,
        }
    }
    running += state.cells.iter().filter(|cell| cell.facts.role == Role::Sidecar && cell.is_alive()).count();
    let is_final = state.is_finished() && stopped == mains;
    match state.facts.restart {
        _ if is_final && succeeded == stopped => "Succeeded",
        _ if is_final => "Failed",
        _ if waiting > 0 => "Pending",
        RestartPolicy::Never if running == 0 => "Failed",
        _ => "Running",
    }
}

fn conditions(
    pod: &Pod,
    state: &PodState,
    previous: Option<&PodStatus>,
    place: (&str, Timestamp),
) -> Vec<PodCondition> {
    let (phase, now) = place;
    let containers_ready = containers_ready(state, phase);
    let ready = ready(pod, &containers_ready);
    let verdicts = [ready_to_start(state), initialized(state, phase), ready, containers_ready];
    let known = |type_: &str| previous?.conditions.as_ref()?.iter().find(|condition| condition.type_ == type_);
    let mut conditions: Vec<PodCondition> = verdicts
        .into_iter()
        .map(|verdict| dated(known(verdict.type_), (verdict, pod.metadata.generation), now))
        .collect();
    let own = [READY_TO_START, INITIALIZED, READY, CONTAINERS_READY];
    let others = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.extend(others.filter(|condition| !own.contains(&condition.type_.as_str())).cloned());
    if conditions.iter().all(|condition| condition.type_ != POD_SCHEDULED) {
        let scheduled = Verdict { type_: POD_SCHEDULED, is_true: true, reason: None, message: None };
        conditions.push(dated(known(POD_SCHEDULED), (scheduled, pod.metadata.generation), now));
    }
    conditions
}

fn dated(known: Option<&PodCondition>, verdict: (Verdict, Option<i64>), now: Timestamp) -> PodCondition {
    let (verdict, generation) = verdict;
    let status = if verdict.is_true { "True" } else { "False" };
    let since = known.filter(|known| known.status == status).and_then(|known| known.last_transition_time.clone());
    PodCondition {
        type_: verdict.type_.to_owned(),
        status: status.to_owned(),
        reason: verdict.reason.map(str::to_owned),
        message: verdict.message,
        last_transition_time: Some(since.unwrap_or(Time(now))),
        observed_generation: generation,
        ..PodCondition::default()
    }
}

fn ready_to_start(state: &PodState) -> Verdict {
    let is_true = state.sandbox == Ground::Ready;
    Verdict { type_: READY_TO_START, is_true, reason: None, message: None }
}

fn initialized(state: &PodState, phase: &str) -> Verdict {
    let incomplete: Vec<&str> = state
        .cells
        .iter()
        .filter(|cell| cell.facts.role != Role::Main && !is_complete(cell))
        .map(|cell| cell.facts.name.as_str())
        .collect();
    let is_completed = phase == "Succeeded";
    let (is_true, reason, message) = match (is_completed, incomplete.is_empty()) {
        (true, _) => (true, Some("PodCompleted"), None),
        (_, true) => (true, None, None),
        _ => (
            false,
            Some("ContainersNotInitialized"),
            Some(format!("containers with incomplete status: [{}]", incomplete.join(" "))),
        ),
    };
    Verdict { type_: INITIALIZED, is_true, reason, message }
}

fn is_complete(cell: &Cell) -> bool {
    match &cell.phase {
        Phase::Ended(ended) => ended.code == 0 || cell.facts.role == Role::Sidecar,
        Phase::Running(running) => cell.facts.role == Role::Sidecar && running.is_started,
        _ => false,
    }
}

fn containers_ready(state: &PodState, phase: &str) -> Verdict {
    let is_unready = |cell: &&Cell| match (&cell.phase, cell.facts.role) {
        (_, Role::Init) => false,
        (Phase::Running(running), _) => !running.is_ready,
        _ => true,
    };
    let unready: Vec<&str> = state.cells.iter().filter(is_unready).map(|cell| cell.facts.name.as_str()).collect();
    let (is_true, reason, message) = match phase {
        "Succeeded" => (false, Some("PodCompleted"), None),
        "Failed" => (false, Some("PodFailed"), None),
        _ if unready.is_empty() => (true, None, None),
        _ => (
            false,
            Some("ContainersNotReady"),
            Some(format!("containers with unready status: [{}]", unready.join(" "))),
        ),
    };
    Verdict { type_: CONTAINERS_READY, is_true, reason, message }
}

/// The containers are ready, and so is what others say about the Pod.
fn ready(pod: &Pod, containers: &Verdict) -> Verdict {
    let gates = pod.spec.iter().flat_map(|spec| spec.readiness_gates.iter().flatten());
    let is_open = |type_: &str| {
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.filter(|condition| condition.type_ == type_).any(|condition| condition.status == "True")
    };
    let shut = gates.map(|gate| gate.condition_type.as_str()).find(|type_| !is_open(type_));
    match shut {
        Some(gate) if containers.is_true => Verdict {
            type_: READY,
            is_true: false,
            reason: Some("ReadinessGatesNotReady"),
            message: Some(format!("corresponding condition of pod readiness gate \"{gate}\" does not exist.")),
        },
        _ => Verdict {
            type_: READY,
            is_true: containers.is_true,
            reason: containers.reason,
            message: containers.message.clone(),
        },
    }
}

fn container_status(container: &Container, cell: &Cell) -> ContainerStatus {
    let (state, id) = match &cell.phase {
        Phase::Waiting { reason, message, .. }
        | Phase::Starting { reason, message }
        | Phase::Running(Running { hook: Some((reason, message)), .. }) => {
            let waiting = ContainerStateWaiting { reason: Some(reason.clone()), message: message.clone() };
            (ContainerState { waiting: Some(waiting), ..ContainerState::default() }, None)
        }
        Phase::Running(running) => {
            let state = ContainerStateRunning { started_at: Some(Time(running.since)) };
            (ContainerState { running: Some(state), ..ContainerState::default() }, Some(running.id.clone()))
        }
        Phase::Ended(ended) => (terminated(ended), Some(ended.id.clone())),
    };
    let (is_ready, is_started) = match (&cell.phase, cell.facts.role) {
        (Phase::Running(running), _) => (running.is_ready, running.is_started),
        (Phase::Ended(ended), Role::Init) => (ended.code == 0, false),
        _ => (false, false),
    };
    let last_id = || cell.last.as_ref().map(|last| last.id.clone());
    let id = id.or_else(last_id).filter(|id| !id.is_empty());
    ContainerStatus {
        name: cell.facts.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        image_id: cell.image_id.clone(),
        container_id: id.map(|id| format!("{RUNTIME}{id}")),
        ready: is_ready,
        started: Some(is_started),
        restart_count: i32::try_from(cell.attempt).unwrap_or(i32::MAX),
        state: Some(state),
        last_state: Some(cell.last.as_ref().map(terminated).unwrap_or_default()),
        ..ContainerStatus::default()
    }
}

fn terminated(ended: &Ended) -> ContainerState {
    let terminated = ContainerStateTerminated {
        exit_code: ended.code,
        signal: None,
        reason: Some(ended.reason.clone()),
        message: ended.message.clone(),
        started_at: ended.started_at.map(Time),
        finished_at: Some(Time(ended.finished_at)),
        container_id: Some(format!("{RUNTIME}{}", ended.id)).filter(|_| !ended.id.is_empty()),
    };
    ContainerState { terminated: Some(terminated), ..ContainerState::default() }
}

/// A run as a status tells it: what a new process of the node learns about runs that the spawner has forgotten.
pub(crate) fn ended_of(state: &ContainerStateTerminated) -> Ended {
    let id = state.container_id.as_deref().and_then(|id| id.strip_prefix(RUNTIME)).unwrap_or_default();
    Ended {
        code: state.exit_code,
        signal: state.signal,
        reason: state.reason.clone().unwrap_or_default(),
        message: state.message.clone(),
        started_at: state.started_at.as_ref().map(|time| time.0),
        finished_at: state.finished_at.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        id: id.to_owned(),
    }
}
