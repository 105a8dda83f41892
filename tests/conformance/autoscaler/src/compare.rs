//! Plays a trace in Kwick, and compares with Knative's answer: what follows from settings, what is measured, and what is decided, at each tick.
//!
//! At a tick the way from Knative's decision to Kwick's is gone in steps, so that one difference does not hide another: the averages; what
//! [`decide`] makes of Knative's own averages, which is to be what Knative decides; what it makes of Kwick's; and what the decider of production
//! decides. What differs for a [`Cause`] is found by the cause's own rule, and is explained only if `data/known.yaml` lists it.

use std::fmt::Debug;

use anyhow::{Context as _, Result};
use knative_apis::annotations::Aggregation;
use knative_logic::scale::{DeciderState, Observation, decide};
use knative_serving::autoscaler::DecisionFact;
use serde_json::Value;

use crate::kwick::{Revision, time};
use crate::question::{Cause, Difference, Sort};
use crate::trace::{Act, Answer, Averages, Decision, Spec, Step, Tick, Trace};

/// Delays go in steps of so many milliseconds.
const DELAY_STEP: i64 = 2000;
/// How far, for its size, an average may be from one that another power function makes.
const LAST_DIGIT: f64 = 1e-12;
/// How far an average is from one that is rounded down to six digits instead of to the nearest.
const ROUNDED: f64 = 1e-6;

const FEWER: &str = "Knative answered to less than it was asked";

/// All differences up to the first that nothing explains: what comes after it may follow from it.
pub(crate) fn compare(trace: &Trace, answer: &Answer) -> Result<Vec<Difference>> {
    let mut comparison = Comparison::begin(trace)?;
    let (mut specs, mut ticks) = (answer.specs.iter(), answer.ticks.iter());
    let mut found = Vec::new();
    let spec = specs.next().context(FEWER)?;
    found.extend(differing_spec(&comparison.revision.applied.spec(), spec, None));
    let unknown = decision(comparison.revision.unknown());
    if unknown != answer.unknown {
        let sort = Sort::unexplained("what is assumed at first");
        found.push(Difference::new(sort, None, &unknown, &answer.unknown));
    }
    for (index, step) in trace.steps.iter().enumerate() {
        if found.iter().any(|difference| matches!(difference.sort, Sort::Unexplained(_))) {
            break;
        }
        let fact = comparison.revision.step(step)?;
        match &step.act {
            Act::Update(_) => {
                let spec = specs.next().context(FEWER)?;
                found.extend(differing_spec(&comparison.revision.applied.spec(), spec, Some(index)));
            }
            Act::Tick {} => {
                let tick = ticks.next().context(FEWER)?;
                found.extend(comparison.tick((index, step), fact.as_ref(), tick));
            }
            _ => {}
        }
        comparison.note_reachable(step.at);
    }
    Ok(found)
}

/// One trace, half played.
struct Comparison {
    revision: Revision,
    begin: i64,
    memories: Memories,
    /// How long the decider delays, in milliseconds.
    delay: i64,
    /// When it was unreachable last.
    unreachable: Option<i64>,
}

/// What deciders remember on the way from Knative's to Kwick's, each one thing nearer.
struct Memories {
    /// It decides when Knative does, from Knative's averages.
    knative: DeciderState,
    /// It decides also when there is silence.
    silent: DeciderState,
    /// It decides from Kwick's averages.
    kwick: DeciderState,
}

/// What they decide at one tick.
struct Decisions {
    /// None where Knative decides nothing.
    knative: Option<Decision>,
    silent: Decision,
    kwick: Decision,
}

impl Comparison {
    fn begin(trace: &Trace) -> Result<Self> {
        let revision = Revision::begin(trace)?;
        let memory = DeciderState::new(&revision.applied.decider, trace.ready, time(trace.begin));
        let memories = Memories { knative: memory.clone(), silent: memory.clone(), kwick: memory };
        let delay = i64::try_from(revision.applied.decider.scale_down_delay.as_millis())?;
        let mut comparison = Self { revision, begin: trace.begin, memories, delay, unreachable: None };
        comparison.note_reachable(trace.begin);
        Ok(comparison)
    }

    fn note_reachable(&mut self, at: i64) {
        if !self.revision.applied.decider.reachable {
            self.unreachable = Some(at);
        }
    }

    fn tick(&mut self, (index, step): (usize, &Step), fact: Option<&DecisionFact>, tick: &Tick) -> Vec<Difference> {
        let mut found = Vec::new();
        let mut differ = |sort, kwick: &dyn Debug, knative: &dyn Debug| {
            found.push(Difference::new(sort, Some(index), kwick, knative));
        };
        let fact = match (tick.averages, tick.decision, fact) {
            (None, None, None) => return found,
            (None, None, Some(fact)) if self.is_silent(step.at, fact) => fact,
            (Some(_), Some(_), Some(fact)) => fact,
            (averages, wanted, fact) => {
                differ(Sort::unexplained("whether anything is known"), &fact, &(averages, wanted));
                return found;
            }
        };
        let mine = Averages { stable: fact.stable, panic: fact.panic };
        let rounding = match self.revision.applied.aggregation() {
            Aggregation::Linear => Cause::Rounding,
            Aggregation::WeightedExponential => Cause::LastDigit,
        };
        if let Some(theirs) = tick.averages
            && mine != theirs
        {
            let is_explained = is_rounded(rounding, mine, theirs);
            differ(if is_explained { Sort::Caused(rounding) } else { Sort::unexplained("averages") }, &mine, &theirs);
        }
        let made = self.decide(tick.averages, mine, step.at);
        if let (Some(made), Some(wanted)) = (made.knative, tick.decision)
            && made != wanted
        {
            let sort = if self.is_delayed(step.at, made, wanted) {
                Sort::Caused(Cause::UnreachableDelay)
            } else {
                Sort::unexplained(format!("the decision from Knative's averages: {}", how(made, wanted)))
            };
            differ(sort, &made, &wanted);
        }
        if made.knative != Some(made.silent) {
            differ(Sort::Caused(Cause::SilentWindow), &made.silent, &made.knative);
        }
        if made.silent != made.kwick {
            differ(Sort::Caused(rounding), &made.kwick, &made.silent);
        }
        let decided = decision(fact.decision);
        if decided != made.kwick {
            let sort = if is_held(fact, made.kwick) {
                Sort::Caused(Cause::HeldAfterStart)
            } else {
                Sort::unexplained(format!("the decision of production: {}", how(decided, made.kwick)))
            };
            differ(sort, &decided, &made.kwick);
        }
        found
    }

    /// What is decided on the way from Knative's averages, if there are any, to Kwick's.
    fn decide(&mut self, theirs: Option<Averages>, mine: Averages, at: i64) -> Decisions {
        let (spec, ready) = (&self.revision.applied.decider, self.revision.ready);
        let made = |memory: &mut DeciderState, averages: Averages| {
            let averages = knative_logic::scale::Averages { stable: averages.stable, panic: averages.panic };
            let (next, made) = decide(spec, memory.clone(), &Observation { ready, averages }, time(at));
            *memory = next;
            decision(made)
        };
        Decisions {
            knative: theirs.map(|theirs| made(&mut self.memories.knative, theirs)),
            silent: made(&mut self.memories.silent, theirs.unwrap_or(mine)),
            kwick: made(&mut self.memories.kwick, mine),
        }
    }

    /// Whether Kwick has had a whole window to see that there is no traffic.
    fn is_silent(&self, at: i64, fact: &DecisionFact) -> bool {
        let window = self.revision.applied.decider.stable_window.as_millis();
        fact.stable == 0.0 && fact.panic == 0.0 && i128::from(at - self.begin) >= window
    }

    /// Whether Knative wants more because it remembers what was wanted while no Route led to the revision.
    fn is_delayed(&self, at: i64, made: Decision, wanted: Decision) -> bool {
        let Some(unreachable) = self.unreachable else { return false };
        self.delay > 0
            && at - unreachable <= self.delay + DELAY_STEP
            && made.excess_burst_capacity == wanted.excess_burst_capacity
            && made.desired < wanted.desired
    }
}

/// Whether Kwick wants only that the pods which there are stay.
fn is_held(fact: &DecisionFact, made: Decision) -> bool {
    fact.is_held
        && fact.decision.desired == fact.ready
        && made.desired < fact.ready
        && made.excess_burst_capacity == fact.decision.excess_burst_capacity
}

/// Whether averages differ as this cause makes them differ.
fn is_rounded(cause: Cause, mine: Averages, theirs: Averages) -> bool {
    [(mine.stable, theirs.stable), (mine.panic, theirs.panic)].into_iter().all(|(mine, theirs)| match cause {
        Cause::Rounding => mine == theirs || (mine > theirs && mine - theirs <= ROUNDED + LAST_DIGIT * theirs.abs()),
        _ => (mine - theirs).abs() <= LAST_DIGIT * theirs.abs(),
    })
}

fn how(mine: Decision, theirs: Decision) -> String {
    let word = |mine: i32, theirs: i32| match mine.cmp(&theirs) {
        std::cmp::Ordering::Less => "less",
        std::cmp::Ordering::Equal => "same",
        std::cmp::Ordering::Greater => "more",
    };
    format!(
        "pods {}, excess burst capacity {}",
        word(mine.desired, theirs.desired),
        word(mine.excess_burst_capacity, theirs.excess_burst_capacity)
    )
}

fn decision(decision: knative_logic::scale::Decision) -> Decision {
    Decision { desired: decision.desired, excess_burst_capacity: decision.excess_burst_capacity }
}

/// The first field in which they differ.
fn differing_spec(mine: &Spec, theirs: &Spec, step: Option<usize>) -> Option<Difference> {
    if mine == theirs {
        return None;
    }
    let (Value::Object(mine), Value::Object(theirs)) = (serde_json::json!(mine), serde_json::json!(theirs)) else {
        return None;
    };
    let (name, value) = mine.iter().find(|(name, value)| theirs.get(*name) != Some(value))?;
    let sort = Sort::unexplained(format!("what follows from settings: {name}"));
    Some(Difference::new(sort, step, value, &theirs.get(name)))
}
