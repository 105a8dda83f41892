//! One served version of a custom resource: what a strategy is for a built-in kind.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::json_path;
use super::scale::ScalePaths;
use crate::field_error::{FieldError, FieldPath};
use crate::kinds::{NameRule, metadata};
use crate::schema::Schema;
use crate::value::{as_object, child_mut, copy_field, i64_at, object_at, str_at};

/// A version of a CRD.
#[derive(Debug)]
pub(crate) struct CustomVersion {
    /// The version's name, such as `v1`.
    pub(crate) name: String,
    pub(super) kind: String,
    pub(super) api_version: String,
    pub(crate) schema: Schema,
    /// Identifies the version and its schema; see `store::Stored::shape`.
    pub(crate) shape: u64,
    pub(crate) has_status: bool,
    pub(crate) scale: Option<ScalePaths>,
    pub(crate) columns: Vec<PrinterColumn>,
    pub(crate) selectable: Vec<SelectableField>,
    /// The warning that every request to a deprecated version gets.
    pub(crate) deprecation: Option<String>,
}

/// A column of the table that kubectl prints.
#[derive(Clone, Debug)]
pub(crate) struct PrinterColumn {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) format: String,
    pub(crate) description: String,
    pub(crate) priority: i64,
    pub(crate) path: String,
}

/// A field that a field selector may name.
#[derive(Clone, Debug)]
pub(crate) struct SelectableField {
    pub(crate) field: String,
    pub(crate) path: String,
}

/// Which bits of a shape tell the version; the others tell its schema.
pub(super) const TAG_MASK: u64 = u64::MAX << 40;

/// What shapes tell of a version.
pub(super) fn tag_of(version: &str) -> u64 {
    hash(version) & TAG_MASK
}

/// Identifies a version and its schema by its text; never 0, which stands for built-in kinds.
pub(super) fn shape(version: &str, schema: Option<&Value>) -> u64 {
    // SQLite keeps 63 bits and a sign; that is enough to tell schemas apart.
    tag_of(version) | (hash(&schema.map(Value::to_string).unwrap_or_default()) & !TAG_MASK) | 1
}

fn hash(text: &str) -> u64 {
    let digest = Sha256::digest(text);
    u64::from_le_bytes(digest.first_chunk().copied().unwrap_or_default())
}

impl CustomVersion {
    /// Brings an object into this version's shape, as the store keeps it.
    pub(crate) fn shape_up(&self, object: &mut Value) {
        self.schema.prune(object, &mut Vec::new());
        self.default(object);
    }

    /// Drops what this version does not know from an object that is kept in another; defaults are those of the version that is kept.
    pub(crate) fn fit(&self, object: &mut Value) {
        self.schema.prune(object, &mut Vec::new());
        self.schema.drop_nulls(object);
    }

    pub(crate) fn default(&self, object: &mut Value) {
        self.schema.set_defaults(object);
        self.schema.drop_nulls(object);
    }

    /// Sets what the server sets on a new object, then checks it.
    pub(crate) fn before_create(
        &self,
        object: &mut Value,
        is_namespaced: bool,
    ) -> Result<Vec<String>, Vec<FieldError>> {
        object_at(object, &["metadata"]).insert("generation".to_owned(), 1.into());
        if self.has_status {
            as_object(object).remove("status");
        }
        let mut errors = Vec::new();
        metadata::validate_object(object, is_namespaced, NameRule::Subdomain, &FieldPath::Root, &mut errors);
        let mut warnings = self.check(object, None, None, &mut errors);
        if !errors.is_empty() {
            return Err(errors);
        }
        warnings.extend(metadata::finalizer_warnings(object, None));
        // A status that the schema gives is there from the beginning, whatever was sent.
        if self.has_status && self.schema.property("status").is_some_and(|status| status.default_value().is_some()) {
            self.default(object);
        }
        Ok(warnings)
    }

    /// Puts back what a write may not touch, counts the generation, then checks.
    pub(crate) fn before_update(
        &self,
        new: &mut Value,
        old: &Value,
        subresource: Option<&str>,
        is_namespaced: bool,
    ) -> Result<Vec<String>, Vec<FieldError>> {
        if subresource == Some("status") {
            let status = new.get("status").cloned();
            *new = with_revision(old, new);
            match status {
                Some(status) => as_object(new).insert("status".to_owned(), status),
                None => as_object(new).remove("status"),
            };
        } else {
            if self.has_status {
                copy_field(new, old, "status");
            }
            self.count_generation(new, old);
        }
        keep_system_metadata(new, old);
        let mut errors = Vec::new();
        metadata::validate_custom_update(new, old, is_namespaced, &mut errors);
        let mut warnings = self.check(new, Some(old), subresource, &mut errors);
        if subresource.is_none() {
            warnings.extend(metadata::finalizer_warnings(new, Some(old)));
        }
        if errors.is_empty() { Ok(warnings) } else { Err(errors) }
    }

    /// Checks an object against its schema and what it was; answers what is said of one that is let through.
    fn check(
        &self,
        object: &Value,
        old: Option<&Value>,
        subresource: Option<&str>,
        errors: &mut Vec<FieldError>,
    ) -> Vec<String> {
        for (field, wanted) in [("kind", &self.kind), ("apiVersion", &self.api_version)] {
            let found = str_at(object, &[field]);
            if found != wanted {
                errors.push(FieldError::invalid(&FieldPath::Root.child(field), found, &format!("must be {wanted}")));
            }
        }
        let first = errors.len();
        let is_status = subresource == Some("status");
        if is_status {
            self.schema.check_status(object, old, errors);
        } else {
            self.schema.check_values(object, old, errors);
        }
        if let Some(scale) = &self.scale {
            scale.check(object, is_status, errors);
        }
        self.schema.check_relations(object, old, first, errors)
    }

    fn count_generation(&self, new: &mut Value, old: &Value) {
        copy_field(child_mut(new, "metadata"), &old["metadata"], "generation");
        let ignored = |name: &str| name == "metadata" || (self.has_status && name == "status");
        let fields = |object: &Value| {
            let fields = object.as_object().cloned().unwrap_or_default();
            fields.into_iter().filter(|(name, _)| !ignored(name)).collect::<serde_json::Map<_, _>>()
        };
        if fields(new) != fields(old) {
            let generation = i64_at(old, &["metadata", "generation"]).unwrap_or_default();
            object_at(new, &["metadata"]).insert("generation".to_owned(), (generation + 1).into());
        }
    }

    pub(crate) fn field_value(&self, field: &str, object: &Value) -> String {
        match field {
            "metadata.name" => str_at(object, &["metadata", "name"]).to_owned(),
            "metadata.namespace" => str_at(object, &["metadata", "namespace"]).to_owned(),
            _ => {
                let path =
                    self.selectable.iter().find(|f| f.field == field).map(|f| f.path.as_str()).unwrap_or_default();
                json_path::find(object, path).first().map(|value| json_path::text(value)).unwrap_or_default()
            }
        }
    }
}

/// The old object, asked for at the revision that the new one names.
fn with_revision(old: &Value, new: &Value) -> Value {
    let mut object = old.clone();
    copy_field(child_mut(&mut object, "metadata"), &new["metadata"], "resourceVersion");
    object
}

/// What a client leaves out stays as it was.
fn keep_system_metadata(new: &mut Value, old: &Value) {
    let meta = child_mut(new, "metadata");
    let is_ending = crate::value::at(old, &["metadata", "deletionTimestamp"]).is_some();
    for name in ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "uid"] {
        if (is_ending && name == "deletionTimestamp")
            || meta.get(name).is_none_or(|value| value.is_null() || value == "")
        {
            copy_field(meta, &old["metadata"], name);
        }
    }
}
