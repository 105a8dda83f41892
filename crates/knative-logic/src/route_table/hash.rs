//! The hash that identifies a version of an Ingress.

use knative_apis::networking::Ingress;
use sha2::{Digest, Sha256};

/// SHA-256, in hexadecimal, of the spec as Go writes it in JSON, the namespace and the name.
pub fn ingress_hash(ingress: &Ingress) -> String {
    // A spec of strings, numbers and maps with string keys can always be written.
    let spec = serde_json::to_string(&ingress.spec).unwrap_or_default();
    let mut hasher = Sha256::new();
    hasher.update(escape_html(&spec).as_bytes());
    hasher.update(ingress.metadata.namespace.as_deref().unwrap_or_default().as_bytes());
    hasher.update(ingress.metadata.name.as_deref().unwrap_or_default().as_bytes());
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Go escapes these inside of strings, and nowhere else do they occur.
fn escape_html(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            c => out.push(c),
        }
    }
    out
}
