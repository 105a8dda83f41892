//! What the plan of a Route looks at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base_controller::{Key, ObjectRef};
use k8s_openapi::api::core::v1::{Endpoints, Service as CoreService};
use knative_apis::meta::{label, label_value};
use knative_apis::networking::{Certificate, Ingress};
use knative_apis::serving::v1::{Configuration, Revision, Route, TrafficTarget};
use knative_logic::names;
use knative_logic::traffic::{ConfigurationFact, DEFAULT_TARGET, Hosts, RevisionFact, TargetFacts};
use kube::ResourceExt;
use serde::Serialize;

use crate::caches::{Caches, index_value};
use crate::config::Configs;

/// The facts about one Route.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Observed {
    /// The Route.
    pub(crate) route: Arc<Route>,
    /// The Configurations that its targets lead to, by name.
    pub(crate) configurations: BTreeMap<String, Arc<Configuration>>,
    /// The Revisions that its targets lead to, by name.
    pub(crate) revisions: BTreeMap<String, Arc<Revision>>,
    /// The Ingress of its name, whoever made it.
    pub(crate) ingress: Option<Arc<Ingress>>,
    /// The Services that carry its label, or have a name that it needs, whoever made them.
    pub(crate) services: BTreeMap<String, Arc<CoreService>>,
    /// The Endpoints of those names, whoever made them.
    pub(crate) endpoints: BTreeMap<String, Arc<Endpoints>>,
    /// The Certificates that carry its label, or have a name that it needs, whoever made them.
    pub(crate) certificates: BTreeMap<String, Arc<Certificate>>,
    /// The wildcard Certificates of its namespace.
    pub(crate) wildcards: Vec<Arc<Certificate>>,
    /// Everything that it looks at by name, whether that is there or not.
    #[serde(skip)]
    pub(crate) references: Vec<ObjectRef>,
}

/// Reads the facts; none if the Route is gone or going.
pub(crate) fn gather(caches: &Caches, configs: &Configs, key: &Key) -> Option<Observed> {
    let route = caches.routes.get(key)?;
    if route.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let mut observed = Observed {
        configurations: BTreeMap::new(),
        revisions: BTreeMap::new(),
        ingress: None,
        services: BTreeMap::new(),
        endpoints: BTreeMap::new(),
        certificates: BTreeMap::new(),
        wildcards: Vec::new(),
        references: Vec::new(),
        route: Arc::clone(&route),
    };
    let mut gathering = Gathering { caches, namespace: key.namespace(), observed: &mut observed };
    route.spec.traffic.iter().for_each(|target| gathering.target(target));
    gathering.ingress(&names::ingress(key.name()));
    let mut services = needed_services(&route, configs);
    services.extend(caches.services_of_route.get(&index_value(key)).iter().map(|service| service.name_any()));
    services.iter().for_each(|name| gathering.service(name));
    if configs.network.external_domain_tls || configs.network.cluster_local_domain_tls {
        gathering.certificates(&route);
    }
    Some(observed)
}

/// The names of the placeholder Services of a Route and its tags, as far as they can be made.
fn needed_services(route: &Route, configs: &Configs) -> BTreeSet<String> {
    let none = BTreeSet::new();
    let hosts = Hosts {
        route,
        network: &configs.network,
        domain: &configs.domain,
        cluster_domain: &configs.settings.cluster_domain,
        local_services: &none,
    };
    let tags = route.spec.traffic.iter().map(|target| target.tag.as_str());
    std::iter::once(DEFAULT_TARGET).chain(tags).filter_map(|tag| hosts.service_name(tag).ok()).collect()
}

/// Facts in the making.
struct Gathering<'a> {
    caches: &'a Caches,
    namespace: &'a str,
    observed: &'a mut Observed,
}

impl Gathering<'_> {
    /// What a target names, and what that leads to.
    fn target(&mut self, target: &TrafficTarget) {
        if target.revision_name.is_empty() {
            let configuration = self.configuration(&target.configuration_name);
            let latest = configuration.map(|found| found.status.latest_ready_revision_name.clone());
            self.revision(&latest.unwrap_or_default());
        } else {
            let revision = self.revision(&target.revision_name);
            let maker =
                revision.and_then(|found| label_value(&found.metadata, label::CONFIGURATION).map(str::to_owned));
            self.configuration(&maker.unwrap_or_default());
        }
    }

    fn configuration(&mut self, name: &str) -> Option<Arc<Configuration>> {
        let found = self.caches.configurations.get(&self.look_at::<Configuration>(name)?)?;
        self.observed.configurations.insert(name.to_owned(), Arc::clone(&found));
        Some(found)
    }

    fn revision(&mut self, name: &str) -> Option<Arc<Revision>> {
        let found = self.caches.revisions.get(&self.look_at::<Revision>(name)?)?;
        self.observed.revisions.insert(name.to_owned(), Arc::clone(&found));
        Some(found)
    }

    fn ingress(&mut self, name: &str) {
        let key = self.look_at::<Ingress>(name);
        self.observed.ingress = key.and_then(|key| self.caches.ingresses.get(&key));
    }

    /// A Service, and the Endpoints of its name.
    fn service(&mut self, name: &str) {
        let service = self.look_at::<CoreService>(name).and_then(|key| self.caches.core_services.get(&key));
        let endpoints = self.look_at::<Endpoints>(name).and_then(|key| self.caches.endpoints.get(&key));
        self.observed.services.extend(service.map(|service| (name.to_owned(), service)));
        self.observed.endpoints.extend(endpoints.map(|endpoints| (name.to_owned(), endpoints)));
    }

    /// The Certificates of the Route and its tags, those that it no longer needs, and those that it may use instead.
    fn certificates(&mut self, route: &Route) {
        let tags = route.spec.traffic.iter().map(|target| target.tag.as_str());
        let mut needed: BTreeSet<String> = std::iter::once(DEFAULT_TARGET)
            .chain(tags)
            .flat_map(|tag| [names::certificate(route, tag), names::local_certificate(route, tag)])
            .collect();
        let value = index_value(&Key::new(self.namespace, route.name_any()));
        needed.extend(self.caches.certificates_of_route.get(&value).iter().map(|known| known.name_any()));
        for name in needed {
            let found = self.look_at::<Certificate>(&name).and_then(|key| self.caches.certificates.get(&key));
            self.observed.certificates.extend(found.map(|found| (name, found)));
        }
        self.observed.wildcards = self.caches.wildcards_of_namespace.get(self.namespace);
        for wildcard in self.observed.wildcards.clone() {
            self.look_at::<Certificate>(&wildcard.name_any());
        }
    }

    /// The key of something named, which wakes the Route from now on.
    fn look_at<K: kube::Resource<DynamicType = ()>>(&mut self, name: &str) -> Option<Key> {
        let key = (!name.is_empty()).then(|| Key::new(self.namespace, name))?;
        self.observed.references.push(ObjectRef::new::<K>(key.clone()));
        Some(key)
    }
}

impl TargetFacts for Observed {
    fn configuration(&self, name: &str) -> Option<ConfigurationFact> {
        self.configurations.get(name).map(|configuration| ConfigurationFact::from(&**configuration))
    }

    fn revision(&self, name: &str) -> Option<RevisionFact> {
        self.revisions.get(name).map(|revision| RevisionFact::from(&**revision))
    }
}

impl Observed {
    /// The Services of this Route that somebody labelled to stay inside the cluster.
    pub(crate) fn local_services(&self) -> BTreeSet<String> {
        let route = self.route.name_any();
        let is_local = |service: &&Arc<CoreService>| {
            label_value(&service.metadata, label::ROUTE) == Some(&route)
                && label_value(&service.metadata, label::VISIBILITY).is_some_and(|visibility| !visibility.is_empty())
        };
        self.services.values().filter(is_local).map(|service| service.name_any()).collect()
    }
}
