//! The service against a resolver of our own, under paused time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base_controller::Key;
use base_image::{Digest, Reference};
use base_rt::watch;
use futures::FutureExt;
use futures::future::BoxFuture;
use knative_apis::config::Deployment;
use knative_apis::serving::v1::{ContainerStatus, Revision};
use serde_json::json;
use tokio::time::Instant;

use super::service::Shared;
use super::{Access, DigestFacts, Resolution, ResolveError, Resolver};
use crate::waker::Waker;

const DIGEST: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// Answers by what is in its table; what is not there is never answered.
#[derive(Default)]
struct Table {
    answers: Mutex<BTreeMap<String, Result<(), String>>>,
    asked: Mutex<Vec<(String, Duration)>>,
    started: Option<Instant>,
}

impl Table {
    fn new(answers: &[(&str, Result<(), &str>)]) -> Arc<Self> {
        let answers = answers.iter().map(|(image, answer)| ((*image).to_owned(), answer.map_err(str::to_owned)));
        Arc::new(Self {
            answers: Mutex::new(answers.collect()),
            asked: Mutex::default(),
            started: Some(Instant::now()),
        })
    }

    fn asked(&self) -> Vec<(String, u64)> {
        self.asked.lock().unwrap().iter().map(|(image, at)| (image.clone(), at.as_secs())).collect()
    }
}

impl Resolver for Table {
    fn resolve<'a>(&'a self, image: &'a Reference, _: &'a Access) -> BoxFuture<'a, Result<Digest, ResolveError>> {
        let at = self.started.unwrap().elapsed();
        self.asked.lock().unwrap().push((image.to_familiar(), at));
        match self.answers.lock().unwrap().get(&image.to_familiar()).cloned() {
            None => futures::future::pending().boxed(),
            Some(answer) => {
                let digest = DIGEST.parse::<Digest>().unwrap();
                async move { answer.map(|()| digest).map_err(Into::into) }.boxed()
            }
        }
    }
}

fn revision(uid: &str, images: &[&str]) -> Revision {
    let containers: Vec<_> =
        images.iter().enumerate().map(|(n, image)| json!({"name": format!("c{n}"), "image": image})).collect();
    serde_json::from_value(json!({
        "metadata": {"namespace": "default", "name": "hello-00001", "uid": uid},
        "spec": {"containers": containers},
    }))
    .unwrap()
}

struct Fixture {
    facts: DigestFacts,
    shared: Shared,
    table: Arc<Table>,
}

impl Fixture {
    fn new(answers: &[(&str, Result<(), &str>)]) -> Self {
        let facts = DigestFacts::default();
        let (sender, deployment) = watch::channel(Arc::new(Deployment::default()));
        drop(sender);
        let shared = Shared::new((&facts, &Waker::default()), deployment);
        Self { facts, shared, table: Table::new(answers) }
    }

    async fn run_for(&self, seconds: u64) {
        let table: Arc<dyn Resolver> = Arc::clone(&self.table) as Arc<dyn Resolver>;
        let _ = tokio::time::timeout(Duration::from_secs(seconds), self.shared.run(table)).await;
    }
}

fn found(digests: &[&str]) -> Resolution {
    let status =
        |(n, digest): (usize, &&str)| ContainerStatus { name: format!("c{n}"), image_digest: (*digest).to_owned() };
    Resolution::Resolved { containers: digests.iter().enumerate().map(status).collect(), init_containers: vec![] }
}

#[tokio::test(start_paused = true)]
async fn tags_become_digests_and_digests_stay() {
    let fixture = Fixture::new(&[("hello", Ok(()))]);
    let by_digest = format!("example.com/a@{DIGEST}");
    let revision = revision("u", &["hello", &by_digest, "ko.local/b", "hello"]);
    assert_eq!(fixture.facts.get(&revision), Resolution::Pending);
    fixture.shared.follow(&revision);
    fixture.run_for(1).await;
    let hello = format!("index.docker.io/library/hello@{DIGEST}");
    assert_eq!(fixture.facts.get(&revision), found(&[&hello, &by_digest, "", &hello]));
    assert_eq!(fixture.table.asked(), [("hello".to_owned(), 0)], "each image is asked for once");
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_and_asked_again_with_growing_delays() {
    let fixture = Fixture::new(&[("hello", Err("manifest unknown"))]);
    let revision = revision("u", &["hello"]);
    fixture.shared.follow(&revision);
    fixture.run_for(8).await;
    let message = r#"Unable to fetch image "hello": failed to resolve image to digest: manifest unknown"#.to_owned();
    assert_eq!(fixture.facts.get(&revision), Resolution::Failed { message });
    let times: Vec<_> = fixture.table.asked().into_iter().map(|(_, at)| at).collect();
    assert_eq!(times, [0, 1, 3, 7]);
    fixture.table.answers.lock().unwrap().insert("hello".to_owned(), Ok(()));
    fixture.run_for(10).await;
    assert!(matches!(fixture.facts.get(&revision), Resolution::Resolved { .. }), "it recovers");
}

#[tokio::test(start_paused = true)]
async fn silence_is_a_failure() {
    let fixture = Fixture::new(&[]);
    let revision = revision("u", &["hello"]);
    fixture.shared.follow(&revision);
    fixture.run_for(11).await;
    let Resolution::Failed { message } = fixture.facts.get(&revision) else { panic!("no failure") };
    assert!(message.ends_with("no answer within 10s"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn one_bad_image_does_not_hold_up_others() {
    let fixture = Fixture::new(&[("good", Ok(()))]);
    let mut other = revision("v", &["good"]);
    other.metadata.name = Some("other-00001".to_owned());
    fixture.shared.follow(&revision("u", &["silent"]));
    fixture.shared.follow(&other);
    fixture.run_for(1).await;
    assert!(matches!(fixture.facts.get(&other), Resolution::Resolved { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_revision_of_the_same_name_starts_afresh_and_a_resolved_one_is_forgotten() {
    let fixture = Fixture::new(&[("hello", Ok(()))]);
    let mut first = revision("u", &["hello"]);
    fixture.shared.follow(&first);
    fixture.run_for(1).await;
    let second = revision("v", &["hello"]);
    assert_eq!(fixture.facts.get(&second), Resolution::Pending);
    fixture.shared.follow(&second);
    fixture.run_for(1).await;
    assert!(matches!(fixture.facts.get(&second), Resolution::Resolved { .. }));
    first = second;
    first.status.container_statuses = vec![ContainerStatus::default()];
    fixture.shared.follow(&first);
    assert!(!fixture.facts.is_wanted(&Key::of(&first), "v"));
}
