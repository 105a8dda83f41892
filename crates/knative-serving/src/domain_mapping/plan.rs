//! Whose the name is, where it leads, and what is said about it.

use base_controller::{Change, Finalizer, Plan, PlanEvent};
use jiff::Timestamp;
use knative_apis::condition::Conditioned;
use knative_apis::duck::Addressable;
use knative_apis::go_text::quote;
use knative_apis::meta::{annotations, owner};
use knative_apis::networking::Ingress;
use knative_apis::serving::v1::route::EXTERNAL_DOMAIN_TLS_NOT_ENABLED;
use knative_apis::serving::v1beta1::DomainMappingStatus;
use knative_apis::serving::v1beta1::domain_mapping::{DOMAIN_CLAIMED, INGRESS_READY};
use knative_apis::validation::semantically_equal;
use knative_logic::traffic::{HttpOptionError, http_option};
use kube::ResourceExt;

use super::FINALIZER;
use super::observe::Observed;
use super::resources::{Destination, make_claim, make_ingress};
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
        self.say_url();
        self.claim()?;
        self.say_certificate();
        let destination = self.resolve()?;
        self.lead(&destination)
    }

    fn say_url(&mut self) {
        let mapping = &self.observed.mapping;
        let scheme = match mapping.spec.tls {
            Some(_) => "https",
            None => &self.configs.network.default_external_scheme,
        };
        let authority = self.configs.settings.external_authority(scheme, &mapping.name_any());
        let url = format!("{scheme}://{authority}");
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

    fn say_certificate(&mut self) {
        if self.observed.mapping.spec.tls.is_some() {
            self.plan.status.mark_certificate_provided_externally(self.now);
        } else {
            self.plan.status.mark_tls_not_enabled(EXTERNAL_DOMAIN_TLS_NOT_ENABLED, self.now);
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
    fn lead(&mut self, destination: &Destination) -> Result<(), Stopped> {
        let (mapping, network) = (&self.observed.mapping, &self.configs.network);
        let http_option = http_option(annotations(&mapping.metadata), network).map_err(|error| self.fail(&error))?;
        let desired = make_ingress(mapping, destination, http_option, network);
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
