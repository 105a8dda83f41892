//! Reading many objects: selected, in pages, at a revision.

use super::options::{Selection, Token, When, list_when};
use super::{Answer, Ask, Content, List};
use crate::crd::conversion;
use crate::status::{Result, StatusError};
use crate::store::{Revision, Snapshot};

pub(super) async fn list(ask: &Ask) -> Result<Answer> {
    select(ask).await.map(|list| Answer::ok(Content::List(list)))
}

/// The objects that a request selects.
pub(super) async fn select(ask: &Ask) -> Result<List> {
    let selection = Selection::of(ask)?;
    let when = list_when(&ask.query)?;
    let limit = ask.query.number("limit")?.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
    // As kube-apiserver answers from its cache, which knows no pages.
    let limit = if when == When::Any { None } else { limit };
    let place = match selection.fields.name() {
        Some(name) if !ask.namespace.is_empty() || !ask.resource.is_namespaced => format!("{}{name}", selection.prefix),
        _ => selection.prefix.clone(),
    };
    let Snapshot { mut objects, revision } = snapshot(ask, &when, &place)?;
    // What selects may be another field in another version.
    if !selection.is_everything() {
        objects = conversion::shown(&ask.core, &ask.resource, objects).await?;
    }
    let start = match when {
        When::Continued(_, start) => format!("{}{start}", selection.prefix),
        _ => String::new(),
    };
    let from = objects.partition_point(|object| object.key.as_str() < start.as_str());
    let mut chosen = Vec::new();
    let mut rest = objects.into_iter().skip(from);
    let mut next = None;
    for object in rest.by_ref() {
        if !selection.matches(&ask.resource, &object) {
            continue;
        }
        chosen.push(object);
        if limit == Some(chosen.len()) {
            break;
        }
    }
    let remaining = rest.count();
    if remaining > 0
        && let Some(last) = chosen.last()
    {
        next = Some(Token::after(revision, &selection.prefix, &last.key).encode());
    }
    let remaining = (next.is_some() && selection.is_everything()).then_some(remaining);
    Ok(List { objects: chosen, revision, next, remaining })
}

fn snapshot(ask: &Ask, when: &When, place: &str) -> Result<Snapshot> {
    let store = &ask.core.store;
    let table = &ask.resource.table;
    let current = store.revision();
    let known = |revision: Revision| {
        if revision > current { Err(StatusError::too_new(revision.0, current.0)) } else { Ok(revision) }
    };
    match when {
        When::Latest | When::Any => Ok(store.list(table, place)),
        When::NotOlderThan(revision) => known(*revision).map(|_| store.list(table, place)),
        When::Exactly(revision) => {
            let expired = |_| StatusError::expired("The resourceVersion for the provided list is too old.");
            store.list_at(table, place, known(*revision)?).map_err(expired)
        }
        When::Continued(revision, _) => {
            let expired = |_| {
                StatusError::expired(
                    "The provided continue parameter is too old to display a consistent list result. \
                     You must start a new list without the continue parameter.",
                )
            };
            store.list_at(table, place, known(*revision)?).map_err(expired)
        }
    }
}
