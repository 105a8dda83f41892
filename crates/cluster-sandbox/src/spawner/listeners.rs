//! Listening sockets by name, kept for the client of the moment and the ones after it.

use std::os::fd::{AsFd, OwnedFd};

use super::answers::{Outcome, Said, refuse, refuse_failed};
use super::pods::no_pod;
use super::server::Spawner;
use crate::network::sockets;
use crate::spec::{Check, ListenSpec, ListenerName, Place, PodId};
use crate::wire::{Answer, Refusal, RefusalCode};

/// A set of sockets.
#[derive(Debug)]
pub(super) struct Listener {
    /// As it was asked for.
    asked: ListenSpec,
    /// With the port that was bound.
    bound: ListenSpec,
    sockets: Vec<OwnedFd>,
}

/// A service has an address and a few ports; the bound keeps descriptors for everything else.
const LISTENERS_MAX: usize = 20_000;

impl Spawner {
    pub(super) fn listen(&mut self, spec: ListenSpec) -> Outcome {
        spec.check().map_err(refuse)?;
        if let Some(known) = self.listeners.get(&spec.name) {
            return match known.asked == spec || known.bound == spec {
                true => known.answer(),
                false => Err(Refusal::new(
                    RefusalCode::Exists,
                    format!("listener {} exists with another address", spec.name),
                )),
            };
        }
        if self.listeners.len() >= LISTENERS_MAX {
            return Err(Refusal::new(RefusalCode::Busy, format!("there are {LISTENERS_MAX} listeners already")));
        }
        let make = || sockets::listen(spec.address, spec.protocol, spec.sockets);
        let network = match &spec.place {
            Place::Host => None,
            Place::Instance => {
                let network = self.machine.network.as_ref();
                let none = || Refusal::new(RefusalCode::Invalid, "place: this instance has no network");
                Some(network.ok_or_else(none)?.namespace.as_fd())
            }
            Place::Pod(id) => {
                let pod = self.pods.get(id).ok_or_else(|| no_pod(id))?;
                let none = || Refusal::new(RefusalCode::Invalid, format!("place: pod {id} has no network of its own"));
                Some(pod.namespaces.as_ref().ok_or_else(none)?.namespaces.net.as_fd())
            }
        };
        let made = match network {
            Some(network) => self.machine.home.visit(network, make).map_err(refuse_failed("entering a network"))?,
            None => make(),
        };
        let (sockets, address) = made.map_err(|error| {
            let is_taken = error == rustix::io::Errno::ADDRINUSE;
            let code = if is_taken { RefusalCode::Exists } else { RefusalCode::Failed };
            let message = format!("listening on {:?} {}: {}", spec.protocol, spec.address, std::io::Error::from(error));
            Refusal::new(code, message)
        })?;
        let bound = ListenSpec { address, ..spec.clone() };
        let listener = Listener { asked: spec.clone(), bound, sockets };
        let answer = listener.answer();
        self.listeners.insert(spec.name, listener);
        answer
    }

    pub(super) fn list_listeners(&self) -> Outcome {
        let specs = self.listeners.values().map(|listener| listener.bound.clone());
        Ok(Said::plain(Answer::Listeners(specs.collect())))
    }

    /// Lets go of the listeners in a pod's network, which would outlive the pod with them.
    pub(super) fn unlisten_pod(&mut self, pod: &PodId) {
        self.listeners.retain(|_, listener| !matches!(&listener.asked.place, Place::Pod(place) if place == pod));
    }

    pub(super) fn unlisten(&mut self, name: &ListenerName) -> Outcome {
        match self.listeners.remove(name) {
            Some(_) => Ok(Said::plain(Answer::Done)),
            None => Err(Refusal::new(RefusalCode::NotFound, format!("there is no listener {name}"))),
        }
    }
}

impl Listener {
    fn answer(&self) -> Outcome {
        let copies =
            self.sockets.iter().map(|socket| socket.try_clone().map_err(refuse_failed("duplicating a listener")));
        let descriptors = copies.collect::<Result<Vec<_>, _>>()?;
        Ok(Said { answer: Answer::Listening(Box::new(self.bound.clone())), descriptors })
    }
}
