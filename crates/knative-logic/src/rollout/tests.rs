//! Knative's answers on random rollouts, and what must always hold.

use super::*;
use proptest::prelude::*;
use serde::Deserialize;

fn at(nanos: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanos)).expect("a time")
}

/// One target: Configuration, tag, share, revision.
fn goal(targets: &[(String, String, i64, String)]) -> Rollout {
    let one = |(configuration, tag, percent, revision): &(String, String, i64, String)| ConfigurationRollout {
        configuration_name: configuration.clone(),
        tag: tag.clone(),
        percent: *percent,
        revisions: vec![RevisionRollout { revision_name: revision.clone(), percent: *percent }],
        step_params: StepParams::default(),
    };
    Rollout { configurations: targets.iter().map(one).collect() }
}

type Shares = Vec<(String, i64)>;

#[derive(Deserialize)]
struct Trace {
    duration: f64,
    steps: Vec<Step>,
}

/// Configuration, tag, share, revisions, and the four step parameters.
type Want = (String, String, i64, Shares, (i64, i64, i64, i64));

#[derive(Deserialize)]
struct Step {
    now: i64,
    goal: Vec<(String, String, i64, String)>,
    observed: bool,
    want: Vec<Want>,
    next: i64,
}

#[test]
fn it_rolls_out_as_knative_does() {
    let traces: Vec<Trace> = serde_json::from_str(include_str!("../../testdata/rollout.json")).expect("traces");
    for (number, trace) in traces.iter().enumerate() {
        let mut previous: Option<Rollout> = None;
        for (place, step) in trace.steps.iter().enumerate() {
            if let Some(previous) = previous.as_mut().filter(|_| step.observed) {
                previous
                    .observe_ready(SignedDuration::try_from_secs_f64(trace.duration).expect("a time"), at(step.now));
            }
            let (rollout, next) = goal(&step.goal).step(previous.as_ref(), at(step.now));
            let got: Vec<_> = rollout
                .configurations
                .iter()
                .map(|c| {
                    let shares: Shares = c.revisions.iter().map(|r| (r.revision_name.clone(), r.percent)).collect();
                    let p = c.step_params;
                    let params = (p.start_time_ns, p.next_step_time_ns, p.step_duration_ns, p.step_size);
                    (c.configuration_name.clone(), c.tag.clone(), c.percent, shares, params)
                })
                .collect();
            assert_eq!(got, step.want, "trace {number}, step {place}");
            assert_eq!(next.map_or(0, nanos), step.next, "trace {number}, step {place}");
            previous = Some(rollout);
        }
    }
}

#[test]
fn the_annotation_is_knatives() {
    let text = r#"{"configurations":[{"configurationName":"hello","percent":100,"revisions":[{"revisionName":"hello-00001","percent":99},{"revisionName":"hello-00002","percent":1}],"stepParams":{"starttime":1,"stepSize":5}}]}"#;
    let rollout = Rollout::from_annotation(text).expect("a rollout");
    assert!(!rollout.is_done());
    assert_eq!(rollout.to_annotation(), text);
    assert_eq!(Rollout::default().to_annotation(), "{}");
}

#[test]
fn an_annotation_that_does_not_add_up_is_not_believed() {
    for text in [
        "",
        "{",
        r#"{"configurations":[{"configurationName":"a","percent":101,"revisions":[{"percent":101}]}]}"#,
        r#"{"configurations":[{"configurationName":"a","percent":100,"revisions":[{"percent":99}]}]}"#,
        r#"{"configurations":[{"configurationName":"a","percent":1,"revisions":[{"percent":1}],"stepParams":{"stepSize":-2}}]}"#,
        r#"{"configurations":[{"configurationName":"a","percent":0,"revisions":[{"percent":-5},{"percent":5}]}]}"#,
        r#"{"configurations":[{"configurationName":"a","percent":0,"revisions":[{"percent":9223372036854775807},{"percent":1}]}]}"#,
    ] {
        assert_eq!(Rollout::from_annotation(text), None, "{text}");
    }
}

proptest! {
    /// Whatever happens to the Route, the shares of every target sum to its own, none is negative,
    /// and a rollout that is left alone comes to its end in time.
    #[test]
    fn shares_always_sum(
        changes in proptest::collection::vec((0..100u32, 2..=100i64, 1..4u32, any::<bool>()), 1..40),
        duration in 2..600i64,
    ) {
        let duration = SignedDuration::from_secs(duration);
        let mut now = 1_700_000_000_000_000_000_i64;
        let mut previous: Option<Rollout> = None;
        let mut generation = 1;
        let mut target = Vec::new();
        for (wait, percent, new, is_ready) in changes {
            now += i64::from(wait) * 250_000_000;
            generation += new / 3;
            if let Some(previous) = previous.as_mut().filter(|_| is_ready) {
                previous.observe_ready(duration, at(now));
            }
            target = vec![("a".to_owned(), String::new(), percent, format!("a-{generation}"))];
            let (rollout, next) = goal(&target).step(previous.as_ref(), at(now));
            for configuration in &rollout.configurations {
                prop_assert!(configuration.is_valid(), "{configuration:?}");
                prop_assert!(configuration.revisions.iter().all(|revision| revision.percent > 0));
            }
            prop_assert!(next.is_none_or(|next| nanos(next) > now));
            previous = Some(rollout);
        }
        let mut rollout = previous.expect("a rollout");
        rollout.observe_ready(duration, at(now));
        let mut looks = 0;
        while !rollout.is_done() {
            let (stepped, next) = goal(&target).step(Some(&rollout), at(now));
            rollout = stepped;
            now = next.map_or(now, nanos);
            looks += 1;
            prop_assert!(looks < 300, "{rollout:?}");
        }
    }

    #[test]
    fn no_text_breaks_it(text in ".{0,80}") {
        let _ = Rollout::from_annotation(&text);
    }
}
