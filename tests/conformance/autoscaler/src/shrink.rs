//! The smallest question that still shows a difference: halves, quarters, … of its parts are left out as long as it stays.

use anyhow::Result;

use crate::oracle::Oracle;
use crate::question::{Question, Sort};

/// A question out of `question` that shows the same sort of difference.
pub(crate) fn shrink<Q: Question>(oracle: &mut Oracle, question: Q, sort: &Sort) -> Result<Q> {
    let mut kept = question;
    let mut piece = kept.parts().div_ceil(2);
    while piece > 0 {
        let mut at = 0;
        while at < kept.parts() {
            let fewer = kept.without(&(at..at + piece));
            if shows(oracle, &fewer, sort)? {
                kept = fewer;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    Ok(kept)
}

fn shows<Q: Question>(oracle: &mut Oracle, question: &Q, sort: &Sort) -> Result<bool> {
    let answer = oracle.answer(question)?;
    Ok(question.compare(&answer)?.iter().any(|difference| difference.sort == *sort))
}
