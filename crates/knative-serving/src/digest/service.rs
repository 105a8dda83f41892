//! The task that asks the [`Resolver`], for every Revision that wants to know.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base_controller::{Context, Informer, Key};
use base_rt::backoff::Backoff;
use base_rt::watch;
use base_rt::{Phase, error_chain};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use knative_apis::config::Deployment;
use knative_apis::serving::v1::Revision;
use kube::ResourceExt;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::facts::{Answer, DigestFacts};
use super::request::{Request, access, failure, images, is_wanted, request};
use super::{Access, Resolver};
use crate::config::ConfigStores;
use crate::waker::Waker;

/// Questions that are asked at once.
const WORKERS: usize = 100;
/// The first and the longest wait before a failed question is asked again.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(1000);

/// One image of one Revision.
struct Question {
    key: Key,
    uid: String,
    image: String,
    access: Access,
    backoff: Backoff,
}

/// Questions that wait. There are at most as many as Revisions in the cache have containers.
#[derive(Default)]
struct Questions {
    now: VecDeque<Question>,
    later: BTreeMap<(Instant, u64), Question>,
    delayed: u64,
}

/// What the subscription and the task share.
pub(super) struct Shared {
    facts: DigestFacts,
    questions: Mutex<Questions>,
    changed: Notify,
    deployment: watch::Receiver<Arc<Deployment>>,
    waker: Waker,
}

/// Starts the service: it follows `revisions`, writes `facts` and wakes the Revisions that they are about.
pub(crate) fn start(
    context: &Context,
    revisions: &Informer<Revision>,
    (facts, waker): (&DigestFacts, &Waker),
    configs: &ConfigStores,
    resolver: Arc<dyn Resolver>,
) {
    let shared = Arc::new(Shared::new((facts, waker), configs.deployment()));
    let followed = Arc::clone(&shared);
    revisions.subscribe(move |delta| match delta.new {
        Some(revision) => followed.follow(revision),
        None => delta.old.iter().for_each(|revision| followed.facts.forget(&Key::of(&***revision))),
    });
    let (shutdown, maps) = (context.tasks.shutdown().clone(), configs.maps().clone());
    context.tasks.spawn("digest", async move {
        tokio::select! {
            biased;
            () = shutdown.reached(Phase::Drained) => {}
            () = async {
                // Which registries are skipped is in a ConfigMap.
                maps.synced().await;
                shared.run(resolver).await;
            } => {}
        }
        Ok(())
    });
}

impl Questions {
    fn pop(&mut self, now: Instant) -> Option<Question> {
        while self.later.first_key_value().is_some_and(|((due, _), _)| *due <= now) {
            self.now.extend(self.later.pop_first().map(|(_, question)| question));
        }
        self.now.pop_front()
    }

    fn next_due(&self) -> Option<Instant> {
        self.later.first_key_value().map(|((due, _), _)| *due)
    }
}

impl Shared {
    pub(super) fn new((facts, waker): (&DigestFacts, &Waker), deployment: watch::Receiver<Arc<Deployment>>) -> Self {
        let (questions, changed) = (Mutex::default(), Notify::new());
        Self { facts: facts.clone(), questions, changed, deployment, waker: waker.clone() }
    }

    /// Asks for what a Revision wants to know, once.
    pub(super) fn follow(&self, revision: &Revision) {
        if !is_wanted(revision) {
            return self.facts.forget(&Key::of(revision));
        }
        if !self.facts.want(revision) {
            return;
        }
        let distinct: BTreeSet<&str> = images(revision).collect();
        let questions = distinct.into_iter().map(|image| Question {
            key: Key::of(revision),
            uid: revision.uid().unwrap_or_default(),
            image: image.to_owned(),
            access: access(revision),
            backoff: Backoff::new(FIRST_RETRY, LONGEST_RETRY),
        });
        self.questions().now.extend(questions);
        self.changed.notify_one();
    }

    /// Asks until it is dropped.
    pub(super) async fn run(&self, resolver: Arc<dyn Resolver>) {
        let mut asked = FuturesUnordered::new();
        loop {
            while asked.len() < WORKERS {
                let Some(question) = self.questions().pop(Instant::now()) else { break };
                asked.push(self.ask(question, &*resolver));
            }
            let due = self.questions().next_due();
            tokio::select! {
                biased;
                Some(()) = asked.next() => {}
                () = self.changed.notified() => {}
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() && asked.len() < WORKERS => {}
            }
        }
    }

    /// Finds the answer to one question, and puts the question back if there is none.
    async fn ask(&self, mut question: Question, resolver: &dyn Resolver) {
        if !self.facts.is_wanted(&question.key, &question.uid) {
            return;
        }
        let answer = self.find(&question, resolver).await;
        let is_failed = matches!(answer, Answer::Failed(_));
        if self.facts.answer((&question.key, &question.uid), &question.image, answer) {
            self.waker.wake(&question.key);
        }
        if is_failed {
            let due = Instant::now() + question.backoff.next_delay();
            let mut questions = self.questions();
            questions.delayed += 1;
            let order = questions.delayed;
            questions.later.insert((due, order), question);
        }
    }

    async fn find(&self, question: &Question, resolver: &dyn Resolver) -> Answer {
        let Question { key, image, access, .. } = question;
        let config = Arc::clone(&self.deployment.borrow());
        let reference = match request(image, &config.registries_skipping_tag_resolving) {
            Request::Known(digest) => return Answer::Found(digest),
            Request::Hopeless(message) => return Answer::Failed(message),
            Request::Ask(reference) => reference,
        };
        let timeout = Duration::try_from(config.digest_resolution_timeout).unwrap_or_default();
        let problem = match tokio::time::timeout(timeout, resolver.resolve(&reference, access)).await {
            Ok(Ok(digest)) => return Answer::Found(reference.with_digest(digest).to_knative()),
            Ok(Err(error)) => error_chain(&*error),
            Err(_elapsed) => format!("no answer within {timeout:?}"),
        };
        tracing::info!(revision = %key, image, problem, "image digest not found");
        Answer::Failed(failure(image, &problem))
    }

    fn questions(&self) -> MutexGuard<'_, Questions> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
