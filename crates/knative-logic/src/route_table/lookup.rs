//! Finding a request's backend.

use super::compile::{Compiled, HostPaths, Path};
use super::{Backend, RouteTable};
use knative_apis::meta::Key;
use std::sync::Arc;

/// The longest host that DNS allows; a longer one is nobody's.
const MAX_HOST: usize = 253;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Everybody: public hosts only.
    Public,
    /// The inside of the cluster: cluster-local hosts and public ones.
    Private,
}

/// A host's place in an Ingress.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) ingress: Arc<Compiled>,
    pub(super) rule: usize,
}

/// The ways that a request may take: those of its host, its path and its headers.
#[derive(Clone, Copy, Debug)]
pub struct Ways<'t> {
    ingress: &'t Compiled,
    host: &'t HostPaths,
    path: &'t Path,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub struct Target<'t> {
    ways: Ways<'t>,
    backend: &'t Backend,
}

impl<'t> Ways<'t> {
    /// The Ingress that says so.
    pub fn ingress(&self) -> &'t Key {
        &self.ingress.key
    }

    /// What the request's path begins with; empty if every path does.
    pub fn prefix(&self) -> &'t str {
        &self.path.prefix
    }

    /// The Host that the backend is to see, if not the client's.
    pub fn rewrite_host(&self) -> Option<&'t str> {
        self.path.rewrite_host.as_deref()
    }

    /// Whether plain HTTP is to be redirected to HTTPS.
    pub fn redirects_to_https(&self) -> bool {
        self.host.redirect_to_https
    }

    /// The backends, each with its share in percent.
    pub fn shares(&self) -> impl Iterator<Item = (u32, &'t Backend)> {
        self.path.backends.iter().map(|backend| (backend.percent, backend))
    }

    /// The one that a random number leads to.
    fn choose(self, random: u32) -> Option<Target<'t>> {
        Some(Target { backend: self.path.choose(random)?, ways: self })
    }
}

impl<'t> Target<'t> {
    /// The backend.
    pub fn backend(&self) -> &'t Backend {
        self.backend
    }

    /// The Ingress that says so.
    pub fn ingress(&self) -> &'t Key {
        self.ways.ingress()
    }

    /// The version of that Ingress; the answer to a probe.
    pub fn hash(&self) -> &'t str {
        &self.ways.ingress.hash
    }

    /// The Host that the backend is to see, if not the client's.
    pub fn rewrite_host(&self) -> Option<&'t str> {
        self.ways.rewrite_host()
    }

    /// Headers to set on the request in place of what the client sent, names in small letters:
    /// the path's, then the backend's.
    pub fn append_headers(&self) -> impl Iterator<Item = (&'t str, &'t str)> {
        let all = self.ways.path.append_headers.iter().chain(&self.backend.append_headers);
        all.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether plain HTTP is to be redirected to HTTPS.
    pub fn redirects_to_https(&self) -> bool {
        self.ways.redirects_to_https()
    }
}

impl RouteTable {
    /// Where a request goes; `None` if its host, path or headers are nobody's (answer 404).
    ///
    /// `host` may have a port and capitals. `header` gives the value of a header by its name in
    /// small letters. `random` chooses among several backends; 32 even bits.
    pub fn matches<'h>(
        &self,
        side: Side,
        host: &str,
        path: &str,
        header: impl Fn(&str) -> Option<&'h [u8]>,
        random: u32,
    ) -> Option<Target<'_>> {
        self.ways(side, host, path, header)?.choose(random)
    }

    /// The ways that [`matches`](Self::matches) chooses from.
    pub fn ways<'h>(
        &self,
        side: Side,
        host: &str,
        path: &str,
        header: impl Fn(&str) -> Option<&'h [u8]>,
    ) -> Option<Ways<'_>> {
        let (ingress, host) = self.find(side, host)?;
        let is_match = |candidate: &&Path| {
            path.starts_with(&candidate.prefix)
                && candidate.headers.iter().all(|(name, value)| header(name) == Some(value.as_bytes()))
        };
        let path = host.paths.iter().find(is_match)?;
        Some(Ways { ingress, host, path })
    }

    /// Whether a host is anybody's.
    pub fn has_host(&self, side: Side, host: &str) -> bool {
        self.find(side, host).is_some()
    }

    /// The hosts of a side, sorted.
    pub fn hosts(&self, side: Side) -> impl Iterator<Item = &str> {
        let hosts = if side == Side::Public { &self.public } else { &self.private };
        hosts.keys().map(String::as_str)
    }

    /// The Secret with the certificate of a host: its own, or that of the wildcard above it.
    pub fn certificate(&self, host: &str) -> Option<&Key> {
        let mut buffer = [0_u8; MAX_HOST];
        let host = normalize(host, &mut buffer)?;
        let wildcard = || {
            let (_, parent) = host.split_once('.')?;
            self.certificates.iter().find(|(name, _)| name.strip_prefix("*.") == Some(parent)).map(|(_, secret)| secret)
        };
        self.certificates.get(host).or_else(wildcard)
    }

    fn find(&self, side: Side, host: &str) -> Option<(&Compiled, &HostPaths)> {
        let mut buffer = [0_u8; MAX_HOST];
        let host = normalize(host, &mut buffer)?;
        let private =
            if side == Side::Private { self.private.get(host).map(|held| (held, Side::Private)) } else { None };
        let (held, side) = private.or_else(|| self.public.get(host).map(|held| (held, Side::Public)))?;
        held.ingress.get(held.rule, side).map(|paths| (&*held.ingress, paths))
    }
}

impl Path {
    fn choose(&self, random: u32) -> Option<&Backend> {
        if let [only] = self.backends.as_slice() {
            return Some(only);
        }
        let place = (u64::from(random) * u64::from(self.total)) >> 32;
        let mut left = place;
        self.backends.iter().find(|backend| {
            let share = u64::from(backend.percent);
            let is_here = left < share;
            left = left.saturating_sub(share);
            is_here
        })
    }
}

/// The host without its port and the dot at its end, in small letters. Nothing is allocated: what
/// has capitals is written into the buffer.
fn normalize<'a>(host: &'a str, buffer: &'a mut [u8; MAX_HOST]) -> Option<&'a str> {
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    if !host.bytes().any(|b| b.is_ascii_uppercase()) {
        return Some(host);
    }
    let target = buffer.get_mut(..host.len())?;
    target.copy_from_slice(host.as_bytes());
    target.make_ascii_lowercase();
    std::str::from_utf8(target).ok()
}
