//! What can be asked of both: drawn from a seed, compared, and made smaller.

use std::fmt::Debug;
use std::ops::Range;

use anyhow::Result;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A question.
pub(crate) trait Question: Serialize + Sync {
    /// What the oracle calls it.
    const NAME: &'static str;
    /// What is answered.
    type Answer: DeserializeOwned;

    /// The question of this number.
    fn draw(seed: u64, number: u64) -> Self;

    /// How Kwick's answer differs from Knative's.
    fn compare(&self, answer: &Self::Answer) -> Result<Vec<Difference>>;

    /// How many decisions it asks for.
    fn points(&self) -> usize;

    /// How many parts of it can be left out.
    fn parts(&self) -> usize;

    /// It without some of them.
    fn without(&self, parts: &Range<usize>) -> Self;
}

/// What may make a difference that is meant to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Cause {
    /// Knative rounds averages down.
    Rounding,
    /// Go's power function is not that of C.
    LastDigit,
    /// Knative delays the scaling down of what no Route leads to.
    UnreachableDelay,
    /// Knative holds what no Route leads to at its initial scale until it has reached it.
    UnreachableInitialScale,
    /// Kwick keeps pods of whose load it does not know a window yet.
    HeldAfterStart,
    /// Kwick takes a window without a report for one without traffic.
    SilentWindow,
    /// Kwick leaves the activator where it is before anything is known.
    ModeKept,
}

/// A difference.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Difference {
    /// What it has in common with others that are probably the same.
    pub(crate) sort: Sort,
    /// The step, if it is one of a step.
    pub(crate) step: Option<usize>,
    pub(crate) kwick: String,
    pub(crate) knative: String,
}

/// A sort of differences.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sort {
    Caused(Cause),
    Unexplained(String),
}

impl Sort {
    /// A difference that nothing explains.
    pub(crate) fn unexplained(what: impl Into<String>) -> Self {
        Self::Unexplained(what.into())
    }
}

impl Difference {
    pub(crate) fn new(sort: Sort, step: Option<usize>, kwick: &dyn Debug, knative: &dyn Debug) -> Self {
        Self { sort, step, kwick: format!("{kwick:?}"), knative: format!("{knative:?}") }
    }
}
