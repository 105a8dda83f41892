//! The `scale` subresource: replicas alone, under one kind, whatever is scaled.
//!
//! Built-in kinds have `spec.replicas`; CRDs say where theirs is.

mod owners;

use serde_json::{Value, json};

use crate::crd::json_path;
use crate::field_error::FieldError;
use crate::fields::{Managed, Place};
use crate::http::query::WriteOptions;
use crate::kinds::selector;
use crate::negotiate::decode;
use crate::registry::{Behaviour, Resource};
use crate::status::{Result, StatusError, top};
use crate::store::ObjectKey;
use crate::value::{at, i64_at, object_at, str_at};
use crate::verbs::apply::{self, Config};
use crate::verbs::patch::{self, Patch, Patched};
use crate::verbs::{Answer, Ask, Content};
use crate::writes::{self, Context, Next, Refused, View};
use owners::ScaleOwners;

pub(super) async fn get(ask: &Ask) -> Result<Answer> {
    let key = ObjectKey::new(&ask.namespace, &ask.name);
    let stored = ask.core.store.get(&ask.resource.table, &key).ok_or_else(|| ask.resource.not_found(&ask.name))?;
    let object = ask.load(&stored).await?;
    Ok(Answer::ok(Content::Other(scale_of(&ask.resource, &object))))
}

/// The scale of an object.
fn scale_of(resource: &Resource, object: &Value) -> Value {
    let meta = &object["metadata"];
    let mut metadata = json!({});
    for name in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = at(meta, &[name]) {
            metadata[name] = value.clone();
        }
    }
    let number = |path: &str| json_path::find(object, path).first().and_then(|value| value.as_i64());
    let (wanted, present, selector) = match &resource.behaviour {
        Behaviour::Builtin(_) => {
            let selector = selector_text(&object["spec"]["selector"]);
            (i64_at(object, &["spec", "replicas"]), i64_at(object, &["status", "replicas"]), selector)
        }
        Behaviour::Custom(custom) => match &custom.scale {
            Some(paths) => {
                let selector = json_path::find(object, &paths.selector);
                let selector = selector.first().and_then(|value| value.as_str()).unwrap_or_default().to_owned();
                (number(&paths.spec_replicas), number(&paths.status_replicas), selector)
            }
            None => (None, None, String::new()),
        },
    };
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {}, "status": {"replicas": present.unwrap_or_default()},
    });
    if let Some(wanted) = wanted.filter(|wanted| *wanted != 0) {
        scale["spec"]["replicas"] = wanted.into();
    }
    if !matches!(selector.as_str(), "" | "<none>") {
        scale["status"]["selector"] = selector.into();
    }
    scale
}

/// A selector of an object as text; ReplicationControllers select by a plain map.
fn selector_text(selector: &Value) -> String {
    let is_plain = selector.get("matchLabels").is_none() && selector.get("matchExpressions").is_none();
    if is_plain { selector::labels_text(selector) } else { selector::text(selector) }
}

pub(super) async fn write(ask: &Ask) -> Result<Answer> {
    let resource = &ask.resource;
    let (options, change) = match ask.verb {
        "patch" if patch::is_apply(ask) => {
            let options = patch::options(ask)?;
            let place = owners::scale_type().map(Place::Message);
            let config = Config::of(ask, options.field_validation, place, "autoscaling/v1", "Scale")?;
            (options, Change::Apply(config))
        }
        "patch" => {
            let options = patch::options(ask)?;
            let (patch, _) = Patch::of(ask, options.field_validation)?;
            (options, Change::Patch(patch))
        }
        _ => {
            let options = WriteOptions::parse(&ask.query, "UpdateOptions")?;
            (options, Change::Replace(body(ask, options)?))
        }
    };
    let path = replicas_path(resource)?;
    let view = ScaleView { resource, path: &path };
    let context = Context { view: Some(&view), ..ask.context(options.is_dry_run) };
    let written = writes::update(&context, &ask.name, &mut |old| {
        let before = scale_of(resource, old);
        let object = Managed::stored(old["metadata"]["managedFields"].clone());
        let owners = ScaleOwners { context: &context, path: &path, object };
        let (scale, managed) = match &change {
            Change::Apply(config) => {
                let applied = owners.apply(&before, &config.object, config.is_forced);
                let (scale, managed) = applied.map_err(|conflicts| apply::refuse(Refused::Conflicts(conflicts)))?;
                (typed(scale)?, managed)
            }
            Change::Replace(scale) => (scale.clone(), owners.update(&before, scale)),
            Change::Patch(patch) => {
                let shown = with_owners(&before, owners.of_scale());
                let patched = patch.apply(owners::scale_type(), &shown)?;
                let scale = match owners::scale_type() {
                    Some(of) => patched.typed(of)?.value,
                    None => patched.object,
                };
                let managed = owners.update(&before, &scale);
                (scale, managed)
            }
        };
        let given = str_at(&scale, &["metadata", "resourceVersion"]);
        // Of built-in kinds the scale is checked first.
        if resource.is_custom() && !given.is_empty() && given != str_at(old, &["metadata", "resourceVersion"]) {
            return Err(resource.modified(&ask.name));
        }
        check(&ask.name, &scale)?;
        let mut new = lay_over(&path, old, &scale);
        let metadata = object_at(&mut new, &["metadata"]);
        match managed.into_value() {
            Some(list) => metadata.insert("managedFields".to_owned(), list),
            None => metadata.remove("managedFields"),
        };
        Ok(Next::Owned(new))
    })
    .await?;
    let object = written.value(&context).await?;
    let warnings = written.warnings.clone();
    Ok(Answer { warnings, ..Answer::ok(Content::Other(scale_of(resource, &object))) })
}

/// Webhooks see the scale, not what is scaled.
struct ScaleView<'a> {
    resource: &'a Resource,
    path: &'a [String],
}

impl View for ScaleView<'_> {
    fn kind(&self) -> (&'static str, &'static str) {
        ("autoscaling/v1", "Scale")
    }

    fn show(&self, object: &Value) -> Value {
        scale_of(self.resource, object)
    }

    fn lay(&self, object: &Value, shown: &Value) -> Value {
        lay_over(self.path, object, shown)
    }
}

enum Change {
    Replace(Value),
    Patch(Patch),
    Apply(Config),
}

/// What an apply made of a scale, as a scale.
///
/// # Errors
/// 422 if it is none, such as for more replicas than an int32 counts.
fn typed(applied: Value) -> Result<Value> {
    let Some(of) = owners::scale_type() else { return Ok(applied) };
    Patched::of_json(applied).typed(of).map(|decoded| decoded.value)
}

/// A scale that tells who owns it, which patches see.
fn with_owners(scale: &Value, owners: Managed) -> Value {
    let mut scale = scale.clone();
    if let Some(list) = owners.into_value() {
        object_at(&mut scale, &["metadata"]).insert("managedFields".to_owned(), list);
    }
    scale
}

fn body(ask: &Ask, options: WriteOptions) -> Result<Value> {
    let decoded = decode::body_of("autoscaling", "v1", "Scale", &ask.content_type, &ask.body).and_then(|decoded| {
        decode::settle_strictness("Scale", "v1", &decoded.strict_errors, options.field_validation)?;
        Ok(decoded.value)
    });
    decoded.map_err(|refused| {
        if !ask.resource.is_custom() || refused.code != 400 {
            return refused;
        }
        // Who serves custom resources there does not know what a scale is, and says so of each that cannot be read.
        StatusError::bad_request("no kind is registered for the type v1.Scale in scheme \"pkg/runtime/scheme.go:111\"")
    })
}

/// # Errors
/// 422 for a negative scale, 400 for another object's.
fn check(name: &str, scale: &Value) -> Result<()> {
    let given = str_at(scale, &["metadata", "name"]);
    if !given.is_empty() && given != name {
        let message = format!("the name of the object ({given}) does not match the name on the URL ({name})");
        return Err(StatusError::bad_request(message));
    }
    let replicas = i64_at(scale, &["spec", "replicas"]).unwrap_or_default();
    if replicas < 0 {
        let spec = top("spec");
        let error = FieldError::invalid(&spec.child("replicas"), replicas, crate::names::NEGATIVE);
        return Err(StatusError::invalid("autoscaling", "Scale", name, &[error]));
    }
    Ok(())
}

/// The fields on the way to the replicas.
///
/// # Errors
/// 500 for a CRD whose path can be read only.
fn replicas_path(resource: &Resource) -> Result<Vec<String>> {
    let path = match &resource.behaviour {
        Behaviour::Builtin(_) => Some(vec!["spec".to_owned(), "replicas".to_owned()]),
        Behaviour::Custom(custom) => custom.scale.as_ref().and_then(|paths| json_path::fields(&paths.spec_replicas)),
    };
    path.ok_or_else(|| StatusError::internal("the path of the replicas cannot be written"))
}

/// The object with the scale's replicas, meant for the scale's revision.
fn lay_over(path: &[String], old: &Value, scale: &Value) -> Value {
    let replicas = i64_at(scale, &["spec", "replicas"]).unwrap_or_default();
    let mut new = old.clone();
    for name in ["resourceVersion", "uid"] {
        if let Some(value) = at(scale, &["metadata", name]) {
            object_at(&mut new, &["metadata"]).insert(name.to_owned(), value.clone());
        }
    }
    if let Some((last, parents)) = path.split_last() {
        let parents: Vec<&str> = parents.iter().map(String::as_str).collect();
        object_at(&mut new, &parents).insert(last.clone(), replicas.into());
    }
    new
}
