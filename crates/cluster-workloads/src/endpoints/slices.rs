//! EndpointSlices of one owner: which endpoints stand in which slice, with as few changes as can be.
//!
//! A slice has one address family and one list of ports. Endpoints that stay keep their slice and place; new ones fill what has room; the
//! rest makes new slices. A slice that is not needed is turned into one that is, or deleted; where there is no endpoint at all, one stays, empty.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base_controller::overlay::overlay;
use base_controller::{Change, Index, Informer, Key};
use base_rt::Timestamp;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::resources::{TRIGGER_TIME, exactly, trigger_time};

/// Endpoints that one slice has at most.
pub(super) const MAX_PER_SLICE: usize = 100;
/// The label that names a slice's Service.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The label that names who makes a slice.
pub(super) const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// The label of what belongs to a Service without a ClusterIP.
pub(super) const HEADLESS: &str = "service.kubernetes.io/headless";
/// Who makes the slices of Services with a selector.
pub(super) const BY_SELECTOR: &str = "endpointslice-controller.k8s.io";
/// Who copies Endpoints into slices.
pub(super) const BY_MIRRORING: &str = "endpointslicemirroring-controller.k8s.io";

/// The Service that a slice belongs to.
pub(crate) fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some(Key::new(slice.metadata.namespace.as_deref().unwrap_or_default(), name.as_str()))
}

/// Slices by the Service that they belong to.
pub(crate) fn index(slices: &Informer<EndpointSlice>) -> Index<EndpointSlice> {
    slices.index("service", |slice| service_of(slice).map(|key| key.to_string()).into_iter().collect())
}

/// The slices of a Service that a controller has made and nobody is deleting.
pub(super) fn of(index: &Index<EndpointSlice>, service: &Key, managed_by: &str) -> Vec<Arc<EndpointSlice>> {
    let is_managed = |slice: &Arc<EndpointSlice>| {
        let labels = slice.metadata.labels.as_ref();
        let by = labels.and_then(|labels| labels.get(MANAGED_BY)).map(String::as_str);
        by == Some(managed_by) && slice.metadata.deletion_timestamp.is_none()
    };
    index.get(&service.to_string()).into_iter().filter(is_managed).collect()
}

/// Endpoints that may share a slice.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) address_type: &'static str,
    pub(super) ports: Vec<EndpointPort>,
    pub(super) endpoints: Vec<Endpoint>,
}

/// What an owner's slices are to say.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Of each slice; with a `generateName`.
    pub(super) metadata: ObjectMeta,
    pub(super) groups: Vec<Group>,
    /// Whether an empty slice stays where there is no endpoint.
    pub(super) keeps_placeholder: bool,
    /// Since when the ready endpoints are ready, by the uid of their targets.
    pub(super) newly_ready: BTreeMap<String, Timestamp>,
}

/// A slice that is to be, and the one that becomes it.
struct Slot<'a> {
    known: Option<&'a EndpointSlice>,
    address_type: &'a str,
    ports: &'a [EndpointPort],
    endpoints: Vec<Endpoint>,
}

/// What has to be written so that the slices say what is wanted.
pub(super) fn changes(wanted: &Wanted, known: &[Arc<EndpointSlice>]) -> Vec<Change> {
    let (mut slots, mut spare) = pack(&wanted.groups, known);
    for slot in slots.iter_mut().filter(|slot| slot.known.is_none()) {
        let reusable = spare.iter().position(|slice| slice.address_type == slot.address_type);
        slot.known = reusable.map(|index| spare.remove(index));
    }
    if slots.is_empty() && wanted.keeps_placeholder {
        let known = if spare.is_empty() { None } else { Some(spare.remove(0)) };
        let address_type = known.map_or("IPv4", |known| known.address_type.as_str());
        slots.push(Slot { known, address_type, ports: &[], endpoints: Vec::new() });
    }
    let told = told_ready(known);
    let trigger = trigger_time(&wanted.newly_ready, &told);
    let written = slots.iter().filter_map(|slot| slot.change(&wanted.metadata, &trigger));
    written.chain(spare.into_iter().map(Change::delete)).collect()
}

/// Distributes endpoints over slices; what comes second is not needed.
fn pack<'a>(groups: &'a [Group], known: &'a [Arc<EndpointSlice>]) -> (Vec<Slot<'a>>, Vec<&'a EndpointSlice>) {
    let mut slots = Vec::new();
    let mut spare: Vec<&EndpointSlice> = known.iter().map(|slice| &**slice).collect();
    for group in groups {
        let is_alike = |slice: &&EndpointSlice| {
            slice.address_type == group.address_type && slice.ports.as_deref().unwrap_or_default() == group.ports
        };
        let (alike, others) = spare.into_iter().partition(is_alike);
        spare = others;
        spare.extend(fill(group, alike, &mut slots));
    }
    (slots, spare)
}

/// Fills the slices of one group; returns those that would be empty.
fn fill<'a>(group: &'a Group, alike: Vec<&'a EndpointSlice>, slots: &mut Vec<Slot<'a>>) -> Vec<&'a EndpointSlice> {
    let mut by_identity: BTreeMap<Identity<'_>, &Endpoint> =
        group.endpoints.iter().map(|endpoint| (identity(endpoint), endpoint)).collect();
    let mut kept: Vec<(&EndpointSlice, Vec<Endpoint>)> = Vec::new();
    for slice in alike {
        let stay = slice.endpoints.iter().flatten().filter_map(|known| by_identity.remove(&identity(known)));
        kept.push((slice, stay.take(MAX_PER_SLICE).cloned().collect()));
    }
    let is_left = |endpoint: &&Endpoint| by_identity.contains_key(&identity(endpoint));
    let mut left = group.endpoints.iter().filter(is_left).cloned().peekable();
    for (_, endpoints) in &mut kept {
        let room = MAX_PER_SLICE - endpoints.len().min(MAX_PER_SLICE);
        endpoints.extend(left.by_ref().take(room));
    }
    let (full, empty): (Vec<_>, Vec<_>) = kept.into_iter().partition(|(_, endpoints)| !endpoints.is_empty());
    let slot = |known, endpoints| Slot { known, address_type: group.address_type, ports: &group.ports, endpoints };
    slots.extend(full.into_iter().map(|(slice, endpoints)| slot(Some(slice), endpoints)));
    while left.peek().is_some() {
        slots.push(slot(None, left.by_ref().take(MAX_PER_SLICE).collect()));
    }
    empty.into_iter().map(|(slice, _)| slice).collect()
}

/// What makes an endpoint the same one: its target and its address.
type Identity<'a> = (Option<&'a str>, Option<&'a str>);

fn identity(endpoint: &Endpoint) -> Identity<'_> {
    let uid = endpoint.target_ref.as_ref().and_then(|target| target.uid.as_deref());
    (uid, endpoint.addresses.first().map(String::as_str))
}

fn told_ready(known: &[Arc<EndpointSlice>]) -> BTreeSet<&str> {
    let endpoints = known.iter().flat_map(|slice| slice.endpoints.iter().flatten());
    let ready = endpoints.filter(|endpoint| endpoint.conditions.as_ref().is_some_and(|c| c.ready == Some(true)));
    ready.filter_map(|endpoint| identity(endpoint).0).collect()
}

impl Slot<'_> {
    fn change(&self, metadata: &ObjectMeta, trigger: &Value) -> Option<Change> {
        let Some(known) = self.known else { return Some(self.create(metadata, trigger)) };
        let no_labels = BTreeMap::new();
        let labels = exactly(known.metadata.labels.as_ref(), metadata.labels.as_ref().unwrap_or(&no_labels));
        let annotations = metadata.annotations.as_ref().unwrap_or(&no_labels);
        let mut annotations = exactly(known.metadata.annotations.as_ref(), annotations);
        annotations.remove(TRIGGER_TIME);
        let mut fields = Map::new();
        fields.insert("ownerReferences".to_owned(), json!(metadata.owner_references));
        insert(&mut fields, "labels", &labels);
        insert(&mut fields, "annotations", &annotations);
        let before = serde_json::to_value(known).unwrap_or_default();
        let mut desired = json!({"metadata": fields, "endpoints": some(&self.endpoints), "ports": some(self.ports)});
        if overlay(&before, &desired) == before {
            return None;
        }
        annotations.insert(TRIGGER_TIME.to_owned(), trigger.clone());
        if let Some(fields) = desired.get_mut("metadata").and_then(Value::as_object_mut) {
            insert(fields, "annotations", &annotations);
        }
        Some(Change::overlay_fields(known, desired))
    }

    fn create(&self, metadata: &ObjectMeta, trigger: &Value) -> Change {
        let mut metadata = metadata.clone();
        if let Value::String(trigger) = trigger {
            metadata.annotations.get_or_insert_default().insert(TRIGGER_TIME.to_owned(), trigger.clone());
        }
        Change::create(&EndpointSlice {
            metadata,
            address_type: self.address_type.to_owned(),
            endpoints: Some(self.endpoints.clone()),
            ports: (!self.ports.is_empty()).then(|| self.ports.to_vec()),
        })
    }
}

/// A list, or nothing for an empty one.
fn some(list: &[impl Serialize]) -> Value {
    if list.is_empty() { Value::Null } else { json!(list) }
}

/// Adds a map, unless it has nothing to say.
fn insert(fields: &mut Map<String, Value>, name: &str, map: &BTreeMap<String, Value>) {
    if !map.is_empty() {
        fields.insert(name.to_owned(), json!(map));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ObjectReference;

    fn endpoint(n: usize) -> Endpoint {
        let target = ObjectReference { uid: Some(format!("u{n}")), ..ObjectReference::default() };
        Endpoint {
            addresses: vec![format!("10.0.{}.{}", n / 256, n % 256)],
            target_ref: Some(target),
            ..Endpoint::default()
        }
    }

    fn port(number: i32) -> Vec<EndpointPort> {
        vec![EndpointPort { port: Some(number), ..EndpointPort::default() }]
    }

    fn group(number: i32, endpoints: impl Iterator<Item = usize>) -> Group {
        Group { address_type: "IPv4", ports: port(number), endpoints: endpoints.map(endpoint).collect() }
    }

    fn slice(name: &str, number: i32, endpoints: impl Iterator<Item = usize>) -> Arc<EndpointSlice> {
        Arc::new(EndpointSlice {
            metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() },
            address_type: "IPv4".into(),
            endpoints: Some(endpoints.map(endpoint).collect()),
            ports: Some(port(number)),
        })
    }

    fn planned(groups: Vec<Group>, known: &[Arc<EndpointSlice>]) -> Vec<Value> {
        let wanted =
            Wanted { metadata: ObjectMeta::default(), groups, keeps_placeholder: true, newly_ready: BTreeMap::new() };
        changes(&wanted, known).iter().map(|change| serde_json::to_value(change).unwrap()).collect()
    }

    fn count(change: &Value) -> usize {
        let fields = change.get("fields").unwrap_or(&change["object"]);
        fields["endpoints"].as_array().map_or(0, Vec::len)
    }

    #[test]
    fn many_endpoints_make_several_slices() {
        let made = planned(vec![group(80, 0..250)], &[]);
        assert_eq!(made.iter().map(count).collect::<Vec<_>>(), [100, 100, 50]);
    }

    #[test]
    fn what_stays_keeps_its_place_and_new_ones_fill_the_room() {
        let known = [slice("a", 80, 0..100), slice("b", 80, 100..150)];
        let made = planned(vec![group(80, (0..150).filter(|n| *n != 7).chain(200..210))], &known);
        assert_eq!(made.len(), 2, "{made:?}");
        assert_eq!((count(&made[0]), count(&made[1])), (100, 59));
        assert_eq!(made[0]["fields"]["endpoints"][7]["addresses"][0], "10.0.0.8");
        assert!(planned(vec![group(80, 0..150)], &known).is_empty(), "nothing changed");
    }

    #[test]
    fn a_slice_that_is_not_needed_becomes_another_or_goes() {
        let known = [slice("a", 80, 0..1), slice("b", 80, 1..2)];
        let made = planned(vec![group(81, 0..2)], &known);
        assert_eq!((made[0]["overlay"].as_str(), count(&made[0])), (Some("EndpointSlice.discovery.k8s.io a"), 2));
        assert_eq!(made[1]["delete"], "EndpointSlice.discovery.k8s.io b");
    }

    #[test]
    fn where_nothing_is_left_one_empty_slice_stays() {
        let known = [slice("a", 80, 0..1), slice("b", 80, 1..2)];
        let made = planned(vec![], &known);
        assert_eq!(made[0]["fields"]["endpoints"], Value::Null);
        assert_eq!((made[0]["fields"]["ports"].clone(), made.len()), (Value::Null, 2));
        assert_eq!(planned(vec![], &[])[0]["create"], "EndpointSlice.discovery.k8s.io ");
    }
}
