//! Names of children: a hash in letters that are safe in any name.

use k8s_openapi::api::core::v1::PodTemplateSpec;

/// Letters and digits without vowels and what looks like others, so that no hash spells a word.
const SAFE: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// The longest name of an object that is a DNS subdomain.
const MAX_NAME: usize = 253;
/// The longest label value, and so the longest name of what is also a label.
const MAX_GENERATED: usize = 58;

/// The hash of a Pod template: the same for the same template, another one for each count of collisions.
pub(crate) fn template_hash(template: &PodTemplateSpec, collision_count: Option<i32>) -> String {
    // A template is made of what JSON can say.
    let text = serde_json::to_vec(template).unwrap_or_default();
    let salt = collision_count.map(i32::to_le_bytes);
    encode_safely(fnv1a_32(text.iter().chain(salt.iter().flatten())))
}

/// `<base>-<suffix>`, the base cut where the name would be too long.
pub(crate) fn child(base: &str, suffix: &str) -> String {
    format!("{}-{suffix}", cut(base, MAX_NAME - 1 - suffix.len().min(MAX_NAME - 1)))
}

/// The `generateName` of children of `owner`: its name and a dash, short enough for the server's five letters.
pub(crate) fn generate(owner: &str) -> String {
    format!("{}-", cut(owner, MAX_GENERATED - 1))
}

/// As [`generate`], for the child with this number.
pub(crate) fn generate_numbered(owner: &str, number: i32) -> String {
    let suffix = format!("-{number}-");
    format!("{}{suffix}", cut(owner, MAX_GENERATED - suffix.len().min(MAX_GENERATED)))
}

/// The prefix of at most `length` bytes.
fn cut(text: &str, length: usize) -> &str {
    let mut end = length.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

fn fnv1a_32<'a>(bytes: impl Iterator<Item = &'a u8>) -> u32 {
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn encode_safely(hash: u32) -> String {
    let letter = |digit: u8| SAFE.get(usize::from(digit) % SAFE.len()).map(|letter| char::from(*letter));
    hash.to_string().bytes().filter_map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template(image: &str) -> PodTemplateSpec {
        serde_json::from_value(json!({"spec": {"containers": [{"name": "c", "image": image}]}})).unwrap()
    }

    #[test]
    fn a_hash_follows_the_template_and_the_collisions() {
        let hash = template_hash(&template("a"), None);
        assert_eq!(hash, template_hash(&template("a"), None));
        assert_ne!(hash, template_hash(&template("b"), None));
        assert_ne!(hash, template_hash(&template("a"), Some(1)));
        assert_ne!(template_hash(&template("a"), Some(2)), template_hash(&template("a"), Some(1)));
        assert!(hash.len() <= 10 && hash.bytes().all(|byte| SAFE.contains(&byte)), "{hash}");
    }

    #[test]
    fn names_fit() {
        assert_eq!(child("d", "abc"), "d-abc");
        assert_eq!(child(&"x".repeat(300), "abcdef").len(), MAX_NAME);
        assert_eq!(generate("web"), "web-");
        assert_eq!(generate(&"x".repeat(100)).len(), MAX_GENERATED);
        assert_eq!(generate_numbered("web", 12), "web-12-");
        assert_eq!(generate_numbered(&"x".repeat(100), 7).len(), MAX_GENERATED);
    }
}
