//! What an API server must know of each kind beside its schema.

use super::structural::schema_of;
use crate::autoscaling::{Metric, MetricSpec, MetricStatus, PodAutoscaler, PodAutoscalerSpec, PodAutoscalerStatus};
use crate::caching::{Image, ImageSpec, ImageStatus};
use crate::networking::{
    Certificate, CertificateSpec, CertificateStatus, ClusterDomainClaim, ClusterDomainClaimSpec, Ingress, IngressSpec,
    IngressStatus, ServerlessService, ServerlessServiceSpec, ServerlessServiceStatus,
};
use crate::serving::v1::{
    Configuration, ConfigurationSpec, ConfigurationStatus, Revision, RevisionSpec, RevisionStatus, Route, RouteSpec,
    RouteStatus, Service, ServiceSpec, ServiceStatus,
};
use crate::serving::v1beta1::{DomainMapping, DomainMappingSpec, DomainMappingStatus};
use kube_core::Resource;
use schemars::JsonSchema;
use serde_json::{Map, Value, json};

/// One kind.
pub(super) struct Kind {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
    plural: String,
    scope: &'static str,
    short_names: &'static [&'static str],
    categories: &'static [&'static str],
    labels: &'static [(&'static str, &'static str)],
    columns: &'static [Column],
    description: &'static str,
    pub(super) spec: Value,
    pub(super) status: Option<Value>,
}

/// A column of `kubectl get`: its name, type and path.
type Column = (&'static str, &'static str, &'static str);

const READY: Column = ("Ready", "string", ".status.conditions[?(@.type=='Ready')].status");
const REASON: Column = ("Reason", "string", ".status.conditions[?(@.type=='Ready')].reason");
const URL: Column = ("URL", "string", ".status.url");
const LATEST_CREATED: Column = ("LatestCreated", "string", ".status.latestCreatedRevisionName");
const LATEST_READY: Column = ("LatestReady", "string", ".status.latestReadyRevisionName");

const PUBLIC: &[&str] = &["all", "knative", "serving"];
const AUTOSCALING: &[&str] = &["knative-internal", "autoscaling"];
const NETWORKING: &[&str] = &["knative-internal", "networking"];
const ADDRESSABLE: (&str, &str) = ("duck.knative.dev/addressable", "true");
const PODSPECABLE: (&str, &str) = ("duck.knative.dev/podspecable", "true");
const NETWORKING_COMPONENT: (&str, &str) = ("app.kubernetes.io/component", "networking");

pub(super) fn kinds() -> Vec<Kind> {
    let mut kinds = serving();
    kinds.extend(internal());
    kinds
}

fn serving() -> Vec<Kind> {
    vec![
        Kind {
            short_names: &["kservice", "ksvc"],
            categories: PUBLIC,
            labels: &[ADDRESSABLE, PODSPECABLE],
            columns: &[URL, LATEST_CREATED, LATEST_READY, READY, REASON],
            description: "Service runs a container image behind a URL: it keeps a Configuration, which makes Revisions, \
                          and a Route, which sends traffic to them.",
            ..Kind::of::<Service, ServiceSpec, ServiceStatus>()
        },
        Kind {
            short_names: &["config", "cfg"],
            categories: PUBLIC,
            labels: &[PODSPECABLE],
            columns: &[LATEST_CREATED, LATEST_READY, READY, REASON],
            description: "Configuration holds the template of a workload; each change of it becomes a Revision.",
            ..Kind::of::<Configuration, ConfigurationSpec, ConfigurationStatus>()
        },
        Kind {
            short_names: &["rev"],
            categories: PUBLIC,
            columns: &[
                ("Config Name", "string", ".metadata.labels['serving\\.knative\\.dev/configuration']"),
                ("Generation", "string", ".metadata.labels['serving\\.knative\\.dev/configurationGeneration']"),
                READY,
                REASON,
                ("Actual Replicas", "integer", ".status.actualReplicas"),
                ("Desired Replicas", "integer", ".status.desiredReplicas"),
            ],
            description: "Revision is one version of a workload. It is made by a Configuration and does not change.",
            ..Kind::of::<Revision, RevisionSpec, RevisionStatus>()
        },
        Kind {
            short_names: &["rt"],
            categories: PUBLIC,
            labels: &[ADDRESSABLE],
            columns: &[URL, READY, REASON],
            description: "Route gives a host to Revisions, by shares and by tags.",
            ..Kind::of::<Route, RouteSpec, RouteStatus>()
        },
        Kind {
            short_names: &["dm"],
            categories: PUBLIC,
            columns: &[URL, READY, REASON],
            description: "DomainMapping gives the domain name that it is called by to a Service or another addressable \
                          object.",
            ..Kind::of::<DomainMapping, DomainMappingSpec, DomainMappingStatus>()
        },
    ]
}

fn internal() -> Vec<Kind> {
    vec![
        Kind {
            short_names: &["kpa", "pa"],
            categories: AUTOSCALING,
            columns: &[
                ("DesiredScale", "integer", ".status.desiredScale"),
                ("ActualScale", "integer", ".status.actualScale"),
                READY,
                REASON,
            ],
            description: "PodAutoscaler asks for as many pods as the traffic needs.",
            ..Kind::of::<PodAutoscaler, PodAutoscalerSpec, PodAutoscalerStatus>()
        },
        Kind {
            categories: AUTOSCALING,
            columns: &[READY, REASON],
            description: "Metric says what to measure of a revision.",
            ..Kind::of::<Metric, MetricSpec, MetricStatus>()
        },
        Kind {
            short_names: &["kcert"],
            categories: NETWORKING,
            labels: &[NETWORKING_COMPONENT],
            columns: &[READY, REASON],
            description: "Certificate asks for a TLS certificate for some hosts.",
            ..Kind::of::<Certificate, CertificateSpec, CertificateStatus>()
        },
        Kind {
            scope: "Cluster",
            short_names: &["cdc"],
            categories: NETWORKING,
            labels: &[NETWORKING_COMPONENT],
            description: "ClusterDomainClaim gives the domain name that it is called by to one namespace.",
            status: None,
            ..Kind::of::<ClusterDomainClaim, ClusterDomainClaimSpec, ()>()
        },
        Kind {
            short_names: &["kingress", "king"],
            categories: NETWORKING,
            labels: &[NETWORKING_COMPONENT],
            columns: &[READY, REASON],
            description: "Ingress says which hosts, paths and headers lead to which Services, and in which shares.",
            ..Kind::of::<Ingress, IngressSpec, IngressStatus>()
        },
        Kind {
            short_names: &["sks"],
            categories: NETWORKING,
            labels: &[NETWORKING_COMPONENT],
            columns: &[
                ("Mode", "string", ".spec.mode"),
                ("Activators", "integer", ".spec.numActivators"),
                ("ServiceName", "string", ".status.serviceName"),
                ("PrivateServiceName", "string", ".status.privateServiceName"),
                READY,
                REASON,
            ],
            description: "ServerlessService stands for the two Kubernetes Services of a revision.",
            ..Kind::of::<ServerlessService, ServerlessServiceSpec, ServerlessServiceStatus>()
        },
        Kind {
            categories: &["knative-internal", "caching"],
            columns: &[("Image", "string", ".spec.image")],
            description: "Image is a hint that an image should be kept near.",
            ..Kind::of::<Image, ImageSpec, ImageStatus>()
        },
    ]
}

impl Kind {
    fn of<K: Resource<DynamicType = ()>, Spec: JsonSchema, Status: JsonSchema>() -> Self {
        Self {
            group: K::group(&()).into_owned(),
            version: K::version(&()).into_owned(),
            kind: K::kind(&()).into_owned(),
            plural: K::plural(&()).into_owned(),
            scope: "Namespaced",
            short_names: &[],
            categories: &[],
            labels: &[],
            columns: &[],
            description: "",
            spec: schema_of::<Spec>(),
            status: Some(schema_of::<Status>()),
        }
    }

    fn schema(&self) -> Value {
        let mut properties = Map::new();
        properties.insert("apiVersion".to_owned(), json!({"type": "string", "description": "The version of the API."}));
        properties.insert("kind".to_owned(), json!({"type": "string", "description": "The kind of the object."}));
        properties.insert("metadata".to_owned(), json!({"type": "object"}));
        properties.insert("spec".to_owned(), self.spec.clone());
        if let Some(status) = &self.status {
            properties.insert("status".to_owned(), status.clone());
        }
        json!({"type": "object", "description": self.description, "properties": properties})
    }

    /// The CustomResourceDefinition.
    pub(super) fn definition(&self) -> Value {
        let mut labels = Map::new();
        labels.insert("app.kubernetes.io/name".to_owned(), "knative-serving".into());
        labels.insert("knative.dev/crd-install".to_owned(), "true".into());
        labels.extend(self.labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())));
        let singular = self.kind.to_lowercase();
        let mut names = json!({
            "kind": self.kind,
            "listKind": format!("{}List", self.kind),
            "plural": self.plural,
            "singular": singular,
            "categories": self.categories,
        });
        if !self.short_names.is_empty()
            && let Some(names) = names.as_object_mut()
        {
            names.insert("shortNames".to_owned(), json!(self.short_names));
        }
        let mut version = json!({
            "name": self.version,
            "served": true,
            "storage": true,
            "schema": {"openAPIV3Schema": self.schema()},
            "subresources": {"status": {}},
        });
        if !self.columns.is_empty()
            && let Some(version) = version.as_object_mut()
        {
            let column = |(name, type_, path): &Column| json!({"name": name, "type": type_, "jsonPath": path});
            version.insert("additionalPrinterColumns".to_owned(), self.columns.iter().map(column).collect());
        }
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{}.{}", self.plural, self.group), "labels": labels},
            "spec": {"group": self.group, "scope": self.scope, "names": names, "versions": [version]},
        })
    }
}
