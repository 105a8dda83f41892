//! The rules of a Route's Ingress.

use super::{Assignment, DEFAULT_TARGET, HostError, Hosts, Target};
use crate::rollout::Rollout;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use knative_apis::config::{HttpProtocol, Network};
use knative_apis::meta::{annotation, header, port};
use knative_apis::networking::{
    HeaderMatch, Http01Challenge, HttpIngressPath, HttpIngressRuleValue, HttpOption, IngressBackendSplit, IngressRule,
    IngressSpec, IngressTls, Visibility,
};
use std::collections::BTreeMap;

/// What an Ingress is made with beside the targets.
#[derive(Clone, Debug, Default)]
pub struct IngressOptions {
    /// Certificates for hosts.
    pub tls: Vec<IngressTls>,
    /// Challenges of a certificate authority that hosts must answer.
    pub challenges: Vec<Http01Challenge>,
    /// What happens to plain HTTP.
    pub http_option: HttpOption,
    /// Whether a header can choose a tag.
    pub tag_header_routing: bool,
    /// Whether backends speak TLS.
    pub system_internal_tls: bool,
}

/// What becomes of a Route.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IngressParts {
    /// The spec.
    pub spec: IngressSpec,
    /// The hosts of each tag, for the annotation `tag-to-host`.
    pub tag_to_host: BTreeMap<String, Vec<String>>,
}

/// An annotation that asks for what there is not. The text is Knative's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpOptionError(String);

impl std::fmt::Display for HttpOptionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "incorrect http-protocol annotation: {}", self.0)
    }
}

impl std::error::Error for HttpOptionError {}

/// What happens to plain HTTP: as the annotations of a Route or DomainMapping ask, else as the operator does.
///
/// # Errors
/// That they ask for something else than `enabled` or `redirected`.
pub fn http_option(annotations: &BTreeMap<String, String>, network: &Network) -> Result<HttpOption, HttpOptionError> {
    let asked = annotation::HTTP_PROTOCOL.value(annotations).unwrap_or_default().to_ascii_lowercase();
    match asked.as_str() {
        "enabled" => Ok(HttpOption::Enabled),
        "redirected" => Ok(HttpOption::Redirected),
        "" => Ok(match network.http_protocol {
            HttpProtocol::Enabled => HttpOption::Enabled,
            HttpProtocol::Redirected => HttpOption::Redirected,
            HttpProtocol::Disabled => HttpOption::Unset,
        }),
        _ => Err(HttpOptionError(asked)),
    }
}

/// Writes the rules: the Route's own hosts first, then each tag's; first those inside the cluster.
///
/// # Errors
/// That a host cannot be named.
pub fn make_ingress_spec(
    assignment: &Assignment,
    rollout: &Rollout,
    hosts: &Hosts<'_>,
    options: &IngressOptions,
) -> Result<IngressParts, HostError> {
    let maker = Maker { assignment, rollout, hosts, options };
    let mut rules = Vec::new();
    let mut tag_to_host: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for tag in assignment.targets.keys() {
        let mut sides = vec![Visibility::ClusterLocal];
        if hosts.visibility(tag)? == Visibility::ExternalIp {
            sides.push(Visibility::ExternalIp);
        }
        for side in sides {
            rules.push(maker.rule(tag, &side)?);
            if tag != DEFAULT_TARGET {
                tag_to_host.entry(tag.clone()).or_default().push(hosts.host(tag, &side)?);
            }
        }
    }
    let spec = IngressSpec { tls: options.tls.clone(), rules, http_option: options.http_option.clone() };
    Ok(IngressParts { spec, tag_to_host })
}

struct Maker<'a> {
    assignment: &'a Assignment,
    rollout: &'a Rollout,
    hosts: &'a Hosts<'a>,
    options: &'a IngressOptions,
}

impl Maker<'_> {
    fn rule(&self, tag: &str, side: &Visibility) -> Result<IngressRule, HostError> {
        let hosts: Vec<String> = self.hosts.spellings(tag, side)?.into_iter().collect();
        let mut paths = Vec::new();
        if *side == Visibility::ExternalIp {
            paths.extend(self.challenge_paths(&hosts));
        }
        let mut base = self.path(tag);
        if self.options.tag_header_routing {
            if tag == DEFAULT_TARGET {
                paths.extend(self.tag_paths());
                base.append_headers.insert(header::DEFAULT_ROUTE_NAME.to_owned(), "true".to_owned());
            } else {
                base.append_headers.insert(header::TAG_NAME.to_owned(), tag.to_owned());
            }
        }
        paths.push(base);
        Ok(IngressRule { hosts, visibility: side.clone(), http: Some(HttpIngressRuleValue { paths }) })
    }

    /// Paths on the Route's own host that a header chooses a tag by.
    fn tag_paths(&self) -> Vec<HttpIngressPath> {
        let tags = self.assignment.targets.keys().filter(|tag| *tag != DEFAULT_TARGET);
        tags.map(|tag| {
            let chosen = HeaderMatch { exact: tag.clone() };
            let headers = BTreeMap::from([(header::TAG_NAME.to_owned(), chosen)]);
            HttpIngressPath { headers, ..self.path(tag) }
        })
        .collect()
    }

    fn challenge_paths(&self, hosts: &[String]) -> Vec<HttpIngressPath> {
        self.options.challenges.iter().filter_map(|challenge| challenge_path(challenge, hosts)).collect()
    }

    fn path(&self, tag: &str) -> HttpIngressPath {
        let targets = self.assignment.targets.get(tag).map(Vec::as_slice).unwrap_or_default();
        let splits = targets.iter().filter(|t| t.traffic.share() != 0).flat_map(|target| self.splits(tag, target));
        HttpIngressPath { splits: splits.collect(), ..HttpIngressPath::default() }
    }

    fn splits(&self, tag: &str, target: &Target) -> Vec<IngressBackendSplit> {
        let traffic = &target.traffic;
        let rolling = self.rollout.find(tag, &traffic.configuration_name);
        match rolling.filter(|rolling| traffic.is_latest() && !rolling.is_done()) {
            None => vec![self.split(&traffic.revision_name, traffic.share(), target)],
            Some(rolling) => {
                rolling.revisions.iter().map(|r| self.split(&r.revision_name, r.percent, target)).collect()
            }
        }
    }

    fn split(&self, revision: &str, percent: i64, target: &Target) -> IngressBackendSplit {
        let namespace = self.hosts.route.metadata.namespace.clone().unwrap_or_default();
        let port =
            if self.options.system_internal_tls { port::SERVICE_HTTPS } else { port::service_port(&target.protocol) };
        IngressBackendSplit {
            service_name: revision.to_owned(),
            service_port: IntOrString::Int(port),
            percent,
            append_headers: BTreeMap::from([
                (header::REVISION_NAME.to_owned(), revision.to_owned()),
                (header::NAMESPACE_NAME.to_owned(), namespace.clone()),
            ]),
            service_namespace: namespace,
        }
    }
}

/// The path that a challenge is asked for at, if its host is among these.
pub fn challenge_path(challenge: &Http01Challenge, hosts: &[String]) -> Option<HttpIngressPath> {
    let (_, rest) = challenge.url.split_once("://")?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if !matches!(hosts, [only] if only == host) {
        return None;
    }
    let split = IngressBackendSplit {
        service_namespace: challenge.service_namespace.clone(),
        service_name: challenge.service_name.clone(),
        service_port: challenge.service_port.clone().unwrap_or(IntOrString::Int(0)),
        percent: 100,
        append_headers: BTreeMap::new(),
    };
    Some(HttpIngressPath { path: path.to_owned(), splits: vec![split], ..HttpIngressPath::default() })
}
