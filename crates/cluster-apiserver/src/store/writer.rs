//! The one writer: takes what has gathered, makes it durable in one batch, publishes it. While it waits for the disk, the next batch gathers.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::journal::{Batch, Journal, JournalError};
use super::state::State;
use super::{Shared, journal};

/// Lazy writes reach the disk at the latest after this time, if nothing durable takes them along.
const LAZY_FLUSH_INTERVAL: Duration = Duration::from_millis(250);

/// Starts the writer's thread.
pub(super) fn start(shared: Arc<Shared>, journal: Box<dyn Journal>) -> Result<JoinHandle<()>, JournalError> {
    let work = move || {
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&shared, journal)));
        if ended.is_err() {
            fail(&shared, &mut shared.lock(), "the writer panicked");
        }
    };
    std::thread::Builder::new().name("store-writer".to_owned()).spawn(work).map_err(|error| JournalError::Io {
        action: "start the writer of",
        path: "the store".to_owned(),
        source: Box::new(error),
    })
}

fn run(shared: &Shared, mut journal: Box<dyn Journal>) {
    let mut state = shared.lock();
    loop {
        state = wait_for_work(shared, state);
        let is_over = state.is_over();
        let Some(work) = state.take_work() else {
            if is_over {
                return;
            }
            continue;
        };
        drop(state);
        let written = journal.append(&Batch { records: &work.records, ceiling: work.ceiling });
        shared.metrics.batch_size.observe(work.records.len() as f64);
        state = shared.lock();
        match written {
            Ok(()) => state.written(&work, &shared.metrics),
            Err(error) => return fail(shared, &mut state, &base_rt::error_chain(&error)),
        }
    }
}

/// Waits until there is something to write, or the time for lazy writes has come.
fn wait_for_work<'a>(shared: &Shared, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    while !state.wants_writer() {
        if !state.has_lazy_backlog() {
            state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        let (woken, timeout) =
            shared.work.wait_timeout(state, LAZY_FLUSH_INTERVAL).unwrap_or_else(PoisonError::into_inner);
        state = woken;
        if timeout.timed_out() {
            state.ask_flush();
        }
    }
    state
}

/// Writes and publishes at once, if the journal works in the committing task.
pub(super) fn run_inline(shared: &Shared, state: &mut State) {
    let Some(mut journal) = state.inline.take() else { return };
    if let Some(work) = state.take_work() {
        match journal.append(&journal::Batch { records: &work.records, ceiling: work.ceiling }) {
            Ok(()) => state.written(&work, &shared.metrics),
            Err(error) => return fail(shared, state, &base_rt::error_chain(&error)),
        }
    }
    state.inline = Some(journal);
}

fn fail(shared: &Shared, state: &mut State, text: &str) {
    let told: Arc<str> = text.into();
    state.fail(Arc::clone(&told));
    shared.failed.send_replace(Some(told));
    tracing::error!(error = text, "the store's journal failed; nothing more is acknowledged");
}
