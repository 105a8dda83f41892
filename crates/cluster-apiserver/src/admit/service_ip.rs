//! Addresses of Services: cluster IPs and node ports.
//!
//! What a Service needs its kind says ([`crate::kinds::service::addresses`]); what is free follows from the stored Services alone, so nothing has to
//! be kept beside them and nothing is lost in a restart. Whoever writes a Service reserves what it chose until the write is done,
//! so that nobody else chooses the same.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::entropy::Entropy;
use crate::kinds::service::addresses::{Allocator, Refusal, allocate};
use crate::status::{Result, StatusError};
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

    /// Whether it is an address of the network, if only one that is not given out.
    fn covers(&self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask() == self.first()
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

/// Keeps others from choosing the same addresses until a write is done.
#[derive(Debug, Default)]
pub(crate) struct Reservation(Option<(Arc<Mutex<Taken>>, Held)>);

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some((taken, held)) = self.0.take() {
            let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
            taken.reserved.addresses.retain(|address| !held.addresses.contains(address));
            taken.reserved.ports.retain(|port| !held.ports.contains(port));
        }
    }
}

/// Addresses and ports that somebody has.
#[derive(Debug, Default)]
struct Held {
    addresses: BTreeSet<Ipv4Addr>,
    ports: BTreeSet<u16>,
}

#[derive(Debug, Default)]
struct Taken {
    /// At which the Services were looked at last.
    revision: Option<Revision>,
    /// What the stored Services have.
    stored: Held,
    /// What those have that are about to be stored: admission may take its time with them.
    reserved: Held,
}

impl Taken {
    fn has_address(&self, address: Ipv4Addr) -> bool {
        self.stored.addresses.contains(&address) || self.reserved.addresses.contains(&address)
    }

    fn has_port(&self, port: u16) -> bool {
        self.stored.ports.contains(&port) || self.reserved.ports.contains(&port)
    }
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
    pub(crate) fn allocate(
        &self,
        context: &Context<'_>,
        service: &mut Value,
        old: Option<&Value>,
    ) -> Result<Reservation> {
        if !context.resource.is("", "services") || !context.subresource.is_empty() {
            return Ok(Reservation::default());
        }
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        self.refresh(&mut taken);
        let entropy = &context.core.entropy;
        let is_dry_run = context.is_dry_run;
        let mut choice = Choice { range: &self.range, entropy, taken: &taken, is_dry_run, chosen: Held::default() };
        allocate(service, old, &mut choice).map_err(|refusal| match refusal {
            Refusal::Invalid(errors) => context.resource.invalid(str_at(service, &["metadata", "name"]), &errors),
            Refusal::Internal(why) => StatusError::internal(&why),
            Refusal::Plain(why) => StatusError::new(500, "", why),
        })?;
        let chosen = choice.chosen;
        taken.reserved.addresses.extend(&chosen.addresses);
        taken.reserved.ports.extend(&chosen.ports);
        Ok(Reservation(Some((Arc::clone(&self.taken), chosen))))
    }

    fn refresh(&self, taken: &mut Taken) {
        let table = TableName::from("services");
        let revision = self.store.table_revision(&table);
        if taken.revision == Some(revision) {
            return;
        }
        taken.revision = Some(revision);
        let held = &mut taken.stored;
        *held = Held::default();
        for stored in self.store.list(&table, "").objects {
            let Ok(service) = serde_json::from_slice::<Value>(&stored.body) else { continue };
            let addresses = strings_at(&service, &["spec", "clusterIPs"]);
            held.addresses.extend(addresses.into_iter().filter_map(|address| address.parse::<Ipv4Addr>().ok()));
            let ports = list_at(&service, &["spec", "ports"]).iter().map(|port| i64_at(port, &["nodePort"]));
            let ports = ports.chain([i64_at(&service, &["spec", "healthCheckNodePort"])]).flatten();
            held.ports.extend(ports.filter_map(|port| u16::try_from(port).ok()).filter(|port| *port != 0));
        }
    }
}

/// The choice of one Service's addresses.
struct Choice<'a> {
    range: &'a ServiceRange,
    entropy: &'a Entropy,
    taken: &'a Taken,
    is_dry_run: bool,
    /// For this Service, a moment ago.
    chosen: Held,
}

impl Allocator for Choice<'_> {
    fn take_ip(&mut self, ip: IpAddr) -> std::result::Result<(), String> {
        match ip {
            IpAddr::V4(address) if self.taken.has_address(address) => {
                Err("provided IP is already allocated".to_owned())
            }
            IpAddr::V4(address) if self.range.contains(address) => {
                self.chosen.addresses.insert(address);
                Ok(())
            }
            // A dry run asks the network alone, and a write first whether there is one.
            IpAddr::V4(address) if self.is_dry_run || self.range.covers(address) => {
                let valid = format!("{}/{}", Ipv4Addr::from(self.range.first()), self.range.prefix_bits);
                Err(format!("the provided IP ({ip}) is not in the valid range. The range of valid IPs is {valid}"))
            }
            _ => Err("the provided network does not match the current range".to_owned()),
        }
    }

    /// A free address, found from a random place on, so that one that was just released is not given out again at once.
    fn take_any_ip(&mut self) -> Option<IpAddr> {
        let size = self.range.size();
        let start = u32::try_from(self.entropy.below(u64::from(size))).unwrap_or_default();
        let mut candidates = (0..size).map(|step| Ipv4Addr::from(self.range.first() + 1 + (start + step) % size));
        // The first is the API's own, whether its Service is there already or not.
        let is_free = |address: &Ipv4Addr| *address != self.range.api_address() && !self.taken.has_address(*address);
        let free = candidates.find(is_free)?;
        self.chosen.addresses.insert(free);
        Some(IpAddr::V4(free))
    }

    fn take_port(&mut self, port: i64) -> std::result::Result<(), String> {
        let range = &self.range.node_ports;
        let Some(port) = u16::try_from(port).ok().filter(|port| range.contains(port)) else {
            let (first, last) = (range.start(), range.end());
            return Err(format!("provided port is not in the valid range. The range of valid ports is {first}-{last}"));
        };
        if self.taken.has_port(port) || !self.chosen.ports.insert(port) {
            return Err("provided port is already allocated".to_owned());
        }
        Ok(())
    }

    fn take_any_port(&mut self) -> Option<u16> {
        let range = &self.range.node_ports;
        let size = u64::from(range.end().saturating_sub(*range.start())) + 1;
        let start = self.entropy.below(size);
        let offsets = (0..size).filter_map(|step| u16::try_from((start + step) % size).ok());
        let mut candidates = offsets.map(|offset| range.start().saturating_add(offset));
        let free = candidates.find(|port| !self.taken.has_port(*port) && !self.chosen.ports.contains(port))?;
        self.chosen.ports.insert(free);
        Some(free)
    }
}
