//! What has to be found out for a Revision. Pure.

use std::collections::BTreeSet;

use base_image::Reference;
use knative_apis::go_text::quote;
use knative_apis::serving::v1::Revision;
use knative_apis::serving::v1::revision::container_missing_message;
use kube::ResourceExt;

use super::Access;

/// What is to be done about one image.
#[derive(Debug)]
pub(super) enum Request {
    /// Nothing: this is its digest (empty: it has none, and is run by its tag).
    Known(String),
    /// Ask for it.
    Ask(Reference),
    /// It is no image; the message for the Revision's status.
    Hopeless(String),
}

/// Looks at one image, given the registries whose tags are left alone.
pub(super) fn request(image: &str, skipped: &BTreeSet<String>) -> Request {
    match Reference::parse(image) {
        Ok(reference) if reference.digest().is_some() => Request::Known(image.to_owned()),
        Ok(reference) if skipped.contains(reference.registry()) => Request::Known(String::new()),
        Ok(reference) => Request::Ask(reference),
        Err(error) => {
            let error = format!("failed to parse image name {} into a tag: {error}", quote(image));
            Request::Hopeless(failure(image, &error))
        }
    }
}

/// What a Revision says about an image whose digest could not be found.
pub(super) fn failure(image: &str, error: &str) -> String {
    format!("{}: {error}", container_missing_message(image, "failed to resolve image to digest"))
}

/// The images of a Revision, init containers' first, as Knative asks for them.
pub(super) fn images(revision: &Revision) -> impl Iterator<Item = &str> {
    let pod = &revision.spec.pod;
    let containers = pod.init_containers.iter().flatten().chain(&pod.containers);
    containers.map(|container| container.image.as_deref().unwrap_or_default())
}

/// Whether the status of a Revision does not hold its digests yet.
pub(super) fn is_wanted(revision: &Revision) -> bool {
    let known = revision.status.container_statuses.len() + revision.status.init_container_statuses.len();
    revision.metadata.deletion_timestamp.is_none() && known != images(revision).count()
}

/// Whose credentials may be used for a Revision's images.
pub(super) fn access(revision: &Revision) -> Access {
    let pod = &revision.spec.pod;
    Access {
        namespace: revision.namespace().unwrap_or_default(),
        service_account: pod.service_account_name.clone().unwrap_or_default(),
        pull_secrets: pod.image_pull_secrets.iter().flatten().map(|secret| secret.name.clone()).collect(),
    }
}
