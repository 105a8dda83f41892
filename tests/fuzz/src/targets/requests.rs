//! The request path: which backend an Ingress gives a request, and what is made of a client's headers.

use base_net::{Body, Request};
use http::header::{FORWARDED, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use knative_apis::meta::Key;
use knative_apis::networking::Ingress;
use knative_logic::route_table::{Builder, Side, ingress_hash};
use knative_proxy::fuzzing;

use super::BETWEEN;

/// The longest name that is anybody's host.
const MAX_HOST: usize = 253;
/// A request has so many lines of headers; more are refused before.
const MAX_HEADERS: usize = 100;

/// An Ingress as JSON, and a request to it.
pub(super) fn ingress(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (object, request) = text.split_once(BETWEEN).unwrap_or((&text, ""));
    let Ok(ingress) = serde_json::from_str::<Ingress>(object) else { return };
    let written = serde_json::to_string(&ingress).expect("an Ingress can be written");
    let again: Ingress = serde_json::from_str(&written).expect("what was written can be read");
    assert_eq!(ingress_hash(&again), ingress_hash(&ingress), "a hash follows from what is said");
    let mut builder = Builder::default();
    assert_eq!(builder.insert(&ingress), ingress_hash(&ingress));
    let table = builder.table();
    let asked = Asked::of(request);
    for side in [Side::Public, Side::Private] {
        let of = |name: &str| asked.headers.get(name).map(HeaderValue::as_bytes);
        for host in table.hosts(side).chain([asked.host.as_str()]) {
            if let Some(route) = table.matches(side, host, &asked.path, of, asked.random) {
                assert!(table.has_host(side, host));
                assert_eq!((route.hash(), route.ingress()), (ingress_hash(&ingress).as_str(), &Key::of(&ingress)));
            }
            table.certificate(host);
        }
        for host in table.hosts(side).filter(|host| is_plain(host)) {
            for same in [host.to_ascii_uppercase(), format!("{host}."), format!("{host}:80")] {
                assert!(table.has_host(side, &same), "{same:?} is {host:?}");
            }
        }
    }
    assert!(table.hosts(Side::Public).all(|host| !is_plain(host) || table.has_host(Side::Private, host)));
    conflicts(builder, &ingress);
}

/// Whether a host may have a port and capitals and still be the same.
fn is_plain(host: &str) -> bool {
    !host.is_empty() && host.len() < MAX_HOST - 1 && host.is_ascii() && !host.contains(':') && !host.ends_with('.')
}

/// A younger Ingress of the same hosts gets none of them.
fn conflicts(mut builder: Builder, ingress: &Ingress) {
    let before: Vec<String> = builder.table().hosts(Side::Private).map(str::to_owned).collect();
    let mut younger = ingress.clone();
    younger.metadata.creation_timestamp = None;
    younger.metadata.name = Some(format!("{}-younger", ingress.metadata.name.as_deref().unwrap_or_default()));
    let key = Key::of(&younger);
    builder.insert(&younger);
    let table = builder.table();
    assert!(table.hosts(Side::Private).eq(before.iter().map(String::as_str)));
    let conflicts = builder.conflicts();
    assert!(conflicts.iter().all(|conflict| conflict.loser == key || conflict.holder == key));
    for host in &before {
        assert!(conflicts.iter().any(|conflict| &conflict.host == host), "{host:?} is asked for twice");
    }
    assert!(builder.remove(&key) && builder.conflicts().is_empty());
}

/// What a client sends: a target, then a header a line.
struct Asked {
    host: String,
    path: String,
    headers: HeaderMap,
    random: u32,
}

impl Asked {
    fn of(text: &str) -> Self {
        let mut lines = text.lines();
        let target = lines.next().unwrap_or_default();
        let (host, path) = target.split_at(target.find('/').unwrap_or(target.len()));
        let mut headers = HeaderMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(':')).take(MAX_HEADERS) {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.trim()), HeaderValue::try_from(value.trim())) {
                headers.append(name, value);
            }
        }
        let random = text.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
        Self { host: host.to_owned(), path: path.to_owned(), headers, random }
    }
}

/// A request's target and headers.
pub(super) fn headers(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let asked = Asked::of(&text);
    for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
        let mut request = Request::new(Body::empty());
        *request.version_mut() = version;
        *request.headers_mut() = asked.headers.clone();
        if let Ok(uri) = text.lines().next().unwrap_or_default().parse() {
            *request.uri_mut() = uri;
        }
        let Some(host) = fuzzing::settle_host(&mut request) else { continue };
        assert!(request.headers().get_all(HOST).iter().eq([&host]), "one host, and the one that counts");
        assert!(!host.as_bytes().iter().any(|byte| b" ,/@?#\"\\".contains(byte)), "{host:?} is no host");
        passed_on(request.headers_mut(), &host);
    }
}

fn passed_on(headers: &mut HeaderMap, host: &HeaderValue) {
    let client = HeaderValue::from_static("192.0.2.1");
    fuzzing::forward(headers, &client, false);
    assert_eq!(headers.get(HOST), Some(host), "no client has it removed");
    assert_eq!(headers["x-forwarded-proto"], "http", "and nobody afar says how it came");
    let passed: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
    assert!(matches!(passed.as_slice(), [one] if one.as_bytes().ends_with(client.as_bytes())), "{passed:?}");
    let before = headers.get(FORWARDED).cloned();
    fuzzing::describe(headers);
    assert!(before.is_none_or(|before| headers.get(FORWARDED) == Some(&before)));
    assert!(headers.contains_key("traceparent"));
    assert!(!headers.contains_key("keep-alive") && !headers.contains_key("transfer-encoding"), "these end here");
    assert!(headers.get_all("te").iter().all(|wants| wants == "trailers"), "and of this all but trailers");
}
