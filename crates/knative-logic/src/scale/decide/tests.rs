//! Knative's answers on random traces, the formulas as a table, and what must always hold.

use super::*;
use crate::scale::ScalingMetric;
use jiff::SignedDuration;
use proptest::prelude::*;
use serde::Deserialize;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).expect("a time")
}

fn spec() -> DeciderSpec {
    DeciderSpec {
        scaling_metric: ScalingMetric::Concurrency,
        target_value: 7.0,
        total_value: 10.0,
        target_burst_capacity: 211.0,
        activator_capacity: 100.0,
        panic_threshold: 2.0,
        max_scale_up_rate: 10.0,
        max_scale_down_rate: 2.0,
        stable_window: SignedDuration::from_secs(60),
        scale_down_delay: SignedDuration::ZERO,
        initial_scale: 1,
        reachable: true,
        activation_scale: 0,
    }
}

fn seen(ready: i32, stable: f64, panic: f64) -> Observation {
    Observation { ready, averages: Averages { stable, panic } }
}

/// The decision of a new decider that is not in panic.
fn first(spec: &DeciderSpec, seen: &Observation) -> Decision {
    decide(spec, DeciderState::new(spec, 0, at(0)), seen, at(2)).1
}

#[derive(Deserialize)]
struct Trace {
    target: f64,
    total: f64,
    burst: f64,
    threshold: f64,
    up: f64,
    down: f64,
    window: i64,
    delay: i64,
    reachable: bool,
    activation: i32,
    ready: i32,
    ticks: Vec<(i64, i32, f64, f64, i32, i32)>,
}

#[test]
fn it_decides_as_knative_does() {
    let traces: Vec<Trace> = serde_json::from_str(include_str!("../../../testdata/decider.json")).expect("traces");
    assert!(traces.len() >= 20);
    for (number, trace) in traces.iter().enumerate() {
        let spec = DeciderSpec {
            target_value: trace.target,
            total_value: trace.total,
            target_burst_capacity: trace.burst,
            panic_threshold: trace.threshold,
            max_scale_up_rate: trace.up,
            max_scale_down_rate: trace.down,
            stable_window: SignedDuration::from_secs(trace.window),
            scale_down_delay: SignedDuration::from_secs(trace.delay),
            reachable: trace.reachable,
            activation_scale: trace.activation,
            ..spec()
        };
        let mut state = DeciderState::new(&spec, trace.ready, at(0));
        for (second, ready, stable, panic, desired, excess_burst_capacity) in &trace.ticks {
            let (next, decision) = decide(&spec, state, &seen(*ready, *stable, *panic), at(*second));
            let want = Decision { desired: *desired, excess_burst_capacity: *excess_burst_capacity };
            assert_eq!(decision, want, "trace {number}, second {second}");
            state = next;
        }
    }
}

#[test]
fn the_load_is_divided_by_the_target() {
    for (seen, desired) in [
        (seen(1, 0.0, 0.0), 0),
        (seen(1, 7.0, 7.0), 1),
        (seen(1, 7.1, 7.1), 2),
        (seen(2, 0.0, 0.0), 1),
        (seen(10, 0.0, 0.0), 5),
        (seen(0, 200.0, 0.0), 10),
        (seen(1, 200.0, 0.0), 10),
    ] {
        assert_eq!(first(&spec(), &seen).desired, desired, "{seen:?}");
    }
}

#[test]
fn what_no_route_leads_to_may_go_at_once() {
    let spec = DeciderSpec { reachable: false, ..spec() };
    assert_eq!(first(&spec, &seen(10, 0.0, 0.0)).desired, 0);
}

#[test]
fn the_activation_scale_is_the_least_with_any_traffic() {
    let spec = DeciderSpec { activation_scale: 4, ..spec() };
    assert_eq!(first(&spec, &seen(0, 1.0, 1.0)).desired, 4);
    assert_eq!(first(&spec, &seen(0, 0.0, 0.0)).desired, 0);
}

#[test]
fn the_room_for_a_burst() {
    for (burst, ready, panic, want) in
        [(0.0, 5, 50.0, 0), (-1.0, 5, 0.0, -1), (20.0, 5, 10.5, 19), (211.0, 1, 3.0, -204)]
    {
        let spec = DeciderSpec { target_burst_capacity: burst, ..spec() };
        assert_eq!(first(&spec, &seen(ready, 0.0, panic)).excess_burst_capacity, want);
    }
    for (burst, want) in [(0.0, 0), (-1.0, -1), (3.5, 6)] {
        let spec = DeciderSpec { target_burst_capacity: burst, ..spec() };
        assert_eq!(Decision::unknown(&spec), Decision { desired: -1, excess_burst_capacity: want });
    }
}

#[test]
fn somebody_must_act_on_another_number_or_sign() {
    let decision = |desired, excess_burst_capacity| Decision { desired, excess_burst_capacity };
    assert!(decision(1, 0).differs(&decision(2, 0)));
    assert!(decision(1, 0).differs(&decision(1, -1)));
    assert!(!decision(1, 5).differs(&decision(1, 0)));
}

#[test]
fn the_delay_is_that_of_the_beginning() {
    let mut spec = DeciderSpec { scale_down_delay: SignedDuration::from_secs(10), ..spec() };
    let state = DeciderState::new(&spec, 0, at(0));
    let (state, _) = decide(&spec, state, &seen(4, 28.0, 0.0), at(2));
    spec.scale_down_delay = SignedDuration::ZERO;
    let (state, decision) = decide(&spec, state, &seen(4, 7.0, 0.0), at(6));
    assert_eq!(decision.desired, 4);
    let (_, decision) = decide(&spec, state, &seen(4, 7.0, 0.0), at(12));
    assert_eq!(decision.desired, 2);
}

fn any_spec() -> impl Strategy<Value = DeciderSpec> {
    let numbers = (1..50u32, 1..100u32, -1..300i32, 11..100u32, 11..1000u32, 11..100u32);
    let rest = (1..100i64, 0..20i64, any::<bool>(), 0..6i32);
    (numbers, rest).prop_map(|((target, total, burst, threshold, up, down), (window, delay, reachable, activation))| {
        DeciderSpec {
            target_value: f64::from(target) / 3.0,
            total_value: f64::from(total),
            target_burst_capacity: f64::from(burst),
            panic_threshold: f64::from(threshold) / 10.0,
            max_scale_up_rate: f64::from(up) / 10.0,
            max_scale_down_rate: f64::from(down) / 10.0,
            stable_window: SignedDuration::from_secs(window),
            scale_down_delay: SignedDuration::from_secs(delay),
            reachable,
            activation_scale: activation,
            ..spec()
        }
    })
}

fn any_seen() -> impl Strategy<Value = Observation> {
    (0..100i32, 0..5000u32, 0..5000u32)
        .prop_map(|(ready, stable, panic)| seen(ready, f64::from(stable) / 4.0, f64::from(panic) / 4.0))
}

proptest! {
    #[test]
    fn twice_at_one_instant_is_once(spec in any_spec(), traces in proptest::collection::vec(any_seen(), 1..20)) {
        let mut state = DeciderState::new(&spec, 3, at(0));
        for (tick, seen) in (1_i64..).zip(traces) {
            let (once, first) = decide(&spec, state, &seen, at(tick * 2));
            let (twice, second) = decide(&spec, once.clone(), &seen, at(tick * 2));
            prop_assert_eq!(first, second);
            prop_assert_eq!(&once, &twice);
            state = twice;
        }
    }

    #[test]
    fn more_load_never_wants_fewer_pods(spec in any_spec(), seen in any_seen(), more in 0..1000u32) {
        let state = DeciderState::new(&spec, seen.ready, at(0));
        let (_, less) = decide(&spec, state.clone(), &seen, at(2));
        let more = f64::from(more);
        let averages = Averages { stable: seen.averages.stable + more, panic: seen.averages.panic + more };
        let (_, greater) = decide(&spec, state, &Observation { averages, ..seen }, at(2));
        prop_assert!(greater.desired >= less.desired);
        prop_assert!(greater.excess_burst_capacity <= less.excess_burst_capacity);
    }

    #[test]
    fn a_step_is_bounded(spec in any_spec(), seen in any_seen()) {
        let decision = first(&spec, &seen);
        let ready = f64::from(seen.ready.max(1));
        let most = (ready * spec.max_scale_up_rate).ceil().max(f64::from(spec.activation_scale));
        prop_assert!(decision.desired >= 0 && f64::from(decision.desired) <= most);
    }

    #[test]
    fn in_panic_pods_are_only_added(spec in any_spec(), traces in proptest::collection::vec(any_seen(), 1..20)) {
        // A delay remembers what was wanted before the panic.
        let spec = DeciderSpec { scale_down_delay: SignedDuration::ZERO, ..spec };
        let mut state = DeciderState::new(&spec, 5, at(0));
        let mut before = 0;
        for (tick, seen) in (1_i64..).zip(traces) {
            let was_panicking = state.panic.is_panicking();
            let (next, decision) = decide(&spec, state, &seen, at(tick * 2));
            if was_panicking && next.panic.is_panicking() {
                prop_assert!(decision.desired >= before);
            }
            before = decision.desired;
            state = next;
        }
    }
}
