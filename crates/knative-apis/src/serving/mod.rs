//! The kinds of `serving.knative.dev`: what users write.

pub mod v1;
pub mod v1beta1;

/// The message for a child's name that somebody else has.
pub fn not_owned_message(kind: &str, name: &str) -> String {
    format!("There is an existing {kind} {} that we do not own.", crate::go_text::quote(name))
}
