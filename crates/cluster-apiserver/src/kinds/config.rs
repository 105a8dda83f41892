//! ConfigMap, Secret and ServiceAccount.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    Strategy,
    check::{Errors, immutable, texts},
};
use crate::{
    field_error::{FieldError, FieldPath},
    names,
    value::{as_object, at, bool_at, child_mut, entries_at, str_at},
};

const MAX_BYTES: usize = 1 << 20;
const IMMUTABLE_SET: &str = "field is immutable when `immutable` is set";
const REDACTED: &str = "<secret contents redacted>";

/// ConfigMap: text and bytes by key, of at most one mebibyte.
pub(super) struct ConfigMap;

impl Strategy for ConfigMap {
    fn validate_create(&self, map: &Value, errors: &mut Errors) {
        let root = FieldPath::Root;
        let (data, binary) = (root.child("data"), root.child("binaryData"));
        let mut bytes = 0;
        for (key, value) in entries_at(map, &["data"]) {
            texts(&data.key(key), key, names::config_map_key(key), errors);
            if at(map, &["binaryData", key]).is_some() {
                errors.push(FieldError::invalid(&data.key(key), key, "duplicate of key present in binaryData"));
            }
            bytes += value.as_str().map_or(0, str::len);
        }
        for (key, value) in entries_at(map, &["binaryData"]) {
            texts(&binary.key(key), key, names::config_map_key(key), errors);
            bytes += decoded_len(value);
        }
        if bytes > MAX_BYTES {
            errors.push(FieldError { field: "[]".to_owned(), ..FieldError::too_long(&root, MAX_BYTES) });
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _subresource: Option<&str>, errors: &mut Errors) {
        keep_immutable(new, old, &["data", "binaryData"], errors);
        self.validate_create(new, errors);
    }
}

/// What `immutable: true` forbids: to take it back, and to change the data.
fn keep_immutable(new: &Value, old: &Value, fields: &[&str], errors: &mut Errors) {
    if bool_at(old, &["immutable"]) != Some(true) {
        return;
    }
    let root = FieldPath::Root;
    if bool_at(new, &["immutable"]) != Some(true) {
        errors.push(FieldError::forbidden(&root.child("immutable"), IMMUTABLE_SET));
    }
    for name in fields {
        if new[*name] != old[*name] {
            errors.push(FieldError::forbidden(&root.child(name), IMMUTABLE_SET));
        }
    }
}

/// How many bytes a base64 text stands for.
fn decoded_len(value: &Value) -> usize {
    let text = value.as_str().unwrap_or_default();
    text.trim_end_matches('=').len() * 3 / 4
}

/// Secret: bytes by key, with keys that its type asks for; `stringData` is merged into `data` and not kept.
pub(super) struct Secret;

impl Strategy for Secret {
    fn default(&self, secret: &mut Value) {
        super::defaults::apply(secret);
        merge_string_data(secret);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _subresource: Option<&str>) {
        if str_at(new, &["type"]).is_empty() {
            crate::value::copy_field(new, old, "type");
        }
    }

    fn validate_create(&self, secret: &Value, errors: &mut Errors) {
        let root = FieldPath::Root;
        let data = root.child("data");
        let mut bytes = 0;
        for (key, value) in entries_at(secret, &["data"]) {
            texts(&data.key(key), key, names::config_map_key(key), errors);
            bytes += decoded_len(value);
        }
        if bytes > MAX_BYTES {
            errors.push(FieldError::too_long(&data, MAX_BYTES));
        }
        validate_type(secret, &data, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, _subresource: Option<&str>, errors: &mut Errors) {
        immutable(new, old, "type", &FieldPath::Root, errors);
        keep_immutable(new, old, &["data"], errors);
        self.validate_create(new, errors);
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        if str_at(new, &["type"]) == "kubernetes.io/tls" {
            key_pair_warning(new).into_iter().collect()
        } else {
            Vec::new()
        }
    }
}

/// What is seen at once of a certificate and key that no server could use.
fn key_pair_warning(secret: &Value) -> Option<String> {
    let pem = |key: &str| STANDARD.decode(str_at(secret, &["data", key])).unwrap_or_default();
    let has_block = |key: &str| String::from_utf8_lossy(&pem(key)).contains("-----BEGIN ");
    let missing = [("tls.crt", "certificate"), ("tls.key", "key")].into_iter().find(|(key, _)| !has_block(key))?;
    Some(format!("tls: failed to find any PEM data in {} input", missing.1))
}

fn merge_string_data(secret: &mut Value) {
    let Some(Value::Object(texts)) = as_object(secret).remove("stringData") else { return };
    let data = as_object(child_mut(secret, "data"));
    for (key, text) in texts {
        data.insert(key, json!(STANDARD.encode(text.as_str().unwrap_or_default())));
    }
}

fn validate_type(secret: &Value, data: &FieldPath<'_>, errors: &mut Errors) {
    let has = |key: &str| at(secret, &["data", key]).is_some();
    let mut require = |key: &str| {
        if !has(key) {
            errors.push(FieldError::required(&data.key(key), ""));
        }
    };
    match str_at(secret, &["type"]) {
        "kubernetes.io/service-account-token" => {
            const KEY: &str = "kubernetes.io/service-account.name";
            if str_at(secret, &["metadata", "annotations", KEY]).is_empty() {
                let metadata = FieldPath::Root.child("metadata");
                errors.push(FieldError::required(&metadata.child("annotations").key(KEY), ""));
            }
        }
        "kubernetes.io/dockercfg" => validate_json(secret, ".dockercfg", data, errors),
        "kubernetes.io/dockerconfigjson" => validate_json(secret, ".dockerconfigjson", data, errors),
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            require("username");
            require("password");
        }
        "kubernetes.io/ssh-auth" if str_at(secret, &["data", "ssh-privatekey"]).is_empty() => {
            errors.push(FieldError::required(&data.key("ssh-privatekey"), ""));
        }
        "kubernetes.io/tls" => {
            require("tls.crt");
            require("tls.key");
        }
        _ => {}
    }
}

/// The key must be there and hold a JSON object.
fn validate_json(secret: &Value, key: &str, data: &FieldPath<'_>, errors: &mut Errors) {
    let Some(text) = at(secret, &["data", key]).and_then(Value::as_str) else {
        errors.push(FieldError::required(&data.key(key), ""));
        return;
    };
    let bytes = STANDARD.decode(text).unwrap_or_default();
    let wrong = match serde_json::from_slice::<Value>(&bytes) {
        Ok(Value::Object(_) | Value::Null) => return,
        Ok(other) => crate::negotiate::no_map(&other),
        Err(_) => crate::negotiate::json_syntax_error(&bytes),
    };
    errors.push(FieldError::invalid(&data.key(key), REDACTED, &wrong));
}

/// ServiceAccount: a name for workloads.
pub(super) struct ServiceAccount;

impl Strategy for ServiceAccount {
    fn prepare_create(&self, account: &mut Value) {
        keep_names_of_secrets(account);
    }

    fn prepare_update(&self, new: &mut Value, _old: &Value, _subresource: Option<&str>) {
        keep_names_of_secrets(new);
    }
}

/// A secret is named by its name alone.
fn keep_names_of_secrets(account: &mut Value) {
    for secret in crate::value::list_at_mut(account, &["secrets"]) {
        let name = str_at(secret, &["name"]).to_owned();
        *secret = if name.is_empty() { json!({}) } else { json!({"name": name}) };
    }
}
