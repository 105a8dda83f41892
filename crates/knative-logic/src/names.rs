//! The names of the objects that Knative makes, from those they are made for.

pub use knative_apis::meta::child_name;

use kube_core::Resource;
use std::fmt::Write;

/// The Deployment of a revision.
pub fn deployment(revision: &str) -> String {
    child_name(revision, "-deployment")
}

/// The Image that announces a container of a revision.
pub fn image_cache(revision: &str, container: &str) -> String {
    child_name(&child_name(revision, "-cache"), &format!("-{container}"))
}

/// The Service that selects the pods of a revision.
pub fn private_service(revision: &str) -> String {
    child_name(revision, "-private")
}

/// The revision that a Configuration makes at a generation, unless its author named it.
pub fn revision(configuration: &str, generation: i64) -> String {
    child_name(configuration, &format!("-{generation:05}"))
}

/// The Ingress of a Route or DomainMapping.
pub fn ingress(owner: &str) -> String {
    child_name(owner, "")
}

/// The Certificate of a Route's host; `tag` is empty for the main one.
pub fn certificate<K: Resource>(route: &K, tag: &str) -> String {
    let mut name = format!("route-{}", route.meta().uid.as_deref().unwrap_or_default());
    if !tag.is_empty() {
        // Writing to a String cannot fail.
        let _ = write!(name, "-{}", adler32(tag.as_bytes()));
    }
    name
}

/// The Certificate of a Route's cluster-local hosts.
pub fn local_certificate<K: Resource>(route: &K, tag: &str) -> String {
    certificate(route, tag) + "-local"
}

/// A short text that changes when any of the parts does: FNV-1a, 32 bits, in base 36. What a
/// Deployment's `deployment-hash` label holds.
pub fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let bytes = parts.into_iter().flatten();
    base36(bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)))
}

fn base36(mut number: u32) -> String {
    let mut digits = Vec::new();
    loop {
        digits.extend(char::from_digit(number % 36, 36));
        number /= 36;
        if number == 0 {
            return digits.iter().rev().collect();
        }
    }
}

fn adler32(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65_521;
    let (a, b) = bytes.iter().fold((1_u32, 0_u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % MODULUS;
        (a, (b + a) % MODULUS)
    });
    (b << 16) | a
}

#[cfg(test)]
mod tests {
    use super::*;
    use knative_apis::serving::v1::Route;

    #[test]
    fn names_are_knatives() {
        assert_eq!(deployment("hello-00001"), "hello-00001-deployment");
        assert_eq!(image_cache("hello-00001", "user-container"), "hello-00001-cache-user-container");
        assert_eq!(private_service("hello-00001"), "hello-00001-private");
        assert_eq!(revision("hello", 7), "hello-00007");
        assert_eq!(revision("hello", 123_456), "hello-123456");
        let mut route = Route::default();
        route.metadata.uid = Some("u1".to_owned());
        assert_eq!(certificate(&route, ""), "route-u1");
        assert_eq!(certificate(&route, "Wikipedia"), "route-u1-300286872");
        assert_eq!(local_certificate(&route, ""), "route-u1-local");
    }

    #[test]
    fn hashes_are_fnv_in_base_36() {
        assert_eq!(hash([]), base36(2_166_136_261));
        assert_eq!(hash([b"foobar".as_slice()]), base36(0xbf9c_f968));
        assert_eq!(hash([b"foo".as_slice(), b"bar"]), hash([b"foobar".as_slice()]));
        assert_eq!(
            (base36(0), base36(35), base36(36), base36(u32::MAX)),
            ("0".into(), "z".into(), "10".into(), "1z141z3".into())
        );
    }
}
