//! The cluster's domain: which records a name has, from the Services and slices as they are.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base_controller::{Index, Informer, Key};
use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use super::names::{self, Asked};
use crate::endpoints;
use crate::service_ip::{cluster_ips, is_ready};

/// How long clients may keep what they were told, the absence of a name included: Services come and go quickly on one machine.
const TTL_SECONDS: u32 = 5;
/// The version of the specification.
const VERSION: &str = "1.1.0";
/// CNAMEs that are followed within the domain.
const ALIASES_MAX: usize = 8;
/// Records of one answer: what is sure to fit into a TCP message.
const RECORDS_MAX: usize = 1000;

/// What the zone reads.
pub(super) trait Directory {
    /// Whether everything there is is known.
    fn is_complete(&self) -> bool;
    fn service(&self, key: &Key) -> Option<Arc<Service>>;
    fn slices(&self, service: &Key) -> Vec<Arc<EndpointSlice>>;
    fn service_at(&self, ip: IpAddr) -> Option<Arc<Service>>;
    fn has_namespace(&self, namespace: &str) -> bool;
}

/// The shared informers.
#[derive(Debug)]
pub(super) struct Caches {
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    by_address: Index<Service>,
    by_service: Index<EndpointSlice>,
}

impl Caches {
    pub(super) fn new(services: &Informer<Service>, slices: &Informer<EndpointSlice>) -> Self {
        let ips = |service: &Service| {
            let ips = service.spec.as_ref().map(cluster_ips).unwrap_or_default();
            ips.iter().map(ToString::to_string).collect()
        };
        Self {
            by_address: services.index("cluster-ip", ips),
            by_service: endpoints::slices_by_service(slices),
            services: services.clone(),
            slices: slices.clone(),
        }
    }
}

impl Directory for Caches {
    fn is_complete(&self) -> bool {
        self.services.is_synced() && self.slices.is_synced()
    }

    fn service(&self, key: &Key) -> Option<Arc<Service>> {
        self.services.get(key)
    }

    fn slices(&self, service: &Key) -> Vec<Arc<EndpointSlice>> {
        self.by_service.get(&service.to_string())
    }

    fn service_at(&self, ip: IpAddr) -> Option<Arc<Service>> {
        self.by_address.get(&ip.to_string()).into_iter().next()
    }

    fn has_namespace(&self, namespace: &str) -> bool {
        !self.services.list_in(namespace).is_empty()
    }
}

/// What the zone says to a question.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: ResponseCode,
    pub(super) answers: Vec<Record>,
    pub(super) authorities: Vec<Record>,
    pub(super) additionals: Vec<Record>,
    /// A name outside of the domain that the answer ends at, still to be resolved.
    pub(super) alias: Option<Name>,
}

/// The domain.
#[derive(Debug)]
pub(super) struct Zone<D> {
    text: String,
    domain: Name,
    address: IpAddr,
    directory: D,
    turn: AtomicUsize,
}

/// What there is at a name.
enum Node {
    Nothing,
    Data(Vec<RData>),
    Alias(Name),
}

impl<D: Directory> Zone<D> {
    /// None if `domain` is no DNS name. `address` is where this server answers.
    pub(super) fn new(domain: &str, address: IpAddr, directory: D) -> Option<Self> {
        let text = domain.trim_end_matches('.').to_ascii_lowercase();
        let name = Name::from_ascii(format!("{text}.")).ok().filter(|name| !name.is_root())?;
        Some(Self { text, domain: name, address, directory, turn: AtomicUsize::new(0) })
    }

    /// The answer to a question about this domain, or about the address of a Service; none for any other.
    pub(super) fn answer(&self, query: &Query) -> Option<Answer> {
        let is_ours = query.query_class() == DNSClass::IN && self.domain.zone_of(query.name());
        if is_ours && !self.directory.is_complete() {
            return Some(Answer { code: ResponseCode::ServFail, ..Answer::default() });
        }
        if is_ours {
            return Some(self.follow(query));
        }
        let service = names::reversed(query.name()).and_then(|ip| self.directory.service_at(ip))?;
        let target = self.service_name(&Key::of(&*service))?;
        let records = vec![record(query.name(), RData::PTR(PTR(target)))];
        Some(self.conclude(query, Answer { answers: only(records, query.query_type()), ..Answer::default() }))
    }

    /// Answers, following CNAMEs as far as they stay in the domain.
    fn follow(&self, query: &Query) -> Answer {
        let mut answer = Answer::default();
        let mut name = query.name().clone();
        for _ in 0..ALIASES_MAX {
            let Some(labels) = names::within(&name, &self.domain) else {
                answer.alias = Some(name);
                return answer;
            };
            match self.node(&names::parse(&labels), query.query_type()) {
                Node::Nothing => {
                    answer.code = ResponseCode::NXDomain;
                    return self.conclude(query, answer);
                }
                Node::Data(data) => {
                    let data: Vec<Record> = data.into_iter().map(|data| record(&name, data)).collect();
                    answer.additionals = self.targets(&data, query.query_type());
                    answer.answers.extend(only(data, query.query_type()));
                    return self.conclude(query, answer);
                }
                Node::Alias(target) => {
                    answer.answers.push(record(&name, RData::CNAME(CNAME(target.clone()))));
                    if query.query_type() == RecordType::CNAME {
                        return answer;
                    }
                    name = target;
                }
            }
        }
        Answer { code: ResponseCode::ServFail, ..Answer::default() }
    }

    /// Says who says so, where there is nothing to say.
    fn conclude(&self, query: &Query, mut answer: Answer) -> Answer {
        let is_about = |record: &Record| record.record_type() == query.query_type();
        if answer.code != ResponseCode::NoError
            || !(query.query_type() == RecordType::ANY || answer.answers.iter().any(is_about))
        {
            answer.authorities.extend(self.soa().map(|soa| record(&self.domain, soa)));
        }
        answer
    }

    fn node(&self, asked: &Asked, kind: RecordType) -> Node {
        match asked {
            Asked::Apex => {
                Node::Data(self.soa().into_iter().chain(self.name(&["ns", "dns"]).map(NS).map(RData::NS)).collect())
            }
            Asked::NameServer => Node::Data(vec![address(self.address)]),
            Asked::Version => Node::Data(vec![RData::TXT(TXT::new(vec![VERSION.to_owned()]))]),
            Asked::Branch => Node::Data(Vec::new()),
            Asked::Namespace(namespace) if self.directory.has_namespace(namespace) => Node::Data(Vec::new()),
            Asked::Service(key) => self.service(key),
            Asked::Port { service, port, protocol } => self.port(service, port, protocol, kind),
            Asked::Endpoint { service, hostname } => self.endpoint(service, hostname),
            Asked::Pod(ip) => Node::Data(vec![address(*ip)]),
            Asked::Namespace(_) | Asked::Unknown => Node::Nothing,
        }
    }

    fn service(&self, key: &Key) -> Node {
        let Some(service) = self.directory.service(key) else { return Node::Nothing };
        let Some(spec) = &service.spec else { return Node::Nothing };
        if let Some(external) = external_name(spec) {
            return match (external.parse::<IpAddr>(), Name::from_ascii(format!("{}.", external.trim_end_matches('.'))))
            {
                (Ok(ip), _) => Node::Data(vec![address(ip)]),
                (Err(_), Ok(target)) => Node::Alias(target),
                (Err(_), Err(_)) => Node::Nothing,
            };
        }
        let ips = cluster_ips(spec);
        if ips.is_empty() {
            Node::Data(self.in_turn(self.headless_ips(key)))
        } else {
            Node::Data(ips.into_iter().map(address).collect())
        }
    }

    fn headless_ips(&self, key: &Key) -> Vec<IpAddr> {
        let mut ips: Vec<IpAddr> =
            self.directory.slices(key).iter().flat_map(|slice| ready(slice)).map(|(_, ip)| ip).collect();
        ips.sort_unstable();
        ips.dedup();
        ips
    }

    /// Begins with another one each time, so that clients that take the first are spread.
    fn in_turn(&self, mut ips: Vec<IpAddr>) -> Vec<RData> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let first = turn.checked_rem(ips.len()).unwrap_or_default();
        ips.rotate_left(first);
        ips.into_iter().take(RECORDS_MAX).map(address).collect()
    }

    fn endpoint(&self, key: &Key, hostname: &str) -> Node {
        let Some(service) = self.directory.service(key) else { return Node::Nothing };
        if !service.spec.as_ref().is_some_and(is_headless) {
            return Node::Nothing;
        }
        let slices = self.directory.slices(key);
        let named =
            slices.iter().flat_map(|slice| ready(slice)).filter(|(endpoint, ip)| host(endpoint, *ip) == hostname);
        let data: Vec<RData> = named.map(|(_, ip)| address(ip)).take(RECORDS_MAX).collect();
        if data.is_empty() { Node::Nothing } else { Node::Data(data) }
    }

    fn port(&self, key: &Key, port: &str, protocol: &str, kind: RecordType) -> Node {
        let Some(service) = self.directory.service(key) else { return Node::Nothing };
        let Some(spec) = service.spec.as_ref().filter(|spec| external_name(spec).is_none()) else {
            return Node::Nothing;
        };
        let is_it = |name: Option<&str>, of: Option<&str>| {
            name == Some(port) && of.unwrap_or("TCP").eq_ignore_ascii_case(protocol)
        };
        if !is_headless(spec) {
            let found =
                spec.ports.iter().flatten().find(|found| is_it(found.name.as_deref(), found.protocol.as_deref()));
            let number = found.and_then(|found| u16::try_from(found.port).ok());
            let (Some(number), Some(target)) = (number, self.service_name(key)) else { return Node::Nothing };
            return Node::Data(vec![RData::SRV(SRV::new(0, 100, number, target))]);
        }
        let declares = spec.ports.iter().flatten().any(|found| is_it(found.name.as_deref(), found.protocol.as_deref()));
        if !declares {
            return Node::Nothing;
        }
        if !matches!(kind, RecordType::SRV | RecordType::ANY) {
            return Node::Data(Vec::new());
        }
        let mut targets: Vec<(String, u16)> = Vec::new();
        for slice in self.directory.slices(key) {
            let found =
                slice.ports.iter().flatten().find(|found| is_it(found.name.as_deref(), found.protocol.as_deref()));
            let Some(number) = found.and_then(|found| found.port).and_then(|port| u16::try_from(port).ok()) else {
                continue;
            };
            targets.extend(ready(&slice).map(|(endpoint, ip)| (host(endpoint, ip), number)));
        }
        targets.sort_unstable();
        targets.dedup();
        targets.truncate(RECORDS_MAX);
        let weight = u16::try_from(100 / targets.len().max(1)).unwrap_or(1).max(1);
        let srv = |(host, number): (String, u16)| {
            let target = self.name(&[&host, key.name(), key.namespace(), "svc"])?;
            Some(RData::SRV(SRV::new(0, weight, number, target)))
        };
        Node::Data(targets.into_iter().filter_map(srv).collect())
    }

    /// The addresses that SRV records lead to, so that the client need not ask again.
    fn targets(&self, records: &[Record], kind: RecordType) -> Vec<Record> {
        if kind != RecordType::SRV {
            return Vec::new();
        }
        let target = |record: &Record| match &record.data {
            RData::SRV(srv) => Some(srv.target.clone()),
            _ => None,
        };
        let mut found = Vec::new();
        for target in records.iter().filter_map(target) {
            let Some(labels) = names::within(&target, &self.domain) else { continue };
            if let Node::Data(data) = self.node(&names::parse(&labels), RecordType::A) {
                found.extend(data.into_iter().map(|data| record(&target, data)));
            }
        }
        found
    }

    fn service_name(&self, key: &Key) -> Option<Name> {
        self.name(&[key.name(), key.namespace(), "svc"])
    }

    fn name(&self, labels: &[&str]) -> Option<Name> {
        Name::from_ascii(format!("{}.{}.", labels.join("."), self.text)).ok()
    }

    fn soa(&self) -> Option<RData> {
        let (server, mailbox) = (self.name(&["ns", "dns"])?, self.name(&["hostmaster"])?);
        Some(RData::SOA(SOA::new(server, mailbox, 1, 7200, 1800, 86_400, TTL_SECONDS)))
    }
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            code: ResponseCode::NoError,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
            alias: None,
        }
    }
}

fn external_name(spec: &ServiceSpec) -> Option<&str> {
    if spec.type_.as_deref() == Some("ExternalName") { spec.external_name.as_deref() } else { None }
}

fn is_headless(spec: &ServiceSpec) -> bool {
    cluster_ips(spec).is_empty() && external_name(spec).is_none()
}

/// The ready endpoints of a slice with their addresses.
fn ready(slice: &EndpointSlice) -> impl Iterator<Item = (&Endpoint, IpAddr)> {
    let endpoints = slice.endpoints.iter().flatten();
    let ready = endpoints.filter(|endpoint| endpoint.conditions.as_ref().is_none_or(is_ready));
    ready.filter_map(|endpoint| Some((endpoint, endpoint.addresses.first()?.parse().ok()?)))
}

/// The label of an endpoint below its Service.
fn host(endpoint: &Endpoint, ip: IpAddr) -> String {
    endpoint.hostname.clone().unwrap_or_else(|| names::dashed(ip))
}

fn address(ip: IpAddr) -> RData {
    match ip {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    }
}

fn record(name: &Name, data: RData) -> Record {
    Record::from_rdata(name.clone(), TTL_SECONDS, data)
}

/// The records that a question of this kind asks for.
fn only(records: Vec<Record>, kind: RecordType) -> Vec<Record> {
    records.into_iter().filter(|record| kind == RecordType::ANY || record.record_type() == kind).collect()
}
