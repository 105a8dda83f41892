//! The shapes of objects and lists: as they are, as tables, as metadata alone.

use serde_json::{Value, json};

use super::{Ask, Content, List};
use crate::crd::json_path;
use crate::negotiate::accept::Shape;
use crate::registry::{Behaviour, Resource};
use crate::status::{Result, StatusError};
use crate::value::str_at;

/// Objects or a list as JSON text, for the common case; stored text is copied, not parsed.
pub(super) fn plain_json(resource: &Resource, content: &Content) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    match content {
        Content::Stored(stored) => {
            out.reserve(stored.body.len() + 64);
            resource.write(stored, true, &mut out)?;
        }
        Content::Object(value) | Content::Other(value) => {
            out = serde_json::to_vec(value).map_err(|error| StatusError::internal(&error.to_string()))?;
        }
        Content::List(list) => {
            out.reserve(list.objects.iter().map(|object| object.body.len() + 64).sum::<usize>() + 256);
            let mut head = json!({
                "kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": list_meta(list, resource.is_custom()),
            })
            .to_string();
            head.pop();
            out.extend_from_slice(head.as_bytes());
            out.extend_from_slice(b",\"items\":[");
            for (index, object) in list.objects.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                // Items of custom kinds carry their type, those of built-in kinds do not.
                resource.write(object, resource.is_custom(), &mut out)?;
            }
            out.extend_from_slice(b"]}");
        }
    }
    out.push(b'\n');
    Ok(out)
}

/// A list of custom objects that is shown as it is also says that nothing follows.
fn list_meta(list: &List, says_end: bool) -> Value {
    let mut meta = json!({"resourceVersion": list.revision.to_string()});
    if list.next.is_some() || says_end {
        meta["continue"] = json!(list.next.as_deref().unwrap_or_default());
    }
    if let Some(remaining) = list.remaining {
        meta["remainingItemCount"] = json!(remaining);
    }
    meta
}

/// Objects or a list as a value in the shape that the client takes.
pub(super) fn value(ask: &Ask, content: &Content) -> Result<Value> {
    let resource = &ask.resource;
    let (objects, meta) = match content {
        Content::Other(value) => return Ok(value.clone()),
        Content::Stored(stored) => (vec![resource.load(stored)?], None),
        Content::Object(value) => (vec![value.clone()], None),
        Content::List(list) => {
            let objects: Result<Vec<Value>> = list.objects.iter().map(|stored| resource.load(stored)).collect();
            (objects?, Some(list_meta(list, resource.is_custom() && ask.accepted.shape == Shape::Object)))
        }
    };
    Ok(match (ask.accepted.shape, meta) {
        (Shape::Object, None) => objects.into_iter().next().unwrap_or_default(),
        (Shape::Object, Some(meta)) => {
            let untyped = |mut object: Value| {
                if let (false, Some(fields)) = (resource.is_custom(), object.as_object_mut()) {
                    fields.remove("apiVersion");
                    fields.remove("kind");
                }
                object
            };
            let items: Vec<Value> = objects.into_iter().map(untyped).collect();
            json!({"kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": meta, "items": items})
        }
        (Shape::PartialMetadata, None) => objects.first().map(partial).unwrap_or_default(),
        (Shape::PartialMetadata, Some(meta)) => {
            let items: Vec<Value> = objects.iter().map(partial).collect();
            json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "items": items})
        }
        (Shape::Table, meta) => {
            let revision = || json!({"resourceVersion": objects.first().map_or("", |o| str_at(o, &["metadata", "resourceVersion"]))});
            Rows::of(ask).table(&objects, meta.unwrap_or_else(revision), true)
        }
    })
}

/// An object's metadata alone.
pub(super) fn partial(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

/// Makes tables of a resource's objects.
pub(crate) struct Rows<'a> {
    resource: &'a Resource,
    include: Include,
    now: base_rt::Timestamp,
}

/// What stands beside a row's cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Include {
    Nothing,
    Metadata,
    Object,
}

impl<'a> Rows<'a> {
    pub(super) fn of(ask: &'a Ask) -> Self {
        let include = match ask.query.text("includeObject") {
            "None" => Include::Nothing,
            "Object" => Include::Object,
            _ => Include::Metadata,
        };
        Self { resource: &ask.resource, include, now: ask.core.clock.now() }
    }

    /// A table; a watch names the columns in its first event only.
    pub(super) fn table(&self, objects: &[Value], meta: Value, has_columns: bool) -> Value {
        let columns = if has_columns { self.columns() } else { Value::Null };
        let rows: Vec<Value> = objects.iter().map(|object| self.row(object)).collect();
        json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "columnDefinitions": columns, "rows": rows})
    }

    fn row(&self, object: &Value) -> Value {
        let object_shown = match self.include {
            // Go's field is always there.
            Include::Nothing => Value::Null,
            Include::Metadata => partial(object),
            Include::Object => object.clone(),
        };
        json!({"cells": self.cells(object), "object": object_shown})
    }

    fn columns(&self) -> Value {
        match &self.resource.behaviour {
            Behaviour::Builtin(kind) => crate::table::columns(kind),
            Behaviour::Custom(custom) => {
                let column = |name: &str, kind: &str, format: &str, description: &str, priority: i64| json!({"name": name, "type": kind, "format": format, "description": description, "priority": priority});
                let mut columns = crate::table::custom_columns(custom.columns.is_empty());
                for c in &custom.columns {
                    let description = match c.description.as_str() {
                        "" => format!("Custom resource definition column (in JSONPath format): {}", c.path),
                        text => text.to_owned(),
                    };
                    columns.push(column(&c.name, &c.kind, &c.format, &description, c.priority));
                }
                Value::Array(columns)
            }
        }
    }

    fn cells(&self, object: &Value) -> Vec<Value> {
        match &self.resource.behaviour {
            Behaviour::Builtin(kind) => crate::table::cells(kind, object, self.now),
            Behaviour::Custom(custom) => {
                let mut cells = vec![object["metadata"]["name"].clone()];
                if custom.columns.is_empty() {
                    cells.push(self.age(&object["metadata"]["creationTimestamp"]));
                }
                cells.extend(
                    custom
                        .columns
                        .iter()
                        .map(|column| self.custom_cell(&column.kind, &json_path::find(object, &column.path))),
                );
                cells
            }
        }
    }

    /// A cell in its column's type; null if there is nothing, or nothing of that type.
    fn custom_cell(&self, kind: &str, found: &[&Value]) -> Value {
        let Some(first) = found.first() else { return Value::Null };
        match kind {
            "integer" => first.as_i64().or_else(|| first.as_f64().map(|n| n as i64)).map_or(Value::Null, Value::from),
            "number" => {
                if first.is_number() {
                    (*first).clone()
                } else {
                    Value::Null
                }
            }
            "boolean" => {
                if first.is_boolean() {
                    (*first).clone()
                } else {
                    Value::Null
                }
            }
            "date" => self.age(first),
            _ if found.len() > 1 => {
                found.iter().map(|value| json_path::text(value)).collect::<Vec<_>>().join(",").into()
            }
            _ => json_path::text(first).into(),
        }
    }

    fn age(&self, time: &Value) -> Value {
        match time.as_str() {
            None | Some("") => Value::Null,
            Some(text) => crate::table::age(text, self.now).into(),
        }
    }
}
