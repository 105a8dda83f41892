//! Bounds of rollouts: a number, or a percentage of how many there are.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// What happens to a part of one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Round {
    Up,
    Down,
}

/// A number, or a percentage of `total`. What is neither counts as 0: the server lets none through.
pub(crate) fn scaled(value: &IntOrString, total: i32, round: Round) -> i32 {
    let percent = match value {
        IntOrString::Int(number) => return (*number).max(0),
        IntOrString::String(text) => text.strip_suffix('%').and_then(|percent| percent.parse::<i64>().ok()),
    };
    let Some(percent) = percent else { return 0 };
    let product = percent.max(0).saturating_mul(i64::from(total));
    let up = match round {
        Round::Up => 99,
        Round::Down => 0,
    };
    i32::try_from(product.saturating_add(up) / 100).unwrap_or(i32::MAX)
}
