//! Kinds that make Pods from a template: Deployment, ReplicaSet, StatefulSet, DaemonSet, ReplicationController; and
//! their neighbours PodTemplate and ControllerRevision.

pub(super) mod rolling;
mod status;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    Dependents, Generation, NameRule, Rules, Strategy,
    check::{Errors, immutable, non_negative, one_of, texts},
    pod::{spec::validate_template, warnings},
    selector, storage,
};
use crate::{
    field_error::{FieldError, FieldPath},
    names,
    value::{as_object, at, child_mut, copy_field, i64_at, list_at, list_at_mut, semantic_eq, str_at},
};

const TEMPLATE: &[&str] = &["spec", "template"];
const POD_NAMES: &str = "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: ";

/// What a name that Pods inherit should look like.
pub(super) fn name_warnings(object: &Value, old: Option<&Value>) -> Vec<String> {
    let wrong = names::dns1123_label(str_at(object, &["metadata", "name"]));
    if old.is_some() || wrong.is_empty() { Vec::new() } else { vec![format!("{POD_NAMES}[{}]", wrong.join(" "))] }
}

/// What is said of a template for Pods in a spec that is new or changed; it stands at `path`.
pub(super) fn template_warnings(object: &Value, old: Option<&Value>, path: &[&str]) -> Vec<String> {
    let is_unchanged = old.is_some_and(|old| semantic_eq(&old["spec"], &object["spec"]));
    match at(object, path) {
        Some(template) if !is_unchanged => warnings::of(template, &format!("{}.", path.join("."))),
        _ => Vec::new(),
    }
}

/// What is said of an object whose Pods take its name and follow `spec.template`.
fn pod_warnings(object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut warnings = name_warnings(object, old);
    warnings.extend(template_warnings(object, old, TEMPLATE));
    warnings
}

/// Checks `selector`, and that it selects the template.
fn validate_selector(spec: &Value, path: &FieldPath<'_>, what: &str, errors: &mut Errors) {
    let field = path.child("selector");
    let template = path.child("template");
    let metadata = template.child("metadata");
    let labels = &spec["template"]["metadata"]["labels"];
    let Some(selector) = at(spec, &["selector"]) else {
        errors.push(FieldError::required(&field, ""));
        errors.push(FieldError::invalid(&metadata.child("labels"), labels, MISMATCH));
        return;
    };
    let before = errors.len();
    selector::validate(selector, &field, errors);
    let is_wrong = errors.len() > before;
    if selector::is_empty(selector) {
        let text = format!("empty selector is invalid for {what}");
        errors.push(FieldError::invalid(&field, selector, &text));
    }
    if is_wrong {
        errors.push(FieldError::invalid(&field, selector, "invalid label selector"));
    } else if !selector::is_empty(selector) && !selector::matches(selector, labels) {
        errors.push(FieldError::invalid(&metadata.child("labels"), labels, MISMATCH));
    }
}

const MISMATCH: &str = "`selector` does not match template `labels`";

/// Checks a template whose Pods run for ever.
fn validate_lasting_template(spec: &Value, path: &FieldPath<'_>, what: &str, errors: &mut Errors) {
    let template = path.child("template");
    validate_template(&spec["template"], &template, errors);
    validate_lasting(spec, &template, what, errors);
}

fn validate_lasting(spec: &Value, template: &FieldPath<'_>, what: &str, errors: &mut Errors) {
    let pod = &spec["template"]["spec"];
    let field = template.child("spec");
    let policy = str_at(pod, &["restartPolicy"]);
    if policy != "Always" {
        errors.push(FieldError::not_supported(&field.child("restartPolicy"), policy, &["Always"]));
    }
    if at(pod, &["activeDeadlineSeconds"]).is_some() {
        let text = format!("activeDeadlineSeconds in {what} is not Supported");
        errors.push(FieldError::forbidden(&field.child("activeDeadlineSeconds"), &text));
    }
}

/// Deployment.
pub(super) struct Deployment;

impl Strategy for Deployment {
    fn rules(&self) -> Rules {
        Rules {
            generation: Generation::CountsMetadata(&["spec"], "annotations"),
            status_keeps: &["labels"],
            ..Rules::SPEC_AND_STATUS
        }
    }

    fn validate_create(&self, deployment: &Value, errors: &mut Errors) {
        let root = FieldPath::Root;
        let path = root.child("spec");
        let spec = &deployment["spec"];
        non_negative(spec, "replicas", &path, errors);
        validate_selector(spec, &path, "deployment", errors);
        validate_lasting_template(spec, &path, "ReplicaSet", errors);
        rolling::validate_deployment(&spec["strategy"], &path.child("strategy"), errors);
        non_negative(spec, "minReadySeconds", &path, errors);
        non_negative(spec, "revisionHistoryLimit", &path, errors);
        non_negative(spec, "progressDeadlineSeconds", &path, errors);
        let min_ready_s = i64_at(spec, &["minReadySeconds"]).unwrap_or_default();
        if let Some(deadline_s) = i64_at(spec, &["progressDeadlineSeconds"]).filter(|s| *s <= min_ready_s) {
            let text = "must be greater than minReadySeconds";
            errors.push(FieldError::invalid(&path.child("progressDeadlineSeconds"), deadline_s, text));
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        if subresource == Some("status") {
            status::validate_deployment(new, old, errors);
            return;
        }
        self.validate_create(new, errors);
        let root = FieldPath::Root;
        immutable(&new["spec"], &old["spec"], "selector", &root.child("spec"), errors);
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        pod_warnings(new, old)
    }
}

/// ReplicaSet.
pub(super) struct ReplicaSet;

impl Strategy for ReplicaSet {
    fn rules(&self) -> Rules {
        Rules::SPEC_AND_STATUS
    }

    fn validate_create(&self, set: &Value, errors: &mut Errors) {
        let root = FieldPath::Root;
        let path = root.child("spec");
        let spec = &set["spec"];
        non_negative(spec, "replicas", &path, errors);
        non_negative(spec, "minReadySeconds", &path, errors);
        validate_selector(spec, &path, "deployment", errors);
        validate_lasting_template(spec, &path, "ReplicaSet", errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        if subresource == Some("status") {
            status::validate_replica_set(new, errors);
            return;
        }
        self.validate_create(new, errors);
        let root = FieldPath::Root;
        immutable(&new["spec"], &old["spec"], "selector", &root.child("spec"), errors);
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        pod_warnings(new, old)
    }
}

/// ReplicationController.
pub(super) struct ReplicationController;

impl Strategy for ReplicationController {
    fn rules(&self) -> Rules {
        Rules::SPEC_AND_STATUS
    }

    fn validate_create(&self, controller: &Value, errors: &mut Errors) {
        let root = FieldPath::Root;
        let path = root.child("spec");
        let spec = &controller["spec"];
        non_negative(spec, "minReadySeconds", &path, errors);
        let selects = spec["selector"].as_object().is_some_and(|labels| !labels.is_empty());
        if !selects {
            errors.push(FieldError::required(&path.child("selector"), ""));
        }
        if at(spec, &["template"]).is_none() {
            non_negative(spec, "replicas", &path, errors);
            errors.push(FieldError::required(&path.child("template"), ""));
            return;
        }
        let labels = &spec["template"]["metadata"]["labels"];
        if selects && !selector::matches(&json!({"matchLabels": spec["selector"]}), labels) {
            let template = path.child("template");
            let metadata = template.child("metadata");
            errors.push(FieldError::invalid(&metadata.child("labels"), labels, MISMATCH));
        }
        non_negative(spec, "replicas", &path, errors);
        validate_lasting_template(spec, &path, "ReplicationController", errors);
    }

    fn validate_update(&self, new: &Value, _old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        match subresource {
            Some("status") => status::validate_replica_set(new, errors),
            _ => self.validate_create(new, errors),
        }
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        pod_warnings(new, old)
    }

    fn default_dependents(&self) -> Dependents {
        Dependents::Orphan
    }
}

/// StatefulSet.
pub(super) struct StatefulSet;

impl Strategy for StatefulSet {
    fn rules(&self) -> Rules {
        Rules::SPEC_AND_STATUS
    }

    fn name_rule(&self) -> NameRule {
        NameRule::Label
    }

    fn validate_create(&self, set: &Value, errors: &mut Errors) {
        let root = FieldPath::Root;
        let path = root.child("spec");
        let spec = &set["spec"];
        let policy = str_at(spec, &["podManagementPolicy"]);
        if !matches!(policy, "OrderedReady" | "Parallel") {
            let text = "must be 'OrderedReady' or 'Parallel'";
            errors.push(FieldError::invalid(&path.child("podManagementPolicy"), policy, text));
        }
        rolling::validate_stateful_set(&spec["updateStrategy"], &path.child("updateStrategy"), errors);
        let retention = path.child("persistentVolumeClaimRetentionPolicy");
        for name in ["whenDeleted", "whenScaled"] {
            let policy = &spec["persistentVolumeClaimRetentionPolicy"];
            one_of(policy, name, &["Retain", "Delete"], &retention, errors);
        }
        let claims = path.child("volumeClaimTemplates");
        for (index, claim) in list_at(spec, &["volumeClaimTemplates"]).iter().enumerate() {
            storage::validate_claim_spec(&claim["spec"], &claims.index(index).child("spec"), errors);
        }
        non_negative(spec, "replicas", &path, errors);
        non_negative(spec, "minReadySeconds", &path, errors);
        non_negative(&spec["ordinals"], "start", &path.child("ordinals"), errors);
        let service = str_at(spec, &["serviceName"]);
        if !service.is_empty() {
            texts(&path.child("serviceName"), service, names::dns1123_label(service), errors);
        }
        validate_selector(spec, &path, "statefulset", errors);
        validate_stateful_template(spec, &path.child("template"), errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        if subresource == Some("status") {
            status::validate_stateful_set(new, old, errors);
            return;
        }
        self.validate_create(new, errors);
        let root = FieldPath::Root;
        let path = root.child("spec");
        for name in ["selector", "volumeClaimTemplates", "serviceName", "podManagementPolicy"] {
            immutable(&new["spec"], &old["spec"], name, &path, errors);
        }
    }

    fn canonicalize(&self, set: &mut Value) {
        // Claims in the list show their kind, unlike other objects in lists.
        for claim in list_at_mut(set, &["spec", "volumeClaimTemplates"]) {
            let claim = as_object(claim);
            claim.insert("apiVersion".to_owned(), json!("v1"));
            claim.insert("kind".to_owned(), json!("PersistentVolumeClaim"));
        }
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let limit = i64_at(new, &["spec", "revisionHistoryLimit"]);
        let text =
            "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended";
        let mut warnings = template_warnings(new, old, TEMPLATE);
        warnings.extend(limit.filter(|limit| *limit < 0).map(|_| text.to_owned()));
        warnings
    }
}

/// A template whose volumes include those of the claims, and whose host names the set gives.
fn validate_stateful_template(spec: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    let mut template = spec["template"].clone();
    let claims: Vec<&str> =
        list_at(spec, &["volumeClaimTemplates"]).iter().map(|claim| str_at(claim, &["metadata", "name"])).collect();
    let mut volumes: Vec<Value> =
        claims.iter().map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}})).collect();
    let own = list_at(&template, &["spec", "volumes"]);
    let claims: BTreeSet<&str> = claims.into_iter().collect();
    volumes.extend(own.iter().filter(|volume| !claims.contains(str_at(volume, &["name"]))).cloned());
    let pod = as_object(child_mut(&mut template, "spec"));
    pod.insert("volumes".to_owned(), Value::Array(volumes));
    pod.remove("hostname");
    pod.remove("subdomain");
    validate_template(&template, path, errors);
    validate_lasting(spec, path, "StatefulSet", errors);
}

/// DaemonSet.
pub(super) struct DaemonSet;

const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

impl Strategy for DaemonSet {
    fn rules(&self) -> Rules {
        Rules::SPEC_AND_STATUS
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        template_warnings(new, old, TEMPLATE)
    }

    fn prepare_create(&self, set: &mut Value) {
        self.rules().create(set);
        set_template_generation(set, 1);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, subresource: Option<&str>) {
        self.rules().update(new, old, subresource);
        if subresource == Some("status") {
            return;
        }
        let before = str_at(old, &["metadata", "annotations", TEMPLATE_GENERATION]).parse().unwrap_or(1);
        let is_same = semantic_eq(&new["spec"]["template"], &old["spec"]["template"]);
        set_template_generation(new, if is_same { before } else { before + 1 });
    }

    fn validate_create(&self, set: &Value, errors: &mut Errors) {
        let root = FieldPath::Root;
        let path = root.child("spec");
        let spec = &set["spec"];
        let field = path.child("selector");
        let selector = &spec["selector"];
        let before = errors.len();
        selector::validate(selector, &field, errors);
        let template = path.child("template");
        let metadata = template.child("metadata");
        let labels = &spec["template"]["metadata"]["labels"];
        if errors.len() == before && (selector.is_null() || !selector::matches(selector, labels)) {
            errors.push(FieldError::invalid(&metadata.child("labels"), labels, MISMATCH));
        }
        if !selector.is_null() && selector::is_empty(selector) {
            errors.push(FieldError::invalid(&field, selector, "empty selector is invalid for daemonset"));
        }
        validate_template(&spec["template"], &template, errors);
        validate_lasting(spec, &template, "DaemonSet", errors);
        non_negative(spec, "minReadySeconds", &path, errors);
        non_negative(spec, "revisionHistoryLimit", &path, errors);
        rolling::validate_daemon_set(&spec["updateStrategy"], &path.child("updateStrategy"), errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, subresource: Option<&str>, errors: &mut Errors) {
        if subresource == Some("status") {
            status::validate_daemon_set(new, errors);
            return;
        }
        let root = FieldPath::Root;
        immutable(&new["spec"], &old["spec"], "selector", &root.child("spec"), errors);
        self.validate_create(new, errors);
    }
}

/// The count of template changes is kept in an annotation.
fn set_template_generation(set: &mut Value, generation: i64) {
    let annotations = as_object(child_mut(child_mut(set, "metadata"), "annotations"));
    annotations.insert(TEMPLATE_GENERATION.to_owned(), Value::from(generation.to_string()));
}

/// PodTemplate: a template on its own.
pub(super) struct PodTemplate;

impl Strategy for PodTemplate {
    fn rules(&self) -> Rules {
        Rules { generation: Generation::Counts(&["template"]), ..Rules::PLAIN }
    }

    fn validate_create(&self, object: &Value, errors: &mut Errors) {
        validate_template(&object["template"], &FieldPath::Root.child("template"), errors);
    }
}

/// ControllerRevision: an old state of a StatefulSet or DaemonSet.
pub(super) struct ControllerRevision;

impl Strategy for ControllerRevision {
    fn validate_create(&self, revision: &Value, errors: &mut Errors) {
        let root = FieldPath::Root;
        non_negative(revision, "revision", &root, errors);
        match &revision["data"] {
            Value::Object(_) => {}
            Value::Null => errors.push(FieldError::required(&root.child("data"), "data is mandatory")),
            _ => errors.push(FieldError::required(&root.child("data"), "data must be a valid JSON object")),
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _subresource: Option<&str>, errors: &mut Errors) {
        let root = FieldPath::Root;
        non_negative(new, "revision", &root, errors);
        immutable(new, old, "data", &root, errors);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _subresource: Option<&str>) {
        copy_field(child_mut(new, "metadata"), &old["metadata"], "generation");
    }
}
