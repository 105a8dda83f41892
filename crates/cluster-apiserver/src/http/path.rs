//! A request's path: which resource it names, as authorization and routing see it.
//!
//! Specified by apiserver's `RequestInfo`: `/api/VERSION/…` and `/apis/GROUP/VERSION/…` with at least one more segment are resources, whatever
//! is shorter or elsewhere is not.

use percent_encoding::percent_decode_str;

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RequestPath {
    /// A resource, one object of it, or something below one.
    Resource(ResourcePath),
    /// Anything else: discovery, health, extra routes.
    Other,
}

/// The parts of a resource's path; absent parts are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResourcePath {
    pub(crate) group: String,
    pub(crate) version: String,
    /// For a namespace itself its own name, as RBAC wants it.
    pub(crate) namespace: String,
    pub(crate) plural: String,
    pub(crate) name: String,
    pub(crate) subresource: String,
    /// Whether something follows the subresource.
    pub(crate) has_more: bool,
    /// Whether it is one of the old `/watch/` paths.
    pub(crate) is_watch: bool,
}

/// What may follow a namespace's name and still be about the namespace.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

impl RequestPath {
    /// Parses a path, still percent-encoded.
    pub(crate) fn parse(path: &str) -> Self {
        let decoded = percent_decode_str(path).decode_utf8_lossy();
        let trimmed = decoded.strip_prefix('/').unwrap_or(&decoded);
        let trimmed = trimmed.strip_suffix('/').unwrap_or(trimmed);
        let parts: Vec<&str> = trimmed.split('/').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Self::Other;
        }
        match parts.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => Self::resource("", version, rest),
            ["apis", group, version, rest @ ..] if !rest.is_empty() => Self::resource(group, version, rest),
            _ => Self::Other,
        }
    }

    fn resource(group: &str, version: &str, rest: &[&str]) -> Self {
        let mut found = ResourcePath { group: group.to_owned(), version: version.to_owned(), ..Default::default() };
        let rest = match rest {
            ["watch", rest @ ..] if !rest.is_empty() => {
                found.is_watch = true;
                rest
            }
            _ => rest,
        };
        let rest = match rest {
            ["namespaces", namespace, more @ ..] => {
                found.namespace = (*namespace).to_owned();
                match more {
                    [first, ..] if !NAMESPACE_SUBRESOURCES.contains(first) => more,
                    _ => rest,
                }
            }
            _ => rest,
        };
        let part = |index: usize| rest.get(index).map(|part| (*part).to_owned()).unwrap_or_default();
        found.plural = part(0);
        found.name = part(1);
        found.subresource = part(2);
        found.has_more = rest.len() > 3;
        Self::Resource(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(path: &str) -> [String; 6] {
        match RequestPath::parse(path) {
            RequestPath::Resource(r) => [r.group, r.version, r.namespace, r.plural, r.name, r.subresource],
            RequestPath::Other => Default::default(),
        }
    }

    #[test]
    fn resources_objects_and_what_is_below_them() {
        assert_eq!(parts("/api/v1/namespaces/a/pods/b/log"), ["", "v1", "a", "pods", "b", "log"]);
        assert_eq!(parts("/api/v1/namespaces/a/pods/"), ["", "v1", "a", "pods", "", ""]);
        assert_eq!(parts("/api/v1/namespaces"), ["", "v1", "", "namespaces", "", ""]);
        assert_eq!(parts("/api/v1/namespaces/a"), ["", "v1", "a", "namespaces", "a", ""]);
        assert_eq!(parts("/api/v1/namespaces/a/finalize"), ["", "v1", "a", "namespaces", "a", "finalize"]);
        assert_eq!(parts("/apis/apps/v1/deployments"), ["apps", "v1", "", "deployments", "", ""]);
        assert_eq!(parts("/apis/g/v1/things/a%3Ab"), ["g", "v1", "", "things", "a:b", ""]);
        assert_eq!(parts("/api/v1/watch/namespaces/a/pods"), ["", "v1", "a", "pods", "", ""]);
    }

    #[test]
    fn everything_else_is_not_a_resource() {
        for path in
            ["/", "", "/api", "/api/v1", "/apis/apps/v1/", "//api/v1/pods", "/healthz", "/apis//v1/x", "/kwick/status"]
        {
            assert_eq!(RequestPath::parse(path), RequestPath::Other, "{path}");
        }
    }
}
