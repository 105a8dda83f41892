//! The annotations and labels that say which Routes lead to an object. Pure.

use std::collections::BTreeSet;

use base_controller::{Change, Object};
use jiff::Timestamp;
use knative_apis::meta::{annotation, annotation_value, label, label_value};
use knative_apis::serving::v1::{Configuration, Revision, RoutingState};
use serde_json::{Value, json};

use crate::caches::route_names;
use crate::json;

/// Tells a Configuration that `route` leads to it, or no longer does.
pub(super) fn tell_configuration(configuration: &Configuration, route: &str, is_led_to: bool) -> Option<Change> {
    let routes = routes(configuration, route, is_led_to);
    json::change(configuration, json!({ "metadata": { "annotations": { annotation::ROUTES: listed(&routes) } } }))
}

/// Tells a Revision that `route` leads to it, or no longer does; and since when any Route, or none, does.
pub(super) fn tell_revision(revision: &Revision, route: &str, is_led_to: bool, now: Timestamp) -> Option<Change> {
    let routes = routes(revision, route, is_led_to);
    let state = if routes.is_empty() { RoutingState::Reserve } else { RoutingState::Active };
    let modified = annotation_value(&revision.metadata, annotation::ROUTING_STATE_MODIFIED).map(str::to_owned);
    let is_news = label_value(&revision.metadata, label::ROUTING_STATE) != Some(state.as_str());
    let modified = if is_news { Some(now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()) } else { modified };
    let fields = json!({
        "metadata": {
            "annotations": { annotation::ROUTES: listed(&routes), annotation::ROUTING_STATE_MODIFIED: modified },
            "labels": { label::ROUTING_STATE: state.as_str() },
        },
    });
    json::change(revision, fields)
}

/// The Routes that lead to `object`, once `route` does or does not.
fn routes<K: Object<DynamicType = ()>>(object: &K, route: &str, is_led_to: bool) -> BTreeSet<String> {
    let mut routes: BTreeSet<String> = route_names(object).map(str::to_owned).collect();
    if is_led_to {
        routes.insert(route.to_owned());
    } else {
        routes.remove(route);
    }
    routes
}

/// The value of the annotation; null removes it.
fn listed(routes: &BTreeSet<String>) -> Value {
    if routes.is_empty() {
        return Value::Null;
    }
    Value::String(routes.iter().map(String::as_str).collect::<Vec<_>>().join(","))
}
