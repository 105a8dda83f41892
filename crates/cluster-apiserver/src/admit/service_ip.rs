//! Addresses of Services: cluster IPs and node ports.
//!
//! What a Service needs its kind says ([`crate::kinds::service::addresses`]); what is free follows from the stored Services alone, so nothing has to
//! be kept beside them and nothing is lost in a restart. Whoever writes a Service holds a lock from choosing an address until the write is
//! done, so that nobody else chooses the same.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::entropy::Entropy;
use crate::kinds::service::addresses::{Allocator, allocate};
use crate::status::Result;
use crate::store::{Revision, Store, TableName};
use crate::value::{i64_at, list_at, str_at, strings_at};
use crate::writes::Context;

/// The addresses that Services get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRange {
    /// The first address of the network; it is not given out.
    pub network: Ipv4Addr,
    /// How many bits of it are fixed, such as 16; between 8 and 30.
    pub prefix_bits: u8,
    /// The ports of NodePort Services.
    pub node_ports: RangeInclusive<u16>,
}

impl Default for ServiceRange {
    fn default() -> Self {
        Self { network: Ipv4Addr::new(10, 96, 0, 0), prefix_bits: 16, node_ports: 30000..=32767 }
    }
}

impl ServiceRange {
    fn first(&self) -> u32 {
        u32::from(self.network) & self.mask()
    }

    fn mask(&self) -> u32 {
        u32::MAX << (32 - u32::from(self.prefix_bits.clamp(8, 30)))
    }

    /// How many addresses can be given out: neither the first nor the last.
    fn size(&self) -> u32 {
        (!self.mask()).saturating_sub(1)
    }

    /// The address of the Service `kubernetes`: the first that is given out.
    pub fn api_address(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.first() + 1)
    }

    fn contains(&self, address: Ipv4Addr) -> bool {
        let offset = u32::from(address).wrapping_sub(self.first());
        (1..=self.size()).contains(&offset)
    }
}

/// Gives out addresses.
pub(crate) struct ServiceIps {
    range: ServiceRange,
    store: Store,
    taken: Arc<Mutex<Taken>>,
}

/// Keeps others from choosing addresses until a write is done.
#[derive(Debug, Default)]
pub(crate) struct Reservation {
    _lock: Option<OwnedMutexGuard<Taken>>,
}

/// What the stored Services have.
#[derive(Debug, Default)]
struct Taken {
    revision: Option<Revision>,
    addresses: BTreeSet<Ipv4Addr>,
    ports: BTreeSet<u16>,
}

impl ServiceIps {
    pub(crate) fn new(range: ServiceRange, store: Store) -> Self {
        Self { range, store, taken: Arc::default() }
    }

    pub(crate) fn range(&self) -> &ServiceRange {
        &self.range
    }

    /// Gives a Service the addresses it lacks and takes away those it must not have. Other kinds pass.
    ///
    /// # Errors
    /// 422 if an address cannot be had.
    pub(crate) async fn allocate(
        &self,
        context: &Context<'_>,
        service: &mut Value,
        old: Option<&Value>,
    ) -> Result<Reservation> {
        if !context.resource.is("", "services") || !context.subresource.is_empty() {
            return Ok(Reservation::default());
        }
        let mut taken = Arc::clone(&self.taken).lock_owned().await;
        self.refresh(&mut taken);
        let entropy = &context.core.entropy;
        let mut choice = Choice { range: &self.range, entropy, taken: &taken, ports: BTreeSet::new() };
        allocate(service, old, &mut choice)
            .map_err(|errors| context.resource.invalid(str_at(service, &["metadata", "name"]), &errors))?;
        Ok(Reservation { _lock: Some(taken) })
    }

    fn refresh(&self, taken: &mut Taken) {
        let table = TableName::from("services");
        let revision = self.store.table_revision(&table);
        if taken.revision == Some(revision) {
            return;
        }
        *taken = Taken { revision: Some(revision), ..Taken::default() };
        for stored in self.store.list(&table, "").objects {
            let Ok(service) = serde_json::from_slice::<Value>(&stored.body) else { continue };
            let addresses = strings_at(&service, &["spec", "clusterIPs"]);
            taken.addresses.extend(addresses.into_iter().filter_map(|address| address.parse::<Ipv4Addr>().ok()));
            let ports = list_at(&service, &["spec", "ports"]).iter().map(|port| i64_at(port, &["nodePort"]));
            let ports = ports.chain([i64_at(&service, &["spec", "healthCheckNodePort"])]).flatten();
            taken.ports.extend(ports.filter_map(|port| u16::try_from(port).ok()).filter(|port| *port != 0));
        }
    }
}

/// The choice of one Service's addresses.
struct Choice<'a> {
    range: &'a ServiceRange,
    entropy: &'a Entropy,
    taken: &'a Taken,
    /// Chosen for this Service a moment ago.
    ports: BTreeSet<u16>,
}

impl Allocator for Choice<'_> {
    fn take_ip(&mut self, ip: IpAddr) -> std::result::Result<(), String> {
        match ip {
            IpAddr::V4(address) if self.taken.addresses.contains(&address) => {
                Err("provided IP is already allocated".to_owned())
            }
            IpAddr::V4(address) if self.range.contains(address) => Ok(()),
            _ => {
                let valid = format!("{}/{}", Ipv4Addr::from(self.range.first()), self.range.prefix_bits);
                Err(format!("the provided IP ({ip}) is not in the valid range. The range of valid IPs is {valid}"))
            }
        }
    }

    /// A free address, found from a random place on, so that one that was just released is not given out again at once.
    fn take_any_ip(&mut self) -> std::result::Result<IpAddr, String> {
        let size = self.range.size();
        let start = u32::try_from(self.entropy.below(u64::from(size))).unwrap_or_default();
        let mut candidates = (0..size).map(|step| Ipv4Addr::from(self.range.first() + 1 + (start + step) % size));
        // The first is the API's own, whether its Service is there already or not.
        let is_free =
            |address: &Ipv4Addr| *address != self.range.api_address() && !self.taken.addresses.contains(address);
        candidates.find(is_free).map(IpAddr::V4).ok_or_else(|| "range is full".to_owned())
    }

    fn take_port(&mut self, port: u16) -> std::result::Result<(), String> {
        let range = &self.range.node_ports;
        if !range.contains(&port) {
            let (first, last) = (range.start(), range.end());
            return Err(format!("provided port is not in the valid range. The range of valid ports is {first}-{last}"));
        }
        if self.taken.ports.contains(&port) || !self.ports.insert(port) {
            return Err("provided port is already allocated".to_owned());
        }
        Ok(())
    }

    fn take_any_port(&mut self) -> std::result::Result<u16, String> {
        let range = &self.range.node_ports;
        let size = u64::from(range.end().saturating_sub(*range.start())) + 1;
        let start = self.entropy.below(size);
        let offsets = (0..size).filter_map(|step| u16::try_from((start + step) % size).ok());
        let mut candidates = offsets.map(|offset| range.start().saturating_add(offset));
        let free = candidates.find(|port| !self.taken.ports.contains(port) && !self.ports.contains(port));
        let free = free.ok_or_else(|| "range is full".to_owned())?;
        self.ports.insert(free);
        Ok(free)
    }
}
