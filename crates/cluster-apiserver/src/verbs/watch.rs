//! Watches: what happens to the selected objects, as a stream of JSON lines.
//!
//! ```text
//! present objects (if asked for) → bookmark that ends them (if asked for) → events as they happen, a bookmark now and then → end
//! ```
//! The stream reads the table's history when it is woken and when the client has taken what was sent: a slow client delays nobody, and if it falls
//! behind the history it gets an `ERROR` event with 410 and the end. An object that stops matching the selectors is `DELETED` for this watch (its
//! last matching state, at the new revision), one that starts matching is `ADDED`.

use std::sync::Arc;
use std::time::Duration;

use async_stream::stream;
use base_rt::Phase;
use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::options::{From, Selection, watch_options};
use super::show::partial;
use super::{Ask, Rows, conceal};
use crate::http::body::Body;
use crate::http::limits::Ticket;
use crate::http::respond;
use crate::metrics::ResourceLabels;
use crate::negotiate::accept::{Shape, Syntax};
use crate::status::{Result, StatusError};
use crate::store::{Change, Event, Revision, Snapshot, Stored, Watcher};
use crate::value::object_at;

/// How often a watch that takes bookmarks gets one.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// A watch that names no end gets one after 30 to 60 minutes, as Kubernetes' do.
const MIN_TIMEOUT_S: u64 = 1800;
/// So many bytes of events are sent in one piece.
const CHUNK_BYTES: usize = 32 << 10;

pub(super) fn answer(ask: Ask, ticket: Option<Ticket>) -> Result<Response<Body>> {
    let options = watch_options(&ask.query)?;
    let selection = Selection::of(&ask)?;
    if ask.accepted.syntax == Syntax::Yaml {
        return Err(StatusError::not_acceptable());
    }
    let store = &ask.core.store;
    let table = &ask.resource.table;
    let opened = match options.from {
        From::Present => {
            let (snapshot, watcher) = store.list_and_watch(table, &selection.prefix);
            Ok((Some(snapshot), watcher))
        }
        From::Now => store.watch(table, store.revision()).map(|watcher| (None, watcher)),
        From::After(revision) => store.watch(table, revision).map(|watcher| (None, watcher)),
    };
    let timeout_s = options.timeout_s.unwrap_or_else(|| MIN_TIMEOUT_S + ask.core.entropy.below(MIN_TIMEOUT_S));
    let ends = Instant::now() + Duration::from_secs(timeout_s);
    let (initial, watcher) = match opened {
        Ok(opened) => opened,
        Err(expired) => {
            let line = error_line(&StatusError::expired(expired.to_string()));
            return Ok(respond::response(200, "application/json", line));
        }
    };
    let watch = Watch {
        feed: Feed::new(ask, selection),
        watcher,
        marks_initial_end: options.marks_initial_end,
        wants_bookmarks: options.wants_bookmarks,
        ends,
        ticket,
    };
    Ok(respond::response(200, "application/json", Body::stream(watch.run(initial))))
}

fn error_line(error: &StatusError) -> Bytes {
    let mut line = json!({"type": "ERROR", "object": error.to_value()}).to_string();
    line.push('\n');
    line.into()
}

struct Watch {
    feed: Feed,
    watcher: Watcher,
    marks_initial_end: bool,
    wants_bookmarks: bool,
    ends: Instant,
    ticket: Option<Ticket>,
}

impl Watch {
    fn run(
        mut self,
        initial: Option<Snapshot>,
    ) -> impl futures::Stream<Item = std::result::Result<Bytes, crate::http::body::BodyError>> {
        let shutdown = self.feed.ask.core.tasks.shutdown().clone();
        // Strangers' watches end first, so that their connections can drain; our own controllers need theirs until they have finished.
        let phase = if self.feed.ask.caller.is_in_process { Phase::Stopped } else { Phase::Lame };
        stream! {
            // It counts as long as the stream lives, which takes of this value only what it names.
            let _ticket = self.ticket;
            if let Some(Snapshot { objects, revision }) = initial {
                let objects = match self.feed.shown(objects).await {
                    Ok(objects) => objects,
                    Err(error) => {
                        yield Ok(error_line(&error));
                        return;
                    }
                };
                for object in &objects {
                    self.feed.initial(object);
                    if let Some(chunk) = self.feed.full_chunk() {
                        yield Ok(chunk);
                    }
                }
                drop(objects);
                if self.marks_initial_end {
                    self.feed.bookmark(revision, true);
                }
                if let Some(chunk) = self.feed.chunk() {
                    yield Ok(chunk);
                }
            }
            let mut bookmark_at = Instant::now() + BOOKMARK_INTERVAL;
            loop {
                let revision = match self.watcher.poll() {
                    Ok(progress) => {
                        let events = match self.feed.shown_events(progress.events).await {
                            Ok(events) => events,
                            Err(error) => {
                                yield Ok(error_line(&error));
                                return;
                            }
                        };
                        for event in &events {
                            self.feed.event(event);
                            if let Some(chunk) = self.feed.full_chunk() {
                                yield Ok(chunk);
                            }
                        }
                        progress.revision
                    }
                    Err(expired) => {
                        yield Ok(error_line(&StatusError::expired(expired.to_string())));
                        return;
                    }
                };
                if let Some(chunk) = self.feed.chunk() {
                    yield Ok(chunk);
                }
                // The end and the bookmarks come first: in a busy table something has always changed.
                let is_over = tokio::select! {
                    biased;
                    () = shutdown.reached(phase) => return,
                    () = sleep_until(self.ends) => true,
                    () = sleep_until(bookmark_at), if self.wants_bookmarks => false,
                    is_there = self.watcher.changed() => {
                        if !is_there {
                            return;
                        }
                        continue;
                    }
                };
                if self.wants_bookmarks {
                    self.feed.bookmark(revision, false);
                    if let Some(chunk) = self.feed.chunk() {
                        yield Ok(chunk);
                    }
                }
                if is_over {
                    return;
                }
                bookmark_at = Instant::now() + BOOKMARK_INTERVAL;
            }
        }
    }
}

/// Turns events into lines for one client.
struct Feed {
    ask: Ask,
    selection: Selection,
    out: Vec<u8>,
    has_sent_columns: bool,
    labels: ResourceLabels,
}

impl Feed {
    fn new(ask: Ask, selection: Selection) -> Self {
        let labels = ResourceLabels { group: ask.resource.group.clone(), resource: ask.resource.plural.clone() };
        Self { ask, selection, out: Vec::new(), has_sent_columns: false, labels }
    }

    /// Objects as the version that is watched shows them.
    async fn shown(&self, objects: Vec<Arc<Stored>>) -> Result<Vec<Arc<Stored>>> {
        self.ask.shown_stored(objects).await
    }

    async fn shown_events(&self, mut events: Vec<Event>) -> Result<Vec<Event>> {
        if !self.ask.resource.is_custom() {
            events.iter_mut().for_each(|event| conceal::stored(&self.ask.resource, &mut event.object));
            return Ok(events);
        }
        // Nobody converts what this watch is not about.
        events.retain(|event| self.selection.is_in_place(&event.object.key));
        let objects = self.shown(events.iter().map(|event| Arc::clone(&event.object)).collect()).await?;
        // What was before matters only to whoever sees a part.
        let before = events.iter().filter_map(|event| event.previous.clone());
        let before = if self.selection.is_everything() { Vec::new() } else { self.shown(before.collect()).await? };
        let mut before = before.into_iter();
        for (event, object) in events.iter_mut().zip(objects) {
            event.object = object;
            if event.previous.is_some() {
                event.previous = before.next().or_else(|| event.previous.take());
            }
        }
        Ok(events)
    }

    /// What has gathered, if anything has.
    fn chunk(&mut self) -> Option<Bytes> {
        (!self.out.is_empty()).then(|| Bytes::from(std::mem::take(&mut self.out)))
    }

    /// What has gathered, if it is much.
    fn full_chunk(&mut self) -> Option<Bytes> {
        if self.out.len() < CHUNK_BYTES { None } else { self.chunk() }
    }

    fn initial(&mut self, object: &Arc<Stored>) {
        if self.selection.matches(&self.ask.resource, object) {
            self.line("ADDED", object);
        }
    }

    fn event(&mut self, event: &Event) {
        let resource = &self.ask.resource;
        let matches = |object: &Stored| self.selection.matches(resource, object);
        let now = matches(&event.object);
        let before = match (&event.change, &event.previous) {
            (Change::Added, _) | (_, None) => false,
            (_, Some(previous)) if self.selection.is_everything() => now || matches(previous),
            (_, Some(previous)) => matches(previous),
        };
        match (event.change, before, now) {
            (Change::Deleted, true, _) => self.line("DELETED", &event.object),
            (Change::Deleted, false, _) | (_, false, false) => {}
            (_, false, true) => self.line("ADDED", &event.object),
            (_, true, true) => self.line("MODIFIED", &event.object),
            (_, true, false) => {
                let last = event.previous.as_deref().and_then(|previous| at_revision(previous, event.revision()));
                if let Some(last) = last {
                    self.line("DELETED", &last);
                }
            }
        }
    }

    fn line(&mut self, kind: &str, object: &Stored) {
        let start = self.out.len();
        if self.write_line(kind, object).is_err() {
            // An object that cannot be shown is left out; the write that made it has been told.
            self.out.truncate(start);
            return;
        }
        self.ask.core.metrics.watch_events.get_or_create(&self.labels).inc();
    }

    fn write_line(&mut self, kind: &str, object: &Stored) -> Result<()> {
        self.out.extend_from_slice(b"{\"type\":\"");
        self.out.extend_from_slice(kind.as_bytes());
        self.out.extend_from_slice(b"\",\"object\":");
        match self.ask.accepted.shape {
            Shape::Object => self.ask.resource.write(object, true, &mut self.out)?,
            Shape::PartialMetadata => {
                let value = partial(&self.ask.resource.load(object)?);
                self.out.extend_from_slice(value.to_string().as_bytes());
            }
            Shape::Table => {
                let value = self.ask.resource.load(object)?;
                let table = self.table(&value, &object.revision.to_string());
                self.out.extend_from_slice(table.to_string().as_bytes());
            }
        }
        self.out.extend_from_slice(b"}\n");
        Ok(())
    }

    fn table(&mut self, object: &Value, revision: &str) -> Value {
        let has_columns = !std::mem::replace(&mut self.has_sent_columns, true);
        let meta = json!({"resourceVersion": revision});
        Rows::of(&self.ask).table(std::slice::from_ref(object), meta, has_columns)
    }

    /// Tells the client how far it has seen everything.
    fn bookmark(&mut self, revision: Revision, is_initial_end: bool) {
        let resource = &self.ask.resource;
        let mut object = resource.empty();
        let metadata = object_at(&mut object, &["metadata"]);
        metadata.insert("resourceVersion".to_owned(), revision.to_string().into());
        if is_initial_end {
            metadata.insert("annotations".to_owned(), json!({"k8s.io/initial-events-end": "true"}));
        }
        let shown = match self.ask.accepted.shape {
            Shape::Object => object,
            Shape::PartialMetadata => partial(&object),
            Shape::Table => self.table(&object, &revision.to_string()),
        };
        let line = json!({"type": "BOOKMARK", "object": shown}).to_string();
        self.out.extend_from_slice(line.as_bytes());
        self.out.push(b'\n');
    }
}

/// An earlier state of an object under a later revision.
fn at_revision(object: &Stored, revision: Revision) -> Option<Stored> {
    let mut value: Value = serde_json::from_slice(&object.body).ok()?;
    object_at(&mut value, &["metadata"]).insert("resourceVersion".to_owned(), revision.to_string().into());
    Some(Stored {
        key: object.key.clone(),
        revision,
        shape: object.shape,
        labels: object.labels.clone(),
        body: value.to_string().into(),
    })
}
