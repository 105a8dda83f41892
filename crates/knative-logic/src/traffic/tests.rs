//! Routes and what becomes of them.

use super::*;
use crate::rollout::Rollout;
use jiff::Timestamp;
use knative_apis::condition::{ConditionStatus, ConditionedStatus};
use knative_apis::config::{ConfigMap, Domain, Network};
use knative_apis::meta::annotations;
use knative_apis::networking::{HttpOption, Protocol, Visibility};
use knative_apis::serving::v1::route::ALL_TRAFFIC_ASSIGNED;
use knative_apis::serving::v1::{Route, RouteStatus};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

fn route(traffic: Value, labels: Value) -> Route {
    serde_json::from_value(json!({
        "metadata": {"name": "hello", "namespace": "default", "labels": labels}, "spec": {"traffic": traffic},
    }))
    .expect("a Route")
}

/// Two Configurations: `hello` with two ready revisions, `other` with one that speaks h2c.
fn known() -> Known {
    let revision = |configuration: &str, protocol| RevisionFact {
        is_ready: true,
        ready: ConditionStatus::True,
        protocol,
        service: "hello".to_owned(),
        configuration: configuration.to_owned(),
    };
    let configuration =
        |latest: &str| ConfigurationFact { latest_ready: latest.to_owned(), ready: ConditionStatus::True };
    let broken = RevisionFact { is_ready: false, ready: ConditionStatus::False, ..revision("hello", Protocol::Http1) };
    Known {
        configurations: BTreeMap::from([
            ("hello".to_owned(), configuration("hello-2")),
            ("other".to_owned(), configuration("other-1")),
            ("new".to_owned(), ConfigurationFact::default()),
            ("failed".to_owned(), ConfigurationFact { ready: ConditionStatus::False, ..Default::default() }),
        ]),
        revisions: BTreeMap::from([
            ("hello-1".to_owned(), revision("hello", Protocol::Http1)),
            ("hello-2".to_owned(), revision("hello", Protocol::Http1)),
            ("other-1".to_owned(), RevisionFact { service: String::new(), ..revision("other", Protocol::H2c) }),
            ("slow".to_owned(), RevisionFact { ready: ConditionStatus::Unknown, ..broken.clone() }),
            ("broken".to_owned(), broken),
        ]),
    }
}

fn shares(targets: &[Target]) -> Vec<(&str, i64)> {
    targets.iter().map(|target| (target.traffic.revision_name.as_str(), target.traffic.share())).collect()
}

#[test]
fn the_latest_and_the_named_are_found() {
    let route = route(
        json!([
            {"configurationName": "hello", "latestRevision": true, "percent": 60, "tag": "latest"},
            {"revisionName": "hello-1", "latestRevision": false, "percent": 40},
            {"revisionName": "hello-1", "latestRevision": false, "percent": 0, "tag": "old"},
        ]),
        json!({}),
    );
    let assignment = assign(&route, &known());
    assert_eq!(assignment.error, None);
    assert_eq!(shares(&assignment.targets[DEFAULT_TARGET]), [("hello-2", 60), ("hello-1", 40)]);
    assert_eq!(shares(&assignment.targets["latest"]), [("hello-2", 100)]);
    assert_eq!(shares(&assignment.targets["old"]), [("hello-1", 100)]);
    assert_eq!(shares(&assignment.listed), [("hello-2", 60), ("hello-1", 40), ("hello-1", 0)]);
    assert_eq!(assignment.configurations, BTreeSet::from(["hello".to_owned()]));
    assert_eq!(
        assignment.goal().to_annotation(),
        r#"{"configurations":[{"configurationName":"hello","percent":60,"revisions":[{"revisionName":"hello-2","percent":60}],"stepParams":{}},{"configurationName":"hello","tag":"latest","percent":100,"revisions":[{"revisionName":"hello-2","percent":100}],"stepParams":{}}]}"#
    );
}

#[test]
fn what_is_wrong_is_said() {
    let mine = json!({"serving.knative.dev/service": "hello"});
    for (target, labels, status, reason, message) in [
        (
            json!({"configurationName": "gone"}),
            json!({}),
            ConditionStatus::False,
            "ConfigurationMissing",
            "Configuration \"gone\" referenced in traffic not found.",
        ),
        (
            json!({"revisionName": "gone"}),
            json!({}),
            ConditionStatus::False,
            "RevisionMissing",
            "Revision \"gone\" referenced in traffic not found.",
        ),
        (
            json!({"configurationName": "new"}),
            json!({}),
            ConditionStatus::Unknown,
            "RevisionMissing",
            "Configuration \"new\" is waiting for a Revision to become ready.",
        ),
        (
            json!({"configurationName": "failed"}),
            json!({}),
            ConditionStatus::False,
            "RevisionMissing",
            "Configuration \"failed\" does not have any ready Revision.",
        ),
        (
            json!({"revisionName": "slow"}),
            json!({}),
            ConditionStatus::Unknown,
            "RevisionMissing",
            "Revision \"slow\" is not yet ready.",
        ),
        (
            json!({"revisionName": "broken"}),
            json!({}),
            ConditionStatus::False,
            "RevisionMissing",
            "Revision \"broken\" failed to become ready.",
        ),
        (
            json!({"revisionName": "other-1"}),
            mine,
            ConditionStatus::False,
            "RevisionNotOwned",
            "Revision \"other-1\" does not belong to Service \"hello\".",
        ),
    ] {
        let route = route(json!([{"revisionName": "hello-1", "percent": 100}, target]), labels);
        let assignment = assign(&route, &known());
        assert!(assignment.targets.is_empty() && assignment.listed.is_empty());
        let mut said = RouteStatus::default();
        assignment.error.expect("an error").mark(&mut said, Timestamp::UNIX_EPOCH);
        let condition = said.condition(ALL_TRAFFIC_ASSIGNED).expect("a condition");
        assert_eq!(
            (condition.status, condition.reason.as_str(), condition.message.as_str()),
            (status, reason, message)
        );
    }
}

#[test]
fn of_several_errors_the_one_that_stays_is_told() {
    let route = route(
        json!([{"revisionName": "gone"}, {"revisionName": "slow"}, {"configurationName": "failed"}, {"revisionName": "slow"}]),
        json!({}),
    );
    let assignment = assign(&route, &known());
    assert_eq!(assignment.missing, [Missing { kind: "Revision", name: "gone".to_owned() }]);
    let error = TargetError::UnreadyConfiguration { name: "failed".to_owned(), is_failure: true };
    assert_eq!(assignment.error, Some(error));
}

struct Cluster {
    network: Network,
    domain: Domain,
    local: BTreeSet<String>,
}

impl Cluster {
    fn new(network: &[(&str, &str)]) -> Self {
        let data = network.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Self {
            network: Network::parse(&data).expect("a network"),
            domain: Domain::parse(&BTreeMap::from([("example.com".to_owned(), String::new())])).expect("domains"),
            local: BTreeSet::new(),
        }
    }

    fn hosts<'a>(&'a self, route: &'a Route) -> Hosts<'a> {
        Hosts {
            route,
            network: &self.network,
            domain: &self.domain,
            cluster_domain: "cluster.local",
            local_services: &self.local,
        }
    }
}

#[test]
fn hosts_are_named() {
    let mut cluster = Cluster::new(&[("default-external-scheme", "https")]);
    cluster.local.insert("green-hello".to_owned());
    let plain = route(json!([]), json!({}));
    let hosts = cluster.hosts(&plain);
    assert_eq!(hosts.url("").as_deref(), Ok("https://hello.default.example.com"));
    assert_eq!(hosts.url("blue").as_deref(), Ok("https://blue-hello.default.example.com"));
    assert_eq!(hosts.url("green").as_deref(), Ok("http://green-hello.default.svc.cluster.local"));
    assert_eq!(hosts.local_url(), "http://hello.default.svc.cluster.local");
    let spellings = hosts.spellings("blue", &Visibility::ClusterLocal).expect("hosts");
    assert_eq!(
        spellings.into_iter().collect::<Vec<_>>(),
        ["blue-hello.default", "blue-hello.default.svc", "blue-hello.default.svc.cluster.local"]
    );
    let local = route(json!([]), json!({"networking.knative.dev/visibility": "cluster-local"}));
    let hosts = cluster.hosts(&local);
    assert_eq!(hosts.visibility(""), Ok(Visibility::ClusterLocal));
    assert_eq!(hosts.url("").as_deref(), Ok("http://hello.default.svc.cluster.local"));
    // What an outsider would see, were it public.
    assert_eq!(hosts.host("", &Visibility::ExternalIp).as_deref(), Ok("hello.default.example.com"));
}

#[test]
fn a_host_that_is_none_is_refused_in_knatives_words() {
    let cluster = Cluster::new(&[("tag-template", "{{.Name}}_{{.Tag}}")]);
    let plain = route(json!([]), json!({}));
    let error = cluster.hosts(&plain).host("blue", &Visibility::ExternalIp).expect_err("an underscore").to_string();
    assert!(
        error.starts_with(
            "domain name error: invalid domain name \"hello_blue.default.example.com\": url: Invalid value: "
        ),
        "{error}"
    );
    let long = "a".repeat(60);
    assert!(Cluster::new(&[]).hosts(&plain).host(&long, &Visibility::ExternalIp).is_err());
}

#[test]
fn the_ingress_has_a_rule_for_every_host() {
    let route = route(
        json!([
            {"configurationName": "hello", "latestRevision": true, "percent": 70},
            {"revisionName": "other-1", "latestRevision": false, "percent": 30, "tag": "o"},
        ]),
        json!({}),
    );
    let cluster = Cluster::new(&[]);
    let assignment = assign(&route, &known());
    let options = IngressOptions {
        http_option: http_option(annotations(&route.metadata), &cluster.network).expect("an option"),
        ..IngressOptions::default()
    };
    let parts = make_ingress_spec(&assignment, &assignment.goal(), &cluster.hosts(&route), &options).expect("a spec");
    let split = |revision: &str, port: i64, percent: i64| {
        json!({
            "serviceNamespace": "default", "serviceName": revision, "servicePort": port, "percent": percent,
            "appendHeaders": {"Knative-Serving-Namespace": "default", "Knative-Serving-Revision": revision},
        })
    };
    let rule = |hosts: Value, visibility: &str, splits: &[Value]| json!({"hosts": hosts, "visibility": visibility, "http": {"paths": [{"splits": splits}]}});
    let both = [split("hello-2", 80, 70), split("other-1", 81, 30)];
    let other = [split("other-1", 81, 100)];
    assert_eq!(
        serde_json::to_value(&parts.spec).expect("json"),
        json!({
            "httpOption": "Enabled",
            "rules": [
                rule(json!(["hello.default", "hello.default.svc", "hello.default.svc.cluster.local"]), "ClusterLocal", &both),
                rule(json!(["hello.default.example.com"]), "ExternalIP", &both),
                rule(json!(["o-hello.default", "o-hello.default.svc", "o-hello.default.svc.cluster.local"]), "ClusterLocal", &other),
                rule(json!(["o-hello.default.example.com"]), "ExternalIP", &other),
            ],
        })
    );
    let hosts = vec!["o-hello.default.svc.cluster.local".to_owned(), "o-hello.default.example.com".to_owned()];
    assert_eq!(parts.tag_to_host, BTreeMap::from([("o".to_owned(), hosts)]));
    let status = status_traffic(&assignment, &Rollout::default(), &cluster.hosts(&route)).expect("a status");
    assert_eq!(
        serde_json::to_value(status).expect("json"),
        json!([
            {"revisionName": "hello-2", "percent": 70, "latestRevision": true},
            {"revisionName": "other-1", "percent": 30, "latestRevision": false, "tag": "o", "url": "http://o-hello.default.example.com"},
        ])
    );
}

#[test]
fn a_header_may_choose_a_tag() {
    let route = route(json!([{"revisionName": "hello-1", "percent": 100, "tag": "blue"}]), json!({}));
    let cluster = Cluster::new(&[]);
    let assignment = assign(&route, &known());
    let options = IngressOptions { tag_header_routing: true, system_internal_tls: true, ..IngressOptions::default() };
    let parts = make_ingress_spec(&assignment, &Rollout::default(), &cluster.hosts(&route), &options).expect("a spec");
    let paths = |rule: usize| parts.spec.rules[rule].http.as_ref().expect("paths").paths.clone();
    let main = paths(1);
    assert_eq!(main[0].headers["Knative-Serving-Tag"].exact, "blue");
    assert_eq!(main[1].append_headers["Knative-Serving-Default-Route"], "true");
    assert_eq!(paths(3)[0].append_headers["Knative-Serving-Tag"], "blue");
    assert_eq!(serde_json::to_value(&main[1].splits[0].service_port).expect("json"), json!(443));
}

#[test]
fn challenges_are_answered_on_their_host() {
    let route = route(json!([{"revisionName": "hello-1", "percent": 100}]), json!({}));
    let cluster = Cluster::new(&[]);
    let assignment = assign(&route, &known());
    let challenge = serde_json::from_value(json!({
        "url": "http://hello.default.example.com/.well-known/acme-challenge/x",
        "serviceName": "solver", "serviceNamespace": "default", "servicePort": 8089,
    }))
    .expect("a challenge");
    let options = IngressOptions { challenges: vec![challenge], ..IngressOptions::default() };
    let parts = make_ingress_spec(&assignment, &Rollout::default(), &cluster.hosts(&route), &options).expect("a spec");
    let paths: Vec<usize> =
        parts.spec.rules.iter().map(|rule| rule.http.as_ref().expect("paths").paths.len()).collect();
    assert_eq!(paths, [1, 2]);
    let first = &parts.spec.rules[1].http.as_ref().expect("paths").paths[0];
    assert_eq!(
        (first.path.as_str(), first.splits[0].service_name.as_str()),
        ("/.well-known/acme-challenge/x", "solver")
    );
}

#[test]
fn plain_http_is_what_the_route_asks() {
    let mut route = route(json!([]), json!({}));
    let redirected = Cluster::new(&[("http-protocol", "Redirected")]).network;
    assert_eq!(http_option(annotations(&route.metadata), &redirected), Ok(HttpOption::Redirected));
    let mut ask = |text: &str| {
        let asked = BTreeMap::from([("networking.knative.dev/http-protocol".to_owned(), text.to_owned())]);
        route.metadata.annotations = Some(asked);
        http_option(annotations(&route.metadata), &redirected).map_err(|error| error.to_string())
    };
    assert_eq!(ask("Enabled"), Ok(HttpOption::Enabled));
    assert_eq!(ask("Foo"), Err("incorrect http-protocol annotation: foo".to_owned()));
}

proptest! {
    /// However the traffic is split and rolled out, the shares of each rule sum to 100.
    #[test]
    fn shares_of_every_rule_sum_to_100(first in 0..=100i64, tagged in any::<(bool, bool)>(), older in 1..99i64) {
        let tag = |tagged: bool, name: &str| if tagged { name } else { "" }.to_owned();
        let route = route(
            json!([
                {"configurationName": "hello", "latestRevision": true, "percent": first, "tag": tag(tagged.0, "a")},
                {"revisionName": "hello-2", "latestRevision": false, "percent": 0, "tag": "pin"},
                {"configurationName": "other", "latestRevision": true, "percent": 100 - first, "tag": tag(tagged.1, "b")},
            ]),
            json!({}),
        );
        let assignment = assign(&route, &known());
        let mut before = assignment.goal();
        for configuration in &mut before.configurations {
            configuration.revisions[0].revision_name = "before".to_owned();
        }
        let now = Timestamp::from_second(1_700_000_000 + older).expect("a time");
        let (rollout, _) = assignment.goal().step(Some(&before), now);
        let cluster = Cluster::new(&[]);
        let options = IngressOptions { tag_header_routing: tagged.0, ..IngressOptions::default() };
        let parts = make_ingress_spec(&assignment, &rollout, &cluster.hosts(&route), &options).expect("a spec");
        for rule in &parts.spec.rules {
            for path in &rule.http.as_ref().expect("paths").paths {
                prop_assert_eq!(path.splits.iter().map(|split| split.percent).sum::<i64>(), 100);
            }
        }
        let mut ingress = knative_apis::networking::Ingress { spec: parts.spec, ..Default::default() };
        ingress.metadata.namespace = Some("default".to_owned());
        prop_assert!(ingress.validate().is_empty(), "{}", ingress.validate());
    }
}
