//! What is kept for others: ConfigMaps, Secrets, quotas.

use serde_json::Value;

use super::{AGE, NAME, Printer, name, object_age, text};
use crate::value::{entries_at, str_at};

pub(super) const CONFIG_MAP: Printer = Printer {
    columns: &[NAME, text("Data").about("Data contains the configuration data. Each key must consist of alphanumeric characters, '-', '_' or '.'. Values with non-UTF-8 byte sequences must use the BinaryData field. The keys stored in Data must not overlap with the keys in the BinaryData field, this is enforced during validation process."), AGE],
    cells: |object, now| {
        let count = entries_at(object, &["data"]).count() + entries_at(object, &["binaryData"]).count();
        vec![name(object), count.into(), object_age(object, now)]
    },
};

pub(super) const SECRET: Printer = Printer {
    columns: &[NAME, text("Type").about("Used to facilitate programmatic handling of secret data. More info: https://kubernetes.io/docs/concepts/configuration/secret/#secret-types"), text("Data").about("Data contains the secret data. Each key must consist of alphanumeric characters, '-', '_' or '.'. The serialized form of the secret data is a base64 encoded string, representing the arbitrary (possibly non-string) data value here. Described in https://tools.ietf.org/html/rfc4648#section-4"), AGE],
    cells: |object, now| {
        let count = entries_at(object, &["data"]).count();
        vec![name(object), str_at(object, &["type"]).into(), count.into(), object_age(object, now)]
    },
};

pub(super) const RESOURCE_QUOTA: Printer = Printer {
    columns: &[NAME, text("Request"), text("Limit"), AGE],
    cells: |object, now| {
        vec![name(object), used(object, false).into(), used(object, true).into(), object_age(object, now)]
    },
};

/// How much of each resource is used, of the limits or of everything else.
fn used(quota: &Value, of_limits: bool) -> String {
    let hard = entries_at(quota, &["status", "hard"]).filter(|(name, _)| name.starts_with("limits") == of_limits);
    let amount = |value: &Value| value.as_str().unwrap_or("0").to_owned();
    let texts = hard.map(|(name, hard)| {
        let used = amount(&quota["status"]["used"][name]);
        format!("{name}: {used}/{}", amount(hard))
    });
    texts.collect::<Vec<_>>().join(", ")
}
