//! Putting back an object that a crash took.

use serde_json::Value;

use super::{Context, take_self_link};
use crate::admit::namespace;
use crate::status::Result;
use crate::store::{CommitError, Durability, Expected};
use crate::value::str_at;

/// Stores `object` as it was, with its name, uid, times, owners and status: it has been admitted before. Answers whether it is back: not if something
/// of its name is there, nor if its creation was durable, because then it was not lost but deleted.
///
/// # Errors
/// Its namespace is gone or ending, or the store has failed.
pub(crate) async fn restore(context: &Context<'_>, mut object: Value) -> Result<bool> {
    let Context { core, resource, namespace, .. } = context;
    let name = str_at(&object, &["metadata", "name"]).to_owned();
    namespace::check_create(&core.store, resource, namespace, &name)?;
    if context.durability(None, Some(&object)) == Durability::Durable {
        return Ok(false);
    }
    take_self_link(&mut object);
    let write = context.write_to(context.key(&name), Expected::Absent, Durability::Durable);
    match context.commit(write, object).await {
        Ok(_) => Ok(true),
        Err(CommitError::Exists) => Ok(false),
        Err(error) => Err(context.refusal(&name, &error)),
    }
}
