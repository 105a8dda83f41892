//! Where a webhook is: at a URL or behind a Service; the same for admission and conversion.

use serde_json::Value;

use crate::{
    field_error::{FieldError, FieldPath},
    kinds::check::{Errors, required},
    names,
    value::{at, i64_at, str_at},
};

const FORM: &str = "; desired format: https://host[/path]";

/// Checks a `clientConfig`.
pub(crate) fn validate(client: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    match (at(client, &["url"]).and_then(Value::as_str), at(client, &["service"])) {
        (Some(_), Some(_)) | (None, None) => {
            errors.push(FieldError::required(path, "exactly one of url or service is required"));
        }
        (Some(url), None) => validate_url(url, &path.child("url"), errors),
        (None, Some(service)) => validate_service(service, &path.child("service"), errors),
    }
}

fn validate_url(url: &str, path: &FieldPath<'_>, errors: &mut Errors) {
    let mut wrong = |value: &str, why: &str| errors.push(FieldError::invalid(path, value, why));
    let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
    if !scheme.eq_ignore_ascii_case("https") {
        wrong(scheme, &format!("'https' is the only allowed URL scheme{FORM}"));
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = rest.strip_prefix("//").map(|rest| rest.split('/').next().unwrap_or_default());
    let authority = authority.unwrap_or_default();
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    if host.is_empty() {
        wrong("", &format!("host must be specified{FORM}"));
    }
    if let Some(user) = user {
        wrong(user, "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        wrong(fragment, "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        wrong(query, "query parameters are not permitted in the URL");
    }
}

fn validate_service(service: &Value, path: &FieldPath<'_>, errors: &mut Errors) {
    for name in ["name", "namespace"] {
        required(service, name, path, errors);
    }
    let port = i64_at(service, &["port"]).unwrap_or(443);
    if let Some(why) = names::port_number(port) {
        errors.push(FieldError::invalid(&path.child("port"), port, &format!("port is not valid: {why}")));
    }
    let given = str_at(service, &["path"]);
    let path = path.child("path");
    let mut wrong = |why: &str| errors.push(FieldError::invalid(&path, given, why));
    match given {
        "" | "/" => return,
        "//" => return wrong("segment[0] may not be empty"),
        _ => {}
    }
    if !given.starts_with('/') {
        wrong("must start with a '/'");
    }
    let inner = given.get(1..).unwrap_or_default();
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    for (index, segment) in inner.split('/').enumerate() {
        if segment.is_empty() {
            wrong(&format!("segment[{index}] may not be empty"));
            continue;
        }
        for why in names::dns1123_subdomain(segment) {
            wrong(&format!("segment[{index}]: {why}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(client: &Value) -> Vec<String> {
        let mut errors = Vec::new();
        validate(client, &FieldPath::Root.child("c"), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_place_is_checked_in_kubernetes_words() {
        assert_eq!(found(&json!({"url": "https://a.b/c"})), [""; 0]);
        assert_eq!(found(&json!({})), ["c: Required value: exactly one of url or service is required"]);
        assert_eq!(
            found(&json!({"url": "http://u:p@a.b/c?d=e#f"})),
            [
                "c.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
                "c.url: Invalid value: \"u:p\": user information is not permitted in the URL",
                "c.url: Invalid value: \"f\": fragments are not permitted in the URL",
                "c.url: Invalid value: \"d=e\": query parameters are not permitted in the URL",
            ]
        );
        assert_eq!(
            found(&json!({"url": "https:///a"})),
            ["c.url: Invalid value: \"\": host must be specified; desired format: https://host[/path]"]
        );
        let service = |path: &str| json!({"service": {"namespace": "a", "name": "b", "path": path}});
        assert_eq!(found(&service("/a/b/")), [""; 0]);
        assert_eq!(found(&service("//")), ["c.service.path: Invalid value: \"//\": segment[0] may not be empty"]);
        assert_eq!(found(&service("/a//b")), ["c.service.path: Invalid value: \"/a//b\": segment[1] may not be empty"]);
        assert_eq!(
            found(&service("a")).first().map(String::as_str),
            Some("c.service.path: Invalid value: \"a\": must start with a '/'")
        );
    }
}
