//! Which backend a request goes to: Ingress objects as a table for lookups.
//!
//! ```text
//! host (port and case ignored) ─► paths, longest first ─► headers, all equal ─► split by a random number
//! ```
//!
//! A [`Builder`] holds the Ingresses, compiled one by one; [`Builder::table`] makes the table that
//! requests look into. A lookup allocates nothing. There are two sides: the public listener knows
//! `ExternalIP` rules only, the private one all of them. If two Ingresses have one host, the older
//! one keeps it, whatever the order they came in; [`Builder::conflicts`] names the other.
//!
//! Every Ingress has a hash of its spec. A probe asks for it (`K-Network-Hash: override`), and so
//! learns which version of the Ingress an instance serves.

mod compile;
mod hash;
mod lookup;
#[cfg(test)]
mod tests;

pub use hash::ingress_hash;
pub use lookup::{Side, Target, Ways};

use compile::Compiled;
use jiff::Timestamp;
use knative_apis::meta::Key;
use knative_apis::networking::Ingress;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A backend of a path: a Service and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The Service's namespace and name.
    pub service: Key,
    /// The Service's port, by number or name.
    pub port: Port,
    /// The revision behind it, where the Ingress says so: `Knative-Serving-Revision` and `-Namespace`.
    pub revision: Option<Key>,
    /// Headers to set on the request, names in small letters.
    pub append_headers: Vec<(String, String)>,
    percent: u32,
}

/// The port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// By its number.
    Number(u16),
    /// By its name.
    Name(String),
}

/// The hosts of all Ingresses, for lookups.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    public: BTreeMap<String, lookup::Host>,
    private: BTreeMap<String, lookup::Host>,
    certificates: BTreeMap<String, Key>,
}

/// Holds Ingresses and makes tables of them.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    ingresses: BTreeMap<Key, Arc<Compiled>>,
}

/// A host that an Ingress does not get because an older one has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// The host.
    pub host: String,
    /// The Ingress that has it.
    pub holder: Key,
    /// The Ingress that does not get it.
    pub loser: Key,
}

impl Builder {
    /// Takes an Ingress in, in place of its older version. Returns its hash.
    pub fn insert(&mut self, ingress: &Ingress) -> String {
        let compiled = Compiled::new(ingress);
        let hash = compiled.hash.clone();
        self.ingresses.insert(Key::of(ingress), Arc::new(compiled));
        hash
    }

    /// Takes an Ingress out; whether it was there.
    pub fn remove(&mut self, ingress: &Key) -> bool {
        self.ingresses.remove(ingress).is_some()
    }

    /// The hash of an Ingress that has been taken in.
    pub fn hash(&self, ingress: &Key) -> Option<&str> {
        self.ingresses.get(ingress).map(|compiled| compiled.hash.as_str())
    }

    /// The table.
    pub fn table(&self) -> RouteTable {
        let mut table = RouteTable::default();
        for compiled in self.oldest_first() {
            for (rule, side) in compiled.rules() {
                let hosts = match side {
                    Side::Public => &mut table.public,
                    Side::Private => &mut table.private,
                };
                let paths = lookup::Host { ingress: Arc::clone(compiled), rule };
                hosts.entry(compiled.host(rule, side).to_owned()).or_insert(paths);
            }
            for (host, secret) in &compiled.certificates {
                table.certificates.entry(host.clone()).or_insert_with(|| secret.clone());
            }
        }
        table
    }

    /// The hosts that are asked for twice.
    pub fn conflicts(&self) -> Vec<Conflict> {
        let mut holders: BTreeMap<(&str, Side), &Key> = BTreeMap::new();
        let mut conflicts = Vec::new();
        for compiled in self.oldest_first() {
            for (rule, side) in compiled.rules() {
                let host = compiled.host(rule, side);
                match holders.get(&(host, side)) {
                    Some(holder) => conflicts.push(Conflict {
                        host: host.to_owned(),
                        holder: (*holder).clone(),
                        loser: compiled.key.clone(),
                    }),
                    None => {
                        holders.insert((host, side), &compiled.key);
                    }
                }
            }
        }
        conflicts.sort();
        conflicts.dedup();
        conflicts
    }

    fn oldest_first(&self) -> Vec<&Arc<Compiled>> {
        let mut all: Vec<&Arc<Compiled>> = self.ingresses.values().collect();
        all.sort_by_key(|compiled| (compiled.created.unwrap_or(Timestamp::MAX), compiled.key.clone()));
        all
    }
}
