//! The `finalize` subresource of namespaces: whoever has emptied one takes its finalizer away, and it goes.

use serde_json::json;

use crate::http::query::WriteOptions;
use crate::negotiate::decode;
use crate::status::Result;
use crate::value::{object_at, str_at, strings_at};
use crate::verbs::{Answer, Ask};
use crate::writes::{self, Next};

pub(super) async fn update(ask: &Ask) -> Result<Answer> {
    let options = WriteOptions::parse(&ask.query, "UpdateOptions")?;
    let given = decode::object(&ask.resource, &ask.content_type, &ask.body, options.field_validation)?.value;
    let finalizers: Vec<String> = strings_at(&given, &["spec", "finalizers"]).into_iter().map(str::to_owned).collect();
    let written = writes::update(&ask.context(options.is_dry_run), &ask.name, &mut |old| {
        let mut new = old.clone();
        let spec = object_at(&mut new, &["spec"]);
        if finalizers.is_empty() {
            spec.remove("finalizers");
        } else {
            spec.insert("finalizers".to_owned(), json!(finalizers));
        }
        let revision = str_at(&given, &["metadata", "resourceVersion"]);
        if !revision.is_empty() {
            object_at(&mut new, &["metadata"]).insert("resourceVersion".to_owned(), revision.into());
        }
        Ok(Next::Changed(new))
    })
    .await?;
    Ok(Answer::from(written))
}
