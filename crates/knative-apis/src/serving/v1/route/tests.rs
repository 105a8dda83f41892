//! The texts of a Route's conditions.

use super::*;
use crate::condition::{ConditionStatus, ConditionedStatus};
use crate::networking::{Certificate, IngressStatus};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

type Mark = fn(&mut RouteStatus);

#[test]
fn why_traffic_is_not_assigned_is_said_in_knatives_words() {
    let cases: [(Mark, ConditionStatus, &str, &str); 8] = [
        (
            |s| s.mark_configuration_not_ready("c", NOW),
            ConditionStatus::Unknown,
            "RevisionMissing",
            "Configuration \"c\" is waiting for a Revision to become ready.",
        ),
        (
            |s| s.mark_configuration_failed("c", NOW),
            ConditionStatus::False,
            "RevisionMissing",
            "Configuration \"c\" does not have any ready Revision.",
        ),
        (
            |s| s.mark_revision_not_ready("r", NOW),
            ConditionStatus::Unknown,
            "RevisionMissing",
            "Revision \"r\" is not yet ready.",
        ),
        (
            |s| s.mark_revision_failed("r", NOW),
            ConditionStatus::False,
            "RevisionMissing",
            "Revision \"r\" failed to become ready.",
        ),
        (
            |s| s.mark_revision_not_owned("r", "a", "b", NOW),
            ConditionStatus::False,
            "RevisionNotOwned",
            "Revision \"r\" belongs to Service \"b\", not Service \"a\".",
        ),
        (
            |s| s.mark_revision_not_owned("r", "a", "", NOW),
            ConditionStatus::False,
            "RevisionNotOwned",
            "Revision \"r\" does not belong to Service \"a\".",
        ),
        (
            |s| s.mark_missing_target("Configuration", "c", NOW),
            ConditionStatus::False,
            "ConfigurationMissing",
            "Configuration \"c\" referenced in traffic not found.",
        ),
        (|s| s.mark_unknown_traffic_error("odd", NOW), ConditionStatus::Unknown, "Unknown", "odd"),
    ];
    for (mark, status, reason, message) in cases {
        let mut route = RouteStatus::default();
        mark(&mut route);
        let found = route.condition(ALL_TRAFFIC_ASSIGNED).expect("a condition");
        assert_eq!((found.status, found.reason.as_str(), found.message.as_str()), (status, reason, message));
    }
}

#[test]
fn the_ingress_is_copied() {
    let mut route = RouteStatus::default();
    route.propagate_ingress(&IngressStatus::default(), NOW);
    assert_eq!(route.condition(INGRESS_READY).map(|c| c.reason.as_str()), Some("IngressNotConfigured"));
    let mut ingress = IngressStatus::default();
    ingress.mark_load_balancer_not_ready(NOW);
    route.propagate_ingress(&ingress, NOW);
    assert_eq!(route.condition(INGRESS_READY).map(|c| c.reason.as_str()), Some("Uninitialized"));
}

#[test]
fn certificates_are_told_by_name() {
    let mut certificate = Certificate::default();
    certificate.metadata.name = Some("cert".to_owned());
    certificate.status.mark_not_ready("Pending", "", NOW);
    let mut route = RouteStatus::default();
    route.mark_certificate_not_ready(&certificate, NOW);
    let found = route.condition(CERTIFICATE_PROVISIONED).expect("a condition");
    assert_eq!(found.message, "Certificate cert is not ready: Pending");
    route.mark_tls_not_enabled(EXTERNAL_DOMAIN_TLS_NOT_ENABLED, NOW);
    assert!(route.is_true(CERTIFICATE_PROVISIONED));
}

#[test]
fn a_rollout_takes_as_long_as_the_route_says() {
    let mut route = Route::default();
    assert_eq!(route.rollout_duration(), SignedDuration::ZERO);
    let annotation = BTreeMap::from([("serving.knative.dev/rolloutDuration".to_owned(), "1m".to_owned())]);
    route.metadata.annotations = Some(annotation);
    assert_eq!(route.rollout_duration(), SignedDuration::from_secs(60));
}
