//! Reads the objects that a Service consists of, as whoever asks.

use std::sync::Arc;

use base_controller::Key;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Pod};
use knative_apis::autoscaling::PodAutoscaler;
use knative_apis::meta::label;
use knative_apis::networking::ServerlessService;
use knative_apis::serving::v1::{Configuration, Revision, Route, Service};
use knative_logic::names;
use kube::api::{Api, ListParams, LogParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;

use super::report::{ContainerTrouble, WarningEvent};
use super::{MAX_EVENTS, MAX_LOG_LINES, MAX_PODS, MAX_REVISIONS};

/// Bytes of a log that are looked at.
const MAX_LOG_BYTES: i64 = 16 << 10;
/// Warnings that are shown.
const SHOWN_EVENTS: usize = 8;

/// Everything that was read.
pub(super) struct Reading {
    pub(super) service: Service,
    pub(super) configuration: Option<Configuration>,
    pub(super) route: Option<Route>,
    pub(super) revisions: Vec<Seen>,
    /// What was refused, or too much.
    pub(super) withheld: Vec<String>,
}

/// A Revision that counts, and what belongs to it.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) name: String,
    /// None if there is no such Revision, or it may not be read.
    pub(super) revision: Option<Revision>,
    pub(super) autoscaler: Option<PodAutoscaler>,
    pub(super) serverless_service: Option<ServerlessService>,
    pub(super) deployment: Option<Deployment>,
    pub(super) pods: Vec<Arc<Pod>>,
}

impl Reading {
    /// Reads all that the client may read.
    ///
    /// # Errors
    /// The Service itself cannot be read, or the API does not answer.
    pub(super) async fn take(client: &Client, key: &Key) -> kube::Result<Self> {
        let service = Api::<Service>::namespaced(client.clone(), key.namespace()).get(key.name()).await?;
        let mut reader = Reader { client, namespace: key.namespace(), withheld: Vec::new() };
        let configuration = reader.get(key.name()).await?;
        let route = reader.get(key.name()).await?;
        let mut revisions = Vec::new();
        for name in reader.revisions(&service).await? {
            revisions.push(reader.revision(name).await?);
        }
        Ok(Self { service, configuration, route, revisions, withheld: reader.withheld })
    }
}

struct Reader<'a> {
    client: &'a Client,
    namespace: &'a str,
    withheld: Vec<String>,
}

impl Reader<'_> {
    /// The names of the Revisions that count: with traffic, the latest ones, then the newest.
    async fn revisions(&mut self, service: &Service) -> kube::Result<Vec<String>> {
        let status = &service.status;
        let routed = status.traffic.iter().chain(&service.spec.traffic).map(|target| target.revision_name.clone());
        let latest = [&status.latest_created_revision_name, &status.latest_ready_revision_name];
        let mut names: Vec<String> = routed.chain(latest.into_iter().cloned()).collect();
        let of_service = format!("{}={}", label::SERVICE, service.metadata.name.as_deref().unwrap_or_default());
        let mut others: Vec<Revision> = self.list(&ListParams::default().labels(&of_service)).await?;
        others.sort_by_key(|revision| std::cmp::Reverse(revision.metadata.creation_timestamp.clone()));
        names.extend(others.into_iter().filter_map(|revision| revision.metadata.name));
        let mut unique: Vec<String> = Vec::new();
        for name in names {
            if !name.is_empty() && !unique.contains(&name) {
                unique.push(name);
            }
        }
        if unique.len() > MAX_REVISIONS {
            self.withheld.push(format!("{} older revisions", unique.len() - MAX_REVISIONS));
            unique.truncate(MAX_REVISIONS);
        }
        Ok(unique)
    }

    async fn revision(&mut self, name: String) -> kube::Result<Seen> {
        let Some(revision) = self.get::<Revision>(&name).await? else { return Ok(Seen { name, ..Seen::default() }) };
        let limit = u32::try_from(MAX_PODS).unwrap_or(u32::MAX);
        let pods = ListParams::default().labels(&format!("{}={name}", label::REVISION)).limit(limit);
        Ok(Seen {
            revision: Some(revision),
            autoscaler: self.get(&name).await?,
            serverless_service: self.get(&name).await?,
            deployment: self.get(&names::deployment(&name)).await?,
            pods: self.list(&pods).await?.into_iter().map(Arc::new).collect(),
            name,
        })
    }

    async fn get<K>(&mut self, name: &str) -> kube::Result<Option<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), self.namespace);
        Ok(allowed(api.get_opt(name).await, &mut self.withheld)?.flatten())
    }

    async fn list<K>(&mut self, params: &ListParams) -> kube::Result<Vec<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), self.namespace);
        let list = allowed(api.list(params).await, &mut self.withheld)?;
        Ok(list.map(|list| list.items).unwrap_or_default())
    }
}

/// What was read, or nothing if that is forbidden: which is noted, once.
fn allowed<T>(answer: kube::Result<T>, withheld: &mut Vec<String>) -> kube::Result<Option<T>> {
    match answer {
        Ok(read) => Ok(Some(read)),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            if !withheld.contains(&status.message) {
                withheld.push(status.message.clone());
            }
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Adds a container's last words. A log that is not there any more says nothing.
pub(super) async fn add_log(
    client: &Client,
    namespace: &str,
    trouble: &mut ContainerTrouble,
    withheld: &mut Vec<String>,
) {
    let Some(container) = &trouble.container else { return };
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let params = LogParams {
        container: Some(container.clone()),
        previous: trouble.is_log_of_previous,
        tail_lines: Some(MAX_LOG_LINES),
        limit_bytes: Some(MAX_LOG_BYTES),
        ..LogParams::default()
    };
    if let Ok(Some(text)) = allowed(api.logs(&trouble.pod, &params).await, withheld) {
        trouble.log = text.lines().map(str::to_owned).collect();
    }
}

/// The latest warnings about a Service, its Revisions and what is named after them.
pub(super) async fn warnings(client: &Client, reading: &mut Reading) -> kube::Result<Vec<WarningEvent>> {
    let key = Key::of(&reading.service);
    let api: Api<Event> = Api::namespaced(client.clone(), key.namespace());
    let params = ListParams::default().fields("type=Warning").limit(MAX_EVENTS);
    let Some(list) = allowed(api.list(&params).await, &mut reading.withheld)? else { return Ok(Vec::new()) };
    if list.metadata.continue_.is_some_and(|more| !more.is_empty()) {
        reading.withheld.push(format!("warnings of the namespace {} beyond the first {MAX_EVENTS}", key.namespace()));
    }
    let is_about = |name: &str| {
        let is_of = |revision: &Seen| {
            name.strip_prefix(&revision.name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        name == key.name() || reading.revisions.iter().any(is_of)
    };
    let about =
        list.items.into_iter().filter(|event| is_about(event.involved_object.name.as_deref().unwrap_or_default()));
    let mut warnings: Vec<WarningEvent> = about.map(warning).collect();
    warnings.sort_by_key(|warning| warning.last);
    Ok(warnings.split_off(warnings.len().saturating_sub(SHOWN_EVENTS)))
}

fn warning(event: Event) -> WarningEvent {
    let about = event.involved_object;
    let last: Option<Timestamp> = match (event.last_timestamp, event.event_time) {
        (Some(time), _) => Some(time.0),
        (None, Some(time)) => Some(time.0),
        (None, None) => None,
    };
    WarningEvent {
        object: format!("{}/{}", about.kind.unwrap_or_default().to_lowercase(), about.name.unwrap_or_default()),
        reason: event.reason.unwrap_or_default(),
        message: event.message.unwrap_or_default(),
        count: event.count.unwrap_or(1),
        last,
    }
}
