//! Kinds as discovery tells them (the aggregated form, `apidiscovery.k8s.io/v2`): of each, the version that the server prefers.

use std::collections::BTreeSet;

use base_controller::GroupKind;
use kube::Client;
use kube::api::ApiResource;
use kube::core::discovery::v2::{APIGroupDiscovery, APIGroupDiscoveryList, APIResourceDiscovery};
use serde::Serialize;

/// Kinds that one server may have; what comes beyond is not looked at.
const MAX_KINDS: usize = 10_000;

/// A kind that the API serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Kind {
    /// How the API names it.
    pub(crate) resource: ApiResource,
    /// Whether its objects are in namespaces.
    pub(crate) is_namespaced: bool,
    verbs: BTreeSet<String>,
}

impl Kind {
    /// A namespaced kind with these verbs.
    #[cfg(test)]
    pub(crate) fn for_tests(resource: ApiResource, verbs: &[&str]) -> Self {
        Self { resource, is_namespaced: true, verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect() }
    }

    /// Its group and kind.
    pub(crate) fn group_kind(&self) -> GroupKind {
        GroupKind::from(&self.resource)
    }

    /// Whether its objects are followed.
    pub(crate) fn is_watched(&self) -> bool {
        self.can("list") && self.can("watch") && !self.is_event()
    }

    /// Whether its objects have to go with their namespace.
    pub(crate) fn is_content(&self) -> bool {
        self.is_namespaced && self.can("list") && self.can("delete")
    }

    /// Whether the server takes requests with this verb.
    pub(crate) fn can(&self, verb: &str) -> bool {
        self.verbs.contains(verb)
    }

    fn is_event(&self) -> bool {
        self.resource.kind == "Event" && matches!(self.resource.group.as_str(), "" | "events.k8s.io")
    }
}

/// Asks the server for its kinds.
pub(super) async fn discover(client: &Client) -> kube::Result<Vec<Kind>> {
    let core = client.list_core_api_versions_aggregated().await?;
    let named = client.list_api_groups_aggregated().await?;
    Ok(kinds(&[core, named]))
}

fn kinds(lists: &[APIGroupDiscoveryList]) -> Vec<Kind> {
    let groups = lists.iter().flat_map(|list| &list.items);
    groups.flat_map(of_group).take(MAX_KINDS).collect()
}

/// Versions come in the order in which the server prefers them: the first one that has a kind counts.
fn of_group(group: &APIGroupDiscovery) -> Vec<Kind> {
    let name = group.metadata.as_ref().and_then(|metadata| metadata.name.as_deref()).unwrap_or_default();
    let mut known = BTreeSet::new();
    let mut kinds = Vec::new();
    for version in &group.versions {
        let Some(of_version) = version.version.as_deref() else { continue };
        let found = version.resources.iter().filter_map(|resource| kind(name, of_version, resource));
        kinds.extend(found.filter(|kind| known.insert(kind.resource.plural.clone())));
    }
    kinds
}

fn kind(group: &str, version: &str, resource: &APIResourceDiscovery) -> Option<Kind> {
    let response = resource.response_kind.as_ref()?;
    let resource_type = ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") },
        kind: response.kind.clone()?,
        plural: resource.resource.clone()?,
    };
    Some(Kind {
        resource: resource_type,
        is_namespaced: resource.scope.as_deref() == Some("Namespaced"),
        verbs: resource.verbs.iter().cloned().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn of_each_kind_the_preferred_version_counts() {
        let resource = |plural: &str, kind: &str, verbs: serde_json::Value| json!({"resource": plural, "responseKind": {"group": "g", "version": "", "kind": kind}, "scope": "Namespaced", "verbs": verbs});
        let all = || json!(["get", "list", "watch", "delete"]);
        let list: APIGroupDiscoveryList = serde_json::from_value(json!({"items": [{
            "metadata": {"name": "g"},
            "versions": [
                {"version": "v1", "resources": [resource("as", "A", all()), resource("reviews", "Review", json!(["create"]))]},
                {"version": "v1beta1", "resources": [resource("as", "A", all()), resource("bs", "B", all())]},
            ],
        }]}))
        .unwrap();
        let kinds = kinds(&[list]);
        let told: Vec<_> = kinds.iter().map(|kind| (kind.resource.api_version.as_str(), kind.is_watched())).collect();
        assert_eq!(told, [("g/v1", true), ("g/v1", false), ("g/v1beta1", true)]);
        assert!(kinds[0].is_content() && !kinds[1].is_content());
    }
}
