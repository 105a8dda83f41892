//! Whose the name is, where it leads, and what is said about it.

use base_controller::{Change, Finalizer, Plan, PlanEvent};
use jiff::Timestamp;
use knative_apis::condition::Conditioned;
use knative_apis::config::HttpProtocol;
use knative_apis::duck::Addressable;
use knative_apis::go_text::quote;
use knative_apis::meta::{annotations, owner};
use knative_apis::networking::{Ingress, IngressTls};
use knative_apis::serving::v1::route::EXTERNAL_DOMAIN_TLS_NOT_ENABLED;
use knative_apis::serving::v1beta1::DomainMappingStatus;
use knative_apis::serving::v1beta1::domain_mapping::{CERTIFICATE_PROVISIONED, DOMAIN_CLAIMED, INGRESS_READY};
use knative_apis::validation::semantically_equal;
use knative_logic::traffic::{HttpOptionError, http_option};
use kube::ResourceExt;

use super::FINALIZER;
use super::observe::Observed;
use super::resources::{Destination, Tls, make_certificate, make_claim, make_ingress};
use crate::certified::{Progress, challenges, ingress_tls, is_external_tls_wanted, keep};
use crate::config::Configs;
use crate::json;
use crate::status::{begin, create, end, update};

/// Why a plan ends before its end. The status says it already.
struct Stopped;

/// A plan in the making.
struct Draft<'a> {
    plan: Plan<DomainMappingStatus>,
    observed: &'a Observed,
    configs: &'a Configs,
    now: Timestamp,
}

/// Decides.
pub(super) fn plan(observed: &Observed, configs: &Configs, now: Timestamp) -> Plan<DomainMappingStatus> {
    let mapping = &*observed.mapping;
    if mapping.metadata.deletion_timestamp.is_some() {
        return give_up(observed, configs);
    }
    let mut plan = Plan { finalizer: Finalizer::Add(FINALIZER), ..Plan::new(begin(mapping, now)) };
    plan.track.clone_from(&observed.references);
    if !mapping.is_observed() {
        // Whatever fails below, the new generation is not served yet.
        plan.status.mark_ingress_not_configured(now);
    }
    let mut draft = Draft { plan, observed, configs, now };
    // Where it stopped is in the status.
    let _ = draft.all();
    end(mapping, &mut draft.plan.status);
    draft.plan
}

/// A claim that was made for the mapping goes with it.
fn give_up(observed: &Observed, configs: &Configs) -> Plan<DomainMappingStatus> {
    let mut plan = Plan::new(observed.mapping.status.clone());
    plan.finalizer = Finalizer::Remove(FINALIZER);
    let claim = observed.claim.iter().filter(|_| configs.network.autocreate_cluster_domain_claims);
    let ours = claim.filter(|claim| Some(&claim.spec.namespace) == observed.mapping.metadata.namespace.as_ref());
    plan.changes.extend(ours.map(|claim| Change::delete(&**claim)));
    plan
}

impl Draft<'_> {
    fn all(&mut self) -> Result<(), Stopped> {
        let (host, settings) = (self.observed.mapping.name_any(), &self.configs.settings);
        let scheme = &self.configs.network.default_external_scheme;
        self.say_url(format!("{scheme}://{}", settings.external_authority(scheme, &host)));
        self.claim()?;
        let tls = self.tls()?;
        if tls.is_secured {
            self.say_url(format!("https://{}", settings.external_tls_authority(&host)));
        }
        let destination = self.resolve()?;
        self.lead(&destination, tls)
    }

    fn say_url(&mut self, url: String) {
        self.plan.status.address = Some(Addressable { url: url.clone(), ..Addressable::default() });
        self.plan.status.url = url;
    }

    /// The name has to be this namespace's.
    fn claim(&mut self) -> Result<(), Stopped> {
        let mapping = &self.observed.mapping;
        let namespace = mapping.namespace().unwrap_or_default();
        match &self.observed.claim {
            Some(claim) if claim.spec.namespace == namespace => {}
            None if self.configs.network.autocreate_cluster_domain_claims => {
                let claim = make_claim(mapping);
                let what = format!("ClusterDomainClaim {}", quote(&claim.name_any()));
                self.plan.changes.push(create(&claim, DOMAIN_CLAIMED, &what));
            }
            Some(_) | None => {
                self.plan.status.mark_domain_claim_not_owned(self.now);
                return Err(Stopped);
            }
        }
        self.plan.status.mark_domain_claimed(self.now);
        Ok(())
    }

    /// The certificate: the user's own, or one that is asked for, if it is to have one.
    fn tls(&mut self) -> Result<Tls, Stopped> {
        let mapping = &self.observed.mapping;
        let host = mapping.name_any();
        if let Some(tls) = &mapping.spec.tls {
            self.plan.status.mark_certificate_provided_externally(self.now);
            let ingress = IngressTls {
                hosts: vec![host],
                secret_name: tls.secret_name.clone(),
                secret_namespace: mapping.namespace().unwrap_or_default(),
            };
            return Ok(Tls { ingress: Some(ingress), is_secured: true, ..Tls::default() });
        }
        if !is_external_tls_wanted(&mapping.metadata, &self.configs.network) {
            self.plan.status.mark_tls_not_enabled(EXTERNAL_DOMAIN_TLS_NOT_ENABLED, self.now);
            return Ok(Tls::default());
        }
        let desired = make_certificate(mapping, &self.configs.network);
        let (name, existing) = (desired.name_any(), self.observed.certificate.as_deref());
        let progress = keep(&mut self.plan, (existing, &desired), (&mapping.metadata, CERTIFICATE_PROVISIONED));
        let mut tls = Tls { challenges: challenges(&progress).to_vec(), ..Tls::default() };
        tls.challenges.sort_by(|one, other| one.url.cmp(&other.url));
        match progress {
            Progress::NotOwned => {
                self.plan.status.mark_certificate_not_owned(&name, self.now);
                return Err(Stopped);
            }
            Progress::Ready(certificate) => {
                self.plan.status.mark_certificate_ready(self.now);
                tls.ingress = Some(ingress_tls(certificate, vec![host]));
                tls.is_secured = true;
            }
            Progress::Waiting(_) | Progress::Failed(_) => self.serve_without(&name, &mut tls),
        }
        Ok(tls)
    }

    /// While there is no certificate, plain HTTP is served if the operator allows it.
    fn serve_without(&mut self, name: &str, tls: &mut Tls) {
        if self.configs.network.http_protocol == HttpProtocol::Enabled {
            self.plan.status.mark_http_downgrade(name, self.now);
        } else {
            self.plan.status.mark_certificate_not_ready(name, self.now);
            tls.is_secured = true;
        }
    }

    fn resolve(&mut self) -> Result<Destination, Stopped> {
        let namespace = self.observed.mapping.namespace().unwrap_or_default();
        let cluster_domain = &self.configs.settings.cluster_domain;
        let found = self.observed.referent.clone().and_then(|url| Destination::of(&url, &namespace, cluster_domain));
        match found {
            Ok(destination) => {
                self.plan.status.mark_reference_resolved(self.now);
                Ok(destination)
            }
            Err(why) => {
                self.plan.status.mark_reference_not_resolved(&why, self.now);
                Err(Stopped)
            }
        }
    }

    /// Knative has no condition for it, only an Event.
    fn fail(&mut self, error: &HttpOptionError) -> Stopped {
        self.plan.status.mark_ingress_not_configured(self.now);
        self.plan.events.push(PlanEvent::warning("InternalError", error.to_string()));
        Stopped
    }

    /// Keeps the Ingress, and copies what it says once it speaks of what is meant.
    fn lead(&mut self, destination: &Destination, tls: Tls) -> Result<(), Stopped> {
        let (mapping, network) = (&self.observed.mapping, &self.configs.network);
        let http_option = http_option(annotations(&mapping.metadata), network).map_err(|error| self.fail(&error))?;
        let desired = make_ingress(mapping, destination, (http_option, tls), network);
        let what = format!("Ingress {}", quote(&desired.name_any()));
        let Some(existing) = self.observed.ingress.as_deref() else {
            self.plan.changes.push(create(&desired, INGRESS_READY, &what));
            self.plan.status.mark_ingress_not_configured(self.now);
            return Ok(());
        };
        if !owner::is_controlled_by(&existing.metadata, &mapping.metadata) {
            self.plan.status.mark_ingress_not_configured(self.now);
            return Err(Stopped);
        }
        let places: &[&[&str]] = &[&["spec"], &["metadata", "labels"], &["metadata", "annotations"]];
        let change = json::change(existing, json::replacing(existing, &desired, places));
        self.plan.changes.extend(change.map(|change| update(change, INGRESS_READY, &what)));
        if is_current(existing, &desired) {
            self.plan.status.propagate_ingress(&existing.status, self.now);
        } else {
            self.plan.status.mark_ingress_not_configured(self.now);
        }
        Ok(())
    }
}

/// Whether the status of the Ingress that is there is about the spec that is meant.
fn is_current(existing: &Ingress, desired: &Ingress) -> bool {
    existing.is_observed() && semantically_equal(&existing.spec, &desired.spec)
}
