//! The hosts of a Route and its tags.

use knative_apis::config::{Domain, DomainTemplateValues, Network};
use knative_apis::meta::{annotations, label, labels};
use knative_apis::networking::Visibility;
use knative_apis::serving::v1::Route;
use knative_apis::template::TemplateError;
use knative_apis::validation::names::fully_qualified_domain_name;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Why a host cannot be named. The texts are Knative's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostError {
    /// The template of hosts asks for what is not there.
    DomainTemplate(TemplateError),
    /// The template of tagged names asks for what is not there.
    TagTemplate(TemplateError),
    /// What the template made is no domain name.
    Invalid {
        /// What it made.
        host: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("domain name error: ")?;
        match self {
            Self::DomainTemplate(error) => write!(f, "error executing the DomainTemplate: {error}"),
            Self::TagTemplate(error) => write!(f, "error executing the TagTemplate: {error}"),
            Self::Invalid { host, problem } => {
                write!(f, "invalid domain name {}: {problem}", knative_apis::go_text::quote(host))
            }
        }
    }
}

impl std::error::Error for HostError {}

/// Names the hosts of a Route.
#[derive(Clone, Copy, Debug)]
pub struct Hosts<'a> {
    /// The Route.
    pub route: &'a Route,
    /// The operator's settings of the network.
    pub network: &'a Network,
    /// The operator's domains.
    pub domain: &'a Domain,
    /// The DNS domain of the cluster.
    pub cluster_domain: &'a str,
    /// The Route's placeholder Services that a user has labelled to stay inside the cluster.
    pub local_services: &'a BTreeSet<String>,
}

impl Hosts<'_> {
    /// The name of the placeholder Service of a tag: the Route's own, or one with the tag.
    ///
    /// # Errors
    /// What the operator's template asks for and is not there.
    pub fn service_name(&self, tag: &str) -> Result<String, HostError> {
        let name = self.route.metadata.name.as_deref().unwrap_or_default();
        if tag.is_empty() {
            return Ok(name.to_owned());
        }
        self.network.tagged_name(name, tag).map_err(HostError::TagTemplate)
    }

    /// Who can reach a tag: what is labelled so stays inside, and all does if the Route's domain is
    /// the cluster's own.
    ///
    /// # Errors
    /// As [`Self::service_name`].
    pub fn visibility(&self, tag: &str) -> Result<Visibility, HostError> {
        let domain = self.domain.lookup(labels(&self.route.metadata), self.cluster_domain);
        let is_local =
            domain == format!("svc.{}", self.cluster_domain) || self.local_services.contains(&self.service_name(tag)?);
        Ok(if is_local { Visibility::ClusterLocal } else { Visibility::ExternalIp })
    }

    /// The host of a tag, as those see it whom `visibility` means.
    ///
    /// # Errors
    /// What the operator's templates ask for and is not there, or that they made no domain name.
    pub fn host(&self, tag: &str, visibility: &Visibility) -> Result<String, HostError> {
        let name = self.service_name(tag)?;
        let meta = &self.route.metadata;
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let host = if *visibility == Visibility::ClusterLocal {
            format!("{name}.{namespace}.svc.{}", self.cluster_domain)
        } else {
            let mut public: BTreeMap<String, String> = labels(meta).clone();
            public.remove(label::VISIBILITY);
            let domain = self.domain.lookup(&public, self.cluster_domain);
            let values = DomainTemplateValues {
                name: &name,
                namespace,
                domain: &domain,
                annotations: annotations(meta),
                labels: &public,
            };
            self.network.host(&values).map_err(HostError::DomainTemplate)?
        };
        match fully_qualified_domain_name("url", &host) {
            None => Ok(host),
            Some(problem) => Err(HostError::Invalid { host, problem }),
        }
    }

    /// All spellings of the host of a tag: inside the cluster the shorter ones too.
    ///
    /// # Errors
    /// As [`Self::host`].
    pub fn spellings(&self, tag: &str, visibility: &Visibility) -> Result<BTreeSet<String>, HostError> {
        let host = self.host(tag, visibility)?;
        if *visibility != Visibility::ClusterLocal {
            return Ok(BTreeSet::from([host]));
        }
        let short = [format!(".{}", self.cluster_domain), format!(".svc.{}", self.cluster_domain)];
        let mut all: BTreeSet<String> =
            short.iter().filter_map(|suffix| host.strip_suffix(suffix)).map(str::to_owned).collect();
        all.insert(host);
        all.retain(|host| has_top_level_domain(host));
        Ok(all)
    }

    /// The URL of a tag.
    ///
    /// # Errors
    /// As [`Self::host`].
    pub fn url(&self, tag: &str) -> Result<String, HostError> {
        let visibility = self.visibility(tag)?;
        let host = self.host(tag, &visibility)?;
        let scheme =
            if visibility == Visibility::ClusterLocal { "http" } else { &self.network.default_external_scheme };
        Ok(format!("{scheme}://{host}"))
    }

    /// The URL of the Route inside the cluster.
    pub fn local_url(&self) -> String {
        let meta = &self.route.metadata;
        let name = meta.name.as_deref().unwrap_or_default();
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        format!("http://{}", knative_apis::meta::service_hostname(name, namespace, self.cluster_domain))
    }
}

/// Whether the last label can be one: no number, not too long.
fn has_top_level_domain(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    last.len() <= 63 && last.bytes().any(|byte| byte == b'-' || byte > b'9')
}
