//! Checks that several kinds share: names, metadata, references, annotations, the Pod's spec.
//!
//! Everything here answers with [`crate::field_error::FieldErrors`] whose paths start at the value that was
//! given; the caller says where that stands. Texts are Knative's and Kubernetes'.

mod diff;
mod image_reference;
mod mask;
mod metadata;
pub mod names;
pub(crate) mod pod_spec;
mod reference;
mod semantic;

pub use diff::short_diff;
pub use image_reference::is_image_reference;
pub use metadata::{
    creator_and_modifier, metadata_with_autoscaling, metadata_without_autoscaling, networking_annotations,
    object_metadata, owner_of_label, rollout_duration, whole_positive_duration,
};
pub use reference::object_reference;
pub use semantic::{MAPS, normalized, semantically_equal};

use crate::config::Defaults;
use crate::field_error::{CURRENT_FIELD, FieldErrors, out_of_bounds};

/// What is wrong with how many requests one pod is to take at a time.
pub fn container_concurrency(value: i64, defaults: &Defaults) -> FieldErrors {
    let least = i64::from(!defaults.allow_container_concurrency_zero);
    if (least..=defaults.container_concurrency_max_limit).contains(&value) {
        return FieldErrors::none();
    }
    out_of_bounds(value, least, defaults.container_concurrency_max_limit, CURRENT_FIELD)
}
