//! Custom resource definitions and API services: what extends the API itself. Webhooks are in [`webhook`](super::webhook).

use serde_json::{Value, json};

use super::{Rules, Strategy, check::Errors};
use crate::{
    crd,
    field_error::{FieldError, FieldPath},
    value::{as_object, child_mut, i64_at, list_at, str_at},
};

/// CustomResourceDefinition; what its names and schemas mean stands in [`crd`].
pub(super) struct Definition;

impl Strategy for Definition {
    fn rules(&self) -> Rules {
        Rules::SPEC_AND_STATUS
    }

    fn prepare_create(&self, definition: &mut Value) {
        let stored = stored_version(definition);
        self.rules().create(definition);
        let status = as_object(child_mut(definition, "status"));
        status.insert("conditions".to_owned(), Value::Null);
        status.insert("acceptedNames".to_owned(), json!({"plural": "", "kind": ""}));
        status.insert("storedVersions".to_owned(), stored.map_or(Value::Null, |version| json!([version])));
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, subresource: Option<&str>) {
        self.rules().update(new, old, subresource);
        let Some(stored) = stored_version(new).filter(|_| subresource.is_none()) else { return };
        let versions = as_object(child_mut(new, "status")).entry("storedVersions").or_insert_with(|| json!([]));
        if let Some(list) = versions.as_array_mut()
            && !list.iter().any(|version| *version == stored)
        {
            list.push(Value::from(stored));
        }
    }

    fn validate_create(&self, definition: &Value, errors: &mut Errors) {
        crd::validate::definition(definition, None, errors);
        crd::validate::approval(definition, None, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        if subresource.is_none() {
            crd::validate::definition(new, Some(old), errors);
            crd::validate::approval(new, Some(old), errors);
            crd::validate::change(new, old, errors);
        }
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        crd::validate::warnings(new, old)
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

/// The version in which objects are kept.
fn stored_version(definition: &Value) -> Option<String> {
    let versions = list_at(definition, &["spec", "versions"]);
    let stored = versions.iter().find(|version| version["storage"].as_bool() == Some(true));
    stored.map(|version| str_at(version, &["name"]).to_owned())
}

/// APIService: a group version served elsewhere; stored and listed, not followed.
pub(super) struct ApiService;

impl Strategy for ApiService {
    fn rules(&self) -> Rules {
        Rules::STATUS
    }

    fn validate_create(&self, service: &Value, errors: &mut Errors) {
        let root = FieldPath::Root;
        let metadata = root.child("metadata");
        let (group, version) = (str_at(service, &["spec", "group"]), str_at(service, &["spec", "version"]));
        let wanted = format!("{version}.{group}");
        let name = str_at(service, &["metadata", "name"]);
        if name != wanted {
            let text = format!("must be `spec.version+\".\"+spec.group`: {}", crate::field_error::quote(&wanted));
            errors.push(FieldError::invalid(&metadata.child("name"), name, &text));
        }
        let spec = root.child("spec");
        for field in ["groupPriorityMinimum", "versionPriority"] {
            let max = if field == "versionPriority" { 1000 } else { 20_000 };
            let value = i64_at(service, &["spec", field]).unwrap_or_default();
            if !(1..=max).contains(&value) {
                let text = format!("must be positive and less than {max}");
                errors.push(FieldError::invalid(&spec.child(field), value, &text));
            }
        }
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}
