//! One resource in one version, built-in or custom: the same face for every verb.

use bytes::Bytes;
use serde_json::Value;

use crate::crd::CustomVersion;
use crate::facts;
use crate::field_error::FieldError;
use crate::fields::{Element, FieldSet, Place, Reach};
use crate::kinds::{self, Admission, Denied, Dependents, Kind, Storage};
use crate::status::{Result, StatusError};
use crate::store::{Labels, NewBody, Revision, Stored, TableName};
use crate::value::{as_object, child_mut, str_at};

/// A resource that paths can name.
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) is_namespaced: bool,
    pub(crate) verbs: &'static [&'static str],
    pub(crate) subresources: Vec<Subresource>,
    /// `group/version`, or the version alone.
    pub(crate) api_version: String,
    /// Where its objects are.
    pub(crate) table: TableName,
    /// The beginning of every object as JSON: `{"apiVersion":"v1","kind":"Pod",`.
    head: Bytes,
    pub(crate) behaviour: Behaviour,
}

/// What stands below an object in paths.
#[derive(Clone, Debug)]
pub(crate) struct Subresource {
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) verbs: &'static [&'static str],
}

/// In what resources differ.
pub(crate) enum Behaviour {
    /// A row of the table of built-in kinds.
    Builtin(&'static Kind),
    /// A version of a CRD.
    Custom(Box<CustomVersion>),
}

const CUSTOM_VERBS: &[&str] = &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
const READ_WRITE: &[&str] = &["get", "patch", "update"];
/// What a resize of a Pod may change.
const RESIZED: &[&[&str]] = &[
    &["spec", "containers", "*", "resources"],
    &["spec", "containers", "*", "resizePolicy"],
    &["spec", "initContainers", "*", "resources"],
    &["spec", "initContainers", "*", "resizePolicy"],
];

impl Resource {
    pub(crate) fn builtin(kind: &'static Kind) -> Self {
        let strings = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let stored_group = match kind.storage {
            Storage::Shared { group, .. } => group,
            Storage::Own | Storage::Virtual | Storage::Measured => kind.group,
        };
        let subresources = kind.subresources.iter().map(|sub| Subresource {
            name: sub.name.to_owned(),
            group: sub.group.to_owned(),
            version: sub.version.to_owned(),
            kind: sub.kind.to_owned(),
            verbs: sub.verbs,
        });
        Self {
            group: kind.group.to_owned(),
            version: kind.version.to_owned(),
            kind: kind.kind.to_owned(),
            list_kind: kind.list_kind(),
            plural: kind.plural.to_owned(),
            singular: kind.singular.to_owned(),
            short_names: strings(kind.short_names),
            categories: strings(kind.categories),
            is_namespaced: kind.is_namespaced(),
            verbs: kind.verbs,
            subresources: subresources.collect(),
            api_version: kind.api_version(),
            table: TableName::new(kind.plural, stored_group),
            head: head(&kind.api_version(), kind.kind),
            behaviour: Behaviour::Builtin(kind),
        }
    }

    pub(crate) fn custom(names: &crate::crd::Names, custom: CustomVersion) -> Self {
        let api_version = format!("{}/{}", names.group, custom.name);
        let own = |name: &str| Subresource {
            name: name.to_owned(),
            group: names.group.clone(),
            version: custom.name.clone(),
            kind: names.kind.clone(),
            verbs: READ_WRITE,
        };
        let mut subresources = Vec::new();
        if custom.has_status {
            subresources.push(own("status"));
        }
        if custom.scale.is_some() {
            let scale =
                Subresource { group: "autoscaling".into(), version: "v1".into(), kind: "Scale".into(), ..own("scale") };
            subresources.push(scale);
        }
        Self {
            group: names.group.clone(),
            version: custom.name.clone(),
            kind: names.kind.clone(),
            list_kind: names.list_kind.clone(),
            plural: names.plural.clone(),
            singular: names.singular.clone(),
            short_names: names.short_names.clone(),
            categories: names.categories.clone(),
            is_namespaced: names.is_namespaced,
            verbs: CUSTOM_VERBS,
            subresources,
            table: names.table(),
            head: head(&api_version, &names.kind),
            api_version,
            behaviour: Behaviour::Custom(Box::new(custom)),
        }
    }

    pub(crate) fn is_custom(&self) -> bool {
        matches!(self.behaviour, Behaviour::Custom(_))
    }

    /// Whether nothing is stored: a create is a question and its answer, or a read a measurement.
    pub(crate) fn is_virtual(&self) -> bool {
        matches!(self.behaviour, Behaviour::Builtin(Kind { storage: Storage::Virtual | Storage::Measured, .. }))
    }

    /// Whether a read is a measurement.
    pub(crate) fn is_measured(&self) -> bool {
        matches!(self.behaviour, Behaviour::Builtin(Kind { storage: Storage::Measured, .. }))
    }

    /// Whether it is this resource, in whatever version.
    pub(crate) fn is(&self, group: &str, plural: &str) -> bool {
        self.group == group && self.plural == plural
    }

    pub(crate) fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }

    pub(crate) fn not_found(&self, name: &str) -> StatusError {
        StatusError::not_found(&self.group, &self.plural, name)
    }

    pub(crate) fn modified(&self, name: &str) -> StatusError {
        StatusError::modified(&self.group, &self.plural, name)
    }

    pub(crate) fn invalid(&self, name: &str, errors: &[FieldError]) -> StatusError {
        StatusError::invalid(&self.group, &self.kind, name, errors)
    }

    pub(crate) fn forbidden(&self, name: &str, why: &str) -> StatusError {
        StatusError::forbidden(&self.group, &self.plural, name, why)
    }

    /// Whether the stored text is already what this version shows, but for the type meta.
    fn is_raw(&self, stored: &Stored) -> bool {
        match &self.behaviour {
            Behaviour::Builtin(kind) => !matches!(kind.storage, Storage::Shared { .. }),
            Behaviour::Custom(custom) => custom.shape == stored.shape,
        }
    }

    /// Writes an object as this version shows it; without `apiVersion` and `kind` unless `is_typed`.
    pub(crate) fn write(&self, stored: &Stored, is_typed: bool, out: &mut Vec<u8>) -> Result<()> {
        if self.is_raw(stored) {
            match (is_typed, stored.body.get(1..)) {
                (true, Some(rest)) => {
                    out.extend_from_slice(&self.head);
                    out.extend_from_slice(rest);
                }
                _ => out.extend_from_slice(&stored.body),
            }
            return Ok(());
        }
        let mut value = self.load(stored)?;
        if !is_typed {
            strip_type(&mut value);
        }
        serde_json::to_writer(out, &value).map_err(|error| StatusError::internal(&error.to_string()))
    }

    /// An object as this version shows it.
    pub(crate) fn load(&self, stored: &Stored) -> Result<Value> {
        let mut value: Value = serde_json::from_slice(&stored.body)
            .map_err(|error| StatusError::internal(&format!("{} {}: {error}", self.table, stored.key)))?;
        match &self.behaviour {
            Behaviour::Builtin(Kind { storage: Storage::Shared { from_stored, .. }, .. }) => {
                value = from_stored(&value)
            }
            Behaviour::Custom(custom) if custom.shape != stored.shape => custom.shape_up(&mut value),
            Behaviour::Builtin(_) | Behaviour::Custom(_) => {}
        }
        self.set_type(&mut value);
        Ok(value)
    }

    /// The type, as far as ownership of fields goes; `None` for one that nobody can own.
    pub(crate) fn place(&self) -> Option<Place<'_>> {
        match &self.behaviour {
            Behaviour::Builtin(kind) => facts::type_of_kind(kind.group, kind.version, kind.kind).map(Place::Message),
            Behaviour::Custom(custom) => Some(Place::Root(&custom.schema)),
        }
    }

    /// An object in which nothing is set.
    pub(crate) fn empty(&self) -> Value {
        let mut object = match self.place() {
            Some(Place::Message(of)) => facts::canonical::zero_message(of),
            _ => Value::Null,
        };
        self.set_type(&mut object);
        object
    }

    /// Which fields a write through a subresource, or to the object itself, may change.
    pub(crate) fn reach(&self, subresource: &str) -> Reach {
        let without = |fields: &[&[&str]]| Reach::Without(FieldSet::of_fields(fields));
        match (subresource, &self.behaviour) {
            ("status", Behaviour::Custom(_)) => without(&[&["spec"], &["metadata"]]),
            ("status", Behaviour::Builtin(kind)) => {
                let mut reset = FieldSet::of_fields(&[&["spec"]]);
                for name in kind.strategy.rules().status_keeps {
                    reset.insert(["metadata", name].map(Element::field));
                }
                Reach::Without(reset)
            }
            ("ephemeralcontainers", _) => Reach::Only(&[&["spec", "ephemeralContainers"]]),
            ("resize", _) => Reach::Only(RESIZED),
            _ if self.subresource("status").is_some() => without(&[&["status"]]),
            _ => without(&[]),
        }
    }

    /// An object as the store keeps it, with its type.
    pub(crate) fn in_store(&self, object: &Value) -> Value {
        match &self.behaviour {
            Behaviour::Builtin(Kind { storage: Storage::Shared { to_stored, .. }, .. }) => to_stored(object),
            _ => object.clone(),
        }
    }

    /// An object of this version, of the form that the store keeps.
    pub(crate) fn in_version(&self, stored: &Value) -> Value {
        let mut object = match &self.behaviour {
            Behaviour::Builtin(Kind { storage: Storage::Shared { from_stored, .. }, .. }) => from_stored(stored),
            _ => stored.clone(),
        };
        self.set_type(&mut object);
        object
    }

    /// Sets `apiVersion` and `kind`.
    pub(crate) fn set_type(&self, value: &mut Value) {
        let object = as_object(value);
        object.insert("apiVersion".to_owned(), self.api_version.as_str().into());
        object.insert("kind".to_owned(), self.kind.as_str().into());
    }

    /// What the store keeps of an object, once its revision is known.
    pub(crate) fn encode(&self, mut value: Value) -> impl FnOnce(Revision) -> NewBody + use<> {
        if let Behaviour::Builtin(Kind { storage: Storage::Shared { to_stored, .. }, .. }) = &self.behaviour {
            value = to_stored(&value);
        }
        let shape = match &self.behaviour {
            Behaviour::Builtin(_) => 0,
            Behaviour::Custom(custom) => custom.shape,
        };
        move |revision| {
            strip_type(&mut value);
            as_object(child_mut(&mut value, "metadata"))
                .insert("resourceVersion".to_owned(), revision.to_string().into());
            let labels = Labels::of(&value);
            NewBody { body: value.to_string().into_bytes(), labels, shape }
        }
    }

    pub(crate) fn default(&self, object: &mut Value) {
        match &self.behaviour {
            Behaviour::Builtin(kind) => kind.strategy.default(object),
            Behaviour::Custom(custom) => custom.default(object),
        }
    }

    pub(crate) fn admit(&self, object: &mut Value, admission: &Admission<'_>) -> std::result::Result<(), Denied> {
        match &self.behaviour {
            Behaviour::Builtin(kind) => kind.strategy.admit(object, admission),
            Behaviour::Custom(_) => Ok(()),
        }
    }

    /// The last step before a new object is stored; answers with warnings.
    pub(crate) fn before_create(&self, object: &mut Value) -> Result<Vec<String>> {
        let checked = match &self.behaviour {
            Behaviour::Builtin(kind) => kinds::before_create(kind, object),
            Behaviour::Custom(custom) => custom.before_create(object, self.is_namespaced),
        };
        checked.map_err(|errors| self.invalid(str_at(object, &["metadata", "name"]), &errors))
    }

    /// The last step before a change is stored; answers with warnings.
    pub(crate) fn before_update(&self, new: &mut Value, old: &Value, subresource: &str) -> Result<Vec<String>> {
        let subresource = (!subresource.is_empty()).then_some(subresource);
        let checked = match &self.behaviour {
            Behaviour::Builtin(kind) => kinds::before_update(kind, new, old, subresource),
            Behaviour::Custom(custom) => custom.before_update(new, old, subresource, self.is_namespaced),
        };
        checked.map_err(|errors| self.invalid(str_at(old, &["metadata", "name"]), &errors))
    }

    pub(crate) fn allows_create_on_update(&self) -> bool {
        matches!(&self.behaviour, Behaviour::Builtin(kind) if kind.strategy.allow_create_on_update())
    }

    pub(crate) fn allows_unconditional_update(&self) -> bool {
        matches!(&self.behaviour, Behaviour::Builtin(kind) if kind.strategy.allow_unconditional_update())
    }

    /// How long an object lives on after a delete; `None` if its kind does not end gracefully.
    pub(crate) fn grace_period_s(&self, object: &Value, requested_s: Option<i64>) -> Option<i64> {
        match &self.behaviour {
            Behaviour::Builtin(kind) => kind.strategy.deletion_grace_period_s(object, requested_s),
            Behaviour::Custom(_) => None,
        }
    }

    pub(crate) fn orphans_by_default(&self) -> bool {
        matches!(&self.behaviour, Behaviour::Builtin(kind) if kind.strategy.default_dependents() == Dependents::Orphan)
    }

    /// What every request to a version that should not be used any more is told.
    pub(crate) fn deprecation(&self) -> Option<&str> {
        match &self.behaviour {
            Behaviour::Builtin(_) => None,
            Behaviour::Custom(custom) => custom.deprecation.as_deref(),
        }
    }

    /// Why a field selector may not name a field; `None` if it may.
    pub(crate) fn refuse_selected(&self, field: &str) -> Option<String> {
        let (is_selectable, has_own_fields) = match &self.behaviour {
            Behaviour::Builtin(kind) => (kind.is_selectable(field), !kind.selectable_fields.is_empty()),
            Behaviour::Custom(custom) => {
                let is_of_metadata = matches!(field, "metadata.name" | "metadata.namespace");
                (is_of_metadata || custom.selectable.iter().any(|f| f.field == field), true)
            }
        };
        (!is_selectable).then(|| match has_own_fields {
            true => format!("field label not supported: {field}"),
            false => format!(
                "{} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
                crate::field_error::quote(field)
            ),
        })
    }

    /// The value of a selectable field.
    pub(crate) fn field_value(&self, field: &str, object: &Value) -> String {
        match &self.behaviour {
            Behaviour::Builtin(kind) => kind.field_value(field, object).unwrap_or_default(),
            Behaviour::Custom(custom) => custom.field_value(field, object),
        }
    }
}

impl std::fmt::Debug for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resource")
            .field("api_version", &self.api_version)
            .field("plural", &self.plural)
            .finish_non_exhaustive()
    }
}

fn head(api_version: &str, kind: &str) -> Bytes {
    Bytes::from(format!("{{\"apiVersion\":\"{api_version}\",\"kind\":\"{kind}\","))
}

fn strip_type(value: &mut Value) {
    let object = as_object(value);
    object.remove("apiVersion");
    object.remove("kind");
}
