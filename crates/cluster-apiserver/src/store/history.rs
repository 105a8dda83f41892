//! The recent events of one table, for watches that resume and for lists of a past revision. Bounded; who asks for more gets 410.

use std::collections::VecDeque;

use super::key::Revision;
use super::object::Event;

/// At most so many events are kept per table.
pub const MAX_EVENTS: usize = 4096;
/// At most so many bytes of bodies are kept per table.
pub const MAX_BYTES: usize = 4 << 20;
/// The last events of a table are kept whatever their size, so that a watch of large objects can live.
const MIN_EVENTS: usize = 4;

/// A ring of events in revision order. Every event above `floor` is in it.
#[derive(Debug)]
pub(super) struct History {
    events: VecDeque<Event>,
    floor: Revision,
    bytes: usize,
}

impl History {
    pub(super) fn new(floor: Revision) -> Self {
        Self { events: VecDeque::new(), floor, bytes: 0 }
    }

    /// The oldest revision from which a watch can resume.
    pub(super) fn floor(&self) -> Revision {
        self.floor
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, event: Event) {
        self.bytes += event.object.body.len();
        self.events.push_back(event);
        while self.events.len() > MAX_EVENTS || (self.bytes > MAX_BYTES && self.events.len() > MIN_EVENTS) {
            self.drop_oldest();
        }
    }

    /// Drops the oldest half, but never the last few.
    pub(super) fn halve(&mut self) {
        let keep = (self.events.len() / 2).max(MIN_EVENTS);
        while self.events.len() > keep {
            self.drop_oldest();
        }
    }

    /// Drops every event up to and including `revision`.
    pub(super) fn compact(&mut self, revision: Revision) {
        while self.events.front().is_some_and(|event| event.revision() <= revision) {
            self.drop_oldest();
        }
        self.events.shrink_to(2 * self.events.len());
    }

    fn drop_oldest(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.bytes = self.bytes.saturating_sub(event.object.body.len());
            self.floor = event.revision();
        }
    }

    /// The events after `revision`, oldest first, or `None` if some of them are gone.
    pub(super) fn after(&self, revision: Revision) -> Option<impl DoubleEndedIterator<Item = &Event>> {
        if revision < self.floor {
            return None;
        }
        let start = self.events.partition_point(|event| event.revision() <= revision);
        Some(self.events.range(start..))
    }
}
