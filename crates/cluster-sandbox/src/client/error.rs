//! What can go wrong between client and spawner.

use crate::wire::packet::PacketError;
use crate::wire::{Refusal, RefusalCode};

/// Why a request has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// No spawner could be connected to.
    #[error("connecting to the spawner at {path}")]
    Connect {
        /// Its socket.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The spawner says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The request could not be written.
    #[error("sending a request to the spawner")]
    Send(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The spawner has ended, or has ended the connection.
    #[error("the spawner is gone")]
    Gone,
    /// This process may not open as many files as the answer brings: what it asked for is not to be had, all else goes on.
    #[error("this process may not open more files (its limit is RLIMIT_NOFILE)")]
    NoRoom,
    /// A terminal that the answer brought cannot be used.
    #[error("using a terminal")]
    Terminal(#[source] std::io::Error),
    /// The answer is not one to this request.
    #[error("the spawner's answer does not fit the request")]
    Unexpected,
}

impl SandboxError {
    /// What kind of refusal it is, if it is one.
    pub fn refusal(&self) -> Option<RefusalCode> {
        match self {
            Self::Refused(refusal) => Some(refusal.code),
            _ => None,
        }
    }

    pub(super) fn send(error: PacketError) -> Self {
        Self::Send(Box::new(error))
    }
}
