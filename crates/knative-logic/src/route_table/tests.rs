//! Requests and where they go.

use super::*;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;
use serde_json::{Value, json};

fn ingress(name: &str, spec: Value) -> Ingress {
    let mut ingress: Ingress = serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "default"}, "spec": spec,
    }))
    .expect("an Ingress");
    ingress.set_defaults();
    ingress
}

fn split(service: &str, percent: i64) -> Value {
    json!({
        "serviceNamespace": "default", "serviceName": service, "servicePort": 80, "percent": percent,
        "appendHeaders": {"Knative-Serving-Revision": service, "Knative-Serving-Namespace": "default"},
    })
}

fn table(ingresses: &[Ingress]) -> RouteTable {
    let mut builder = Builder::default();
    for ingress in ingresses {
        builder.insert(ingress);
    }
    builder.table()
}

fn go(table: &RouteTable, side: Side, host: &str, path: &str, headers: &[(&str, &str)], random: u32) -> Option<String> {
    let header = |name: &str| headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_bytes());
    table.matches(side, host, path, header, random).map(|target| target.backend().service.name.clone())
}

fn hello() -> Ingress {
    ingress(
        "hello",
        json!({"rules": [
            {
                "hosts": ["hello.default.svc.cluster.local", "hello.default"],
                "visibility": "ClusterLocal",
                "http": {"paths": [{"splits": [split("local", 100)]}]},
            },
            {
                "hosts": ["hello.default.Example.com"],
                "http": {"paths": [
                    {"headers": {"Knative-Serving-Tag": {"exact": "blue"}}, "splits": [split("blue", 100)]},
                    {"path": "/api", "splits": [split("api", 0)]},
                    {"path": "/api/v2", "splits": [split("api2", 100)], "rewriteHost": "api.internal"},
                    {"splits": [split("one", 20), split("two", 80)], "appendHeaders": {"Knative-Serving-Default-Route": "true"}},
                ]},
            },
        ]}),
    )
}

#[test]
fn hosts_are_compared_without_port_and_case() {
    let table = table(&[hello()]);
    for host in [
        "hello.default.example.com",
        "HELLO.default.example.COM",
        "hello.default.example.com:8080",
        "hello.default.example.com.",
    ] {
        assert_eq!(go(&table, Side::Public, host, "/", &[], 0).as_deref(), Some("one"), "{host}");
    }
    for host in ["", "example.com", "hello.default.example.com:x", "[::1]:80", &"A".repeat(300)] {
        assert_eq!(go(&table, Side::Public, host, "/", &[], 0), None, "{host}");
    }
}

#[test]
fn the_longest_path_and_the_headers_decide() {
    let table = table(&[hello()]);
    let host = "hello.default.example.com";
    for (path, headers, want) in [
        ("/", &[][..], "one"),
        ("/api", &[], "api"),
        ("/api/v1?x", &[], "api"),
        ("/api/v2/x", &[], "api2"),
        ("/", &[("knative-serving-tag", "blue")], "blue"),
        ("/", &[("knative-serving-tag", "red")], "one"),
        ("/api", &[("knative-serving-tag", "blue")], "api"),
    ] {
        assert_eq!(go(&table, Side::Public, host, path, headers, 0).as_deref(), Some(want), "{path} {headers:?}");
    }
}

#[test]
fn the_outside_does_not_see_local_hosts() {
    let table = table(&[hello()]);
    assert_eq!(go(&table, Side::Public, "hello.default", "/", &[], 0), None);
    assert_eq!(go(&table, Side::Private, "hello.default", "/", &[], 0).as_deref(), Some("local"));
    assert_eq!(go(&table, Side::Private, "hello.default.example.com", "/", &[], 0).as_deref(), Some("one"));
    assert_eq!(table.hosts(Side::Public).collect::<Vec<_>>(), ["hello.default.example.com"]);
    assert!(table.has_host(Side::Private, "hello.default.svc.cluster.local:80"));
}

#[test]
fn a_target_says_what_to_do() {
    let hello = hello();
    let table = table(std::slice::from_ref(&hello));
    let target = table.matches(Side::Public, "hello.default.example.com", "/", |_| None, u32::MAX).expect("a target");
    assert_eq!(target.backend().revision, Some(Key::new("default", "two")));
    assert_eq!(target.backend().port, Port::Number(80));
    assert_eq!(
        target.append_headers().collect::<Vec<_>>(),
        [
            ("knative-serving-default-route", "true"),
            ("knative-serving-namespace", "default"),
            ("knative-serving-revision", "two"),
        ]
    );
    assert_eq!((target.ingress(), target.hash()), (&Key::new("default", "hello"), ingress_hash(&hello).as_str()));
    assert_eq!(target.rewrite_host(), None);
    let target = table.matches(Side::Public, "hello.default.example.com", "/api/v2", |_| None, 0).expect("a target");
    assert_eq!(target.rewrite_host(), Some("api.internal"));
}

#[test]
fn plain_http_is_redirected_where_there_is_a_certificate() {
    let with_tls = ingress(
        "tls",
        json!({
            "httpOption": "Redirected",
            "tls": [{"hosts": ["a.example.com", "*.wild.example.com"], "secretName": "s", "secretNamespace": "n"}],
            "rules": [
                {"hosts": ["a.example.com"], "http": {"paths": [{"splits": [split("a", 100)]}]}},
                {"hosts": ["b.example.com"], "http": {"paths": [{"splits": [split("b", 100)]}]}},
            ],
        }),
    );
    let table = table(&[with_tls]);
    let redirects = |host| table.matches(Side::Public, host, "/", |_| None, 0).expect("a target").redirects_to_https();
    assert!(redirects("a.example.com") && !redirects("b.example.com"));
    assert_eq!(table.certificate("A.example.com:443"), Some(&Key::new("n", "s")));
    assert_eq!(table.certificate("x.wild.example.com"), Some(&Key::new("n", "s")));
    assert_eq!(table.certificate("x.y.wild.example.com"), None);
}

#[test]
fn the_older_ingress_keeps_its_host() {
    let make = |name: &str, second: i64| {
        let rule = json!({"rules": [{"hosts": ["a.com"], "http": {"paths": [{"splits": [split(name, 100)]}]}}]});
        let mut ingress = ingress(name, rule);
        ingress.metadata.creation_timestamp = Some(Time(Timestamp::from_second(second).expect("a time")));
        ingress
    };
    let (young, old) = (make("a-young", 20), make("z-old", 10));
    let mut builder = Builder::default();
    builder.insert(&young);
    assert_eq!(go(&builder.table(), Side::Public, "a.com", "/", &[], 0).as_deref(), Some("a-young"));
    let hash = builder.insert(&old);
    assert_eq!(builder.hash(&Key::new("default", "z-old")), Some(hash.as_str()));
    assert_eq!(go(&builder.table(), Side::Public, "a.com", "/", &[], 0).as_deref(), Some("z-old"));
    let conflict = Conflict {
        host: "a.com".to_owned(),
        holder: Key::new("default", "z-old"),
        loser: Key::new("default", "a-young"),
    };
    assert_eq!(builder.conflicts(), [conflict]);
    assert!(builder.remove(&Key::new("default", "z-old")) && !builder.remove(&Key::new("default", "z-old")));
    assert_eq!(go(&builder.table(), Side::Public, "a.com", "/", &[], 0).as_deref(), Some("a-young"));
    assert!(builder.conflicts().is_empty());
}

#[test]
fn an_empty_ingress_leads_nowhere() {
    let empty = ingress(
        "empty",
        json!({"rules": [{"hosts": ["a.com"]}, {"hosts": ["b.com"], "http": {"paths": [{"splits": []}]}}]}),
    );
    let table = table(&[empty]);
    assert_eq!(go(&table, Side::Public, "a.com", "/", &[], 0), None);
    assert_eq!(go(&table, Side::Public, "b.com", "/", &[], 0), None);
}

/// The hashes that Knative's own code makes of the same Ingresses.
#[test]
fn the_hash_is_knatives() {
    let cases: Vec<Value> =
        serde_json::from_str(include_str!("../../../knative-apis/testdata/admission.json")).expect("cases");
    let mut checked = 0;
    for case in cases.iter().filter(|case| case["want"]["hash"].is_string() && case["want"]["object"].is_object()) {
        let ingress: Ingress = serde_json::from_value(case["want"]["object"].clone()).expect("an Ingress");
        assert_eq!(Some(ingress_hash(&ingress).as_str()), case["want"]["hash"].as_str(), "{}", case["name"]);
        checked += 1;
    }
    assert!(checked >= 2);
}

proptest! {
    /// Over all random numbers each backend gets its share.
    #[test]
    fn shares_are_kept(first in 1..100u32) {
        let second = 100 - first;
        let spec = json!({"rules": [{"hosts": ["a.com"], "http": {"paths": [
            {"splits": [split("first", i64::from(first)), split("second", i64::from(second))]},
        ]}}]});
        let table = table(&[ingress("a", spec)]);
        let steps = 10_000_u32;
        let hits = (0..steps)
            .filter(|step| go(&table, Side::Public, "a.com", "/", &[], step * (u32::MAX / steps)).as_deref() == Some("first"))
            .count();
        let share = f64::from(u32::try_from(hits).expect("few")) * 100.0 / f64::from(steps);
        prop_assert!((share - f64::from(first)).abs() < 0.1, "{share} for {first}");
    }

    #[test]
    fn no_host_breaks_it(host in ".{0,300}", path in ".{0,50}") {
        let table = table(&[hello()]);
        let _ = go(&table, Side::Public, &host, &path, &[], 0);
        let _ = table.certificate(&host);
    }
}
