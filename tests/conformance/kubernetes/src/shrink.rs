//! The fewest operations that still show a difference: halves, quarters, … are left out as long as it stays.

use anyhow::Result;

use crate::catalogue::Catalogue;
use crate::operation::{Act, Operation};
use crate::report::signature;
use crate::run::{Run, Servers};

/// How many requests one difference may cost.
const MOST_REQUESTS: usize = 600;

/// Operations out of `all` that lead to the difference of `wanted`, which the last one showed.
pub(crate) async fn shrink(
    servers: &mut Servers,
    catalogue: &Catalogue,
    all: &[Operation],
    wanted: &str,
) -> Result<Vec<Operation>> {
    let Some(last) = all.last() else { return Ok(Vec::new()) };
    let mut spent = 0;
    let same_object: Vec<Operation> = all.iter().filter(|one| one.key == last.key).cloned().collect();
    let same_kind: Vec<Operation> = all
        .iter()
        .filter(|one| (one.key.kind, one.key.namespace) == (last.key.kind, last.key.namespace))
        .cloned()
        .collect();
    let tail = |list: Vec<Operation>| list.into_iter().rev().take(MOST_REQUESTS / 6).rev().collect::<Vec<_>>();
    let mut kept = None;
    for candidate in [tail(same_object), tail(same_kind)] {
        spent += candidate.len();
        if shows(servers, catalogue, &candidate, wanted).await? {
            kept = Some(candidate);
            break;
        }
    }
    let Some(mut kept) = kept else { return Ok(all.to_vec()) };
    let mut piece = kept.len().div_ceil(2);
    while piece > 0 && spent < MOST_REQUESTS {
        let mut at = 0;
        while at < kept.len() && spent < MOST_REQUESTS {
            let fewer: Vec<Operation> = kept
                .iter()
                .enumerate()
                .filter(|(index, _)| *index < at || *index >= at + piece)
                .map(|(_, one)| one.clone())
                .collect();
            spent += fewer.len();
            if !fewer.is_empty() && shows(servers, catalogue, &fewer, wanted).await? {
                kept = fewer;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    Ok(kept)
}

async fn shows(servers: &mut Servers, catalogue: &Catalogue, operations: &[Operation], wanted: &str) -> Result<bool> {
    let mut run = Run::begin(servers, catalogue).await?;
    let mut open = Vec::new();
    for operation in operations {
        if matches!(operation.act, Act::Watch(_)) {
            open.push(operation.clone());
        }
        if let Some(finding) = run.step(operation).await?
            && signature(catalogue, &finding) == wanted
        {
            return Ok(true);
        }
    }
    for watch in open {
        let close = Operation { act: Act::Close(watch.index), ..watch };
        if let Some(finding) = run.step(&close).await?
            && signature(catalogue, &finding) == wanted
        {
            return Ok(true);
        }
    }
    Ok(false)
}
