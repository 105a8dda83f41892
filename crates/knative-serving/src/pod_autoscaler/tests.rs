//! Rows of `testdata/`. A row's facts: `{desired, excessBurstCapacity, activatorAnswers}`; without `desired` nothing was decided.

use jiff::Timestamp;
use knative_logic::scale::Decision;

use super::{Facts, gather, plan};
use crate::autoscaler::DecisionFact;
use crate::golden;

#[test]
fn plans_are_as_written() {
    golden::check("pod_autoscaler", |given| {
        let mut observed = gather(&given.caches, &Facts::default(), &given.key)?;
        let number = |name: &str| given.facts[name].as_i64().and_then(|number| i32::try_from(number).ok());
        observed.decision = number("desired").map(|desired| DecisionFact {
            decision: Decision { desired, excess_burst_capacity: number("excessBurstCapacity").unwrap_or_default() },
            at: Timestamp::UNIX_EPOCH,
            stable: 0.0,
            panic: 0.0,
            target: 70.0,
            ready: 0,
            is_panicking: false,
            is_held: false,
        });
        observed.activator_answers = given.facts["activatorAnswers"] == true;
        Some(plan(&observed, &given.configs, given.now))
    });
}
