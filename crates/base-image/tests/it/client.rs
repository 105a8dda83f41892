//! The client against a registry of ours: import over HTTP, list, remove, repeat.

use std::sync::{Arc, Mutex};

use base_image::Reference;
use base_image::import::{Archive, Progress};
use base_image::registry_client::{FetchError, ProgressReceiver};

use crate::support::{named_image, runtime, store};

/// A receiver that keeps the last of what it is told.
fn receiver() -> (ProgressReceiver, Arc<Mutex<Progress>>) {
    let last = Arc::new(Mutex::new(Progress::default()));
    let told = Arc::clone(&last);
    (Arc::new(move |progress| *told.lock().unwrap() = progress), last)
}

#[tokio::test]
async fn an_archive_is_pushed_under_any_name_and_only_once() {
    let runtime = runtime();
    let (source, target) = (store(), store());
    let digest = named_image(&source.store, "any");
    let archive = Arc::new(Archive::open(&source.export(digest)).unwrap());
    let server = runtime.serve(&target.store).await;
    let client = runtime.client();
    for (name, uploads) in [("hello", 3), ("127.0.0.1:1/hello:v1", 0), ("ghcr.io/a/b", 0)] {
        let name: Reference = name.parse().unwrap();
        let image = archive.named_images(Some(&name)).unwrap().remove(0);
        let (receiver, last) = receiver();
        client.push_archive(&server.host(), &archive, &image, &receiver).await.unwrap();
        let progress = *last.lock().unwrap();
        assert_eq!((progress.done_bytes, progress.total_bytes), (image.total_bytes(), image.total_bytes()));
        let sent = server.log.take();
        let sent = sent.iter().filter(|line| line.starts_with("PUT ") && line.contains("/blobs/uploads/"));
        assert_eq!(sent.count(), uploads, "{name}");
        assert_eq!(target.store.record(&name).unwrap().digest, digest);
    }
    assert_eq!(target.store.image(digest).unwrap().layers.len(), 2);

    let names = |entries: Vec<base_image::registry_server::ImageEntry>| {
        let tagged = entries.into_iter().filter(|entry| entry.reference.tag().is_some());
        tagged.map(|entry| entry.reference.to_familiar()).collect::<Vec<_>>()
    };
    assert_eq!(
        names(client.list_images(&server.host()).await.unwrap()),
        ["hello", "ghcr.io/a/b", "own.example/hello:v1"]
    );
    client.remove_image(&server.host(), &"ghcr.io/a/b".parse().unwrap()).await.unwrap();
    assert_eq!(names(client.list_images(&server.host()).await.unwrap()), ["hello", "own.example/hello:v1"]);
    let gone = client.remove_image(&server.host(), &"ghcr.io/a/b".parse().unwrap()).await;
    assert!(matches!(gone, Err(FetchError::NotFound { .. })));
}

#[tokio::test]
async fn nobody_there_is_said_clearly() {
    let runtime = runtime();
    let error = runtime.client().list_images("127.0.0.1:1").await.unwrap_err();
    let text = base_rt::error_chain(&error);
    assert!(text.starts_with("registry 127.0.0.1:1 cannot be reached: connect to 127.0.0.1:1: "), "{text}");
}
