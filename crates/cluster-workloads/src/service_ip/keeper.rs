//! Keeps the open fronts those that the Services have.
//!
//! A changed Service or slice marks the Service's key; the keeper takes all marked keys at once, closes what is not wanted any more (so that
//! an address may move from one Service to another within a round), then updates and opens. What cannot be opened is tried again, with a growing delay.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base_controller::{Index, Informer, Informers, Key, Scope};
use base_rt::backoff::Backoff;
use base_rt::watch;
use base_rt::{Phase, Tasks, error_chain};
use cluster_sandbox::spec::Protocol;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::sleep;

use super::metrics::Metrics;
use super::picker::Picker;
use super::table::{self, Wanted};
use super::{Front, ServiceIpConfig, ServiceSocketError, ServiceSockets, tcp, udp};
use crate::endpoints;

/// Connections and UDP sessions of all fronts together: two descriptors each at most.
const SEATS_MAX: usize = 16_384;
const FIRST_RETRY: Duration = Duration::from_millis(100);
const MAX_RETRY: Duration = Duration::from_secs(10);

/// What each Service of a round wants.
pub(super) type Round = BTreeMap<Key, BTreeMap<Front, Wanted>>;

/// Where the Services come from.
pub(super) struct Source {
    config: ServiceIpConfig,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    by_service: Index<EndpointSlice>,
    marked: Arc<Marked>,
}

/// Keys of Services that may have changed.
#[derive(Default)]
struct Marked {
    keys: Mutex<BTreeSet<Key>>,
    notify: Notify,
}

/// What all fronts share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) tasks: Tasks,
    pub(super) metrics: Metrics,
    seats: Arc<Semaphore>,
}

/// The open fronts.
pub(super) struct Keeper {
    sockets: Arc<dyn ServiceSockets>,
    shared: Arc<Shared>,
    open: BTreeMap<Front, Open>,
}

struct Open {
    owner: Key,
    picker: Arc<Picker>,
    /// Dropped to stop the front's task.
    stop: oneshot::Sender<()>,
    /// Ends when the task has, with its socket.
    ended: oneshot::Receiver<()>,
}

impl Marked {
    fn mark(&self, keys: impl IntoIterator<Item = Key>) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).extend(keys);
        self.notify.notify_one();
    }

    fn take(&self) -> BTreeSet<Key> {
        std::mem::take(&mut *self.keys.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Source {
    pub(super) fn new(config: ServiceIpConfig, informers: &Informers) -> Self {
        let services = informers.get::<Service>(Scope::all());
        let slices = informers.get::<EndpointSlice>(Scope::all());
        let by_service = endpoints::slices_by_service(&slices);
        let marked = Arc::new(Marked::default());
        let (of_services, of_slices) = (Arc::clone(&marked), Arc::clone(&marked));
        services.subscribe(move |delta| of_services.mark(delta.latest().map(|service| Key::of(&**service))));
        slices.subscribe(move |delta| of_slices.mark(delta.both().filter_map(|slice| endpoints::service_of(slice))));
        Self { config, services, slices, by_service, marked }
    }

    /// What these Services want now; nothing for one that is gone.
    fn wanted(&self, keys: BTreeSet<Key>) -> Round {
        let of = |key: &Key| match self.services.get(key) {
            Some(service) => table::fronts(&self.config, &service, &self.by_service.get(&key.to_string())),
            None => BTreeMap::new(),
        };
        keys.into_iter().map(|key| (key.clone(), of(&key))).collect()
    }
}

impl Shared {
    /// A place for one more connection or session; none if all are taken.
    pub(super) fn seat(&self) -> Option<OwnedSemaphorePermit> {
        let seat = Arc::clone(&self.seats).try_acquire_owned().ok();
        if seat.is_none() {
            self.metrics.full.inc();
        }
        seat
    }
}

/// Keeps fronts until the process has drained.
pub(super) async fn run(mut keeper: Keeper, source: Source, ready: watch::Sender<bool>) {
    let shutdown = keeper.shared.tasks.shutdown().clone();
    tokio::select! {
        biased;
        () = shutdown.reached(Phase::Drained) => {}
        () = keeper.keep(&source, &ready) => {}
    }
}

impl Keeper {
    pub(super) fn new(sockets: Arc<dyn ServiceSockets>, tasks: Tasks, metrics: Metrics) -> Self {
        let shared = Shared { tasks, metrics, seats: Arc::new(Semaphore::new(SEATS_MAX)) };
        Self { sockets, shared: Arc::new(shared), open: BTreeMap::new() }
    }

    async fn keep(&mut self, source: &Source, ready: &watch::Sender<bool>) {
        source.services.synced().await;
        source.slices.synced().await;
        let mut failed = self.round(source.wanted(source.marked.take())).await;
        self.close_stale(&source.config).await;
        ready.send_replace(true);
        let mut retries = Backoff::new(FIRST_RETRY, MAX_RETRY);
        loop {
            tokio::select! {
                biased;
                () = source.marked.notify.notified() => {}
                () = sleep(retries.next_delay()), if !failed.is_empty() => source.marked.mark(failed.iter().cloned()),
            }
            let marked = source.marked.take();
            failed.retain(|key| !marked.contains(key));
            failed.extend(self.round(source.wanted(marked)).await);
            if failed.is_empty() {
                retries.reset();
            }
        }
    }

    /// Brings the fronts of these Services about. The result is the Services that want one which cannot be opened now.
    pub(super) async fn round(&mut self, round: Round) -> BTreeSet<Key> {
        let is_unwanted =
            |front: &Front, open: &Open| round.get(&open.owner).is_some_and(|wanted| !wanted.contains_key(front));
        let unwanted: Vec<(Front, Open)> = self.open.extract_if(.., |front, open| is_unwanted(front, open)).collect();
        for (front, open) in unwanted {
            self.close(front, open).await;
        }
        let mut failed = BTreeSet::new();
        for (key, fronts) in round {
            for (front, wanted) in fronts {
                if let Err(error) = self.ensure(&key, front, wanted).await {
                    tracing::warn!(service = %key, error = error_chain(&error), "a service address is not served");
                    failed.insert(key.clone());
                }
            }
        }
        self.shared.metrics.fronts.set(i64::try_from(self.open.len()).unwrap_or(i64::MAX));
        failed
    }

    async fn ensure(&mut self, key: &Key, front: Front, wanted: Wanted) -> Result<(), ServiceSocketError> {
        if let Some(open) = self.open.get(&front) {
            if open.owner != *key {
                let taken = format!("the address belongs to service {}", open.owner);
                return Err(ServiceSocketError::new("listening at", front, taken));
            }
            open.picker.update(wanted);
            return Ok(());
        }
        let picker = Arc::new(Picker::default());
        picker.update(wanted);
        let (stop, stopped) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel::<()>();
        let serving = self.serving(front, Arc::clone(&picker)).await?;
        let shutdown = self.shared.tasks.shutdown().clone();
        self.shared.tasks.spawn_transient(format!("service-ip/{front}"), async move {
            tokio::select! {
                biased;
                () = shutdown.reached(Phase::Drained) => {}
                // Nothing is ever sent: it ends when the sender is dropped.
                _ = stopped => {}
                () = serving => {}
            }
            drop(end);
        });
        self.open.insert(front, Open { owner: key.clone(), picker, stop, ended });
        Ok(())
    }

    /// Opens a front; the result serves it, and closes this process's socket when dropped.
    async fn serving(
        &self,
        front: Front,
        picker: Arc<Picker>,
    ) -> Result<futures::future::BoxFuture<'static, ()>, ServiceSocketError> {
        let failed = |error| ServiceSocketError::new("using the socket of", front, error);
        let shared = Arc::clone(&self.shared);
        Ok(match front.protocol {
            Protocol::Tcp => {
                let listener = TcpListener::from_std(self.sockets.listen_tcp(front.address).await?).map_err(failed)?;
                Box::pin(tcp::serve(listener, picker, shared))
            }
            Protocol::Udp => {
                let socket = UdpSocket::from_std(self.sockets.listen_udp(front.address).await?).map_err(failed)?;
                Box::pin(udp::serve(socket, picker, shared))
            }
        })
    }

    async fn close(&self, front: Front, open: Open) {
        drop(open.stop);
        // Nothing is ever sent: it ends when the task has.
        let _ = open.ended.await;
        if let Err(error) = self.sockets.close(front).await {
            tracing::warn!(error = error_chain(&error), "a socket of a service that is gone is still kept");
        }
    }

    /// Closes what an earlier process has left and no Service wants.
    async fn close_stale(&self, config: &ServiceIpConfig) {
        let kept = match self.sockets.kept().await {
            Ok(kept) => kept,
            Err(error) => {
                return tracing::warn!(error = error_chain(&error), "cannot tell which service addresses are kept");
            }
        };
        let is_stale =
            |front: &Front| !self.open.contains_key(front) && !config.elsewhere.contains(&front.address.ip());
        for front in kept.into_iter().filter(is_stale) {
            if let Err(error) = self.sockets.close(front).await {
                tracing::warn!(error = error_chain(&error), "a socket of a service that is gone is still kept");
            }
        }
    }
}
