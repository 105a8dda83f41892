use std::time::Duration;

use serde_json::{Value, json};

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn state(spec: Value) -> PodState {
    let pod = json!({"metadata": {"namespace": "n", "name": "p", "uid": "u"}, "spec": spec});
    PodState::new(PodFacts::of(&serde_json::from_value(pod).unwrap()), at(0))
}

fn one(more: Value) -> PodState {
    let mut container = json!({"name": "c"});
    container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    state(json!({"containers": [container]}))
}

/// Everything but what is told to people.
fn deeds(actions: Vec<Action>) -> Vec<Action> {
    actions.into_iter().filter(|action| !matches!(action, Action::Tell { .. })).collect()
}

fn grounded(state: &mut PodState) -> Vec<Action> {
    assert_eq!(state.step(Event::Tick, at(0)), [Action::MakeSandbox, Action::MakeVolumes]);
    assert_eq!(state.step(Event::SandboxMade("10.0.0.2".parse().ok()), at(0)), []);
    state.step(Event::VolumesMade, at(0))
}

fn started(place: usize, attempt: u32, seconds: i64) -> Event {
    Event::Started { at: place, attempt, id: format!("u.c.{attempt}"), image_id: "i@d".to_owned(), since: at(seconds) }
}

fn exited(place: usize, attempt: u32, code: i32, times: (i64, i64)) -> Event {
    let ended = Ended {
        code,
        signal: None,
        reason: "Error".to_owned(),
        message: None,
        started_at: Some(at(times.0)),
        finished_at: at(times.1),
        id: format!("u.c.{attempt}"),
    };
    Event::Exited { at: place, attempt, ended }
}

fn probed(kind: ProbeKind, is_ok: bool) -> Event {
    let outcome = if is_ok { Ok(()) } else { Err("no".to_owned()) };
    Event::Probed { at: 0, attempt: 0, kind, outcome, is_periodic: true }
}

fn running(state: &PodState) -> &Running {
    match &state.cells[0].phase {
        Phase::Running(running) => running,
        other => panic!("{other:?}"),
    }
}

#[test]
fn containers_start_when_sandbox_and_volumes_are_there() {
    let mut state = one(json!({}));
    assert_eq!(grounded(&mut state), [Action::Start { at: 0, attempt: 0 }]);
    assert_eq!(state.step(started(0, 0, 0), at(0)), []);
    assert!(running(&state).is_ready && running(&state).is_started);
}

#[test]
fn init_containers_come_one_after_the_other() {
    let mut state = state(
        json!({"initContainers": [{"name": "a"}, {"name": "b", "restartPolicy": "Always"}], "containers": [{"name": "c"}]}),
    );
    assert_eq!(grounded(&mut state), [Action::Start { at: 0, attempt: 0 }]);
    assert_eq!(state.step(started(0, 0, 0), at(0)), []);
    assert_eq!(state.step(exited(0, 0, 0, (0, 1)), at(1)), [Action::Start { at: 1, attempt: 0 }]);
    assert!(!state.is_initialized());
    assert_eq!(state.step(started(1, 0, 1), at(1)), [Action::Start { at: 2, attempt: 0 }]);
    assert!(state.is_initialized());
}

#[test]
fn a_crash_is_forgiven_once_and_then_waited_for() {
    let mut state = one(json!({}));
    grounded(&mut state);
    state.step(started(0, 0, 0), at(0));
    assert_eq!(deeds(state.step(exited(0, 0, 1, (0, 1)), at(1))), [Action::Start { at: 0, attempt: 1 }]);
    state.step(started(0, 1, 1), at(1));
    assert_eq!(deeds(state.step(exited(0, 1, 1, (1, 2)), at(2))), []);
    let Phase::Waiting { reason, message, due } = &state.cells[0].phase else { panic!("it waits") };
    assert_eq!(reason, "CrashLoopBackOff");
    assert_eq!(message.as_deref(), Some("back-off 10s restarting failed container=c pod=p_n(u)"));
    assert_eq!((*due, state.next_due()), (Some(at(12)), Some(at(12))));
    assert_eq!(state.step(Event::Tick, at(11)), []);
    assert_eq!(state.step(Event::Tick, at(12)), [Action::Start { at: 0, attempt: 2 }]);
    state.step(started(0, 2, 12), at(12));
    let after_long = state.step(exited(0, 2, 1, (12, 700)), at(700));
    assert_eq!(deeds(after_long), [Action::Start { at: 0, attempt: 3 }], "ten minutes forgive");
}

#[test]
fn old_news_changes_nothing() {
    let mut state = one(json!({}));
    grounded(&mut state);
    state.step(started(0, 0, 0), at(0));
    state.step(exited(0, 0, 1, (0, 1)), at(1));
    state.step(started(0, 1, 1), at(1));
    let before = state.cells[0].phase.clone();
    assert_eq!(state.step(exited(0, 0, 1, (0, 1)), at(1)), []);
    assert_eq!(state.step(started(0, 0, 0), at(1)), []);
    assert_eq!(state.cells[0].phase, before);
}

#[test]
fn what_may_not_restart_has_ended() {
    for (policy, code, is_ended) in
        [("Never", 1, true), ("OnFailure", 0, true), ("OnFailure", 1, false), ("Always", 0, false)]
    {
        let mut state = state(json!({"restartPolicy": policy, "containers": [{"name": "c"}]}));
        grounded(&mut state);
        state.step(started(0, 0, 0), at(0));
        let actions = deeds(state.step(exited(0, 0, code, (0, 1)), at(1)));
        assert_eq!(state.is_finished(), is_ended, "{policy} {code}");
        assert_eq!(actions.contains(&Action::RemoveSandbox), is_ended, "{policy} {code}");
    }
}

#[test]
fn a_failed_start_is_tried_again() {
    let mut state = one(json!({}));
    grounded(&mut state);
    let refused = |attempt| Event::Refused {
        at: 0,
        attempt,
        reason: "ErrImagePull".to_owned(),
        message: "no".to_owned(),
        backoff: Some(("ImagePullBackOff".to_owned(), "wait".to_owned())),
    };
    let shown = |state: &PodState| match &state.cells[0].phase {
        Phase::Waiting { reason, .. } | Phase::Starting { reason, .. } => reason.clone(),
        other => panic!("{other:?}"),
    };
    state.step(refused(0), at(0));
    assert_eq!((shown(&state).as_str(), state.next_due()), ("ErrImagePull", Some(at(10))));
    assert_eq!(state.step(Event::Tick, at(10)), [Action::Start { at: 0, attempt: 0 }], "not a restart");
    assert_eq!(shown(&state), "ErrImagePull", "it is shown until there is something better");
    state.step(refused(0), at(10));
    assert_eq!((shown(&state).as_str(), state.next_due()), ("ImagePullBackOff", Some(at(30))));
}

#[test]
fn probes_decide_readiness_and_restarts() {
    let probes = json!({"readinessProbe": {"failureThreshold": 2}, "livenessProbe": {"failureThreshold": 1}, "startupProbe": {"failureThreshold": 2}});
    let mut state = one(probes);
    grounded(&mut state);
    assert_eq!(state.step(started(0, 0, 0), at(0)), [Action::Probe { at: 0, attempt: 0, kind: ProbeKind::Startup }]);
    assert!(!running(&state).is_started);
    let begun = state.step(probed(ProbeKind::Startup, true), at(1));
    let kinds = [ProbeKind::Liveness, ProbeKind::Readiness].map(|kind| Action::Probe { at: 0, attempt: 0, kind });
    assert_eq!(begun, kinds);
    assert!(running(&state).is_started && !running(&state).is_ready);
    state.step(probed(ProbeKind::Readiness, true), at(2));
    assert!(running(&state).is_ready);
    state.step(probed(ProbeKind::Readiness, false), at(3));
    assert!(running(&state).is_ready, "once is not enough");
    state.step(probed(ProbeKind::Readiness, false), at(4));
    assert!(!running(&state).is_ready);
    let killed = deeds(state.step(probed(ProbeKind::Liveness, false), at(5)));
    assert_eq!(killed, [Action::Stop { at: 0, attempt: 0, grace: Duration::from_secs(30) }]);
    assert_eq!(deeds(state.step(exited(0, 0, 143, (0, 6)), at(6))), [Action::Start { at: 0, attempt: 1 }]);
}

fn hooked(outcome: Result<(), &str>) -> Event {
    Event::Hooked { at: 0, attempt: 0, outcome: outcome.map_err(str::to_owned) }
}

/// A container with a `postStart` hook, and more of it; and another one.
fn two_hooked(more: Value) -> PodState {
    let mut first = json!({"name": "c", "lifecycle": {"postStart": {"sleep": {"seconds": 1}}}});
    first.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    state(json!({"containers": [first, {"name": "d"}]}))
}

#[test]
fn a_hook_comes_before_probes_and_other_containers() {
    let mut state = two_hooked(json!({"startupProbe": {}}));
    assert_eq!(grounded(&mut state), [Action::Start { at: 0, attempt: 0 }], "the other one waits");
    assert_eq!(state.step(started(0, 0, 0), at(0)), [Action::Hook { at: 0, attempt: 0 }]);
    assert_eq!(running(&state).hook, Some(("ContainerCreating".to_owned(), None)));
    let probe = Action::Probe { at: 0, attempt: 0, kind: ProbeKind::Startup };
    assert_eq!(state.step(hooked(Ok(())), at(1)), [probe, Action::Start { at: 1, attempt: 0 }]);
    assert!(running(&state).hook.is_none() && !running(&state).is_started);
    assert_eq!(state.step(hooked(Err("late")), at(1)), [], "it is done once");
}

#[test]
fn a_hook_that_fails_ends_its_container_which_runs_again() {
    let mut state = two_hooked(json!({}));
    grounded(&mut state);
    state.step(started(0, 0, 0), at(0));
    let actions = state.step(hooked(Err("secret")), at(1));
    let told = |event| Action::Tell { at: Some(0), event };
    let expected = [
        told(PlanEvent::warning("FailedPostStartHook", "PostStartHook failed")),
        told(PlanEvent::normal("Killing", "FailedPostStartHook")),
        Action::Stop { at: 0, attempt: 0, grace: Duration::from_secs(30) },
    ];
    assert_eq!(actions, expected);
    assert_eq!(running(&state).hook, Some(("PostStartHookError".to_owned(), Some("secret".to_owned()))));
    assert_eq!(state.step(hooked(Ok(())), at(1)), [], "that was it");
    assert_eq!(deeds(state.step(exited(0, 0, 143, (0, 2)), at(2))), [Action::Start { at: 0, attempt: 1 }]);
}

#[test]
fn who_is_to_end_waits_for_no_hook() {
    let mut state = two_hooked(json!({}));
    grounded(&mut state);
    state.step(started(0, 0, 0), at(0));
    let grace = Duration::from_secs(30);
    assert_eq!(deeds(state.step(Event::Delete(grace), at(1))), [Action::Stop { at: 0, attempt: 0, grace }]);
    assert_eq!(state.step(hooked(Err("killed")), at(1)), []);
    assert_eq!(deeds(state.step(exited(0, 0, 137, (0, 3)), at(3))), [Action::RemoveSandbox]);
}

#[test]
fn deletion_stops_then_removes() {
    let mut state = one(json!({}));
    grounded(&mut state);
    state.step(started(0, 0, 0), at(0));
    let grace = Duration::from_secs(30);
    assert_eq!(deeds(state.step(Event::Delete(grace), at(1))), [Action::Stop { at: 0, attempt: 0, grace }]);
    assert_eq!(deeds(state.step(Event::Delete(grace), at(1))), [], "once");
    let shorter = Duration::ZERO;
    assert_eq!(deeds(state.step(Event::Delete(shorter), at(2))), [Action::Stop { at: 0, attempt: 0, grace: shorter }]);
    assert_eq!(deeds(state.step(exited(0, 0, 137, (0, 3)), at(3))), [Action::RemoveSandbox], "no restart");
    assert!(!state.is_over());
    assert_eq!(state.step(Event::SandboxGone, at(3)), []);
    assert!(state.is_over());
}

#[test]
fn deletion_waits_for_what_is_under_way() {
    let mut state = one(json!({}));
    state.step(Event::Tick, at(0));
    assert_eq!(state.step(Event::Delete(Duration::ZERO), at(0)), []);
    assert!(!state.is_over());
    assert_eq!(state.step(Event::VolumesMade, at(0)), []);
    assert_eq!(state.step(Event::SandboxMade(None), at(0)), [Action::RemoveSandbox]);
    let mut never_begun = one(json!({}));
    never_begun.step(Event::Delete(Duration::ZERO), at(0));
    assert!(never_begun.is_over());
}

#[test]
fn a_start_that_ends_after_the_deletion_is_stopped() {
    let mut state = one(json!({}));
    grounded(&mut state);
    assert_eq!(deeds(state.step(Event::Delete(Duration::ZERO), at(0))), []);
    let stop = Action::Stop { at: 0, attempt: 0, grace: Duration::ZERO };
    assert_eq!(deeds(state.step(started(0, 0, 0), at(0))), [stop]);
}

#[test]
fn sidecars_end_with_the_containers() {
    let spec = json!({"restartPolicy": "Never", "initContainers": [{"name": "s", "restartPolicy": "Always"}], "containers": [{"name": "c"}]});
    let mut state = state(spec);
    grounded(&mut state);
    state.step(started(0, 0, 0), at(0));
    state.step(started(1, 0, 0), at(0));
    let stopped = deeds(state.step(exited(1, 0, 0, (0, 1)), at(1)));
    assert_eq!(stopped, [Action::Stop { at: 0, attempt: 0, grace: Duration::from_secs(30) }]);
    assert_eq!(crate::node::pod_status::phase(&state), "Running", "until the sidecar has ended as well");
    assert_eq!(deeds(state.step(exited(0, 0, 143, (0, 2)), at(2))), [Action::RemoveSandbox]);
    assert_eq!(crate::node::pod_status::phase(&state), "Succeeded");
}

#[test]
fn a_deletion_ends_sidecars_after_what_they_serve() {
    let sidecar = |name: &str| json!({"name": name, "restartPolicy": "Always"});
    let mut state = state(json!({"initContainers": [sidecar("a"), sidecar("b")], "containers": [{"name": "c"}]}));
    grounded(&mut state);
    for place in 0..3 {
        state.step(started(place, 0, 0), at(0));
    }
    let stop = |place, seconds| [Action::Stop { at: place, attempt: 0, grace: Duration::from_secs(seconds) }];
    assert_eq!(deeds(state.step(Event::Delete(Duration::from_secs(10)), at(1))), stop(2, 10));
    assert_eq!(deeds(state.step(exited(2, 0, 0, (0, 5)), at(5))), stop(1, 6), "what is left of the time");
    assert_eq!(deeds(state.step(exited(1, 0, 0, (0, 11)), at(11))), stop(0, 2), "but a moment in any case");
    assert_eq!(deeds(state.step(exited(0, 0, 0, (0, 12)), at(12))), [Action::RemoveSandbox]);
}

#[test]
fn what_a_pod_needs_is_made_again() {
    let mut state = one(json!({}));
    state.step(Event::Tick, at(0));
    state.step(Event::SandboxFailed("no".to_owned()), at(0));
    state.step(Event::VolumesMade, at(0));
    assert!(state.next_due().is_some_and(|due| due > at(0) && due < at(1)));
    assert_eq!(state.step(Event::Tick, at(1)), [Action::MakeSandbox]);
}

#[test]
fn tries_between_periods_bring_only_good_news() {
    let mut state = one(json!({"livenessProbe": {"failureThreshold": 1}, "readinessProbe": {"failureThreshold": 1}}));
    grounded(&mut state);
    state.step(started(0, 0, 0), at(0));
    let early = |kind, outcome: Result<(), &str>| Event::Probed {
        at: 0,
        attempt: 0,
        kind,
        outcome: outcome.map_err(str::to_owned),
        is_periodic: false,
    };
    assert_eq!(state.step(early(ProbeKind::Liveness, Err("not yet")), at(0)), []);
    state.step(early(ProbeKind::Readiness, Ok(())), at(0));
    assert!(running(&state).is_ready);
    assert_eq!(state.step(early(ProbeKind::Readiness, Err("busy")), at(0)), []);
    assert!(running(&state).is_ready);
    let killed = deeds(state.step(probed(ProbeKind::Liveness, false), at(1)));
    assert_eq!(killed, [Action::Stop { at: 0, attempt: 0, grace: Duration::from_secs(30) }]);
}

fn resumed(attempt: u32, is_started: bool, is_ready: bool) -> Resumed {
    let (id, image_id) = (format!("u.c.{attempt}"), "i@d".to_owned());
    Resumed { attempt, id, image_id, since: at(0), last: None, is_started, is_ready }
}

#[test]
fn a_run_taken_back_goes_on_with_the_probes_that_it_had_come_to() {
    let probes = json!({"startupProbe": {}, "livenessProbe": {}, "readinessProbe": {}});
    let probe = |kind| Action::Probe { at: 0, attempt: 2, kind };
    let mut starting = one(probes.clone());
    assert_eq!(starting.resume(0, resumed(2, false, false)), [probe(ProbeKind::Startup)]);
    let mut ready = one(probes);
    assert_eq!(ready.resume(0, resumed(2, true, true)), [probe(ProbeKind::Liveness), probe(ProbeKind::Readiness)]);
    assert!(running(&ready).is_ready && running(&ready).is_started);
}

#[test]
fn a_pod_taken_back_for_its_deletion_ends_each_container_in_its_time() {
    let mut state = state(json!({"containers": [{"name": "a"}, {"name": "b"}]}));
    state.deletion = Some(Duration::from_secs(5));
    state.sandbox = Ground::Ready;
    for place in [0, 1] {
        state.resume(place, resumed(0, true, true));
    }
    let stop = |at| Action::Stop { at, attempt: 0, grace: Duration::from_secs(5) };
    assert_eq!(deeds(state.step(exited(0, 0, 0, (0, 1)), at(1))), [stop(1)], "what still runs is asked to end");
    assert_eq!(deeds(state.step(exited(1, 0, 0, (0, 2)), at(2))), [Action::RemoveSandbox]);
}

#[test]
fn what_a_lost_sandbox_ran_starts_again_only_where_the_policy_says_so() {
    let lost = |run| Some(Lost { attempt: 3, image_id: "i@d".to_owned(), run, last: None });
    let ended = |code| {
        let Event::Exited { ended, .. } = exited(0, 3, code, (0, 1)) else { unreachable!() };
        LostRun::Ended(ended)
    };
    for (policy, run, starts) in [
        ("Always", LostRun::Running, true),
        ("Always", ended(0), true),
        ("OnFailure", LostRun::Running, true),
        ("OnFailure", ended(1), true),
        ("OnFailure", ended(0), false),
        ("Never", LostRun::Running, false),
        ("Never", ended(1), false),
    ] {
        let mut state = state(json!({"restartPolicy": policy, "containers": [{"name": "c"}]}));
        state.lose(vec![lost(run.clone())], at(5));
        assert_eq!(state.is_finished(), !starts, "{policy} {run:?}");
        if starts {
            assert_eq!(grounded(&mut state), [Action::Start { at: 0, attempt: 4 }], "{policy} {run:?}");
            assert!(state.cells[0].last.is_some(), "{policy} {run:?}");
            continue;
        }
        assert_eq!(state.step(Event::Tick, at(5)), [], "{policy} {run:?}");
        let Phase::Ended(end) = &state.cells[0].phase else { panic!("{policy} {run:?}") };
        let expected = if run == LostRun::Running { (137, "ContainerStatusUnknown") } else { (end.code, "Error") };
        assert_eq!((end.code, end.reason.as_str()), expected, "{policy}");
    }
    let mut new = state(json!({"restartPolicy": "Never", "containers": [{"name": "c"}]}));
    new.lose(vec![None], at(5));
    assert_eq!(grounded(&mut new), [Action::Start { at: 0, attempt: 0 }], "it has never run");
}

#[test]
fn init_containers_run_again_in_a_new_sandbox() {
    let mut state = state(json!({"initContainers": [{"name": "i"}], "containers": [{"name": "c"}]}));
    let Event::Exited { ended, .. } = exited(0, 0, 0, (0, 1)) else { unreachable!() };
    let lost = |run| Some(Lost { attempt: 0, image_id: String::new(), run, last: None });
    state.lose(vec![lost(LostRun::Ended(ended)), lost(LostRun::Running)], at(5));
    assert_eq!(grounded(&mut state), [Action::Start { at: 0, attempt: 1 }]);
}

#[test]
fn an_evicted_pod_ends_at_once_and_stays_as_failed() {
    let mut state = state(json!({"restartPolicy": "Always", "containers": [{"name": "c"}, {"name": "d"}]}));
    grounded(&mut state);
    state.step(started(0, 0, 1), at(1));
    let waiting = Event::Refused {
        at: 1,
        attempt: 0,
        reason: "ErrImagePull".to_owned(),
        message: "no".to_owned(),
        backoff: None,
    };
    state.step(waiting, at(1));
    let actions = state.step(Event::Evict("too much".to_owned()), at(2));
    let told = Action::Tell { at: None, event: PlanEvent::warning("Evicted", "too much") };
    assert!(actions.contains(&told), "{actions:?}");
    assert_eq!(deeds(actions), [Action::Stop { at: 0, attempt: 0, grace: Duration::from_secs(1) }]);
    assert_eq!(state.evicted(), None, "it still runs");
    assert_eq!(state.step(Event::Evict("again".to_owned()), at(3)), [], "once is enough");
    assert_eq!(deeds(state.step(exited(0, 0, 137, (1, 4)), at(4))), [Action::RemoveSandbox]);
    assert_eq!(state.evicted(), Eviction::told("Evicted", "too much").as_ref());
    assert!(state.cells.iter().all(|cell| matches!(cell.phase, Phase::Ended(_))), "nothing is started again");
    assert_eq!(state.next_due(), None);
    state.step(Event::SandboxGone, at(5));
    assert!(!state.is_over(), "its object stays");
    assert_eq!(state.step(Event::Delete(Duration::ZERO), at(6)), []);
    assert!(state.is_over());
}

#[test]
fn a_pod_is_active_for_as_long_as_it_may_be() {
    let spec = json!({"activeDeadlineSeconds": 60, "terminationGracePeriodSeconds": 7, "containers": [{"name": "c"}]});
    let mut pod = state(spec.clone());
    grounded(&mut pod);
    pod.step(started(0, 0, 1), at(1));
    assert_eq!(pod.next_due(), Some(at(60)));
    assert_eq!(pod.step(Event::Tick, at(59)), []);
    let actions = pod.step(Event::Tick, at(60));
    let message = "Pod was active on the node longer than the specified deadline";
    let told = Action::Tell { at: None, event: PlanEvent::normal("DeadlineExceeded", message) };
    assert!(actions.contains(&told), "{actions:?}");
    assert_eq!(deeds(actions), [Action::Stop { at: 0, attempt: 0, grace: Duration::from_secs(7) }]);
    let sooner = pod.clone().step(Event::Delete(Duration::ZERO), at(61));
    assert_eq!(
        deeds(sooner),
        [Action::Stop { at: 0, attempt: 0, grace: Duration::ZERO }],
        "who deletes it may hurry it"
    );
    assert_eq!(deeds(pod.step(exited(0, 0, 0, (1, 61)), at(61))), [Action::RemoveSandbox], "it runs no more");
    let evicted = pod.evicted().unwrap();
    assert_eq!((evicted.reason, evicted.message.as_str()), ("DeadlineExceeded", message));
    // One that ended in time, or is deleted, exceeds nothing.
    let mut finished =
        state(json!({"activeDeadlineSeconds": 60, "restartPolicy": "Never", "containers": [{"name": "c"}]}));
    grounded(&mut finished);
    finished.step(started(0, 0, 1), at(1));
    finished.step(exited(0, 0, 0, (1, 2)), at(2));
    let mut deleted = state(spec);
    grounded(&mut deleted);
    deleted.step(Event::Delete(Duration::from_secs(7)), at(3));
    for mut pod in [finished, deleted] {
        assert_eq!((pod.next_due(), pod.step(Event::Tick, at(60)), pod.evicted()), (None, vec![], None));
    }
}
