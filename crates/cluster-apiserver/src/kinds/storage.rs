//! PersistentVolume, PersistentVolumeClaim, StorageClass and CSIDriver.

use serde_json::Value;

use super::{
    Admission, Denied, Generation, Operation, Rules, Strategy,
    check::{Errors, fixed, immutable, required, supported_value, texts},
    pod::volumes::{validate_host_path, validate_nfs},
    resources::{self, amount},
    scheduling, selector,
};
use crate::{
    field_error::{FieldError, FieldPath},
    names,
    value::{at, child_mut, copy_field, entries_at, object_at, semantic_eq, str_at, strings_at},
};

const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// Has a new object stay as long as it is in use: its controller removes the finalizer.
fn protect(object: &mut Value, finalizer: &str, admission: &Admission<'_>) {
    let finalizers = strings_at(object, &["metadata", "finalizers"]);
    if admission.operation != Operation::Create || finalizers.contains(&finalizer) {
        return;
    }
    let finalizers: Vec<Value> = finalizers.into_iter().chain([finalizer]).map(Value::from).collect();
    object_at(object, &["metadata"]).insert("finalizers".to_owned(), Value::Array(finalizers));
}

/// PersistentVolume.
pub(super) struct Volume;

impl Strategy for Volume {
    fn rules(&self) -> Rules {
        Rules { first_status: r#"{"phase":"Pending"}"#, ..Rules::STATUS }
    }

    fn admit(&self, volume: &mut Value, admission: &Admission<'_>) -> Result<(), Denied> {
        protect(volume, "kubernetes.io/pv-protection", admission);
        Ok(())
    }

    fn prepare_create(&self, volume: &mut Value) {
        self.rules().create(volume);
        let now = volume["metadata"]["creationTimestamp"].clone();
        object_at(volume, &["status"]).insert("lastPhaseTransitionTime".to_owned(), now);
    }

    fn validate_create(&self, volume: &Value, errors: &mut Errors) {
        let root = FieldPath::Root;
        let path = root.child("spec");
        let spec = &volume["spec"];
        validate_access_modes(spec, "", &path, errors);
        let capacity = path.child("capacity");
        let entries: Vec<_> = entries_at(spec, &["capacity"]).collect();
        if entries.is_empty() {
            errors.push(FieldError::required(&capacity, ""));
        }
        if !entries.iter().any(|(name, _)| *name == "storage") {
            errors.push(FieldError::not_supported(&capacity, &spec["capacity"], &["storage"]));
        }
        for (name, value) in entries {
            resources::validate_amount(name, value, &capacity.key(name), errors);
            if amount(value).is_zero() {
                errors.push(FieldError::invalid(&capacity.key(name), value, "must be greater than zero"));
            }
        }
        let policy = str_at(spec, &["persistentVolumeReclaimPolicy"]);
        if !policy.is_empty() {
            let field = path.child("persistentVolumeReclaimPolicy");
            supported_value(policy, &["Delete", "Recycle", "Retain"], &field, errors);
        }
        if let Some(selector) = at(spec, &["nodeAffinity", "required"]) {
            let affinity = path.child("nodeAffinity");
            scheduling::validate_node_selector(selector, &affinity.child("required"), errors);
        }
        validate_volume_source(spec, &path, errors);
        validate_class(spec, &path, errors);
        validate_mode(spec, &path, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        if subresource.is_some() {
            return;
        }
        self.validate_create(new, errors);
        let root = FieldPath::Root;
        let path = root.child("spec");
        let source = |volume: &Value| {
            let entries = entries_at(volume, &["spec"]).filter(|(name, _)| !SPEC_FIELDS.contains(name));
            entries.map(|(name, value)| (name.to_owned(), value.clone())).collect::<Vec<_>>()
        };
        if source(new) != source(old) {
            let text = "spec.persistentvolumesource is immutable after creation";
            errors.push(FieldError::forbidden(&path.child("persistentvolumesource"), text));
        }
        immutable(&new["spec"], &old["spec"], "volumeMode", &root, errors);
    }
}

/// The fields of a volume's spec that are not its source.
const SPEC_FIELDS: &[&str] = &[
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

fn validate_volume_source(spec: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let mut has_one = false;
    for (name, source) in entries_at(spec, &[]).filter(|(name, _)| !SPEC_FIELDS.contains(name)) {
        let field = path.child(name);
        if has_one {
            errors.push(FieldError::forbidden(&field, "may not specify more than 1 volume type"));
            continue;
        }
        has_one = true;
        match name {
            "hostPath" => validate_host_path(source, &field, errors),
            "nfs" => validate_nfs(source, &field, errors),
            "csi" => {
                validate_driver_name(str_at(source, &["driver"]), &field.child("driver"), errors);
                required(source, "volumeHandle", &field, errors);
            }
            "local" => {
                required(source, "path", &field, errors);
                if at(spec, &["nodeAffinity"]).is_none() {
                    errors
                        .push(FieldError::required(&path.child("nodeAffinity"), "Local volume requires node affinity"));
                }
            }
            _ => {}
        }
    }
    if !has_one {
        errors.push(FieldError::required(path, "must specify a volume type"));
    }
}

fn validate_access_modes(spec: &Value, missing: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    let field = path.child("accessModes");
    let modes = strings_at(spec, &["accessModes"]);
    if modes.is_empty() {
        errors.push(FieldError::required(&field, missing));
    }
    for mode in &modes {
        supported_value(mode, ACCESS_MODES, &field, errors);
    }
    if modes.contains(&"ReadWriteOncePod") && modes.len() > 1 {
        let text = "may not use ReadWriteOncePod with other access modes";
        errors.push(FieldError::forbidden(&field, text));
    }
}

fn validate_class(spec: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let class = str_at(spec, &["storageClassName"]);
    if !class.is_empty() {
        texts(&path.child("storageClassName"), class, names::dns1123_subdomain(class), errors);
    }
}

fn validate_mode(spec: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    if let Some(mode) = at(spec, &["volumeMode"]).and_then(Value::as_str) {
        supported_value(mode, &["Block", "Filesystem"], &path.child("volumeMode"), errors);
    }
}

/// Checks the name of a CSI driver.
pub(super) fn validate_driver_name(name: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if name.len() > names::LABEL_MAX {
        errors.push(FieldError::too_long(path, names::LABEL_MAX));
    } else {
        texts(path, name, names::dns1123_subdomain(&name.to_ascii_lowercase()), errors);
    }
}

/// PersistentVolumeClaim.
pub(super) struct Claim;

impl Strategy for Claim {
    fn rules(&self) -> Rules {
        Rules { first_status: r#"{"phase":"Pending"}"#, ..Rules::STATUS }
    }

    fn admit(&self, claim: &mut Value, admission: &Admission<'_>) -> Result<(), Denied> {
        protect(claim, "kubernetes.io/pvc-protection", admission);
        let is_open = at(claim, &["spec", "storageClassName"]).is_none();
        if admission.operation == Operation::Update || !is_open {
            return Ok(());
        }
        const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";
        let classes = admission.cluster.list("storage.k8s.io", "storageclasses", "");
        let is_default =
            |class: &&std::sync::Arc<Value>| str_at(class, &["metadata", "annotations", DEFAULT]) == "true";
        let newest = classes.iter().filter(is_default).max_by_key(|class| {
            (str_at(class, &["metadata", "creationTimestamp"]), std::cmp::Reverse(str_at(class, &["metadata", "name"])))
        });
        if let Some(class) = newest {
            object_at(claim, &["spec"]).insert("storageClassName".to_owned(), class["metadata"]["name"].clone());
        }
        Ok(())
    }

    fn prepare_create(&self, claim: &mut Value) {
        self.rules().create(claim);
        drop_foreign_source(claim);
        keep_known_source(claim);
        mirror_data_source(claim);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, subresource: Option<&str>) {
        self.rules().update(new, old, subresource);
        let has_source = |name: &str| at(old, &["spec", name]).is_some();
        if !has_source("dataSource") && !has_source("dataSourceRef") {
            drop_foreign_source(new);
            keep_known_source(new);
        }
        mirror_data_source(new);
    }

    fn validate_create(&self, claim: &Value, errors: &mut Errors) {
        validate_claim_spec(&claim["spec"], &FieldPath::Root.child("spec"), errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        const CHANGEABLE: &str =
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        let root = FieldPath::Root;
        if subresource.is_some() {
            let status = root.child("status");
            for (name, value) in entries_at(new, &["status", "capacity"]) {
                resources::validate_amount(name, value, &status.child("capacity").key(name), errors);
            }
            return;
        }
        self.validate_create(new, errors);
        let path = root.child("spec");
        let mut before = old["spec"].clone();
        // The binder names the volume once, and a class may come later; a bound claim may ask for more.
        if str_at(&before, &["volumeName"]).is_empty() {
            copy_field(&mut before, &new["spec"], "volumeName");
        }
        if at(&before, &["storageClassName"]).is_none() && str_at(&before, &["volumeName"]).is_empty() {
            copy_field(&mut before, &new["spec"], "storageClassName");
        }
        if str_at(old, &["status", "phase"]) == "Bound" {
            copy_field(child_mut(&mut before, "resources"), &new["spec"]["resources"], "requests");
            copy_field(&mut before, &new["spec"], "volumeAttributesClassName");
        }
        if !semantic_eq(&new["spec"], &before) {
            errors.push(FieldError::forbidden(&path, CHANGEABLE));
        }
        immutable(&new["spec"], &old["spec"], "volumeMode", &root, errors);
        let size = |claim: &Value| amount(&claim["spec"]["resources"]["requests"]["storage"]);
        if size(new) < size(old) {
            let resources = path.child("resources");
            let requests = resources.child("requests");
            let text = "field can not be less than status.capacity";
            errors.push(FieldError::forbidden(&requests.child("storage"), text));
        }
    }
}

/// Drops a source in another namespace, which is behind a feature gate that is off.
fn drop_foreign_source(claim: &mut Value) {
    if !str_at(claim, &["spec", "dataSourceRef", "namespace"]).is_empty() {
        object_at(claim, &["spec"]).remove("dataSourceRef");
    }
}

/// Drops a `dataSource` of a kind that only `dataSourceRef` may name.
fn keep_known_source(claim: &mut Value) {
    let spec = &claim["spec"];
    if at(spec, &["dataSourceRef"]).is_some() {
        return;
    }
    let source = &spec["dataSource"];
    let is_known = matches!(
        (str_at(source, &["apiGroup"]), str_at(source, &["kind"])),
        ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
    );
    if !is_known {
        object_at(claim, &["spec"]).remove("dataSource");
    }
}

/// The old and the new name of a claim's source say the same.
fn mirror_data_source(claim: &mut Value) {
    let spec = &claim["spec"];
    let (old, new) = (at(spec, &["dataSource"]).cloned(), at(spec, &["dataSourceRef"]).cloned());
    let is_local = new.as_ref().is_none_or(|source| str_at(source, &["namespace"]).is_empty());
    let spec = object_at(claim, &["spec"]);
    match (old, new) {
        (Some(source), None) => {
            spec.insert("dataSourceRef".to_owned(), source);
        }
        (None, Some(source)) if is_local => {
            spec.insert("dataSource".to_owned(), source);
        }
        _ => {}
    }
}

/// Checks the spec of a claim, also in a template.
pub(super) fn validate_claim_spec(spec: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    selector::validate(&spec["selector"], &path.child("selector"), errors);
    validate_access_modes(spec, "at least 1 access mode is required", path, errors);
    let resources = path.child("resources");
    match at(spec, &["resources", "requests", "storage"]) {
        None => errors.push(FieldError::required(&resources.key("storage"), "")),
        Some(value) => {
            let size = amount(value);
            if size.is_negative() || size.is_zero() {
                errors.push(FieldError::invalid(&resources.key("storage"), value, "must be greater than zero"));
            }
        }
    }
    validate_class(spec, path, errors);
    validate_mode(spec, path, errors);
    for name in ["dataSource", "dataSourceRef"] {
        let Some(source) = at(spec, &[name]) else { continue };
        let field = path.child(name);
        required(source, "name", &field, errors);
        required(source, "kind", &field, errors);
    }
}

/// StorageClass.
pub(super) struct StorageClass;

impl Strategy for StorageClass {
    fn validate_create(&self, class: &Value, errors: &mut Errors) {
        let root = FieldPath::Root;
        let provisioner = required(class, "provisioner", &root, errors);
        if !provisioner.is_empty() {
            let lower = provisioner.to_ascii_lowercase();
            texts(&root.child("provisioner"), provisioner, names::qualified_name(&lower), errors);
        }
        let policy = str_at(class, &["reclaimPolicy"]);
        if !policy.is_empty() {
            supported_value(policy, &["Delete", "Retain"], &root.child("reclaimPolicy"), errors);
        }
        match at(class, &["volumeBindingMode"]).and_then(Value::as_str) {
            None => errors.push(FieldError::required(&root.child("volumeBindingMode"), "")),
            Some(mode) => {
                let modes = ["Immediate", "WaitForFirstConsumer"];
                supported_value(mode, &modes, &root.child("volumeBindingMode"), errors);
            }
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _subresource: Option<&str>, errors: &mut Errors) {
        self.validate_create(new, errors);
        let root = FieldPath::Root;
        for name in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
            fixed(new, old, name, &root, errors);
        }
    }
}

/// CSIDriver.
pub(super) struct CsiDriver;

impl Strategy for CsiDriver {
    fn rules(&self) -> Rules {
        Rules { generation: Generation::Counts(&["spec"]), ..Rules::PLAIN }
    }

    fn prepare_create(&self, _driver: &mut Value) {
        // The generation of a driver starts at nothing.
    }

    fn validate_create(&self, driver: &Value, errors: &mut Errors) {
        let root = FieldPath::Root;
        let metadata = root.child("metadata");
        validate_driver_name(str_at(driver, &["metadata", "name"]), &metadata.child("name"), errors);
        let path = root.child("spec");
        if let Some(policy) = at(driver, &["spec", "fsGroupPolicy"]).and_then(Value::as_str) {
            let policies = ["File", "None", "ReadWriteOnceWithFSType"];
            supported_value(policy, &policies, &path.child("fsGroupPolicy"), errors);
        }
        let field = path.child("volumeLifecycleModes");
        for mode in strings_at(driver, &["spec", "volumeLifecycleModes"]) {
            if !matches!(mode, "Persistent" | "Ephemeral") {
                errors.push(FieldError::not_supported(&field, mode, &["Persistent", "Ephemeral"]));
            }
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _subresource: Option<&str>, errors: &mut Errors) {
        self.validate_create(new, errors);
        let root = FieldPath::Root;
        let path = root.child("spec");
        if new["spec"]["attachRequired"] != old["spec"]["attachRequired"] {
            // The server spells the field so.
            let value = &new["spec"]["attachRequired"];
            errors.push(FieldError::invalid(&path.child("attachedRequired"), value, super::metadata::IMMUTABLE));
        }
        immutable(&new["spec"], &old["spec"], "volumeLifecycleModes", &path, errors);
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}
