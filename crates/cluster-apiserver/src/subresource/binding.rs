//! Binding a Pod to a node: what a scheduler does.

use serde_json::{Value, json};

use crate::http::query::WriteOptions;
use crate::negotiate::decode;
use crate::status::{Details, Result, StatusError, success};
use crate::value::{at, entries_at, list_at, object_at, str_at};
use crate::verbs::{Answer, Ask, Content};
use crate::writes::{self, Context, Next};

/// Binds the Pod `name`, or the one that the body names.
pub(super) async fn create(ask: &Ask, name: &str) -> Result<Answer> {
    let options = WriteOptions::parse(&ask.query, "CreateOptions")?;
    let binding = decode::body_of("", "v1", "Binding", &ask.content_type, &ask.body)?.value;
    let given = str_at(&binding, &["metadata", "name"]);
    let name = if name.is_empty() { given } else { name };
    if !given.is_empty() && given != name {
        let message = format!("the name of the object ({given}) does not match the name on the URL ({name})");
        return Err(StatusError::bad_request(message));
    }
    let context = ask.context(options.is_dry_run);
    let mut warnings = Vec::new();
    let binding = context.admit_posted(name, ("v1", "Binding"), binding.clone(), &mut warnings).await?;
    let node = str_at(&binding, &["target", "name"]).to_owned();
    let kind = str_at(&binding, &["target", "kind"]);
    if node.is_empty() || !matches!(kind, "" | "Node" | "Minion") {
        return Err(StatusError::bad_request("a Binding needs a target of kind Node with a name"));
    }
    let Some(pods) = ask.core.registry.builtin("", "pods") else { return Err(StatusError::no_such_resource()) };
    let context = Context { resource: pods, subresource: "binding", is_admitted: true, ..context };
    let now = ask.core.now_text();
    // What a scheduler sets through a binding is nobody's.
    writes::update(&context, name, &mut |pod| bind(pod, &binding, &node, &now).map(Next::Owned)).await?;
    Ok(Answer { warnings, ..Answer::created(Content::Other(success(None::<Details>, Some(201)))) })
}

fn bind(pod: &Value, binding: &Value, node: &str, now: &str) -> Result<Value> {
    let name = str_at(pod, &["metadata", "name"]);
    let refuse = |why: String| Err(StatusError::conflict("", "pods/binding", name, &why));
    if at(pod, &["metadata", "deletionTimestamp"]).is_some() {
        return refuse(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let present = str_at(pod, &["spec", "nodeName"]);
    if !present.is_empty() {
        return refuse(format!("pod {name} is already assigned to node \"{present}\""));
    }
    let uid = str_at(binding, &["metadata", "uid"]);
    if !uid.is_empty() && uid != str_at(pod, &["metadata", "uid"]) {
        return refuse(format!("the UID in the precondition ({uid}) does not match the UID of the pod"));
    }
    let mut new = pod.clone();
    object_at(&mut new, &["spec"]).insert("nodeName".to_owned(), node.into());
    for map in ["annotations", "labels"] {
        let entries: Vec<_> = entries_at(binding, &["metadata", map]).collect();
        if !entries.is_empty() {
            let target = object_at(&mut new, &["metadata", map]);
            target.extend(entries.into_iter().map(|(key, value)| (key.to_owned(), value.clone())));
        }
    }
    let mut conditions: Vec<Value> = list_at(pod, &["status", "conditions"]).to_vec();
    conditions.retain(|condition| str_at(condition, &["type"]) != "PodScheduled");
    conditions
        .push(json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now}));
    object_at(&mut new, &["status"]).insert("conditions".to_owned(), conditions.into());
    Ok(new)
}
