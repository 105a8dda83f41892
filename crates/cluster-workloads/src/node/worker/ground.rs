//! What containers need before they start: the sandbox, and the files of volumes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::time::Instant;

use super::remove::{remove, remove_volumes};
use super::{Message, Worker};
use crate::node::builtin::HeldFiles;
use crate::node::facts::containers;
use crate::node::fields::Addresses;
use crate::node::kubelet::Kubelet;
use crate::node::pod_state::{Event, Ground};
use crate::node::runtime::{self, Runtime};
use crate::node::sources::Content;
use crate::node::{claims, launch, network, sources, volumes};

/// The least time between renewals of a token.
const RENEW_MIN: Duration = Duration::from_secs(1);

/// The files of the volumes that a container of this program's own image mounts.
fn held(node: &Kubelet, pod: &Pod, contents: &[Content]) -> HeldFiles {
    let is_ours = |container: &&Container| {
        let image = container.image.as_deref().unwrap_or_default();
        node.images.digest(image).is_some_and(|digest| node.builtins.knows(digest))
    };
    let mounts = containers(pod).filter(is_ours).flat_map(|container| container.volume_mounts.iter().flatten());
    let wanted: BTreeSet<&str> = mounts.map(|mount| mount.name.as_str()).collect();
    let plain =
        |files: &volumes::Files| files.iter().map(|(path, file)| (path.clone(), file.content.clone())).collect();
    let contents = contents.iter().filter(|content| wanted.contains(content.name.as_str()));
    contents.map(|content| (content.name.clone(), plain(&content.files))).collect()
}

impl Worker {
    pub(super) fn make_sandbox(&self) {
        let (node, pod, outbox) = (Arc::clone(&self.node), Arc::clone(&self.pod), self.outbox.clone());
        self.spawn(
            "node/sandbox",
            async move { Message::Sandbox(runtime::make(&node, &pod, &outbox).await.map(Box::new)) },
        );
    }

    /// Has the Pod's sandbox, and tells who waits for it.
    pub(super) fn hold(&mut self, runtime: Box<Runtime>) {
        self.has_processes.send_replace(Some(!runtime.is_of_roles(&self.pod)));
        self.runtime = Some(runtime);
    }

    /// Gathers what is in the volumes while the sandbox is being made, and hands it to the spawner once that is there.
    pub(super) fn make_volumes(&self) {
        let has_files = volumes::volumes(&self.pod)
            .any(|volume| !matches!(volumes::plan(volume), Ok(volumes::Plan::Empty(_) | volumes::Plan::Host(_))));
        let (node, pod) = (Arc::clone(&self.node), Arc::clone(&self.pod));
        let (mut has_processes, mut is_ending) = (self.has_processes.subscribe(), self.is_ending.subscribe());
        let addresses = Addresses { pod: self.state.ip, host: self.node.config.ip };
        let files = Arc::clone(&self.files);
        self.spawn("node/volumes", async move {
            if !has_files {
                return Message::Volumes(Ok(Duration::ZERO));
            }
            let now = node.clock.now();
            let gathered = futures::try_join!(node.fetcher.volumes(&pod, addresses, now), node.fetcher.claims(&pod));
            let (contents, claims) = match gathered {
                Ok(gathered) => gathered,
                Err(why) => return Message::Volumes(Err(why)),
            };
            files.send_replace(Arc::new(held(&node, &pod, &contents)));
            let renew = contents.iter().filter_map(|content| content.renew_at).min();
            let refresh = node.config.refresh;
            let good_for = renew.map_or(refresh, |at| launch::until(node.clock, at).min(refresh).max(RENEW_MIN));
            tokio::select! {
                biased;
                // Errors mean that the Pod's worker has ended.
                _ = has_processes.wait_for(Option::is_some) => {}
                _ = is_ending.wait_for(|is_ending| *is_ending) => {}
            }
            // A role has no file system.
            if *has_processes.borrow() != Some(true) {
                return Message::Volumes(Ok(Duration::ZERO));
            }
            let has_contents = !contents.is_empty();
            let handed = futures::try_join!(
                sources::hand_over(&node.sandbox, &pod, contents),
                claims::hand_over(&node.sandbox, &pod, &claims)
            );
            // A claim's volume stays what it is.
            Message::Volumes(handed.map(|_| if has_contents { good_for } else { Duration::ZERO }))
        });
    }

    pub(super) fn volumes_made(&mut self, outcome: Result<Duration, String>) {
        let is_first = self.state.volumes == Ground::Making;
        match outcome {
            Ok(good_for) => {
                let has_files = self.runtime.is_some() && !good_for.is_zero();
                self.refresh_at = has_files.then(|| Instant::now() + good_for);
                if is_first {
                    self.step(Event::VolumesMade);
                }
            }
            Err(why) if is_first => self.step(Event::VolumesFailed(why)),
            Err(why) if self.runtime.is_some() => {
                tracing::warn!(pod = self.uid, why, "volumes keep their old content");
                self.refresh_at = Some(Instant::now() + self.node.config.refresh);
            }
            // They went with the sandbox.
            Err(_) => {}
        }
    }

    pub(super) fn remove_sandbox(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        let (node, id, uid) = (Arc::clone(&self.node), runtime.id.clone(), self.uid.clone());
        runtime.sockets.close();
        runtime.listeners.values().for_each(network::refuse);
        drop(runtime);
        self.kept.clear();
        self.refresh_at = None;
        self.spawn("node/remove", async move {
            remove(&node, &id).await;
            remove_volumes(&node, &uid).await;
            Message::State(Event::SandboxGone)
        });
    }
}
