//! What is particular to Pods: parts of the spec that may change.

use crate::http::query::WriteOptions;
use crate::negotiate::decode;
use crate::status::Result;
use crate::store::ObjectKey;
use crate::verbs::patch::patch;
use crate::verbs::{Answer, Ask, Content};
use crate::writes::{self, Next};

/// Reads or writes a Pod through a subresource that may change part of its spec; the kind's own rules say which.
pub(super) async fn write_part(ask: &Ask) -> Result<Answer> {
    match ask.verb {
        "get" => {
            let key = ObjectKey::new(&ask.namespace, &ask.name);
            let stored = ask.core.store.get(&ask.resource.table, &key);
            stored.map(|stored| Answer::ok(Content::Stored(stored))).ok_or_else(|| ask.resource.not_found(&ask.name))
        }
        "patch" => patch(ask).await,
        _ => {
            let write_options = WriteOptions::parse(&ask.query, "UpdateOptions")?;
            let object =
                decode::object(&ask.resource, &ask.content_type, &ask.body, write_options.field_validation)?.value;
            let written = writes::update(&ask.context(write_options.is_dry_run), &ask.name, &mut |_| {
                Ok(Next::Changed(object.clone()))
            })
            .await?;
            Ok(Answer::from(written))
        }
    }
}
