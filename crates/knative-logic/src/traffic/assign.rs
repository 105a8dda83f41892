//! Finds a ready revision for every target of a Route.

use super::DEFAULT_TARGET;
use crate::rollout::{ConfigurationRollout, RevisionRollout, Rollout, StepParams};
use jiff::Timestamp;
use knative_apis::condition::{ConditionStatus, Conditioned, ConditionedStatus, READY};
use knative_apis::meta::{label, label_value};
use knative_apis::networking::Protocol;
use knative_apis::serving::v1::{Configuration, Revision, Route, RouteStatus, TrafficTarget};
use std::collections::{BTreeMap, BTreeSet};

/// What is known of a Configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigurationFact {
    /// Its latest ready revision; empty if there is none.
    pub latest_ready: String,
    /// Whether it is ready.
    pub ready: ConditionStatus,
}

/// What is known of a Revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RevisionFact {
    /// Whether it is ready, as of its current spec.
    pub is_ready: bool,
    /// What it says of its readiness.
    pub ready: ConditionStatus,
    /// What it speaks.
    pub protocol: Protocol,
    /// The Service it belongs to; empty if to none.
    pub service: String,
    /// The Configuration it was made by; empty if by none.
    pub configuration: String,
}

impl From<&Configuration> for ConfigurationFact {
    fn from(configuration: &Configuration) -> Self {
        Self {
            latest_ready: configuration.status.latest_ready_revision_name.clone(),
            ready: configuration.status.condition(READY).map(|ready| ready.status).unwrap_or_default(),
        }
    }
}

impl From<&Revision> for RevisionFact {
    fn from(revision: &Revision) -> Self {
        let text = |key: &str| label_value(&revision.metadata, key).unwrap_or_default().to_owned();
        Self {
            is_ready: revision.is_ready(),
            ready: revision.status.condition(READY).map(|ready| ready.status).unwrap_or_default(),
            protocol: revision.protocol(),
            service: text(label::SERVICE),
            configuration: text(label::CONFIGURATION),
        }
    }
}

/// Where facts about the Route's namespace come from.
pub trait TargetFacts {
    /// What is known of a Configuration, if it is there.
    fn configuration(&self, name: &str) -> Option<ConfigurationFact>;
    /// What is known of a Revision, if it is there.
    fn revision(&self, name: &str) -> Option<RevisionFact>;
}

/// Facts in maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Configurations by name.
    pub configurations: BTreeMap<String, ConfigurationFact>,
    /// Revisions by name.
    pub revisions: BTreeMap<String, RevisionFact>,
}

impl TargetFacts for Known {
    fn configuration(&self, name: &str) -> Option<ConfigurationFact> {
        self.configurations.get(name).cloned()
    }
    fn revision(&self, name: &str) -> Option<RevisionFact> {
        self.revisions.get(name).cloned()
    }
}

/// A target with its revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The target; its revision is named, also where the latest is meant.
    pub traffic: TrafficTarget,
    /// What the revision speaks.
    pub protocol: Protocol,
}

/// An object that a target names and that is not there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing {
    /// `Configuration` or `Revision`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
}

/// Why a Route cannot be served as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetError {
    /// An object is not there.
    Missing(Missing),
    /// A Configuration has no ready revision: not yet, or it failed to make one.
    UnreadyConfiguration {
        /// Its name.
        name: String,
        /// Whether waiting will not help.
        is_failure: bool,
    },
    /// A Revision is not ready: not yet, or it failed.
    UnreadyRevision {
        /// Its name.
        name: String,
        /// Whether waiting will not help.
        is_failure: bool,
    },
    /// A Revision belongs to another Service than the Route.
    RevisionNotOwned {
        /// Its name.
        revision: String,
        /// The Route's Service.
        expected: String,
        /// The Revision's Service; empty if it has none.
        actual: String,
    },
}

impl TargetError {
    /// Whether waiting will not help.
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Missing(_) | Self::RevisionNotOwned { .. } => true,
            Self::UnreadyConfiguration { is_failure, .. } | Self::UnreadyRevision { is_failure, .. } => *is_failure,
        }
    }

    /// Says so in the Route's status.
    pub fn mark(&self, status: &mut RouteStatus, now: Timestamp) {
        match self {
            Self::Missing(Missing { kind, name }) => status.mark_missing_target(kind, name, now),
            Self::UnreadyConfiguration { name, is_failure: true } => status.mark_configuration_failed(name, now),
            Self::UnreadyConfiguration { name, .. } => status.mark_configuration_not_ready(name, now),
            Self::UnreadyRevision { name, is_failure: true } => status.mark_revision_failed(name, now),
            Self::UnreadyRevision { name, .. } => status.mark_revision_not_ready(name, now),
            Self::RevisionNotOwned { revision, expected, actual } => {
                status.mark_revision_not_owned(revision, expected, actual, now);
            }
        }
    }
}

/// What a Route's traffic comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assignment {
    /// The targets under each tag, and under the Route's own host ([`DEFAULT_TARGET`]). Empty if
    /// there is an error.
    pub targets: BTreeMap<String, Vec<Target>>,
    /// The targets in the order of the Route, those alike taken together.
    pub listed: Vec<Target>,
    /// The Configurations that were looked at and are there.
    pub configurations: BTreeSet<String>,
    /// The Revisions that were looked at and are there.
    pub revisions: BTreeSet<String>,
    /// What is not there; the Route is to be looked at again when it comes.
    pub missing: Vec<Missing>,
    /// Why the Route cannot be served as asked. Of several errors the last that waiting will not
    /// help against.
    pub error: Option<TargetError>,
}

/// Finds a ready revision for every target of a Route.
pub fn assign(route: &Route, facts: &impl TargetFacts) -> Assignment {
    let service = label_value(&route.metadata, label::SERVICE).unwrap_or_default();
    let mut assignment = Assignment::default();
    for target in &route.spec.traffic {
        let found = if target.revision_name.is_empty() {
            assignment.latest(target, facts)
        } else {
            assignment.pinned(target, service, facts)
        };
        match found {
            Ok(target) => assignment.add(target),
            Err(error) => assignment.fail(error),
        }
    }
    if assignment.error.is_some() {
        assignment.targets.clear();
        assignment.listed.clear();
    }
    for targets in assignment.targets.values_mut() {
        consolidate(targets);
    }
    assignment
}

impl Assignment {
    fn latest(&mut self, target: &TrafficTarget, facts: &impl TargetFacts) -> Result<Target, TargetError> {
        let name = &target.configuration_name;
        let configuration = self.configuration(name, facts)?;
        if configuration.latest_ready.is_empty() {
            let is_failure = configuration.ready == ConditionStatus::False;
            return Err(TargetError::UnreadyConfiguration { name: name.clone(), is_failure });
        }
        let revision = self.revision(&configuration.latest_ready, facts)?;
        ready(&configuration.latest_ready, &revision)?;
        let traffic = TrafficTarget { revision_name: configuration.latest_ready, ..target.clone() };
        Ok(Target { traffic, protocol: revision.protocol })
    }

    fn pinned(
        &mut self,
        target: &TrafficTarget,
        service: &str,
        facts: &impl TargetFacts,
    ) -> Result<Target, TargetError> {
        let revision = self.revision(&target.revision_name, facts)?;
        if !service.is_empty() && revision.service != service {
            return Err(TargetError::RevisionNotOwned {
                revision: target.revision_name.clone(),
                expected: service.to_owned(),
                actual: revision.service,
            });
        }
        ready(&target.revision_name, &revision)?;
        let mut traffic = target.clone();
        if !revision.configuration.is_empty() {
            self.configuration(&revision.configuration, facts)?;
            traffic.configuration_name = revision.configuration;
        }
        Ok(Target { traffic, protocol: revision.protocol })
    }

    fn configuration(&mut self, name: &str, facts: &impl TargetFacts) -> Result<ConfigurationFact, TargetError> {
        let missing = || TargetError::Missing(Missing { kind: "Configuration", name: name.to_owned() });
        let fact = facts.configuration(name).ok_or_else(missing)?;
        self.configurations.insert(name.to_owned());
        Ok(fact)
    }

    fn revision(&mut self, name: &str, facts: &impl TargetFacts) -> Result<RevisionFact, TargetError> {
        let missing = || TargetError::Missing(Missing { kind: "Revision", name: name.to_owned() });
        let fact = facts.revision(name).ok_or_else(missing)?;
        self.revisions.insert(name.to_owned());
        Ok(fact)
    }

    fn fail(&mut self, error: TargetError) {
        if let TargetError::Missing(missing) = &error {
            self.missing.push(missing.clone());
        }
        if self.error.is_none() || error.is_failure() {
            self.error = Some(error);
        }
    }

    fn add(&mut self, target: Target) {
        let alike = |held: &&mut Target| {
            held.traffic.tag == target.traffic.tag
                && held.traffic.revision_name == target.traffic.revision_name
                && held.traffic.is_latest() == target.traffic.is_latest()
        };
        match self.listed.iter_mut().find(alike) {
            Some(held) => add_share(&mut held.traffic, &target.traffic),
            None => self.listed.push(target.clone()),
        }
        if !target.traffic.tag.is_empty() {
            self.targets.entry(target.traffic.tag.clone()).or_default().push(target.clone());
        }
        self.targets.entry(DEFAULT_TARGET.to_owned()).or_default().push(target);
    }

    /// What is to be served when every rollout has come to its end.
    pub fn goal(&self) -> Rollout {
        let latest = |(tag, targets): (&String, &Vec<Target>)| {
            let followed = targets.iter().filter(|target| target.traffic.is_latest() && target.traffic.share() != 0);
            followed.map(|target| goal_of(tag, &target.traffic)).collect::<Vec<_>>()
        };
        let mut configurations: Vec<_> = self.targets.iter().flat_map(latest).collect();
        configurations.sort_by(|a, b| (&a.tag, &a.configuration_name).cmp(&(&b.tag, &b.configuration_name)));
        Rollout { configurations }
    }
}

fn goal_of(tag: &str, target: &TrafficTarget) -> ConfigurationRollout {
    ConfigurationRollout {
        configuration_name: target.configuration_name.clone(),
        tag: tag.to_owned(),
        percent: target.share(),
        revisions: vec![RevisionRollout { revision_name: target.revision_name.clone(), percent: target.share() }],
        step_params: StepParams::default(),
    }
}

fn ready(name: &str, revision: &RevisionFact) -> Result<(), TargetError> {
    if revision.is_ready {
        return Ok(());
    }
    let is_failure = revision.ready == ConditionStatus::False;
    Err(TargetError::UnreadyRevision { name: name.to_owned(), is_failure })
}

fn add_share(to: &mut TrafficTarget, from: &TrafficTarget) {
    to.percent = Some(to.share() + from.share());
}

/// Takes targets of one revision together; a single target has all the traffic of its host.
fn consolidate(targets: &mut Vec<Target>) {
    let mut together: Vec<Target> = Vec::with_capacity(targets.len());
    for target in targets.drain(..) {
        match together.iter_mut().find(|held| held.traffic.revision_name == target.traffic.revision_name) {
            Some(held) => add_share(&mut held.traffic, &target.traffic),
            None => together.push(target),
        }
    }
    if let [only] = together.as_mut_slice() {
        only.traffic.percent = Some(100);
    }
    *targets = together;
}
