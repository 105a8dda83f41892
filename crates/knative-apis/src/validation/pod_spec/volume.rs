//! What is wrong with volumes and where they are mounted.

use super::disallowed;
use crate::config::{Features, Flag};
use crate::field_error::{FieldErrors, invalid_value, missing_field, missing_one_of, multiple_one_of};
use crate::go_text::quote;
use crate::quantity::Quantity;
use crate::validation::names::dns1123_label;
use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, EmptyDirVolumeSource, ImageVolumeSource, KeyToPath, Volume, VolumeMount, VolumeProjection,
};
use std::collections::{BTreeMap, BTreeSet};

const RESERVED_PATHS: [&str; 3] = ["/", "/dev", "/dev/log"];

/// What is wrong with a Pod's volumes; `mounted` are the names that its containers mount.
pub(super) fn volumes(volumes: &[Volume], mounted: &BTreeSet<&str>, features: &Features) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let mut names = BTreeSet::new();
    for (index, given) in volumes.iter().enumerate() {
        let mut found = FieldErrors::none();
        if !names.insert(given.name.as_str()) {
            found.also(FieldErrors::one(format!("duplicate volume name {}", quote(&given.name)), ["name"]));
        }
        if !mounted.contains(given.name.as_str()) {
            found.also(FieldErrors::one(format!("volume with name {} not mounted", quote(&given.name)), ["name"]));
        }
        errors.also(found.and(volume(given, features)).via_index(index));
    }
    errors
}

fn volume(volume: &Volume, features: &Features) -> FieldErrors {
    let mut allowed = vec!["name", "secret", "configMap", "projected"];
    allowed.extend(gates(volume, features).into_iter().filter(|g| g.flag != Flag::Disabled).map(|g| g.field));
    // A bad name is told alone, as Knative does.
    let errors = if volume.name.is_empty() {
        missing_field("name")
    } else if !dns1123_label(&volume.name).is_empty() {
        invalid_value(&volume.name, "name")
    } else {
        disabled_sources(volume, features)
    };
    errors.and(disallowed(volume, &allowed)).and(source(volume, features))
}

/// A kind of volume that the operator may turn off.
struct Gate {
    field: &'static str,
    /// What it is called in the message; empty if it has a message of its own.
    word: &'static str,
    is_set: bool,
    flag: Flag,
}

fn gates(volume: &Volume, features: &Features) -> [Gate; 6] {
    let gate = |field, word, is_set, flag| Gate { field, word, is_set, flag };
    [
        gate("emptyDir", "EmptyDir", volume.empty_dir.is_some(), features.pod_spec_volumes_empty_dir),
        gate(
            "persistentVolumeClaim",
            "",
            volume.persistent_volume_claim.is_some(),
            features.pod_spec_persistent_volume_claim,
        ),
        gate("hostPath", "HostPath", volume.host_path.is_some(), features.pod_spec_volumes_host_path),
        gate("csi", "CSI", volume.csi.is_some(), features.pod_spec_volumes_csi),
        gate("ephemeral", "Ephemeral", volume.ephemeral.is_some(), features.pod_spec_volumes_ephemeral),
        gate("image", "Image", volume.image.is_some(), features.pod_spec_volumes_image),
    ]
}

fn disabled_sources(volume: &Volume, features: &Features) -> FieldErrors {
    let nowhere: [&str; 0] = [];
    let mut errors = FieldErrors::none();
    if let Some(claim) = &volume.persistent_volume_claim {
        let name = &claim.claim_name;
        if features.pod_spec_persistent_volume_claim != Flag::Enabled {
            let message =
                format!("Persistent volume claim support is disabled, but found persistent volume claim {name}");
            errors.also(FieldErrors::one(message, nowhere));
        }
        let writes = claim.read_only != Some(true);
        if writes && features.pod_spec_persistent_volume_write != Flag::Enabled {
            let message = format!(
                "Persistent volume write support is disabled, but found persistent volume claim {name} that is not read-only"
            );
            errors.also(FieldErrors::one(message, nowhere));
        }
    }
    for gate in gates(volume, features) {
        if gate.is_set && !gate.word.is_empty() && gate.flag != Flag::Enabled {
            let message = format!("{0} volume support is disabled, but found {0} volume {1}", gate.word, volume.name);
            errors.also(FieldErrors::one(message, nowhere));
        }
    }
    errors
}

/// That a volume has exactly one source, and what is wrong with it.
fn source(volume: &Volume, features: &Features) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let mut given = Vec::new();
    if let Some(secret) = &volume.secret {
        given.push("secret");
        errors.also(items(secret.items.as_deref()));
    }
    if let Some(config_map) = &volume.config_map {
        given.push("configMap");
        errors.also(items(config_map.items.as_deref()));
    }
    if let Some(projected) = &volume.projected {
        given.push("projected");
        for (index, source) in projected.sources.iter().flatten().enumerate() {
            errors.also(projection(source).via_field_index("projected", index));
        }
    }
    if let Some(directory) = &volume.empty_dir {
        errors.also(empty_dir(directory).via_field("emptyDir"));
    }
    if let Some(image) = &volume.image {
        errors.also(image_volume(image).via_field("image"));
    }
    let gates = gates(volume, features);
    given.extend(gates.iter().filter(|gate| gate.is_set).map(|gate| gate.field));
    match given.len() {
        0 => {
            let mut possible = vec!["secret", "configMap", "projected"];
            possible.extend(gates.iter().filter(|gate| gate.flag == Flag::Enabled).map(|gate| gate.field));
            errors.and(missing_one_of(possible))
        }
        1 => errors,
        _ => errors.and(multiple_one_of(given)),
    }
}

fn items(items: Option<&[KeyToPath]>) -> FieldErrors {
    let mut errors = FieldErrors::none();
    for (index, item) in items.unwrap_or_default().iter().enumerate() {
        let mut found = disallowed(item, &["key", "path", "mode"]);
        if item.key.is_empty() {
            found.also(missing_field("key"));
        }
        if item.path.is_empty() {
            found.also(missing_field("path"));
        }
        errors.also(found.via_field_index("items", index));
    }
    errors
}

fn projection(source: &VolumeProjection) -> FieldErrors {
    let known = ["secret", "configMap", "serviceAccountToken", "downwardAPI"];
    let mut errors = disallowed(source, &known);
    let mut given = Vec::new();
    if let Some(secret) = &source.secret {
        given.push("secret");
        let found = disallowed(secret, &["name", "items", "optional"]).and(named(&secret.name));
        errors.also(found.and(items(secret.items.as_deref())).via_field("secret"));
    }
    if let Some(config_map) = &source.config_map {
        given.push("configMap");
        let found = disallowed(config_map, &["name", "items", "optional"]).and(named(&config_map.name));
        errors.also(found.and(items(config_map.items.as_deref())).via_field("configMap"));
    }
    if let Some(token) = &source.service_account_token {
        given.push("serviceAccountToken");
        let mut found = disallowed(token, &["audience", "expirationSeconds", "path"]);
        if token.path.is_empty() {
            found.also(missing_field("path"));
        }
        errors.also(found.via_field("serviceAccountToken"));
    }
    if let Some(downward) = &source.downward_api {
        given.push("downwardAPI");
        for (index, file) in downward.items.iter().flatten().enumerate() {
            errors.also(downward_file(file).via_field_index("items", index).via_field("downwardAPI"));
        }
    }
    match given.len() {
        0 => errors.and(missing_one_of(known)),
        1 => errors,
        _ => errors.and(multiple_one_of(given)),
    }
}

fn named(name: &str) -> FieldErrors {
    if name.is_empty() { missing_field("name") } else { FieldErrors::none() }
}

fn downward_file(file: &DownwardAPIVolumeFile) -> FieldErrors {
    let mut errors = disallowed(file, &["fieldRef", "resourceFieldRef", "path", "mode"]);
    match (&file.field_ref, &file.resource_field_ref) {
        (None, None) => errors.also(missing_one_of(["fieldRef", "resourceFieldRef"])),
        (Some(_), Some(_)) => {
            let paths = ["resourceFieldRef", "fieldRef"];
            errors.also(FieldErrors::one("Within a single item, cannot set both", paths));
        }
        _ => {}
    }
    if file.path.is_empty() {
        errors.also(missing_field("path"));
    }
    errors
}

fn empty_dir(directory: &EmptyDirVolumeSource) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let medium = directory.medium.as_deref().unwrap_or_default();
    if !["", "Memory"].contains(&medium) {
        errors.also(invalid_value(medium, "medium"));
    }
    let limit = directory.size_limit.as_ref().and_then(|limit| Quantity::parse(&limit.0).ok());
    if let Some(limit) = limit.filter(|limit| limit.value() < 0) {
        errors.also(invalid_value(limit, "sizeLimit"));
    }
    errors
}

fn image_volume(image: &ImageVolumeSource) -> FieldErrors {
    let mut errors = disallowed(image, &["reference", "pullPolicy"]);
    if image.reference.as_deref().unwrap_or_default().is_empty() {
        errors.also(missing_field("reference"));
    }
    let policy = image.pull_policy.as_deref().unwrap_or_default();
    if !["", "Always", "IfNotPresent", "Never"].contains(&policy) {
        errors.also(invalid_value(policy, "pullPolicy"));
    }
    errors
}

/// What is wrong with where a container mounts volumes.
pub(super) fn mounts(mounts: &[VolumeMount], volumes: &BTreeMap<&str, &Volume>, features: &Features) -> FieldErrors {
    let mut errors = FieldErrors::none();
    let mut paths = BTreeSet::new();
    for (index, given) in mounts.iter().enumerate() {
        let volume = volumes.get(given.name.as_str()).copied();
        let mut found = mount(given, volume, features);
        found.also(mount_path(&given.mount_path, &mut paths));
        errors.also(found.via_index(index));
    }
    errors
}

fn mount(mount: &VolumeMount, volume: Option<&Volume>, features: &Features) -> FieldErrors {
    let nowhere: [&str; 0] = [];
    let mut allowed = vec!["name", "readOnly", "mountPath", "subPath"];
    if features.pod_spec_volumes_mount_propagation != Flag::Disabled {
        allowed.push("mountPropagation");
    }
    let mut errors = disallowed(mount, &allowed);
    if volume.is_none() {
        errors.also(FieldErrors::one("volumeMount has no matching volume", ["name"]));
    }
    let read_only = mount.read_only == Some(true);
    let claim = volume.and_then(|volume| volume.persistent_volume_claim.as_ref());
    let may_write = volume.is_some_and(|v| v.empty_dir.is_some() || v.ephemeral.is_some()) || claim.is_some();
    if !may_write && !read_only {
        errors.also(FieldErrors::one("volume mount should be readOnly for this type of volume", ["readOnly"]));
    }
    if let Some(propagation) = &mount.mount_propagation {
        if features.pod_spec_volumes_mount_propagation != Flag::Enabled {
            let message = format!(
                "Volume Mount Propagation support is disabled, but found volume mount {} with mount propagation",
                mount.name
            );
            errors.also(FieldErrors::one(message, nowhere));
        }
        if !["None", "HostToContainer"].contains(&propagation.as_str()) {
            let message = "mount propagation should be set to None or HostToContainer";
            errors.also(FieldErrors::one(message, ["mountPropagation"]));
        }
    }
    if claim.is_some_and(|claim| claim.read_only == Some(true)) && !read_only {
        errors.also(FieldErrors::one("volume is readOnly but volume mount is not", ["readOnly"]));
    }
    errors
}

fn mount_path(path: &str, seen: &mut BTreeSet<String>) -> FieldErrors {
    let clean = clean(path);
    let is_new = seen.insert(clean.clone());
    if path.is_empty() {
        missing_field("mountPath")
    } else if RESERVED_PATHS.contains(&clean.as_str()) {
        FieldErrors::one(format!("mountPath {} is a reserved path", quote(&clean)), ["mountPath"])
    } else if !path.starts_with('/') {
        invalid_value(path, "mountPath")
    } else if !is_new {
        invalid_value(format!("{} must be unique", quote(path)), "mountPath")
    } else {
        FieldErrors::none()
    }
}

/// The shortest path that means the same, as Go's `path.Clean`.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        match (part, parts.last()) {
            ("..", Some(last)) if *last != ".." => {
                parts.pop();
            }
            ("..", None) if rooted => {}
            _ => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn paths_are_cleaned_as_go_does() {
        for (path, want) in [
            ("", "."),
            ("/", "/"),
            ("//dev//", "/dev"),
            ("/dev/../dev/./log", "/dev/log"),
            ("/..", "/"),
            ("a/../..", ".."),
            ("a/b/..", "a"),
        ] {
            assert_eq!(clean(path), want);
        }
    }
}
