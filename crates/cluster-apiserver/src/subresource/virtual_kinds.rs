//! Kinds of which only a create exists: reviews, and bindings posted to their own collection.

use super::{binding, reviews};
use crate::facts;
use crate::http::query::WriteOptions;
use crate::negotiate::decode;
use crate::status::{Result, StatusError};
use crate::value::object_at;
use crate::verbs::{Answer, Ask, Content};

/// Answers a create of a virtual kind.
pub(crate) async fn create(ask: &Ask) -> Result<Answer> {
    let resource = &ask.resource;
    if resource.is("", "bindings") {
        return binding::create(ask, "").await;
    }
    let options = WriteOptions::parse(&ask.query, "CreateOptions")?;
    let decoded = decode::object(resource, &ask.content_type, &ask.body, options.field_validation)?;
    let warnings =
        decode::settle_strictness(&resource.kind, &resource.version, &decoded.strict_errors, options.field_validation)?;
    let mut review = decoded.value;
    resource.set_type(&mut review);
    let fields = facts::type_of_kind(&resource.group, &resource.version, &resource.kind)
        .and_then(|of| ask.fields_of_question(of, &resource.api_version, &review));
    let mut review = match resource.plural.as_str() {
        "selfsubjectreviews" => reviews::self_subject(ask, review),
        "tokenreviews" => reviews::token(ask, review)?,
        "selfsubjectaccessreviews" => reviews::self_access(ask, review)?,
        "subjectaccessreviews" => reviews::access(ask, review, "")?,
        "localsubjectaccessreviews" => reviews::access(ask, review, &ask.namespace)?,
        "selfsubjectrulesreviews" => reviews::self_rules(ask, review)?,
        _ => return Err(StatusError::method_not_allowed()),
    };
    // The rules are an answer of their own, not the question with an answer in it.
    if resource.plural != "selfsubjectrulesreviews" {
        object_at(&mut review, &["metadata"]).extend(fields.map(|fields| ("managedFields".to_owned(), fields)));
    }
    Ok(Answer { warnings, ..Answer::created(Content::Other(review)) })
}
