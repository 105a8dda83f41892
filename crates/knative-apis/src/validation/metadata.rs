//! Checks of an object's metadata.

use super::names;
use crate::annotations::validate_autoscaling;
use crate::config::Autoscaler;
use crate::duration;
use crate::field_error::{CURRENT_FIELD, FieldErrors, invalid_key_name, invalid_value, missing_field};
use crate::go_text::list;
use crate::meta::{AUTOSCALING_GROUP, KeyPriority, annotation, annotations};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use std::collections::BTreeMap;

/// What is wrong with an object's name: it is to be one DNS label that begins with a letter.
pub fn object_metadata(meta: &ObjectMeta) -> FieldErrors {
    let name = meta.name.as_deref().unwrap_or_default();
    let prefix = meta.generate_name.as_deref().unwrap_or_default();
    if !prefix.is_empty() {
        let problems = names::dns1035_label_prefix(prefix);
        if !problems.is_empty() {
            return FieldErrors::one(format!("not a DNS 1035 label prefix: {}", list(&problems)), ["generateName"]);
        }
    }
    if !name.is_empty() {
        let problems = names::dns1035_label(name);
        if !problems.is_empty() {
            return FieldErrors::one(format!("not a DNS 1035 label: {}", list(&problems)), ["name"]);
        }
    }
    if name.is_empty() && prefix.is_empty() {
        return FieldErrors::one("name or generateName is required", ["name"]);
    }
    FieldErrors::none()
}

/// The same, and the autoscaling annotations, for an object that they belong on.
pub fn metadata_with_autoscaling(meta: &ObjectMeta, config: &Autoscaler) -> FieldErrors {
    object_metadata(meta).and(validate_autoscaling(annotations(meta), config).via_field("annotations"))
}

/// The same, and that there are no autoscaling annotations, for an object whose template has them.
pub fn metadata_without_autoscaling(meta: &ObjectMeta) -> FieldErrors {
    let mut errors = FieldErrors::none();
    for key in annotations(meta).keys().filter(|key| key.starts_with(AUTOSCALING_GROUP)) {
        errors.also(
            invalid_key_name(key, CURRENT_FIELD).with_details(
                "autoscaling annotations must be put under \"spec.template.metadata.annotations\" to work",
            ),
        );
    }
    object_metadata(meta).and(errors.via_field("annotations"))
}

/// That every annotation of `networking.knative.dev` is a known one.
pub fn networking_annotations(annotations: &BTreeMap<String, String>) -> FieldErrors {
    let known = [
        annotation::INGRESS_CLASS,
        annotation::CERTIFICATE_CLASS,
        annotation::DISABLE_EXTERNAL_DOMAIN_TLS,
        annotation::HTTP_PROTOCOL,
    ];
    let mut errors = FieldErrors::none();
    for key in annotations.keys().filter(|key| key.starts_with("networking.knative.dev")) {
        if !known.iter().any(|spellings| spellings.is_spelling(key)) {
            errors.also(invalid_key_name(key, CURRENT_FIELD));
        }
    }
    errors
}

/// That creator and last modifier are as the API wrote them: the first never changes, the second
/// only with the spec.
pub fn creator_and_modifier(
    spec_changed: bool,
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
) -> FieldErrors {
    let value = |map: &BTreeMap<String, String>, key: &str| map.get(key).cloned().unwrap_or_default();
    let mut errors = FieldErrors::none();
    if value(old, annotation::CREATOR) != value(new, annotation::CREATOR) {
        errors.also(FieldErrors::one("annotation value is immutable", [annotation::CREATOR]));
    }
    let modifier = value(new, annotation::LAST_MODIFIER);
    if !spec_changed && value(old, annotation::LAST_MODIFIER) != modifier {
        errors.also(invalid_value(modifier, annotation::LAST_MODIFIER));
    }
    errors
}

/// What is wrong with the annotation that asks for a gradual rollout.
pub fn rollout_duration(annotations: &BTreeMap<String, String>) -> FieldErrors {
    whole_positive_duration(annotations, annotation::ROLLOUT_DURATION, "rollout-duration")
}

/// What is wrong with an annotation that is to be a duration of whole seconds, not negative.
pub fn whole_positive_duration(annotations: &BTreeMap<String, String>, key: KeyPriority, word: &str) -> FieldErrors {
    let Some((key, text)) = key.get(annotations).filter(|(_, text)| !text.is_empty()) else {
        return FieldErrors::none();
    };
    match duration::parse(text) {
        Err(_) => invalid_value(text, key),
        Ok(value) if !duration::is_whole_seconds(value) => {
            FieldErrors::one(format!("{word}={text} is not at second precision"), [key])
        }
        Ok(value) if value < SignedDuration::ZERO => FieldErrors::one(format!("{word}={text} must be positive"), [key]),
        Ok(_) => FieldErrors::none(),
    }
}

/// That what a label names is among the owners.
pub fn owner_of_label(meta: &ObjectMeta, label: &str, kind: &str) -> FieldErrors {
    let Some(name) = crate::meta::label_value(meta, label) else { return FieldErrors::none() };
    let is_it = |owner: &OwnerReference| owner.kind == kind && owner.name == name;
    if meta.owner_references.iter().flatten().any(is_it) { FieldErrors::none() } else { missing_field(label) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn an_object_needs_a_name() {
        let named = |name: &str, prefix: &str| ObjectMeta {
            name: Some(name.to_owned()),
            generate_name: Some(prefix.to_owned()),
            ..ObjectMeta::default()
        };
        assert!(object_metadata(&named("hello", "")).is_empty());
        assert!(object_metadata(&named("", "hello-")).is_empty());
        assert_eq!(object_metadata(&named("", "")).to_string(), "name or generateName is required: name");
        let text = object_metadata(&named("a.b", "")).to_string();
        assert!(
            text.starts_with("not a DNS 1035 label: [a DNS-1035 label must") && text.ends_with("]: name"),
            "{text}"
        );
        let text = object_metadata(&named("", "AB-")).to_string();
        assert!(text.starts_with("not a DNS 1035 label prefix: [") && text.ends_with("]: generateName"), "{text}");
    }

    #[test]
    fn autoscaling_belongs_on_the_template() {
        let meta = ObjectMeta {
            name: Some("hello".to_owned()),
            annotations: Some(map(&[("autoscaling.knative.dev/min-scale", "1")])),
            ..ObjectMeta::default()
        };
        assert_eq!(
            metadata_without_autoscaling(&meta).via_field("metadata").to_string(),
            "invalid key name \"autoscaling.knative.dev/min-scale\": metadata.annotations\n\
             autoscaling annotations must be put under \"spec.template.metadata.annotations\" to work"
        );
    }

    #[test]
    fn rollouts_have_whole_seconds() {
        let check =
            |text: &str| rollout_duration(&map(&[(annotation::ROLLOUT_DURATION.preferred(), text)])).to_string();
        assert_eq!(check("120s"), "");
        assert_eq!(check("x"), "invalid value: x: serving.knative.dev/rollout-duration");
        assert_eq!(
            check("1.5s"),
            "rollout-duration=1.5s is not at second precision: serving.knative.dev/rollout-duration"
        );
        assert_eq!(check("-1s"), "rollout-duration=-1s must be positive: serving.knative.dev/rollout-duration");
    }

    #[test]
    fn who_made_it_does_not_change() {
        let old = map(&[(annotation::CREATOR, "a"), (annotation::LAST_MODIFIER, "a")]);
        let other = map(&[(annotation::CREATOR, "b"), (annotation::LAST_MODIFIER, "b")]);
        assert_eq!(
            creator_and_modifier(false, &old, &other).to_string(),
            "annotation value is immutable: serving.knative.dev/creator\n\
             invalid value: b: serving.knative.dev/lastModifier"
        );
        let modified = map(&[(annotation::CREATOR, "a"), (annotation::LAST_MODIFIER, "b")]);
        assert!(creator_and_modifier(true, &old, &modified).is_empty());
    }

    #[test]
    fn only_known_networking_annotations() {
        assert!(networking_annotations(&map(&[("networking.knative.dev/ingress-class", "x")])).is_empty());
        assert_eq!(
            networking_annotations(&map(&[("networking.knative.dev/new", "x")])).to_string(),
            "invalid key name \"networking.knative.dev/new\": "
        );
    }
}
