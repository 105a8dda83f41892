//! The node ports of a Service.
//!
//! Specified by kube-apiserver's `initNodePorts` and `updateNodePorts`, which differ: ports of one number share a node port in a new Service,
//! and get one each in a change.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::addresses::{Allocator, FULL, Refusal, wants_node_ports};
use crate::{
    field_error::{FieldError, FieldPath},
    value::{as_object, i64_at, list_at, list_at_mut, str_at},
};

/// The node ports that a Service names.
pub(super) fn of(service: &Value) -> BTreeSet<i64> {
    list_at(service, &["spec", "ports"]).iter().map(node_port).filter(|port| *port != 0).collect()
}

/// Takes the node ports of a new Service.
///
/// # Errors
/// One cannot be had.
pub(super) fn set(new: &mut Value, allocator: &mut dyn Allocator) -> Result<(), Refusal> {
    let is_wanted = wants_node_ports(new);
    let number = |port: &Value| i64_at(port, &["port"]).unwrap_or_default();
    let ports = list_at(new, &["spec", "ports"]);
    // Of a number's ports, the first that asks for a node port asks for all.
    let asked: BTreeMap<i64, i64> =
        ports.iter().rev().filter(|port| node_port(port) != 0).map(|port| (number(port), node_port(port))).collect();
    let mut given = BTreeMap::new();
    for (index, port) in list_at_mut(new, &["spec", "ports"]).iter_mut().enumerate() {
        let (number, own) = (number(port), node_port(port));
        if own == 0 && !is_wanted {
            continue;
        }
        let taken = match (given.get(&number), asked.get(&number)) {
            (Some(shared), _) if own == 0 || own == *shared => *shared,
            (Some(_), _) => take(allocator, index, own)?,
            (None, Some(asked)) => take(allocator, index, *asked)?,
            (None, None) => take_any(allocator)?,
        };
        given.entry(number).or_insert(taken);
        as_object(port).insert("nodePort".to_owned(), taken.into());
    }
    Ok(())
}

/// Takes the node ports of a change of `old` that it has not yet.
///
/// # Errors
/// One cannot be had, or is there twice.
pub(super) fn change(new: &mut Value, old: &Value, allocator: &mut dyn Allocator) -> Result<(), Refusal> {
    let is_wanted = wants_node_ports(new);
    let mut held = of(old);
    let mut seen = BTreeSet::new();
    for (index, port) in list_at_mut(new, &["spec", "ports"]).iter_mut().enumerate() {
        let own = node_port(port);
        if own == 0 && !is_wanted {
            continue;
        }
        let taken = match own {
            0 => take_any(allocator)?,
            own if held.contains(&own) => own,
            own => take(allocator, index, own)?,
        };
        if own != 0 {
            held.insert(own);
        }
        as_object(port).insert("nodePort".to_owned(), taken.into());
        let protocol = str_at(port, &["protocol"]).to_owned();
        let shown = format!("{{{protocol} {taken}}}");
        if !seen.insert((protocol, taken)) {
            return Err(Refusal::Plain(format!("duplicate nodePort: {shown}")));
        }
    }
    Ok(())
}

fn node_port(port: &Value) -> i64 {
    i64_at(port, &["nodePort"]).unwrap_or_default()
}

fn take(allocator: &mut dyn Allocator, index: usize, port: i64) -> Result<i64, Refusal> {
    allocator.take_port(port).map(|()| port).map_err(|text| {
        let root = FieldPath::Root;
        let spec = root.child("spec");
        let list = spec.child("ports");
        let item = list.index(index);
        Refusal::Invalid(vec![FieldError::invalid(&item.child("nodePort"), port, &text)])
    })
}

fn take_any(allocator: &mut dyn Allocator) -> Result<i64, Refusal> {
    let port = allocator.take_any_port().map(i64::from);
    port.ok_or_else(|| Refusal::Internal(format!("failed to allocate a nodePort: {FULL}")))
}
