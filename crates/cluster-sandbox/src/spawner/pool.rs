//! Parked pods: what takes longest of a pod, made ahead of it in quiet moments.
//!
//! ```text
//! a quiet moment ──▶ one more is parked: namespaces, an address, a link that is confirmed ──▶ … until there are enough
//! CreatePod that one suits ──▶ it is taken: host name, sockets and files follow, as in a pod that is made then and there
//! ```
//! A parked pod is nobody's: it has no name and no state, and nobody is told of it. It suits every pod with a network of its own, unless
//! that has users of its own, to whom its namespaces would have to belong. Who has taken one cannot tell.
//!
//! Invariants: there are never more than the configuration says; a start never waits for one; an address that somebody asks for, or the
//! last one, is not kept by a parked pod; they go first when everything ends.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::server::Spawner;
use crate::network::NetworkError;
use crate::network::pod::{PodLink, PodNamespaces, WantedSockets};
use crate::spec::{PodNetwork, PodSpec};
use crate::sys::time::Moment;

/// A pod without a name.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) namespaces: PodNamespaces,
    pub(super) link: PodLink,
}

/// Those that are parked.
#[derive(Debug)]
pub(super) struct Pool {
    parked: VecDeque<Parked>,
    /// How many there should be.
    wanted: usize,
    /// When the next one is made, if one is missing.
    due: Moment,
    /// How many were taken.
    pub(super) taken: u64,
}

/// How long nothing has begun or ended before one is parked: making one takes a few milliseconds, in which the spawner does nothing else.
const QUIET: Duration = Duration::from_millis(250);
/// How long nothing is parked after that has failed.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

impl Pool {
    pub(super) fn new(wanted: u8) -> Self {
        Self { parked: VecDeque::new(), wanted: wanted.into(), due: Moment::now().after(QUIET), taken: 0 }
    }

    /// Something has begun or ended: nothing is parked for a moment.
    pub(super) fn rest(&mut self) {
        self.due = Moment::now().after(QUIET);
    }

    /// How many are parked.
    pub(super) fn len(&self) -> usize {
        self.parked.len()
    }

    /// When the next one is made; none if there are enough.
    pub(super) fn due(&self) -> Option<Moment> {
        (self.parked.len() < self.wanted).then_some(self.due)
    }

    /// The one that suits a pod.
    fn take(&mut self, spec: &PodSpec) -> Option<Parked> {
        if spec.network != PodNetwork::Own || spec.has_own_users {
            return None;
        }
        let suits = |parked: &Parked| spec.ip.is_none_or(|ip| ip == parked.link.ip);
        self.parked.iter().position(suits).and_then(|at| self.parked.remove(at))
    }
}

impl Spawner {
    /// A parked pod for this one, if one suits.
    pub(super) fn take_parked(&mut self, spec: &PodSpec) -> Option<Parked> {
        let parked = self.pool.take(spec)?;
        self.pool.taken = self.pool.taken.saturating_add(1);
        Some(parked)
    }

    /// Parks one more, if it is time.
    pub(super) fn refill(&mut self) {
        if self.ending.is_some() || !self.pool.due().is_some_and(Moment::is_past) {
            return;
        }
        self.pool.rest();
        if let Err(error) = self.park() {
            tracing::warn!(error = base_rt::error_chain(&error), "no pod can be parked");
            self.pool.due = Moment::now().after(AFTER_FAILURE);
        }
    }

    fn park(&mut self) -> Result<(), NetworkError> {
        let (Some(network), Some(addresses)) = (&mut self.machine.network, &mut self.machine.addresses) else {
            self.pool.wanted = 0;
            return Ok(());
        };
        let ip = addresses.take(None)?;
        self.links_made = self.links_made.wrapping_add(1);
        let made = PodNamespaces::create(&self.machine.home, ("", None), WantedSockets::default());
        let parked = made.and_then(|(mut namespaces, _)| {
            let link = network.join(&mut namespaces, ip, self.links_made)?;
            Ok(Parked { namespaces, link })
        });
        let parked = parked.inspect_err(|_| addresses.free(ip))?;
        self.pool.parked.push_back(parked);
        Ok(())
    }

    /// Lets go of the parked pod that has this address, or of all. Whether there was one.
    pub(super) fn unpark(&mut self, ip: Option<Ipv4Addr>) -> bool {
        let is_meant = |parked: &Parked| ip.is_none_or(|ip| ip == parked.link.ip);
        let (gone, kept): (VecDeque<_>, _) = self.pool.parked.drain(..).partition(is_meant);
        self.pool.parked = kept;
        for parked in &gone {
            self.unlink(parked.link);
        }
        self.pool.rest();
        !gone.is_empty()
    }
}
