//! The data plane: one current-thread runtime per core, each on its own thread, with its own listeners and pools, so that a request stays
//! on one core and takes no lock that another core takes.
//!
//! The process's main runtime starts a [`DataPlane`] and gives each worker something to run: a server per listener of a set
//! ([`crate::listen::Listener::tcp_set`]), or anything else. What a handler needs per worker is held in a [`PerWorker`], which finds its part by
//! the thread that asks; threads that are no worker (the control plane) share one part of their own.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::thread;

use base_rt::{Phase, Tasks};
use tokio::sync::{mpsc, oneshot};

use crate::listen::{ListenError, Listener};
use crate::serve::{HttpService, Peer, Server};

/// Jobs that wait for a worker to take them at most.
const QUEUE: usize = 64;

thread_local! {
    static WORKER: Cell<Option<usize>> = const { Cell::new(None) };
}

type Job = Box<dyn FnOnce() + Send>;

/// Why there is no data plane, or not what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// A thread or its runtime could not be made.
    #[error("could not start worker {index}")]
    Start {
        /// Which one.
        index: usize,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The workers have ended.
    #[error("the data plane has ended")]
    Ended,
    /// A listener cannot be served.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// The workers of a process. They end when the process stops.
pub struct DataPlane {
    workers: Vec<mpsc::Sender<Job>>,
}

impl fmt::Debug for DataPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataPlane").field("workers", &self.workers.len()).finish()
    }
}

impl DataPlane {
    /// Starts `count` workers (at least one), whose threads are named `name-0`, `name-1` and so on. Call it on the main runtime.
    ///
    /// # Errors
    /// A thread could not be started; those that were end with the process.
    pub fn start(name: &'static str, count: usize, tasks: &Tasks) -> Result<Self, WorkerError> {
        let mut workers = Vec::new();
        for index in 0..count.max(1) {
            let (jobs, queue) = mpsc::channel(QUEUE);
            start_worker(name, index, queue, tasks).map_err(|source| WorkerError::Start { index, source })?;
            workers.push(jobs);
        }
        Ok(Self { workers })
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Runs `job` on one worker's runtime and returns what it returns.
    ///
    /// # Errors
    /// The workers have ended, or there is no such worker.
    pub async fn call<T: Send + 'static>(
        &self,
        index: usize,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, WorkerError> {
        let (done, answer) = oneshot::channel();
        let worker = self.workers.get(index).ok_or(WorkerError::Ended)?;
        let job: Job = Box::new(move || {
            // Whoever asked may have gone.
            let _ = done.send(job());
        });
        worker.send(job).await.map_err(|_| WorkerError::Ended)?;
        answer.await.map_err(|_| WorkerError::Ended)
    }

    /// Serves one listener per worker (as many as there are; a worker may get several). `new_service` is called on the worker, with its
    /// index.
    ///
    /// # Errors
    /// A listener cannot be used, or the workers have ended.
    pub async fn serve<S: HttpService>(
        &self,
        server: &Server,
        listeners: Vec<Listener>,
        new_service: impl Fn(usize, &std::sync::Arc<Peer>) -> S + Clone + Send + Sync + 'static,
    ) -> Result<Vec<crate::serve::ServerHandle>, WorkerError> {
        let mut handles = Vec::with_capacity(listeners.len());
        for (nth, listener) in listeners.into_iter().enumerate() {
            let index = nth % self.workers.len().max(1);
            let (server, new_service) = (server.clone(), new_service.clone());
            let start = move || server.start(listener, move |peer| new_service(index, peer));
            handles.push(self.call(index, start).await??);
        }
        Ok(handles)
    }
}

fn start_worker(name: &'static str, index: usize, mut jobs: mpsc::Receiver<Job>, tasks: &Tasks) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let shutdown = tasks.shutdown().clone();
    let (ended, has_ended) = oneshot::channel::<()>();
    let work = async move {
        loop {
            tokio::select! {
                biased;
                () = shutdown.reached(Phase::Stopped) => return,
                job = jobs.recv() => match job {
                    Some(job) => job(),
                    // Nobody gives it work any more; what it does it goes on doing.
                    None => return shutdown.reached(Phase::Stopped).await,
                },
            }
        }
    };
    thread::Builder::new().name(format!("{name}-{index}")).spawn(move || {
        WORKER.set(Some(index));
        let _ended = ended;
        runtime.block_on(work);
    })?;
    tasks.spawn(format!("{name}/{index}"), async move {
        // A thread that panics drops its sender too; then the process is not stopping, and this end is its failure.
        let _ = has_ended.await;
        Ok(())
    });
    Ok(())
}

/// One value per worker, and one for all other threads.
#[derive(Debug)]
pub struct PerWorker<T> {
    parts: Vec<T>,
    other: T,
}

impl<T> PerWorker<T> {
    /// `make` is called once per worker and once more.
    pub fn new(workers: usize, mut make: impl FnMut() -> T) -> Self {
        Self { parts: (0..workers).map(|_| make()).collect(), other: make() }
    }

    /// The value of the thread that asks.
    pub fn get(&self) -> &T {
        WORKER.get().and_then(|index| self.parts.get(index)).unwrap_or(&self.other)
    }

    /// Every value, those of the workers first.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.parts.iter().chain(std::iter::once(&self.other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base_rt::Shutdown;
    use std::sync::Arc;

    #[tokio::test]
    async fn each_worker_has_its_thread_and_its_part() {
        let (handle, shutdown) = Shutdown::new();
        let tasks = Tasks::new(shutdown);
        let plane = DataPlane::start("test-worker", 2, &tasks).unwrap();
        let mut next = 0;
        let parts = Arc::new(PerWorker::new(2, || {
            next += 1;
            next
        }));
        let mut seen = Vec::new();
        for index in 0..2 {
            let parts = Arc::clone(&parts);
            let asked = move || (thread::current().name().map(str::to_owned), *parts.get());
            seen.push(plane.call(index, asked).await.unwrap());
        }
        assert_eq!(seen, [(Some("test-worker-0".into()), 1), (Some("test-worker-1".into()), 2)]);
        assert_eq!(*parts.get(), 3, "this thread is no worker");
        handle.advance(Phase::Stopped);
        tasks.finished().await;
        assert!(matches!(plane.call(0, || ()).await, Err(WorkerError::Ended)));
    }
}
