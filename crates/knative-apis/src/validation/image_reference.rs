//! Whether a text can name a container image, by the rules of Knative's parser.
//!
//! `[registry/]repository[:tag][@sha256:<64 hex digits>]`, where the first part is a registry if
//! it has a `.` or `:` or is `localhost`.

/// Whether `text` is the reference of an image by tag or digest.
pub fn is_image_reference(text: &str) -> bool {
    match text.split_once('@') {
        None => is_tagged(text),
        Some((base, digest)) => is_sha256(digest) && (is_tagged(base) || is_repository(base)),
    }
}

fn is_tagged(text: &str) -> bool {
    match text.rsplit_once(':') {
        Some((base, tag)) if !tag.contains('/') => is_tag(tag) && is_repository(base),
        _ => is_repository(text),
    }
}

fn is_tag(tag: &str) -> bool {
    (1..=128).contains(&tag.len()) && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

fn is_sha256(digest: &str) -> bool {
    let hex = digest.strip_prefix("sha256:").unwrap_or_default();
    hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn is_repository(name: &str) -> bool {
    let (registry, repository) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => ("", name),
    };
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-./".contains(&b);
    (2..=255).contains(&repository.len()) && repository.bytes().all(allowed) && is_registry(registry)
}

/// A host with an optional port, as in a URL.
fn is_registry(registry: &str) -> bool {
    let (host, port) = match registry.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (registry, ""),
    };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=[]:".contains(&b);
    host.bytes().all(allowed) && port.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_an_image() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for good in [
            "busybox",
            "hello:latest",
            "gcr.io/foo/bar:v1.2_3-4",
            "localhost:5000/hello",
            "127.0.0.1:5000/a/b:c",
            "localhost/hello",
            &format!("ubuntu@{digest}"),
            &format!("ubuntu:tag@{digest}"),
            "registry.kwick-system.svc.cluster.local/hello",
        ] {
            assert!(is_image_reference(good), "{good}");
        }
        for bad in [
            "",
            "a",
            "foo:bar:baz",
            "Foo",
            "foo bar",
            "foo:",
            "foo@sha256:abc",
            &format!("foo@{digest}@{digest}"),
            "foo:bad*tag",
            "local host:80/foo",
            "reg.io:x/foo",
        ] {
            assert!(!is_image_reference(bad), "{bad}");
        }
    }
}
