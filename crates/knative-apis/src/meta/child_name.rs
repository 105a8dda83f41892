//! The name of a child, from its parent's name and a suffix, within the length Kubernetes allows.
//!
//! The rule is Knative's (`kmeta.ChildName`), to the byte: other tools compute the same names.
//! What fits is simply joined. What does not keeps the head of the parent and carries the MD5 of
//! the whole parent, so that two long parents with one head stay apart.

use md5::{Digest, Md5};

/// The longest name a Kubernetes object may have where its name is used as a label or DNS label.
pub const LONGEST_NAME: usize = 63;
const HASH_LEN: usize = 32;
const HEAD: usize = LONGEST_NAME - HASH_LEN;

/// The name of the child of `parent` that `suffix` tells apart from its siblings.
///
/// The result is at most [`LONGEST_NAME`] bytes long if both inputs are ASCII, as names are.
pub fn child_name(parent: &str, suffix: &str) -> String {
    if parent.len() + suffix.len() <= LONGEST_NAME {
        return format!("{parent}{suffix}");
    }
    if suffix.len() >= HEAD {
        return hash_of_both(parent, suffix);
    }
    let head = truncate(parent, HEAD - suffix.len());
    format!("{head}{}{suffix}", hex_md5(&[parent]))
}

/// The suffix alone is too long: the hash covers both, and what room is left shows the suffix.
fn hash_of_both(parent: &str, suffix: &str) -> String {
    let mut name = format!("{}{}", truncate(parent, HEAD), hex_md5(&[parent, suffix]));
    let room = LONGEST_NAME.saturating_sub(name.len());
    name.push_str(truncate(suffix, room));
    let valid = name.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).len();
    name.truncate(valid);
    name
}

/// The longest prefix of at most `max` bytes that ends between characters.
fn truncate(text: &str, max: usize) -> &str {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

fn hex_md5(parts: &[&str]) -> String {
    let mut hasher = Md5::new();
    for part in parts {
        hasher.update(part.as_bytes());
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers of the Go function.
    #[test]
    fn names_as_knative_makes_them() {
        let cut = format!("-{}{}", "x".repeat(29), "-".repeat(47));
        for (parent, suffix, want) in [
            ("asdf", "-deployment", "asdf-deployment"),
            ("asdf", "", "asdf"),
            (&*"a".repeat(63), "-deployment", "aaaaaaaaaaaaaaaaaaaab06521f39153d618550606be297466d5-deployment"),
            (&"a".repeat(60), "-00001", "aaaaaaaaaaaaaaaaaaaaaaaaacc7ed669cf88f201c3297c6a91e1d18d-00001"),
            ("asdf", &"f".repeat(63), "asdf0597a43416f7410496b2a4daf9a34be9fffffffffffffffffffffffffff"),
            (&"g".repeat(63), &"f".repeat(40), "ggggggggggggggggggggggggggggggg8b5b3f5133e4899efed930ab87c6d003"),
            ("u", &cut, "u21c28e5991068dc06b315b7820e15910-xxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
            (&"b".repeat(33), &"c".repeat(31), "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb546ee3175b4cdb9d7c933ac8a896bb77"),
        ] {
            assert_eq!(child_name(parent, suffix), want);
        }
    }
}
