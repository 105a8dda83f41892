//! Volumes, claims and their classes.

use serde_json::Value;

use super::{AGE, NAME, Printer, UNSET, boolean, name, object_age, text};
use crate::value::{at, bool_at, list_at, str_at, strings_at};

const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

pub(super) const VOLUME: Printer = Printer {
    columns: &[
        NAME,
        text("Capacity"),
        text("Access Modes"),
        text("Reclaim Policy"),
        text("Status"),
        text("Claim"),
        text("StorageClass"),
        text("VolumeAttributesClass"),
        text("Reason"),
        AGE,
        text("VolumeMode").wide(),
    ],
    cells: |object, now| {
        let claim = &object["spec"]["claimRef"];
        let claim = match str_at(claim, &["name"]) {
            "" => String::new(),
            name => format!("{}/{name}", str_at(claim, &["namespace"])),
        };
        vec![
            name(object),
            str_at(object, &["spec", "capacity", "storage"]).into(),
            access_modes(&strings_at(object, &["spec", "accessModes"])).into(),
            str_at(object, &["spec", "persistentVolumeReclaimPolicy"]).into(),
            status(object).into(),
            claim.into(),
            str_at(object, &["spec", "storageClassName"]).into(),
            unset(object, &["spec", "volumeAttributesClassName"]).into(),
            str_at(object, &["status", "reason"]).into(),
            object_age(object, now),
            unset(object, &["spec", "volumeMode"]).into(),
        ]
    },
};

pub(super) const CLAIM: Printer = Printer {
    columns: &[
        NAME,
        text("Status"),
        text("Volume"),
        text("Capacity"),
        text("Access Modes"),
        text("StorageClass"),
        text("VolumeAttributesClass"),
        AGE,
        text("VolumeMode").wide(),
    ],
    cells: |object, now| {
        let volume = str_at(object, &["spec", "volumeName"]);
        let (capacity, modes) = match volume {
            "" => ("", String::new()),
            _ => (
                str_at(object, &["status", "capacity", "storage"]),
                access_modes(&strings_at(object, &["status", "accessModes"])),
            ),
        };
        vec![
            name(object),
            status(object).into(),
            volume.into(),
            capacity.into(),
            modes.into(),
            str_at(object, &["spec", "storageClassName"]).into(),
            unset(object, &["spec", "volumeAttributesClassName"]).into(),
            object_age(object, now),
            unset(object, &["spec", "volumeMode"]).into(),
        ]
    },
};

pub(super) const CLASS: Printer = Printer {
    columns: &[
        NAME,
        text("Provisioner"),
        text("ReclaimPolicy"),
        text("VolumeBindingMode"),
        text("AllowVolumeExpansion"),
        AGE,
    ],
    cells: |object, now| {
        let is_default = str_at(object, &["metadata", "annotations", DEFAULT_CLASS]) == "true";
        let name = str_at(object, &["metadata", "name"]);
        vec![
            format!("{name}{}", if is_default { " (default)" } else { "" }).into(),
            str_at(object, &["provisioner"]).into(),
            str_at(object, &["reclaimPolicy"]).into(),
            str_at(object, &["volumeBindingMode"]).into(),
            boolean(object, &["allowVolumeExpansion"]).into(),
            object_age(object, now),
        ]
    },
};

pub(super) const CSI_DRIVER: Printer = Printer {
    columns: &[
        NAME,
        text("AttachRequired"),
        text("PodInfoOnMount"),
        text("StorageCapacity"),
        text("TokenRequests"),
        text("RequiresRepublish"),
        text("Modes"),
        AGE,
    ],
    cells: |object, now| {
        let is_attached = bool_at(object, &["spec", "attachRequired"]).unwrap_or(true);
        let tokens = list_at(object, &["spec", "tokenRequests"]).iter().map(|token| str_at(token, &["audience"]));
        let tokens = tokens.collect::<Vec<_>>().join(",");
        let modes = strings_at(object, &["spec", "volumeLifecycleModes"]).join(",");
        vec![
            name(object),
            is_attached.to_string().into(),
            boolean(object, &["spec", "podInfoOnMount"]).into(),
            boolean(object, &["spec", "storageCapacity"]).into(),
            if tokens.is_empty() { UNSET.to_owned() } else { tokens }.into(),
            boolean(object, &["spec", "requiresRepublish"]).into(),
            if modes.is_empty() { "<none>".to_owned() } else { modes }.into(),
            object_age(object, now),
        ]
    },
};

fn status(object: &Value) -> &str {
    match at(object, &["metadata", "deletionTimestamp"]) {
        Some(_) => "Terminating",
        None => str_at(object, &["status", "phase"]),
    }
}

fn unset<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    match str_at(object, path) {
        "" => UNSET,
        text => text,
    }
}

/// Access modes in kubectl's short form and order.
fn access_modes(modes: &[&str]) -> String {
    let short =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let found = short.iter().filter(|(mode, _)| modes.contains(mode)).map(|(_, short)| *short);
    found.collect::<Vec<_>>().join(",")
}
