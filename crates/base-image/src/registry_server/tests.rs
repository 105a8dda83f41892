//! The protocol, request by request, against a store in a temporary directory.

use base_rt::Timestamp;
use futures::stream;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, LINK, LOCATION, RANGE};
use http_body::Frame;
use http_body_util::StreamBody;
use serde_json::{Value, json};

use super::sessions::{MAX_IDLE, MAX_SESSIONS};
use super::*;
use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::manifest::Descriptor;
use crate::media_type::{OCI_CONFIG, OCI_LAYER, OCI_MANIFEST};
use crate::platform::Platform;

struct Fixture {
    _dir: tempfile::TempDir,
    registry: Registry,
}

struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: Vec<u8>,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let own = OwnNames::new("registry.example", ["127.0.0.1:5000"]);
    let store = Store::open(dir.path(), own).unwrap();
    let registry = Registry::new(store, Clock::starting_at(Timestamp::UNIX_EPOCH), &Scope::root());
    Fixture { _dir: dir, registry }
}

impl Fixture {
    async fn send(&self, request: http::request::Builder, body: impl Into<Bytes>, access: Access) -> Answer {
        let request = request.body(Full::new(body.into())).unwrap();
        let (parts, body) = self.registry.handle(request, access).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    async fn call(&self, method: &str, uri: &str, body: impl Into<Bytes>) -> Answer {
        self.send(Request::builder().method(method).uri(uri), body, Access::Full).await
    }

    async fn upload(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let answer = self.call("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), bytes.to_vec()).await;
        assert_eq!(answer.status, 201);
        digest
    }

    /// Pushes an image's blobs and gives its manifest.
    async fn manifest(&self, text: &str, subject: Option<Digest>) -> Vec<u8> {
        let layer = self.upload(text.as_bytes()).await;
        let config = ImageConfig { platform: Platform::host(), diff_ids: vec![layer], ..ImageConfig::default() };
        let config = config.to_json().unwrap();
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": Descriptor::new(OCI_CONFIG, self.upload(&config).await, config.len() as u64),
            "layers": [Descriptor::new(OCI_LAYER, layer, text.len() as u64)],
        });
        if let Some(subject) = subject {
            manifest["subject"] = serde_json::to_value(Descriptor::new(OCI_MANIFEST, subject, 1)).unwrap();
            manifest["artifactType"] = "test/signature".into();
        }
        manifest.to_string().into_bytes()
    }
}

impl Answer {
    fn header(&self, name: impl http::header::AsHeaderName) -> &str {
        self.headers.get(name).unwrap().to_str().unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn code(&self) -> (u16, String) {
        (self.status, self.json()["errors"][0]["code"].as_str().unwrap().to_owned())
    }
}

fn refusal(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn it_is_a_registry_under_its_own_names_only() {
    let fixture = fixture();
    let answer = fixture.call("GET", "/v2/", "").await;
    assert_eq!((answer.status, answer.header(API_VERSION)), (200, "registry/2.0"));
    assert_eq!(fixture.call("GET", "/v2/nothing", "").await.code(), refusal(404, "NAME_UNKNOWN"));
    assert_eq!(fixture.call("PUT", "/v2/", "").await.code(), refusal(405, "UNSUPPORTED"));
    for (host, status) in [
        ("127.0.0.1:5000", 200),
        ("10.1.2.3", 200),
        ("[::1]:5000", 200),
        ("localhost:5000", 200),
        ("registry.example", 200),
        ("registry.example:80", 200),
        ("evil.example", 403),
        ("evil.example:5000", 403),
        ("127.0.0.1.evil.example", 403),
    ] {
        let request = Request::builder().uri("/v2/").header(HOST, host);
        assert_eq!(fixture.send(request, "", Access::Full).await.status, status, "{host}");
    }
}

#[tokio::test]
async fn a_blob_in_chunks() {
    let fixture = fixture();
    let start = fixture.call("POST", "/v2/a/blobs/uploads/", "").await;
    assert_eq!((start.status, start.header(RANGE)), (202, "0-0"));
    let upload = start.header(LOCATION).to_owned();
    let patch = |range: &'static str, text: &'static str| {
        let request = Request::builder().method("PATCH").uri(&upload).header(CONTENT_RANGE, range);
        fixture.send(request, text, Access::Push)
    };
    assert_eq!(patch("0-4", "hello").await.header(RANGE), "0-4");
    assert_eq!(patch("4-9", "wrong").await.status, 416);
    assert_eq!(patch("5-10", " world").await.status, 202);
    let status = fixture.call("GET", &upload, "").await;
    assert_eq!((status.status, status.header(RANGE)), (204, "0-10"));
    let digest = Digest::of(b"hello world!");
    let end = fixture.call("PUT", &format!("{upload}?digest={digest}"), "!").await;
    assert_eq!((end.status, end.header(LOCATION)), (201, format!("/v2/a/blobs/{digest}").as_str()));
    assert_eq!(fixture.call("GET", &upload, "").await.code(), refusal(404, "BLOB_UPLOAD_UNKNOWN"));

    let whole = fixture.call("GET", &format!("/v2/other/blobs/{digest}"), "").await;
    assert_eq!((whole.status, whole.body.as_slice()), (200, &b"hello world!"[..]));
    let head = fixture.call("HEAD", &format!("/v2/a/blobs/{digest}"), "").await;
    assert_eq!((head.header(CONTENT_LENGTH), head.body.len()), ("12", 0));
    let request = Request::builder().uri(format!("/v2/a/blobs/{digest}")).header(RANGE, "bytes=6-10");
    let part = fixture.send(request, "", Access::Pull).await;
    assert_eq!((part.status, part.header(CONTENT_RANGE), part.body.as_slice()), (206, "bytes 6-10/12", &b"world"[..]));
}

#[tokio::test]
async fn uploads_that_go_wrong() {
    let fixture = fixture();
    let wrong = Digest::of(b"other");
    let answer = fixture.call("POST", &format!("/v2/a/blobs/uploads/?digest={wrong}"), "hello").await;
    assert_eq!(answer.code(), refusal(400, "DIGEST_INVALID"));
    let upload = fixture.call("POST", "/v2/a/blobs/uploads/", "").await.header(LOCATION).to_owned();
    assert_eq!(fixture.call("PUT", &upload, "x").await.code(), refusal(400, "DIGEST_INVALID"));
    assert_eq!(
        fixture.call("PUT", &format!("{upload}?digest={wrong}"), "x").await.code(),
        refusal(400, "DIGEST_INVALID")
    );
    assert_eq!(fixture.call("PATCH", &upload, "x").await.code(), refusal(404, "BLOB_UPLOAD_UNKNOWN"));
    let upload = fixture.call("POST", "/v2/a/blobs/uploads/", "").await.header(LOCATION).to_owned();
    assert_eq!(fixture.call("DELETE", &upload, "").await.status, 204);
    assert_eq!(fixture.call("DELETE", &upload, "").await.code(), refusal(404, "BLOB_UPLOAD_UNKNOWN"));
    assert_eq!(fixture.call("GET", &format!("/v2/a/blobs/{wrong}"), "").await.code(), refusal(404, "BLOB_UNKNOWN"));
}

#[tokio::test]
async fn a_broken_line_keeps_what_came() {
    let fixture = fixture();
    let upload = fixture.call("POST", "/v2/a/blobs/uploads/", "").await.header(LOCATION).to_owned();
    let frames = [Ok(Frame::data(Bytes::from("hel"))), Err(std::io::Error::other("reset"))];
    let request = Request::patch(&upload).body(StreamBody::new(stream::iter(frames))).unwrap();
    assert_eq!(fixture.registry.handle(request, Access::Push).await.status(), 400);
    assert_eq!(fixture.call("GET", &upload, "").await.header(RANGE), "0-2");
    let digest = Digest::of(b"hello");
    assert_eq!(fixture.call("PUT", &format!("{upload}?digest={digest}"), "lo").await.status, 201);
}

#[tokio::test(start_paused = true)]
async fn uploads_are_bounded_and_expire() {
    let fixture = fixture();
    for _ in 0..MAX_SESSIONS {
        assert_eq!(fixture.call("POST", "/v2/a/blobs/uploads/", "").await.status, 202);
    }
    let refused = fixture.call("POST", "/v2/a/blobs/uploads/", "").await;
    assert_eq!(refused.code(), refusal(429, "TOOMANYREQUESTS"));
    tokio::time::advance(MAX_IDLE).await;
    assert_eq!(fixture.call("POST", "/v2/a/blobs/uploads/", "").await.status, 202);
    let metrics = &fixture.registry.0.metrics;
    assert_eq!((metrics.uploads_refused.get(), metrics.uploads_expired.get()), (1, MAX_SESSIONS as u64));
}

#[tokio::test]
async fn a_request_that_is_given_up_ends_its_upload() {
    let fixture = fixture();
    let upload = fixture.call("POST", "/v2/a/blobs/uploads/", "").await.header(LOCATION).to_owned();
    let endless = StreamBody::new(stream::pending::<Result<Frame<Bytes>, std::io::Error>>());
    let request = fixture.registry.handle(Request::patch(&upload).body(endless).unwrap(), Access::Push);
    let mut request = Box::pin(request);
    assert!(futures::poll!(&mut request).is_pending());
    assert_eq!(fixture.call("PATCH", &upload, "x").await.code(), refusal(400, "BLOB_UPLOAD_INVALID"));
    drop(request);
    assert_eq!(fixture.call("PATCH", &upload, "x").await.code(), refusal(404, "BLOB_UPLOAD_UNKNOWN"));
}

#[tokio::test]
async fn a_manifest_by_tag_and_digest() {
    let fixture = fixture();
    let manifest = fixture.manifest("layer", None).await;
    let digest = Digest::of(&manifest);
    let put = Request::put("/v2/a/b/manifests/v1").header(CONTENT_TYPE, OCI_MANIFEST);
    let answer = fixture.send(put, manifest.clone(), Access::Push).await;
    assert_eq!((answer.status, answer.header(CONTENT_DIGEST)), (201, digest.to_string().as_str()));
    for reference in ["v1", digest.to_string().as_str()] {
        let uri = format!("/v2/a/b/manifests/{reference}");
        let answer = fixture.call("GET", &uri, "").await;
        assert_eq!((answer.header(CONTENT_TYPE), &answer.body), (OCI_MANIFEST, &manifest));
        let head = fixture.call("HEAD", &uri, "").await;
        assert_eq!((head.status, head.header(CONTENT_DIGEST)), (200, digest.to_string().as_str()));
        assert_eq!(head.header(CONTENT_LENGTH), manifest.len().to_string());
    }
    let record = fixture.registry.0.store.record(&"127.0.0.1:5000/a/b:v1".parse().unwrap()).unwrap();
    assert_eq!((record.digest, record.origin), (digest, crate::store::Origin::Local));
    assert_eq!(fixture.call("GET", "/v2/a/b/manifests/v2", "").await.code(), refusal(404, "MANIFEST_UNKNOWN"));
    assert_eq!(fixture.call("HEAD", "/v2/a/b/manifests/v2", "").await.status, 404);
}

#[tokio::test]
async fn manifests_that_are_refused() {
    let fixture = fixture();
    let manifest = fixture.manifest("layer", None).await;
    let put = |uri: &str, body: Vec<u8>| {
        let request = Request::put(uri).header(CONTENT_TYPE, OCI_MANIFEST);
        fixture.send(request, body, Access::Full)
    };
    let other = format!("/v2/a/manifests/{}", Digest::of(b"other"));
    assert_eq!(put(&other, manifest.clone()).await.code(), refusal(400, "DIGEST_INVALID"));
    assert_eq!(put("/v2/a/manifests/v1", b"{}".to_vec()).await.code(), refusal(400, "MANIFEST_INVALID"));
    let large = vec![b' '; 5 << 20];
    assert_eq!(put("/v2/a/manifests/v1", large).await.code(), refusal(413, "SIZE_INVALID"));
    let missing = String::from_utf8(manifest.clone()).unwrap();
    let missing = missing.replace(&Digest::of(b"layer").to_string(), &Digest::of(b"absent").to_string());
    assert_eq!(put("/v2/a/manifests/v1", missing.into_bytes()).await.code(), refusal(400, "MANIFEST_BLOB_UNKNOWN"));
    let layer = format!("/v2/a/manifests/{}", Digest::of(b"layer"));
    assert_eq!(fixture.call("GET", &layer, "").await.code(), refusal(404, "MANIFEST_UNKNOWN"));
    let list = Request::put("/v2/a/manifests/v1").header(CONTENT_TYPE, crate::media_type::OCI_INDEX);
    assert_eq!(fixture.send(list, manifest, Access::Full).await.code(), refusal(400, "MANIFEST_INVALID"));
}

#[tokio::test]
async fn other_registries_names_are_a_mirror() {
    let fixture = fixture();
    let manifest = fixture.manifest("layer", None).await;
    let uri = "/v2/library/hello/manifests/latest?ns=docker.io";
    let push = |access| fixture.send(Request::put(uri), manifest.clone(), access);
    assert_eq!(push(Access::Push).await.code(), refusal(403, "DENIED"));
    assert_eq!(push(Access::Full).await.status, 201);
    let store = &fixture.registry.0.store;
    let hello = "hello".parse().unwrap();
    assert_eq!(store.record(&hello).unwrap().digest, Digest::of(&manifest));
    assert_eq!(fixture.call("GET", uri, "").await.status, 200);
    assert_eq!(fixture.call("GET", "/v2/library/hello/manifests/latest?ns=index.docker.io", "").await.status, 200);
    assert_eq!(fixture.call("GET", "/v2/library/hello/manifests/latest", "").await.status, 200);
    assert_eq!(fixture.call("GET", "/v2/library/hello/manifests/latest?ns=ghcr.io", "").await.status, 404);
    assert_eq!(
        fixture.call("GET", "/v2/library/hello/tags/list?ns=docker.io", "").await.json()["tags"],
        json!(["latest"])
    );
    assert_eq!(fixture.call("GET", "/v2/_catalog", "").await.json()["repositories"], json!([]));

    let pulled: Reference = "other".parse().unwrap();
    store.set_record(&pulled, Digest::of(&manifest), crate::store::Origin::Pulled, Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(fixture.call("GET", "/v2/library/other/manifests/latest?ns=docker.io", "").await.status, 404);
}

#[tokio::test]
async fn readers_only_read() {
    let fixture = fixture();
    for (method, uri) in [
        ("POST", "/v2/a/blobs/uploads/"),
        ("PUT", "/v2/a/manifests/v1"),
        ("DELETE", "/v2/a/manifests/v1"),
        ("DELETE", "/v2/_kwick/images?reference=a"),
    ] {
        let answer = fixture.send(Request::builder().method(method).uri(uri), "", Access::Pull).await;
        assert_eq!(answer.code(), refusal(403, "DENIED"), "{method} {uri}");
    }
    let remove = Request::delete("/v2/a/manifests/v1");
    assert_eq!(fixture.send(remove, "", Access::Push).await.code(), refusal(403, "DENIED"));
}

#[tokio::test]
async fn lists_come_in_pages() {
    let fixture = fixture();
    let manifest = fixture.manifest("layer", None).await;
    for name in ["a/manifests/v1", "a/manifests/v2", "a/manifests/v3", "b/c/manifests/latest"] {
        assert_eq!(fixture.call("PUT", &format!("/v2/{name}"), manifest.clone()).await.status, 201);
    }
    let first = fixture.call("GET", "/v2/a/tags/list?n=2", "").await;
    assert_eq!(first.json(), json!({"name": "a", "tags": ["v1", "v2"]}));
    assert_eq!(first.header(LINK), "</v2/a/tags/list?n=2&last=v2>; rel=\"next\"");
    let second = fixture.call("GET", "/v2/a/tags/list?n=2&last=v2", "").await;
    assert_eq!((second.json()["tags"].clone(), second.headers.get(LINK)), (json!(["v3"]), None));
    assert_eq!(fixture.call("GET", "/v2/_catalog", "").await.json(), json!({"repositories": ["a", "b/c"]}));
    assert_eq!(fixture.call("GET", "/v2/x/tags/list", "").await.code(), refusal(404, "NAME_UNKNOWN"));
}

#[tokio::test]
async fn referrers_are_found_by_subject() {
    let fixture = fixture();
    let image = fixture.manifest("layer", None).await;
    let subject = Digest::of(&image);
    fixture.call("PUT", "/v2/a/manifests/v1", image).await;
    let signature = fixture.manifest("signature", Some(subject)).await;
    let put = fixture.call("PUT", &format!("/v2/a/manifests/{}", Digest::of(&signature)), signature).await;
    assert_eq!(put.header(OCI_SUBJECT), subject.to_string());
    let list = fixture.call("GET", &format!("/v2/a/referrers/{subject}"), "").await;
    assert_eq!(list.json()["manifests"][0]["artifactType"], "test/signature");
    let none = fixture.call("GET", &format!("/v2/a/referrers/{subject}?artifactType=x"), "").await;
    assert_eq!(none.json()["manifests"], json!([]));
}

#[tokio::test]
async fn what_is_deleted_is_gone() {
    let fixture = fixture();
    let manifest = fixture.manifest("layer", None).await;
    let digest = Digest::of(&manifest);
    for tag in ["v1", "v2"] {
        fixture.call("PUT", &format!("/v2/a/manifests/{tag}"), manifest.clone()).await;
    }
    let layer = format!("/v2/a/blobs/{}", Digest::of(b"layer"));
    assert_eq!(fixture.call("DELETE", &layer, "").await.code(), refusal(405, "UNSUPPORTED"));
    assert_eq!(fixture.call("DELETE", "/v2/a/manifests/v1", "").await.status, 202);
    assert_eq!(fixture.call("GET", &format!("/v2/a/manifests/{digest}"), "").await.status, 200);
    assert_eq!(fixture.call("DELETE", &format!("/v2/a/manifests/{digest}"), "").await.status, 202);
    assert_eq!(fixture.call("GET", "/v2/a/manifests/v2", "").await.status, 404);
    assert_eq!(fixture.call("DELETE", &layer, "").await.status, 202);
    assert_eq!(fixture.call("DELETE", &layer, "").await.code(), refusal(404, "BLOB_UNKNOWN"));
}

#[tokio::test]
async fn blobs_are_mounted_from_anywhere() {
    let fixture = fixture();
    let digest = fixture.upload(b"hello").await;
    let mount = fixture.call("POST", &format!("/v2/b/blobs/uploads/?mount={digest}&from=a"), "").await;
    assert_eq!((mount.status, mount.header(LOCATION)), (201, format!("/v2/b/blobs/{digest}").as_str()));
    let absent = Digest::of(b"absent");
    assert_eq!(fixture.call("POST", &format!("/v2/b/blobs/uploads/?mount={absent}&from=a"), "").await.status, 202);
}

#[tokio::test]
async fn the_list_of_images_shows_every_registry_s() {
    let fixture = fixture();
    let manifest = fixture.manifest("layer", None).await;
    fixture.call("PUT", "/v2/library/hello/manifests/latest?ns=docker.io", manifest.clone()).await;
    fixture.call("PUT", "/v2/a/manifests/v1", manifest.clone()).await;
    let list = || async {
        let entries: Vec<ImageEntry> =
            serde_json::from_slice(&fixture.call("GET", "/v2/_kwick/images", "").await.body).unwrap();
        entries
    };
    let entries = list().await;
    let names: Vec<_> = entries.iter().map(|entry| entry.reference.to_familiar()).collect();
    let by_digest = |name: &str| format!("{name}@{}", Digest::of(&manifest));
    assert_eq!(
        names,
        ["hello".to_owned(), by_digest("hello"), "registry.example/a:v1".into(), by_digest("registry.example/a")]
    );
    assert_eq!((entries[0].size_bytes, entries[0].platform.clone()), (Some(5), Some(Platform::host().to_string())));
    assert_eq!(fixture.call("DELETE", "/v2/_kwick/images?reference=hello", "").await.status, 202);
    assert_eq!(fixture.call("DELETE", "/v2/_kwick/images?reference=hello", "").await.status, 404);
    assert_eq!(
        fixture.call("DELETE", "/v2/_kwick/images?reference=Bad", "").await.code(),
        refusal(400, "NAME_INVALID")
    );
    assert_eq!(list().await.len(), 2);
}

#[tokio::test]
async fn pages_of_a_browser_may_read_and_change_nothing() {
    let fixture = fixture();
    for (name, value) in [("origin", "http://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")] {
        let request = |method, uri| Request::builder().method(method).uri(uri).header(name, value);
        let answer = fixture.send(request("POST", "/v2/a/blobs/uploads/"), "", Access::Full).await;
        assert_eq!(answer.status, 403, "{name}: {value}");
        let answer = fixture.send(request("GET", "/v2/_catalog"), "", Access::Full).await;
        assert_eq!(answer.status, 200, "{name}: {value}");
    }
    let typed = Request::builder().method("POST").uri("/v2/a/blobs/uploads/").header("sec-fetch-site", "none");
    assert_eq!(fixture.send(typed, "", Access::Full).await.status, 202);
}

#[tokio::test]
async fn uploads_at_once_count_among_those_under_way() {
    let fixture = fixture();
    for _ in 0..MAX_SESSIONS {
        assert_eq!(fixture.call("POST", "/v2/a/blobs/uploads/", "").await.status, 202);
    }
    let digest = Digest::of(b"more");
    assert_eq!(fixture.call("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), "more").await.status, 429);
}
