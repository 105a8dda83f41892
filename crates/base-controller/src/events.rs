//! Kubernetes Events: what happened to an object, for people.
//!
//! Recording never waits and never fails: events go through a bounded queue to one task, and what does not fit, or is not taken by the
//! server, is lost with a metric. An event that repeats (same object, type, reason and message) raises the count of the one that is there.

use std::collections::BTreeMap;
use std::time::Duration;

use base_rt::metrics::{Counter, Scope};
use base_rt::{Clock, Phase, Tasks, Timestamp};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc;

use crate::plan::PlanEvent;

/// Events that wait to be written at most.
const QUEUE: usize = 1024;
/// Events whose count can still be raised.
const MAX_REMEMBERED: usize = 1024;
/// A repetition after this time is a new event.
const WINDOW: SignedDuration = SignedDuration::from_hours(1);
/// How long one write may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest name of an object whose event's name still fits into 253 characters.
const MAX_NAME_PREFIX: usize = 230;

/// Records Kubernetes Events. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Recorder {
    queue: mpsc::Sender<Occurrence>,
    clock: Clock,
    lost: Counter,
}

#[derive(Debug)]
struct Occurrence {
    about: ObjectReference,
    event: PlanEvent,
    at: Timestamp,
}

impl Recorder {
    /// Starts the task that writes events as `component`.
    pub fn start(client: Client, clock: Clock, tasks: &Tasks, metrics: &Scope, component: &'static str) -> Self {
        let lost = metrics.register("events_lost", "Kubernetes Events that were not written", Counter::default());
        let (sender, receiver) = mpsc::channel(QUEUE);
        let writer = Writer { client, component, made: 0, known: BTreeMap::new(), receiver, lost: lost.clone() };
        let shutdown = tasks.shutdown().clone();
        tasks.spawn(format!("events/{component}"), async move {
            tokio::select! {
                biased;
                // There are no recorders any more.
                () = writer.run() => shutdown.reached(Phase::Stopped).await,
                () = shutdown.reached(Phase::Stopped) => {}
            }
            Ok(())
        });
        Self { queue: sender, clock, lost }
    }

    /// Records that `event` happened to `about`.
    pub fn record(&self, about: ObjectReference, event: PlanEvent) {
        let occurrence = Occurrence { about, event, at: self.clock.now() };
        if self.queue.try_send(occurrence).is_err() {
            self.lost.inc();
        }
    }
}

/// What makes two occurrences one event.
type Identity = (String, Option<String>, PlanEvent);

struct Known {
    name: String,
    count: i32,
    last: Timestamp,
}

struct Writer {
    client: Client,
    component: &'static str,
    made: u64,
    known: BTreeMap<Identity, Known>,
    receiver: mpsc::Receiver<Occurrence>,
    lost: Counter,
}

impl Writer {
    async fn run(mut self) {
        while let Some(occurrence) = self.receiver.recv().await {
            match tokio::time::timeout(WRITE_TIMEOUT, self.write(&occurrence)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => self.lose(&occurrence, &error.to_string()),
                Err(_elapsed) => self.lose(&occurrence, "no answer in time"),
            }
        }
    }

    fn lose(&self, occurrence: &Occurrence, reason: &str) {
        self.lost.inc();
        tracing::debug!(event = occurrence.event.reason, message = occurrence.event.message, reason, "event lost");
    }

    async fn write(&mut self, occurrence: &Occurrence) -> kube::Result<()> {
        let namespace = occurrence.about.namespace.as_deref().unwrap_or("default");
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let identity = identity(occurrence);
        if let Some(known) = self.known.get_mut(&identity).filter(|known| known.last + WINDOW > occurrence.at) {
            known.count = known.count.saturating_add(1);
            known.last = occurrence.at;
            let raise = Patch::Merge(json!({ "count": known.count, "lastTimestamp": Time(occurrence.at) }));
            #[expect(clippy::disallowed_methods, reason = "events are written here, outside of any plan")]
            match api.patch(&known.name, &PatchParams::default(), &raise).await {
                // It has expired on the server.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                answer => return answer.map(drop),
            }
        }
        let event = self.make(occurrence, namespace);
        #[expect(clippy::disallowed_methods, reason = "events are written here, outside of any plan")]
        api.create(&PostParams::default(), &event).await?;
        self.remember(identity, Known { name: event.metadata.name.unwrap_or_default(), count: 1, last: occurrence.at });
        Ok(())
    }

    fn make(&mut self, occurrence: &Occurrence, namespace: &str) -> Event {
        let Occurrence { about, event, at } = occurrence;
        self.made += 1;
        let prefix: String = about.name.as_deref().unwrap_or_default().chars().take(MAX_NAME_PREFIX).collect();
        let unique = u64::try_from(at.as_nanosecond()).unwrap_or_default().wrapping_add(self.made);
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{prefix}.{unique:x}")),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: about.clone(),
            type_: Some(if event.is_warning { "Warning" } else { "Normal" }.to_owned()),
            reason: Some(event.reason.clone()),
            message: Some(event.message.clone()),
            count: Some(1),
            first_timestamp: Some(Time(*at)),
            last_timestamp: Some(Time(*at)),
            source: Some(EventSource { component: Some(self.component.to_owned()), host: None }),
            reporting_component: Some(self.component.to_owned()),
            ..Event::default()
        }
    }

    fn remember(&mut self, identity: Identity, known: Known) {
        if self.known.len() >= MAX_REMEMBERED
            && let Some(oldest) =
                self.known.iter().min_by_key(|(_, known)| known.last).map(|(identity, _)| identity.clone())
        {
            self.known.remove(&oldest);
        }
        self.known.insert(identity, known);
    }
}

fn identity(occurrence: &Occurrence) -> Identity {
    let about = &occurrence.about;
    let name = [&about.kind, &about.namespace, &about.name].map(|part| part.as_deref().unwrap_or_default()).join("/");
    (name, about.uid.clone(), occurrence.event.clone())
}
