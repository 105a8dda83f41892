//! The Revision that a Configuration makes.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use knative_apis::meta::{annotation, annotation_value, label, label_value, owner};
use knative_apis::serving::v1::{Configuration, Revision, RevisionStatus, RoutingState};
use knative_logic::names;
use kube::ResourceExt;

/// The name of the Revision of the current generation: the template's, or `<configuration>-<generation>`.
pub(super) fn revision_name(configuration: &Configuration) -> String {
    match template_name(configuration) {
        Some(name) => name.to_owned(),
        None => names::revision(&configuration.name_any(), generation(configuration)),
    }
}

/// The name that the template gives its Revision.
pub(super) fn template_name(configuration: &Configuration) -> Option<&str> {
    configuration.spec.template.metadata.name.as_deref().filter(|name| !name.is_empty())
}

/// The value of the label that says which generation a Revision stands for.
pub(super) fn generation_label(configuration: &Configuration) -> String {
    generation(configuration).to_string()
}

fn generation(configuration: &Configuration) -> i64 {
    configuration.metadata.generation.unwrap_or_default()
}

/// The Revision of the current generation.
pub(super) fn make_revision(configuration: &Configuration, now: Timestamp) -> Revision {
    let template = &configuration.spec.template;
    let metadata = ObjectMeta {
        name: Some(revision_name(configuration)),
        namespace: configuration.metadata.namespace.clone(),
        labels: template.metadata.labels.clone(),
        annotations: template.metadata.annotations.clone(),
        owner_references: Some(vec![owner::controller_ref(configuration)]),
        ..ObjectMeta::default()
    };
    let mut revision = Revision { metadata, spec: template.spec.clone(), status: RevisionStatus::default() };
    set_labels(&mut revision, configuration);
    set_annotations(&mut revision, configuration, now);
    revision
}

fn set_labels(revision: &mut Revision, configuration: &Configuration) {
    let of_service = |key| label_value(&configuration.metadata, key).unwrap_or_default().to_owned();
    let values = [
        (label::CONFIGURATION, configuration.name_any()),
        (label::CONFIGURATION_GENERATION, generation_label(configuration)),
        (label::CONFIGURATION_UID, configuration.uid().unwrap_or_default()),
        (label::SERVICE, of_service(label::SERVICE)),
        (label::SERVICE_UID, of_service(label::SERVICE_UID)),
    ];
    let labels = revision.metadata.labels.get_or_insert_default();
    labels
        .extend(values.into_iter().filter(|(_, value)| !value.is_empty()).map(|(key, value)| (key.to_owned(), value)));
}

/// A Configuration that a Route already uses hands that on, so that its new Revision is reachable from the start.
fn set_annotations(revision: &mut Revision, configuration: &Configuration, now: Timestamp) {
    let routes = annotation_value(&configuration.metadata, annotation::ROUTES);
    let state = if routes.is_some() { RoutingState::Active } else { RoutingState::Pending };
    revision.set_routing_state(&state, now);
    let modifier = annotation_value(&configuration.metadata, annotation::LAST_MODIFIER);
    let annotations = revision.metadata.annotations.get_or_insert_default();
    for (key, value) in [(annotation::CREATOR, modifier), (annotation::ROUTES, routes)] {
        if let Some(value) = value {
            annotations.insert(key.to_owned(), value.to_owned());
        }
    }
}
