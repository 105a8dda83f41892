//! Answers to requests: at once, or once something has happened.

use std::io;
use std::os::fd::OwnedFd;

use super::poll::ClientId;
use crate::spec::Invalid;
use crate::wire::{Answer, Refusal, RefusalCode};

/// Whom to answer, and what the answer is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) client: ClientId,
    pub(super) id: u64,
}

/// An answer with the descriptors that go with it.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) answer: Answer,
    pub(super) descriptors: Vec<OwnedFd>,
}

impl Said {
    pub(super) fn plain(answer: Answer) -> Self {
        Self { answer, descriptors: Vec::new() }
    }
}

/// What becomes of a request.
pub(super) type Outcome = Result<Said, Refusal>;

pub(super) fn refuse(invalid: Invalid) -> Refusal {
    Refusal::new(RefusalCode::Invalid, invalid.to_string())
}

pub(super) fn refuse_failed<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Refusal {
    let what = what.into();
    move |error| Refusal::new(RefusalCode::Failed, format!("{what}: {}", error.into()))
}
