//! The Image of a container: says to whoever caches images on nodes that this one will be needed again.

use knative_apis::caching::{Image, ImageSpec, ImageStatus};
use knative_apis::serving::v1::Revision;
use knative_logic::names;
use kube::ResourceExt;

use super::{make_metadata, without_autoscaling};

/// The Image of a container of `revision`.
pub(crate) fn make_image(revision: &Revision, container: &str, image: &str) -> Image {
    let name = names::image_cache(&revision.name_any(), container);
    Image {
        metadata: make_metadata(revision, name, without_autoscaling(revision)),
        spec: ImageSpec {
            image: image.to_owned(),
            service_account_name: revision.spec.pod.service_account_name.clone().unwrap_or_default(),
            image_pull_secrets: revision.spec.pod.image_pull_secrets.clone().unwrap_or_default(),
        },
        status: ImageStatus::default(),
    }
}
