//! The certificates of a Route's hosts: which it asks for, how far they have come, and what that means for URLs and the Ingress.
//!
//! Every public host has a Certificate, unless a wildcard Certificate of the namespace covers it; the hosts of a tag inside the cluster have
//! one together. While a Certificate is not issued, its hosts are served without TLS where the operator allows that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base_controller::{Change, PlanEvent};
use knative_apis::config::HttpProtocol;
use knative_apis::meta::{label, labels};
use knative_apis::networking::{Certificate, Http01Challenge, IngressTls, Visibility};
use knative_apis::serving::v1::route::{
    CERTIFICATE_PROVISIONED, EXTERNAL_DOMAIN_TLS_NOT_ENABLED, TLS_NOT_ENABLED_FOR_CLUSTER_LOCAL,
};
use knative_logic::names;
use knative_logic::traffic::{Assignment, HostError};
use kube::ResourceExt;

use super::plan::{Draft, Stopped};
use crate::certified::{
    Progress, Purpose, challenges, class, covers, ingress_tls, is_external_tls_wanted, is_for, keep, make_certificate,
    progress,
};

/// What certificates come to.
#[derive(Clone, Debug, Default)]
pub(super) struct Tls {
    /// The hosts that are served with TLS, and by which Secrets.
    pub(super) ingress: Vec<IngressTls>,
    /// Challenges that public hosts must answer.
    pub(super) challenges: Vec<Http01Challenge>,
    /// The hosts whose URLs are `https`.
    pub(super) secured: BTreeSet<String>,
}

impl<'a> Draft<'a> {
    /// Keeps the Certificates, and says how far they have come.
    pub(super) fn keep_certificates(&mut self, assignment: &Assignment) -> Result<Tls, Stopped> {
        let mut tls = Tls::default();
        let (route, network) = (&self.observed.route, &self.configs.network);
        let is_external = is_external_tls_wanted(&route.metadata, network);
        let public = if is_external { self.named(|draft| draft.public_hosts(assignment))? } else { BTreeMap::new() };
        if is_external {
            self.keep_external(public.clone(), &mut tls)?;
        } else {
            self.plan.status.mark_tls_not_enabled(EXTERNAL_DOMAIN_TLS_NOT_ENABLED, self.now);
        }
        if network.cluster_local_domain_tls {
            self.keep_local(assignment, &mut tls)?;
        } else if is_external && public.is_empty() {
            self.plan.status.mark_tls_not_enabled(TLS_NOT_ENABLED_FOR_CLUSTER_LOCAL, self.now);
        }
        Ok(tls)
    }

    /// The hosts that everybody can reach, with the tag of each.
    fn public_hosts(&self, assignment: &Assignment) -> Result<BTreeMap<String, String>, HostError> {
        let mut hosts = BTreeMap::new();
        for tag in assignment.targets.keys() {
            let visibility = self.hosts.visibility(tag)?;
            if visibility == Visibility::ExternalIp {
                hosts.insert(self.hosts.host(tag, &visibility)?, tag.clone());
            }
        }
        Ok(hosts)
    }

    fn keep_external(&mut self, hosts: BTreeMap<String, String>, tls: &mut Tls) -> Result<(), Stopped> {
        let observed = self.observed;
        let route = &*observed.route;
        let domain = self.configs.domain.lookup(labels(&route.metadata), &self.configs.settings.cluster_domain);
        let is_of_domain = |certificate: &&Arc<Certificate>| {
            labels(&certificate.metadata).get(label::WILDCARD_DOMAIN) == Some(&domain)
        };
        let wildcards: Vec<_> = observed.wildcards.iter().filter(is_of_domain).collect();
        let used: BTreeSet<String> = hosts.keys().cloned().collect();
        let desired: Vec<Certificate> = hosts
            .into_iter()
            .map(|(host, tag)| {
                self.make(names::certificate(route, &tag), Purpose::ExternalDomain, (vec![host], domain.clone()))
            })
            .collect();
        let mut found = Vec::new();
        for desired in &desired {
            let hosts = desired.spec.dns_names.clone();
            let progress = match wildcards.iter().find(|wildcard| covers(wildcard, &hosts)) {
                Some(wildcard) => progress(wildcard),
                None => self.keep_certificate(desired)?,
            };
            found.push((hosts, progress));
        }
        // Who is not ready is said last.
        found.sort_by_key(|(_, progress)| !matches!(progress, Progress::Ready(_)));
        for (hosts, progress) in found {
            tls.challenges.extend(challenges(&progress).iter().cloned());
            self.say_external(hosts, &progress, tls);
        }
        tls.challenges.sort_by(|one, other| one.url.cmp(&other.url));
        self.drop_orphans(Purpose::ExternalDomain, &used);
        Ok(())
    }

    fn say_external(&mut self, hosts: Vec<String>, progress: &Progress<'_>, tls: &mut Tls) {
        let (status, now) = (&mut self.plan.status, self.now);
        let name = match progress {
            Progress::NotOwned => return,
            Progress::Ready(certificate) => {
                status.mark_certificate_ready(now);
                tls.secured.extend(hosts.iter().cloned());
                tls.ingress.push(ingress_tls(certificate, hosts));
                return;
            }
            Progress::Failed(certificate) => {
                status.mark_certificate_failed(certificate, now);
                certificate.name_any()
            }
            Progress::Waiting(certificate) => {
                status.mark_certificate_not_ready(certificate, now);
                certificate.name_any()
            }
        };
        if self.configs.network.http_protocol == HttpProtocol::Enabled {
            self.plan.status.mark_http_downgrade(&name, now);
        } else {
            tls.secured.extend(hosts);
        }
    }

    fn keep_local(&mut self, assignment: &Assignment, tls: &mut Tls) -> Result<(), Stopped> {
        let mut used = BTreeSet::new();
        let mut desired = Vec::new();
        for tag in assignment.targets.keys() {
            let hosts = self.named(|draft| draft.hosts.spellings(tag, &Visibility::ClusterLocal))?;
            used.extend(hosts.iter().cloned());
            let name = names::local_certificate(&*self.observed.route, tag);
            let domain = format!("svc.{}", self.configs.settings.cluster_domain);
            desired.push(self.make(name, Purpose::ClusterLocalDomain, (hosts.into_iter().collect(), domain)));
        }
        let mut found = Vec::new();
        for desired in &desired {
            found.push((desired.spec.dns_names.clone(), self.keep_certificate(desired)?));
        }
        found.sort_by_key(|(_, progress)| !matches!(progress, Progress::Ready(_)));
        for (hosts, progress) in found {
            match progress {
                Progress::NotOwned => {}
                Progress::Ready(certificate) => {
                    self.plan.status.mark_certificate_ready(self.now);
                    tls.secured.extend(hosts.iter().cloned());
                    tls.ingress.push(ingress_tls(certificate, hosts));
                }
                Progress::Failed(certificate) => self.plan.status.mark_certificate_failed(certificate, self.now),
                Progress::Waiting(certificate) => self.plan.status.mark_certificate_not_ready(certificate, self.now),
            }
        }
        self.drop_orphans(Purpose::ClusterLocalDomain, &used);
        Ok(())
    }

    fn make(&self, name: String, purpose: Purpose, names: (Vec<String>, String)) -> Certificate {
        let route = &*self.observed.route;
        let labels = BTreeMap::from([
            (label::ROUTE.to_owned(), route.name_any()),
            (label::CERTIFICATE_TYPE.to_owned(), purpose.word().to_owned()),
        ]);
        make_certificate(route, (name, class(&route.metadata, &self.configs.network)), labels, names)
    }

    fn keep_certificate<'c>(&mut self, desired: &'c Certificate) -> Result<Progress<'c>, Stopped>
    where
        'a: 'c,
    {
        let observed = self.observed;
        let name = desired.name_any();
        let existing = observed.certificates.get(&name).map(|certificate| &**certificate);
        let owner = (&observed.route.metadata, CERTIFICATE_PROVISIONED);
        match keep(&mut self.plan, (existing, desired), owner) {
            Progress::NotOwned => {
                self.plan.status.mark_certificate_not_owned(&name, self.now);
                Err(Stopped)
            }
            progress => Ok(progress),
        }
    }

    /// Certificates of hosts that the Route no longer has.
    fn drop_orphans(&mut self, purpose: Purpose, used: &BTreeSet<String>) {
        let route = self.observed.route.name_any();
        let is_orphan = |certificate: &&Arc<Certificate>| {
            labels(&certificate.metadata).get(label::ROUTE) == Some(&route)
                && is_for(certificate, purpose)
                && certificate.metadata.deletion_timestamp.is_none()
                && !certificate.spec.dns_names.iter().any(|name| used.contains(name))
        };
        for orphan in self.observed.certificates.values().filter(is_orphan) {
            let (namespace, name) = (orphan.namespace().unwrap_or_default(), orphan.name_any());
            let what = format!("orphaned Knative Certificate {namespace}/{name}");
            let deletion = Change::delete(&**orphan)
                .with_event(PlanEvent::normal("Deleted", format!("Deleted {what}")))
                .or_event(PlanEvent::normal("DeleteFailed", format!("Failed to delete {what}: {{error}}")));
            self.plan.changes.push(deletion);
        }
    }
}
