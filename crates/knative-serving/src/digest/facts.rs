//! What is known about the digests of Revisions' images.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base_controller::Key;
use k8s_openapi::api::core::v1::Container;
use knative_apis::serving::v1::{ContainerStatus, Revision};
use kube::ResourceExt;
use serde::Serialize;

use super::request::images;

/// How far a Revision's images have come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Resolution {
    /// Not all of them are known yet.
    Pending,
    /// All are known, in the order of the containers. An empty digest means: run it by its tag.
    #[serde(rename_all = "camelCase")]
    Resolved { containers: Vec<ContainerStatus>, init_containers: Vec<ContainerStatus> },
    /// One of them could not be found; it is tried again.
    Failed { message: String },
}

/// The answer about one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// `repository@digest`, or empty.
    Found(String),
    Failed(String),
}

/// The answers about all Revisions that wait for some. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct DigestFacts(Arc<Mutex<BTreeMap<Key, Answers>>>);

#[derive(Debug)]
struct Answers {
    /// Which of the objects that have had this name is meant.
    uid: String,
    images: BTreeMap<String, Answer>,
}

impl DigestFacts {
    /// How far the images of `revision` have come.
    pub(crate) fn get(&self, revision: &Revision) -> Resolution {
        let table = self.table();
        match table.get(&Key::of(revision)).filter(|answers| Some(&answers.uid) == revision.metadata.uid.as_ref()) {
            None => Resolution::Pending,
            Some(answers) => resolution(revision, &answers.images),
        }
    }

    /// `revision` wants answers. Whether that is news.
    pub(super) fn want(&self, revision: &Revision) -> bool {
        let (key, uid) = (Key::of(revision), revision.uid().unwrap_or_default());
        let mut table = self.table();
        if table.get(&key).is_some_and(|answers| answers.uid == uid) {
            return false;
        }
        table.insert(key, Answers { uid, images: BTreeMap::new() });
        true
    }

    /// Whether somebody waits for answers about this very Revision.
    pub(super) fn is_wanted(&self, key: &Key, uid: &str) -> bool {
        self.table().get(key).is_some_and(|answers| answers.uid == uid)
    }

    /// An answer for this very Revision, if somebody still waits for it. Whether it says anything new.
    pub(super) fn answer(&self, (key, uid): (&Key, &str), image: &str, answer: Answer) -> bool {
        let mut table = self.table();
        let Some(answers) = table.get_mut(key).filter(|answers| answers.uid == uid) else { return false };
        answers.images.insert(image.to_owned(), answer.clone()).as_ref() != Some(&answer)
    }

    /// Nobody waits for answers about the Revision any more.
    pub(super) fn forget(&self, key: &Key) {
        self.table().remove(key);
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<Key, Answers>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn resolution(revision: &Revision, answers: &BTreeMap<String, Answer>) -> Resolution {
    let mut is_complete = true;
    for image in images(revision) {
        match answers.get(image) {
            Some(Answer::Failed(message)) => return Resolution::Failed { message: message.clone() },
            Some(Answer::Found(_)) => {}
            None => is_complete = false,
        }
    }
    if !is_complete {
        return Resolution::Pending;
    }
    let status = |container: &Container| ContainerStatus {
        name: container.name.clone(),
        image_digest: match answers.get(container.image.as_deref().unwrap_or_default()) {
            Some(Answer::Found(digest)) => digest.clone(),
            _ => String::new(),
        },
    };
    let pod = &revision.spec.pod;
    Resolution::Resolved {
        containers: pod.containers.iter().map(status).collect(),
        init_containers: pod.init_containers.iter().flatten().map(status).collect(),
    }
}
