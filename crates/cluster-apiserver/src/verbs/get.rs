//! Reading one object.

use super::options::resource_version;
use super::{Answer, Ask, Content};
use crate::status::{Result, StatusError};
use crate::store::ObjectKey;

pub(super) async fn get(ask: &Ask) -> Result<Answer> {
    let wanted = resource_version(&ask.query).map_err(|why| StatusError::new(500, "", why))?;
    let current = ask.core.store.revision();
    if let Some(wanted) = wanted.filter(|wanted| *wanted > current) {
        return Err(StatusError::too_new(wanted.0, current.0));
    }
    let key = ObjectKey::new(&ask.namespace, &ask.name);
    let stored = ask.core.store.get(&ask.resource.table, &key).ok_or_else(|| ask.resource.not_found(&ask.name))?;
    Ok(Answer::ok(Content::Stored(stored)))
}
