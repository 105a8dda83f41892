//! A registry that knows every image, and an activator that is where Endpoints say.

use base_image::{Digest, Reference};
use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Endpoints;
use knative_serving::digest::{Access, ResolveError, Resolver};
use knative_serving::pod_autoscaler::probe::{ActivatorProbe, ProbeTarget};
use kube::{Api, Client};

use crate::world::SYSTEM;

/// Every tag means the digest of its own text.
pub(crate) struct Registry;

impl Resolver for Registry {
    fn resolve<'a>(&'a self, image: &'a Reference, _: &'a Access) -> BoxFuture<'a, Result<Digest, ResolveError>> {
        futures::future::ready(Ok(Digest::of(image.to_string().as_bytes()))).boxed()
    }
}

/// Answers for a Service whose Endpoints name the activator.
pub(crate) struct Activator(pub(crate) Client);

impl ActivatorProbe for Activator {
    fn is_activator<'a>(&'a self, target: &'a ProbeTarget) -> BoxFuture<'a, bool> {
        async move {
            let api: Api<Endpoints> = Api::namespaced(self.0.clone(), &target.namespace);
            let Ok(Some(endpoints)) = api.get_opt(&target.service).await else { return false };
            let subsets = endpoints.subsets.unwrap_or_default();
            let mut addresses = subsets.into_iter().flat_map(|subset| subset.addresses.unwrap_or_default());
            addresses.any(|address| address.target_ref.is_some_and(|pod| pod.namespace.as_deref() == Some(SYSTEM)))
        }
        .boxed()
    }
}
