//! Which hosts lead where, and what is said about it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base_controller::{Change, Plan};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Endpoints, Service as CoreService};
use knative_apis::condition::{Conditioned, ConditionedStatus};
use knative_apis::go_text::quote;
use knative_apis::meta::{annotation, annotation_value, annotations, owner};
use knative_apis::networking::Ingress;
use knative_apis::serving::v1::RouteStatus;
use knative_apis::serving::v1::route::INGRESS_READY;
use knative_apis::validation::semantically_equal;
use knative_logic::rollout::Rollout;
use knative_logic::traffic::{
    Assignment, DEFAULT_TARGET, HostError, Hosts, IngressOptions, IngressParts, assign, http_option, make_ingress_spec,
};
use kube::ResourceExt;
use serde_json::json;

use super::observe::Observed;
use super::resources::{Alias, Placeholder, Transition, alias, make_ingress, make_placeholder, transition};
use super::status;
use super::tls::Tls;
use crate::config::Configs;
use crate::json;
use crate::status::{begin, create, creation_failed, end, update, update_failed};

/// Why a plan ends before its end. The status says it already.
pub(super) struct Stopped;

/// A plan in the making.
pub(super) struct Draft<'a> {
    pub(super) plan: Plan<RouteStatus>,
    pub(super) observed: &'a Observed,
    pub(super) hosts: Hosts<'a>,
    pub(super) configs: &'a Configs,
    /// The hosts whose URLs are `https`.
    pub(super) secured: BTreeSet<String>,
    pub(super) now: Timestamp,
}

/// Decides.
pub(super) fn plan(observed: &Observed, configs: &Configs, now: Timestamp) -> Plan<RouteStatus> {
    let route = &*observed.route;
    let mut plan = Plan::new(begin(route, now));
    plan.track.clone_from(&observed.references);
    let local_services = observed.local_services();
    let hosts = Hosts {
        route,
        network: &configs.network,
        domain: &configs.domain,
        cluster_domain: &configs.settings.cluster_domain,
        local_services: &local_services,
    };
    if !route.is_observed() {
        // Whatever fails below, the new generation is not served yet.
        plan.status.mark_ingress_not_configured(now);
    }
    let mut draft = Draft { plan, observed, hosts, configs, secured: BTreeSet::new(), now };
    // Where it stopped is in the status.
    let _ = draft.all();
    end(route, &mut draft.plan.status);
    draft.plan
}

impl Draft<'_> {
    fn all(&mut self) -> Result<(), Stopped> {
        let assignment = self.assign()?;
        self.plan.status.address = Some(status::address(self));
        let names = self.names(&assignment)?;
        let tls = self.keep_certificates(&assignment)?;
        self.secure(&assignment, &tls)?;
        // The Ingress comes first: the gateway can begin while the names are made.
        let (rollout, is_current) = self.keep_ingress(&assignment, tls)?;
        self.say_ingress(&rollout, is_current);
        self.keep_names(&names)?;
        if !rollout.is_done() {
            self.plan.status.mark_rollout_in_progress(self.now);
            self.plan.status.traffic = self.named(|draft| status::traffic(draft, &assignment, &rollout))?;
        }
        Ok(())
    }

    /// A host that cannot be named is the operator's mistake, and said so.
    pub(super) fn named<T>(&mut self, name: impl FnOnce(&Self) -> Result<T, HostError>) -> Result<T, Stopped> {
        name(self).map_err(|error| {
            self.plan.status.mark_traffic_error("ErrorConfig", &error.to_string(), self.now);
            Stopped
        })
    }

    /// Says the URLs again, of hosts that are served with TLS.
    fn secure(&mut self, assignment: &Assignment, tls: &Tls) -> Result<(), Stopped> {
        if tls.secured.is_empty() {
            return Ok(());
        }
        self.secured.clone_from(&tls.secured);
        self.plan.status.url = self.named(|draft| status::url(draft, DEFAULT_TARGET))?;
        self.plan.status.address = Some(status::address(self));
        self.plan.status.traffic = self.named(|draft| status::traffic(draft, assignment, &Rollout::default()))?;
        Ok(())
    }

    fn assign(&mut self) -> Result<Assignment, Stopped> {
        self.plan.status.url = self.named(|draft| status::url(draft, DEFAULT_TARGET))?;
        let assignment = assign(&self.observed.route, self.observed);
        if let Some(error) = &assignment.error {
            error.mark(&mut self.plan.status, self.now);
            return Err(Stopped);
        }
        // A rollout in progress says more, later.
        self.plan.status.traffic = self.named(|draft| status::traffic(draft, &assignment, &Rollout::default()))?;
        self.plan.status.mark_traffic_assigned(self.now);
        Ok(assignment)
    }

    /// The name of each tag's placeholder, which must be free.
    fn names(&mut self, assignment: &Assignment) -> Result<BTreeMap<String, String>, Stopped> {
        let mut names = BTreeMap::new();
        for tag in assignment.targets.keys() {
            let name = self.named(|draft| draft.hosts.service_name(tag))?;
            self.check_owner(&name)?;
            names.insert(tag.clone(), name);
        }
        Ok(names)
    }

    /// Keeps a placeholder for every tag, and none for tags that are gone.
    fn keep_names(&mut self, names: &BTreeMap<String, String>) -> Result<(), Stopped> {
        for (tag, name) in names {
            self.keep_name(tag, name)?;
        }
        let route = &self.observed.route;
        for (name, service) in &self.observed.services {
            let is_needed = names.values().any(|needed| needed == name);
            if is_needed || !owner::is_controlled_by(&service.metadata, &route.metadata) {
                continue;
            }
            self.plan.changes.push(Change::delete(&**service));
            self.plan.changes.extend(self.observed.endpoints.get(name).map(|endpoints| Change::delete(&**endpoints)));
        }
        Ok(())
    }

    fn check_owner(&mut self, name: &str) -> Result<(), Stopped> {
        let own = &self.observed.route.metadata;
        if self.observed.services.get(name).is_some_and(|service| !owner::is_controlled_by(&service.metadata, own)) {
            self.plan.status.mark_service_not_owned(name, self.now);
            return Err(Stopped);
        }
        // Endpoints of a Service that does not select come from us or from the user.
        if self.observed.endpoints.get(name).is_some_and(|e| !owner::is_controlled_by(&e.metadata, own)) {
            self.plan.status.mark_endpoints_not_owned(name, self.now);
            return Err(Stopped);
        }
        Ok(())
    }

    fn keep_name(&mut self, tag: &str, name: &str) -> Result<(), Stopped> {
        let existing = self.observed.services.get(name).map(|service| &**service);
        let balancer = self.observed.ingress.as_deref().and_then(|ingress| alias(ingress, existing));
        let what = format!("placeholder service {}", quote(name));
        let Some(existing) = existing else {
            let own_host = self.named(|draft| draft.hosts.host(tag, &draft.hosts.visibility(tag)?))?;
            let alias = balancer.unwrap_or(Alias::Name(own_host));
            let Placeholder { service, endpoints } = make_placeholder(&self.observed.route, name, &alias);
            self.plan.changes.push(create(&service, INGRESS_READY, &what));
            self.plan.changes.extend(endpoints.map(|endpoints| create_endpoints(&endpoints)));
            return Ok(());
        };
        if let Some(alias) = balancer {
            self.lead(existing, make_placeholder(&self.observed.route, name, &alias), &what);
        }
        Ok(())
    }

    /// Makes an existing placeholder lead somewhere.
    fn lead(&mut self, existing: &CoreService, desired: Placeholder, what: &str) {
        let Placeholder { service, endpoints } = desired;
        if transition(existing, &service) == Transition::Recreate {
            // It is made anew as soon as it is gone.
            self.plan.changes.push(Change::delete(existing));
            return;
        }
        let fields = json!({
            "metadata": { "labels": service.metadata.labels, "annotations": service.metadata.annotations },
            "spec": service.spec,
        });
        let fields = json::replacing(existing, &fields, &[&["spec", "externalName"], &["spec", "selector"]]);
        self.plan.changes.extend(json::change(existing, fields).map(|change| update(change, INGRESS_READY, what)));
        match (self.observed.endpoints.get(&existing.name_any()), endpoints) {
            (None, Some(endpoints)) => self.plan.changes.push(create_endpoints(&endpoints)),
            (Some(known), None) => self.plan.changes.push(Change::delete(&**known)),
            (Some(known), Some(endpoints)) => {
                let refused = update_failed(INGRESS_READY, &placeholder_endpoints(known));
                let change = json::change(&**known, json!({ "subsets": endpoints.subsets }));
                self.plan.changes.extend(change.map(|change| change.or_condition(refused)));
            }
            (None, None) => {}
        }
    }

    /// Keeps the Ingress, and says how far its rollout has come and whether the one that is there is the one that is meant.
    fn keep_ingress(&mut self, assignment: &Assignment, tls: Tls) -> Result<(Rollout, bool), Stopped> {
        let rollout = self.rollout(assignment.goal());
        let parts = self.ingress_parts(assignment, &rollout, tls)?;
        let desired = make_ingress(&self.observed.route, parts, &rollout, &self.configs.network);
        let what = format!("Ingress {}", quote(&desired.name_any()));
        let Some(existing) = self.observed.ingress.as_deref() else {
            self.plan.changes.push(create(&desired, INGRESS_READY, &what));
            return Ok((rollout, false));
        };
        if !owner::is_controlled_by(&existing.metadata, &self.observed.route.metadata) {
            status::mark_ingress_not_owned(&mut self.plan.status, &desired.name_any(), self.now);
            return Err(Stopped);
        }
        let places: &[&[&str]] = &[&["spec"], &["metadata", "labels"], &["metadata", "annotations"]];
        let change = json::change(existing, json::replacing(existing, &desired, places));
        self.plan.changes.extend(change.map(|change| update(change, INGRESS_READY, &what)));
        Ok((rollout, is_current(existing, &desired)))
    }

    fn ingress_parts(&mut self, assignment: &Assignment, rollout: &Rollout, tls: Tls) -> Result<IngressParts, Stopped> {
        let http_option = match http_option(annotations(&self.observed.route.metadata), &self.configs.network) {
            Ok(option) => option,
            Err(error) => {
                self.plan.status.mark_unknown_traffic_error(&error.to_string(), self.now);
                return Err(Stopped);
            }
        };
        let options = IngressOptions {
            http_option,
            tag_header_routing: self.configs.features.tag_header_based_routing.is_enabled(),
            system_internal_tls: self.configs.network.system_internal_tls,
            tls: tls.ingress,
            challenges: tls.challenges,
        };
        self.named(|draft| make_ingress_spec(assignment, rollout, &draft.hosts, &options))
    }

    /// How far the traffic has moved towards `goal`.
    fn rollout(&mut self, goal: Rollout) -> Rollout {
        let asked = self.observed.route.rollout_duration();
        let by_default = SignedDuration::from_secs(self.configs.network.rollout_duration_seconds);
        let duration = if asked.is_zero() { by_default } else { asked };
        let Some(ingress) = self.observed.ingress.as_deref().filter(|_| duration > SignedDuration::ZERO) else {
            return goal;
        };
        let annotated = annotation_value(&ingress.metadata, annotation::ROLLOUT).unwrap_or_default();
        let mut previous = Rollout::from_annotation(annotated);
        if let Some(previous) = &mut previous
            && ingress.is_ready()
            && !self.plan.status.is_true(INGRESS_READY)
        {
            previous.observe_ready(duration, self.now);
        }
        let (rollout, next) = goal.step(previous.as_ref(), self.now);
        self.plan.again = next.map(|next| Duration::try_from(next.duration_since(self.now)).unwrap_or_default());
        rollout
    }

    fn say_ingress(&mut self, rollout: &Rollout, is_current: bool) {
        match self.observed.ingress.as_deref().filter(|_| is_current) {
            Some(ingress) if rollout.is_done() => self.plan.status.propagate_ingress(&ingress.status, self.now),
            Some(_) => {}
            None => self.plan.status.mark_ingress_not_configured(self.now),
        }
    }
}

/// Whether the status of the Ingress that is there is about the spec that is meant.
fn is_current(existing: &Ingress, desired: &Ingress) -> bool {
    existing.is_observed() && semantically_equal(&existing.spec, &desired.spec)
}

fn create_endpoints(endpoints: &Endpoints) -> Change {
    let refused = creation_failed(INGRESS_READY, &placeholder_endpoints(endpoints));
    Change::create(endpoints).or_condition(refused)
}

fn placeholder_endpoints(endpoints: &Endpoints) -> String {
    format!("placeholder endpoints {}", quote(&endpoints.name_any()))
}
