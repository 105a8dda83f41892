//! One Ingress, ready for lookups.

use super::hash::ingress_hash;
use super::{Backend, Port, Side};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use knative_apis::meta::{Key, header};
use knative_apis::networking::{HttpIngressPath, HttpOption, Ingress, IngressBackendSplit, Visibility};
use std::collections::BTreeMap;

/// An Ingress: its hosts, each with its paths in the order they are tried.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) key: Key,
    pub(super) hash: String,
    pub(super) created: Option<Timestamp>,
    pub(super) certificates: Vec<(String, Key)>,
    public: Vec<HostPaths>,
    private: Vec<HostPaths>,
}

/// A host and what it leads to.
#[derive(Debug)]
pub(super) struct HostPaths {
    host: String,
    pub(super) redirect_to_https: bool,
    pub(super) paths: Vec<Path>,
}

/// A path and its conditions.
#[derive(Debug)]
pub(super) struct Path {
    pub(super) prefix: String,
    /// Names in small letters, with the values they must have.
    pub(super) headers: Vec<(String, String)>,
    pub(super) rewrite_host: Option<String>,
    pub(super) append_headers: Vec<(String, String)>,
    pub(super) backends: Vec<Backend>,
    pub(super) total: u32,
}

impl Compiled {
    pub(super) fn new(ingress: &Ingress) -> Self {
        let redirects = ingress.spec.http_option == HttpOption::Redirected;
        let secured: Vec<String> =
            ingress.spec.tls.iter().flat_map(|tls| &tls.hosts).map(|host| host.to_ascii_lowercase()).collect();
        let mut compiled = Self {
            key: Key::of(ingress),
            hash: ingress_hash(ingress),
            created: ingress.metadata.creation_timestamp.as_ref().map(|time| time.0),
            certificates: certificates(ingress),
            public: Vec::new(),
            private: Vec::new(),
        };
        let mut sides: BTreeMap<(Side, String), Vec<Path>> = BTreeMap::new();
        for rule in &ingress.spec.rules {
            let side = if rule.visibility == Visibility::ClusterLocal { Side::Private } else { Side::Public };
            for host in &rule.hosts {
                let paths = sides.entry((side, host.to_ascii_lowercase())).or_default();
                paths.extend(rule.http.iter().flat_map(|http| &http.paths).map(path));
            }
        }
        for ((side, host), mut paths) in sides {
            // The longest prefix first, then the most conditions; equals in the order they are written.
            paths.sort_by_key(|path| std::cmp::Reverse((path.prefix.len(), path.headers.len())));
            let redirect_to_https = redirects && side == Side::Public && secured.contains(&host);
            let list = if side == Side::Public { &mut compiled.public } else { &mut compiled.private };
            list.push(HostPaths { host, redirect_to_https, paths });
        }
        compiled
    }

    fn side(&self, side: Side) -> &[HostPaths] {
        match side {
            Side::Public => &self.public,
            Side::Private => &self.private,
        }
    }

    /// The places of its hosts.
    pub(super) fn rules(&self) -> impl Iterator<Item = (usize, Side)> {
        let public = (0..self.public.len()).map(|rule| (rule, Side::Public));
        public.chain((0..self.private.len()).map(|rule| (rule, Side::Private)))
    }

    pub(super) fn host(&self, rule: usize, side: Side) -> &str {
        self.get(rule, side).map_or("", |paths| paths.host.as_str())
    }

    pub(super) fn get(&self, rule: usize, side: Side) -> Option<&HostPaths> {
        self.side(side).get(rule)
    }
}

fn certificates(ingress: &Ingress) -> Vec<(String, Key)> {
    let of = |tls: &knative_apis::networking::IngressTls| {
        let secret = Key::new(tls.secret_namespace.clone(), tls.secret_name.clone());
        tls.hosts.iter().map(|host| (host.to_ascii_lowercase(), secret.clone())).collect::<Vec<_>>()
    };
    ingress.spec.tls.iter().flat_map(of).collect()
}

fn lower(headers: &BTreeMap<String, String>) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect()
}

fn path(path: &HttpIngressPath) -> Path {
    let mut backends: Vec<Backend> = path.splits.iter().map(backend).collect();
    if let [only] = backends.as_mut_slice()
        && only.percent == 0
    {
        only.percent = 100;
    }
    Path {
        prefix: path.path.clone(),
        headers: path.headers.iter().map(|(name, m)| (name.to_ascii_lowercase(), m.exact.clone())).collect(),
        rewrite_host: Some(path.rewrite_host.clone()).filter(|host| !host.is_empty()),
        append_headers: lower(&path.append_headers),
        total: backends.iter().map(|backend| backend.percent).sum(),
        backends,
    }
}

fn backend(split: &IngressBackendSplit) -> Backend {
    let append_headers = lower(&split.append_headers);
    let value = |name: &str| append_headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let revision = value(header::REVISION).zip(value(header::NAMESPACE));
    Backend {
        service: Key::new(split.service_namespace.clone(), split.service_name.clone()),
        port: match &split.service_port {
            IntOrString::Int(number) => Port::Number(u16::try_from(*number).unwrap_or(0)),
            IntOrString::String(name) => Port::Name(name.clone()),
        },
        revision: revision.map(|(name, namespace)| Key::new(namespace, name)),
        append_headers,
        percent: u32::try_from(split.percent.clamp(0, 100)).unwrap_or(0),
    }
}
