//! What the activator knows of one Revision: its Pods, who waits for one, and what has been counted.
//!
//! ```text
//! Endpoints, probes ─► pods ─► assign (several activators) ─► capacity ─► gate: wakes exactly as many as there is room for
//!                                                                           └► pick: in turn with a limit, two choices without
//! ```
//! Invariants: one lock for the turn, one for what is known, none held while waiting; capacity shrinks before the Pods do and grows after
//! them, so that whoever passes the gate finds a Pod (but for a moment, in which it enters again).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use base_net::connect::{Address, Target};
use k8s_openapi::api::core::v1::{Container, Endpoints};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use knative_apis::meta::{Key, label, label_value, port};
use knative_apis::networking::Protocol;
use knative_apis::serving::v1::Revision;
use knative_logic::breaker::UNLIMITED;
use knative_logic::pick::{self, Turn};
use tokio::task::AbortHandle;

use super::reporter::Counters;
use crate::gate::{Gate, Permit, Refused};
use crate::gateway::ready_addresses;
use crate::internal_tls::name_of_namespace;
use crate::pods::{self, OnItsWay, Pod};
use crate::timeouts::Timeouts;

/// Requests that wait for one Revision at most.
const QUEUE_DEPTH: usize = 10_000;

/// What the Revision says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spec {
    /// Requests per Pod at a time; 0 is any number.
    pub(super) concurrency: u32,
    pub(super) timeouts: Timeouts,
    is_http2: bool,
    /// Whether TLS is spoken with the Pods.
    is_secured: bool,
    /// Whether a Pod may be asked before it is ready: not if its readiness is not what queue-proxy says.
    may_probe: bool,
}

impl Spec {
    pub(super) fn of(revision: &Revision, is_secured: bool) -> Self {
        let spec = &revision.spec;
        let seconds = |limit: Option<i64>| limit.unwrap_or_default();
        let decides_itself = |container: &Container| {
            let has_command = container.readiness_probe.as_ref().is_some_and(|probe| probe.exec.is_some());
            has_command || container.startup_probe.is_some()
        };
        Self {
            concurrency: u32::try_from(spec.concurrency_limit()).unwrap_or_default(),
            timeouts: Timeouts::of_seconds(
                seconds(spec.timeout_seconds),
                seconds(spec.response_start_timeout_seconds),
                seconds(spec.idle_timeout_seconds),
            ),
            is_http2: revision.protocol() == Protocol::H2c,
            is_secured,
            may_probe: !spec.pod.containers.iter().any(decides_itself),
        }
    }

    /// The same, with TLS or without.
    pub(super) const fn secured(self, is_secured: bool) -> Self {
        Self { is_secured, ..self }
    }

    /// Where a Pod of a namespace serves.
    fn target(&self, namespace: &str, ip: IpAddr) -> Target {
        let serves_at = |port: i32| SocketAddr::new(ip, u16::try_from(port).unwrap_or_default());
        let of = |addr| if self.is_http2 { Target::http2(addr) } else { Target::http1(addr) };
        match name_of_namespace(namespace).filter(|_| self.is_secured) {
            Some(name) => of(serves_at(port::BACKEND_HTTPS)).with_tls(name),
            None if self.is_http2 => of(serves_at(port::BACKEND_HTTP2)),
            None => of(serves_at(port::BACKEND_HTTP)),
        }
    }
}

/// One Revision.
#[derive(Debug)]
pub(crate) struct Throttler {
    pub(super) key: Key,
    /// The names of the Service and the Configuration, for the log.
    owners: OnceLock<(String, String)>,
    gate: Arc<Gate>,
    spec: ArcSwap<Spec>,
    pods: ArcSwap<Vec<Arc<Pod>>>,
    turn: Mutex<Turn>,
    known: Mutex<Known>,
    pub(super) counters: Mutex<Option<Counters>>,
}

#[derive(Debug, Default)]
struct Known {
    ready: BTreeSet<IpAddr>,
    /// Not ready as far as the Endpoints say. With each the probe that asks it, if it is asked.
    unready: BTreeMap<IpAddr, Option<AbortHandle>>,
    /// Those of the unready that said that they are.
    answered: BTreeSet<IpAddr>,
    /// This activator's place among those that stand in front of the Revision, and how many these are.
    share: (Option<usize>, usize),
}

/// A request that may go to a Pod.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) pod: Arc<Pod>,
    /// Held until the response is over.
    pub(super) held: (Permit, OnItsWay),
}

impl Throttler {
    pub(super) fn new(key: Key, spec: Spec) -> Arc<Self> {
        Arc::new(Self {
            key,
            owners: OnceLock::new(),
            gate: Gate::new(0, QUEUE_DEPTH),
            spec: ArcSwap::from_pointee(spec),
            pods: ArcSwap::default(),
            turn: Mutex::default(),
            known: Mutex::default(),
            counters: Mutex::default(),
        })
    }

    /// Whose Revision it is; once said it stays so.
    pub(super) fn set_owners(&self, revision: &ObjectMeta) {
        let name = |label| label_value(revision, label).unwrap_or_default().to_owned();
        self.owners.get_or_init(|| (name(label::SERVICE), name(label::CONFIGURATION)));
    }

    /// The names of its Service and its Configuration, empty where there is none.
    pub(super) fn owners(&self) -> (String, String) {
        self.owners.get().cloned().unwrap_or_default()
    }

    /// Where a Pod serves.
    pub(super) fn target(&self, ip: IpAddr) -> Target {
        self.spec().target(&self.key.namespace, ip)
    }

    pub(super) fn spec(&self) -> Spec {
        **self.spec.load()
    }

    /// How many requests may be on their way.
    pub(super) fn capacity(&self) -> u32 {
        self.gate.capacity()
    }

    /// How many wait.
    pub(super) fn queued(&self) -> usize {
        self.gate.queued()
    }

    /// The Revision is gone: nobody waits for it any more.
    pub(super) fn close(&self) {
        for probe in std::mem::take(&mut self.known().unready).into_values().flatten() {
            probe.abort();
        }
        self.gate.close();
    }

    /// Waits for a place at a Pod. Cancel-safe.
    pub(super) async fn admit(&self) -> Result<Admitted, Refused> {
        loop {
            let permit = self.gate.enter().await?;
            if let Some((pod, on_its_way)) = self.pick() {
                return Ok(Admitted { pod, held: (permit, on_its_way) });
            }
            drop(permit);
            tokio::task::yield_now().await;
        }
    }

    fn pick(&self) -> Option<(Arc<Pod>, OnItsWay)> {
        let pods = self.pods.load();
        if self.spec.load().concurrency == 0 {
            let pod = pods::two_choices(&pods)?;
            return Some((Arc::clone(pod), pod.begin()));
        }
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let load = |index: usize| pods.get(index).map(|pod| pod.load()).unwrap_or_default();
        let in_turn = turn.next(pods.len(), load).and_then(|index| pods.get(index));
        // More slots than room: the Pods have become fewer. queue-proxy lets it wait.
        let pod = in_turn.or_else(|| pods::two_choices(&pods))?;
        Some((Arc::clone(pod), pod.begin()))
    }

    pub(super) fn set_spec(&self, spec: Spec) {
        let mut known = self.known();
        self.spec.store(Arc::new(spec));
        self.settle(&mut known);
    }

    /// What the Endpoints of the private Service say. `probe` starts asking a Pod that is not ready.
    pub(super) fn set_pods(&self, endpoints: Option<&Endpoints>, probe: impl Fn(IpAddr) -> AbortHandle) {
        let ready: BTreeSet<IpAddr> = endpoints.map(|e| ready_addresses(e).collect()).unwrap_or_default();
        let unready: BTreeSet<IpAddr> = endpoints.map(|e| unready_addresses(e).collect()).unwrap_or_default();
        let may_probe = self.spec().may_probe;
        let mut known = self.known();
        known.ready = ready;
        let before = std::mem::take(&mut known.unready);
        for (ip, asking) in before {
            match asking {
                handle if unready.contains(&ip) => drop(known.unready.insert(ip, handle)),
                Some(handle) => handle.abort(),
                None => {}
            }
        }
        let starting: Vec<IpAddr> = unready.difference(&known.ready).copied().collect();
        for ip in starting {
            known.unready.entry(ip).or_insert_with(|| may_probe.then(|| probe(ip)));
        }
        known.answered.retain(|ip| unready.contains(ip));
        self.settle(&mut known);
    }

    /// What the Endpoints of the public Service say: which activators share the Pods.
    pub(super) fn set_share(&self, endpoints: Option<&Endpoints>, own: Option<IpAddr>) {
        let all: BTreeSet<IpAddr> = endpoints.map(|e| ready_addresses(e).collect()).unwrap_or_default();
        let index = own.and_then(|own| all.iter().position(|ip| *ip == own));
        let mut known = self.known();
        known.share = (index, all.len());
        self.settle(&mut known);
    }

    /// A Pod says that it is ready before the Endpoints do, or no longer.
    pub(super) fn set_answered(&self, ip: IpAddr) {
        let mut known = self.known();
        if known.unready.contains_key(&ip) && known.answered.insert(ip) {
            self.settle(&mut known);
        }
    }

    /// A Pod took no connection. One that is used only because it said that it is ready has to say so again; `probe` starts asking it.
    pub(super) fn set_refused(&self, target: &Target, probe: impl FnOnce(IpAddr) -> AbortHandle) {
        let Address::Tcp(addr) = &target.address else { return };
        let mut known = self.known();
        if known.answered.remove(&addr.ip()) {
            let before = known.unready.insert(addr.ip(), Some(probe(addr.ip())));
            before.flatten().iter().for_each(AbortHandle::abort);
            self.settle(&mut known);
        }
    }

    fn settle(&self, known: &mut Known) {
        let spec = self.spec();
        let ips: Vec<IpAddr> = known.ready.union(&known.answered).copied().collect();
        let (index, activators) = known.share;
        let before = self.pods.load_full();
        let assigned = pick::assign(ips.len(), index, activators, spec.concurrency);
        let pods: Vec<Arc<Pod>> = assigned
            .into_iter()
            .filter_map(|(pod, capacity)| {
                ips.get(pod).map(|ip| Pod::new(spec.target(&self.key.namespace, *ip), capacity, &before))
            })
            .collect();
        let capacity = match spec.concurrency {
            0 if pods.is_empty() => 0,
            0 => UNLIMITED,
            _ => pods.iter().fold(0, |sum: u32, pod| sum.saturating_add(pod.capacity)),
        };
        if capacity < self.gate.capacity() {
            self.gate.resize(capacity);
        }
        self.pods.store(Arc::new(pods));
        self.gate.resize(capacity);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unready_addresses(endpoints: &Endpoints) -> impl Iterator<Item = IpAddr> + '_ {
    let addresses = endpoints.subsets.iter().flatten().flat_map(|subset| subset.not_ready_addresses.iter().flatten());
    addresses.filter_map(|address| address.ip.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use serde_json::json;
    use std::collections::BTreeMap as Counts;

    fn spec(concurrency: u32) -> Spec {
        Spec { concurrency, timeouts: Timeouts::default(), is_http2: false, is_secured: false, may_probe: true }
    }

    fn endpoints(ips: &[&str]) -> Endpoints {
        let addresses: Vec<_> = ips.iter().map(|ip| json!({"ip": ip})).collect();
        serde_json::from_value(json!({"subsets": [{"addresses": addresses}]})).unwrap()
    }

    fn no_probe(_ip: IpAddr) -> AbortHandle {
        panic!("nobody is to be asked")
    }

    #[test]
    fn capacity_follows_pods_and_activators() {
        let activators = endpoints(&["10.0.9.1", "10.0.9.2"]);
        let own = Some("10.0.9.1".parse().unwrap());
        for (concurrency, ips, is_shared, expected) in [
            (0, &[][..], false, 0),
            (0, &["10.0.0.1"], false, UNLIMITED),
            (10, &["10.0.0.1", "10.0.0.2"], false, 20),
            (10, &["10.0.0.1", "10.0.0.2"], true, 10),
            (10, &["10.0.0.1"], true, 5),
        ] {
            let throttler = Throttler::new(Key::new("default", "a"), spec(concurrency));
            if is_shared {
                throttler.set_share(Some(&activators), own);
            }
            throttler.set_pods(Some(&endpoints(ips)), no_probe);
            assert_eq!(throttler.capacity(), expected, "{concurrency} {ips:?}");
        }
    }

    #[tokio::test]
    async fn pods_are_filled_evenly_up_to_their_limit() {
        let throttler = Throttler::new(Key::new("default", "a"), spec(2));
        throttler.set_pods(Some(&endpoints(&["10.0.0.1", "10.0.0.2", "10.0.0.3"])), no_probe);
        let mut admitted = Vec::new();
        while let Some(one) = throttler.admit().now_or_never() {
            admitted.push(one.unwrap());
        }
        let mut counts: Counts<String, u32> = Counts::new();
        for one in &admitted {
            *counts.entry(one.pod.target.to_string()).or_default() += 1;
        }
        assert_eq!(counts.into_values().collect::<Vec<_>>(), [2, 2, 2]);
        admitted.pop();
        assert!(throttler.admit().now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_pod_that_answers_counts_before_it_is_ready() {
        let throttler = Throttler::new(Key::new("default", "a"), spec(1));
        let unready: Endpoints =
            serde_json::from_value(json!({"subsets": [{"notReadyAddresses": [{"ip": "10.0.0.1"}]}]})).unwrap();
        let (handle, shutdown) = base_rt::Shutdown::new();
        let tasks = base_rt::Tasks::new(shutdown);
        let probe = |_ip| tasks.spawn_transient("probe", std::future::pending());
        throttler.set_pods(Some(&unready), probe);
        assert_eq!(throttler.capacity(), 0);
        throttler.set_answered("10.0.0.1".parse().unwrap());
        assert_eq!(throttler.capacity(), 1);
        let target = throttler.target("10.0.0.1".parse().unwrap());
        throttler.set_refused(&target, probe);
        assert_eq!(throttler.capacity(), 0, "it has to say so again");
        throttler.set_refused(&target, no_probe);
        throttler.set_answered("10.0.0.1".parse().unwrap());
        assert_eq!(throttler.capacity(), 1);
        throttler.set_pods(Some(&endpoints(&["10.0.0.1"])), no_probe);
        throttler.set_refused(&target, no_probe);
        assert_eq!(throttler.capacity(), 1, "of what the Endpoints say the Endpoints are to be asked");
        throttler.set_pods(None, no_probe);
        assert_eq!(throttler.capacity(), 0);
        tasks.finished().await;
        drop(handle);
    }
}
