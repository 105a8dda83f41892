//! Ingress (KIngress): which hosts, paths and headers lead to which Services, and in which shares.
//!
//! A Route or DomainMapping writes it; an ingress implementation (the gateway) serves it and says
//! in the status when all of its instances do. Field order is Knative's: the hash that identifies
//! a version of an Ingress is taken over the spec as written.

use crate::condition::ConditionedStatus;
use crate::field_error::{CURRENT_FIELD, FieldErrors, invalid_value, missing_field};
use crate::kind::{conditioned, knative_kind};
use crate::open_enum::open_enum;
use crate::serde_util::{is_default, null_default};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The condition that the configuration has been written to the network.
pub const NETWORK_CONFIGURED: &str = "NetworkConfigured";
/// The condition that every instance of the load balancer serves it.
pub const LOAD_BALANCER_READY: &str = "LoadBalancerReady";

/// Ingress says which hosts, paths and headers lead to which Services, and in which shares.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Ingress {
    /// Standard object metadata.
    #[serde(deserialize_with = "null_default")]
    pub metadata: ObjectMeta,
    /// What is asked for.
    #[serde(deserialize_with = "null_default")]
    pub spec: IngressSpec,
    /// What has been done.
    #[serde(deserialize_with = "null_default")]
    pub status: IngressStatus,
}
knative_kind!(Ingress, "networking.internal.knative.dev", "v1alpha1", "ingresses", Namespaced, [spec, status]);
conditioned!(Ingress, IngressStatus, &[NETWORK_CONFIGURED, LOAD_BALANCER_READY]);

open_enum! {
    /// What happens to plain HTTP requests when TLS is configured.
    HttpOption {
        /// They are served.
        Enabled = "Enabled",
        /// They are redirected to HTTPS.
        Redirected = "Redirected",
    }
}

open_enum! {
    /// Who can reach a rule.
    Visibility {
        /// Everybody.
        ExternalIp = "ExternalIP",
        /// The inside of the cluster.
        ClusterLocal = "ClusterLocal",
    }
}

/// IngressSpec is what a network is asked to serve.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressSpec {
    /// TLS configuration: which hosts are served with which certificate.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub tls: Vec<IngressTls>,
    /// Rules say what each host leads to.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<IngressRule>,
    /// HTTPOption is what happens to plain HTTP: Enabled or Redirected. It matters only when TLS is set.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub http_option: HttpOption,
}

/// IngressTLS describes the transport layer security of some hosts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressTls {
    /// Hosts are the names that the certificate is for.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// SecretName is the name of the secret with certificate and key.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub secret_name: String,
    /// SecretNamespace is the namespace of that secret.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub secret_namespace: String,
}

/// IngressRule is what some hosts lead to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressRule {
    /// Hosts are fully qualified domain names; a request's Host chooses the rule.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Visibility says who can reach the rule: ExternalIP (the default) or ClusterLocal.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub visibility: Visibility,
    /// HTTP is what is done with requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpIngressRuleValue>,
}

/// HTTPIngressRuleValue holds the paths of a rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["paths"]))]
pub struct HttpIngressRuleValue {
    /// Paths are tried for the most specific match.
    #[serde(deserialize_with = "null_default")]
    pub paths: Vec<HttpIngressPath>,
}

/// HTTPIngressPath associates a path and headers with backends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("required" = ["splits"]))]
pub struct HttpIngressPath {
    /// Path is a prefix of the request's path; empty matches all.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// RewriteHost replaces the Host that the backend sees.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub rewrite_host: String,
    /// Headers must all match for the path to be chosen.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, HeaderMatch>,
    /// Splits are the backends and their shares, which sum to 100.
    #[serde(deserialize_with = "null_default")]
    pub splits: Vec<IngressBackendSplit>,
    /// AppendHeaders are set on the request, in place of what a client sent.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub append_headers: BTreeMap<String, String>,
}

/// HeaderMatch is how a header's value is compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["exact"]))]
pub struct HeaderMatch {
    /// Exact is the value it must have.
    #[serde(deserialize_with = "null_default")]
    pub exact: String,
}

/// IngressBackendSplit is a backend and its share of the traffic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(extend("required" = ["serviceName", "serviceNamespace", "servicePort"]))]
pub struct IngressBackendSplit {
    /// ServiceNamespace is the namespace of the Service.
    #[serde(deserialize_with = "null_default")]
    pub service_namespace: String,
    /// ServiceName is the Service to send requests to.
    #[serde(deserialize_with = "null_default")]
    pub service_name: String,
    /// ServicePort is the port of the Service, by number or name.
    #[schemars(schema_with = "crate::crds::schema::int_or_string")]
    pub service_port: IntOrString,
    /// Percent is the share; a single split without one has 100.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    #[schemars(schema_with = "crate::crds::schema::integer")]
    pub percent: i64,
    /// AppendHeaders are set on requests that go to this backend.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub append_headers: BTreeMap<String, String>,
}

impl Default for IngressBackendSplit {
    fn default() -> Self {
        Self {
            service_namespace: String::new(),
            service_name: String::new(),
            service_port: IntOrString::Int(0),
            percent: 0,
            append_headers: BTreeMap::new(),
        }
    }
}

/// IngressStatus is what the network says about it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressStatus {
    /// ObservedGeneration is the generation of the spec that the status is about.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub observed_generation: i64,
    /// Conditions say how far the object has come, and why no further.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<crate::condition::Condition>,
    /// Annotations is additional information for people and tools.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// PublicLoadBalancer is where the public hosts are served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_load_balancer: Option<LoadBalancerStatus>,
    /// PrivateLoadBalancer is where the cluster-local hosts are served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_load_balancer: Option<LoadBalancerStatus>,
}

/// LoadBalancerStatus is where a load balancer can be reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LoadBalancerStatus {
    /// Ingress are its points of entry.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<LoadBalancerIngressStatus>,
}

/// LoadBalancerIngressStatus is one point of entry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct LoadBalancerIngressStatus {
    /// IP is set for load balancers that are reached by address.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub ip: String,
    /// Domain is set for load balancers that are reached by name.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// DomainInternal is the name inside the cluster.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub domain_internal: String,
    /// MeshOnly is set when a service mesh does the balancing.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_default")]
    pub mesh_only: bool,
}

impl Ingress {
    /// Fills in what was left out.
    pub fn set_defaults(&mut self) {
        for rule in &mut self.spec.rules {
            if rule.visibility == Visibility::Unset {
                rule.visibility = Visibility::ExternalIp;
            }
            for path in rule.http.iter_mut().flat_map(|http| &mut http.paths) {
                if let [only] = path.splits.as_mut_slice()
                    && only.percent == 0
                {
                    only.percent = 100;
                }
            }
        }
    }

    /// What is wrong with it.
    pub fn validate(&self) -> FieldErrors {
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
        self.spec.validate(namespace).via_field("spec")
    }
}

impl IngressSpec {
    fn validate(&self, namespace: &str) -> FieldErrors {
        if is_default(self) {
            return missing_field(CURRENT_FIELD);
        }
        let mut errors = FieldErrors::none();
        if self.rules.is_empty() {
            errors.also(missing_field("rules"));
        }
        for (index, rule) in self.rules.iter().enumerate() {
            errors.also(rule.validate(namespace).via_field_index("rules", index));
        }
        for (index, tls) in self.tls.iter().enumerate() {
            errors.also(tls.validate().via_field_index("tls", index));
        }
        if let HttpOption::Other(text) = &self.http_option {
            errors.also(invalid_value(text, "httpOption"));
        }
        errors
    }
}

impl IngressRule {
    fn validate(&self, namespace: &str) -> FieldErrors {
        if is_default(self) {
            return missing_field(CURRENT_FIELD);
        }
        match &self.http {
            None => missing_field("http"),
            Some(http) if http.paths.is_empty() => missing_field("paths").via_field("http"),
            Some(http) => {
                let mut errors = FieldErrors::none();
                for (index, path) in http.paths.iter().enumerate() {
                    errors.also(path.validate(namespace).via_field_index("paths", index));
                }
                errors.via_field("http")
            }
        }
    }
}

impl HttpIngressPath {
    fn validate(&self, namespace: &str) -> FieldErrors {
        if is_default(self) {
            return missing_field(CURRENT_FIELD);
        }
        if self.splits.is_empty() {
            return missing_field("splits");
        }
        let mut total = 0_i64;
        for (index, split) in self.splits.iter().enumerate() {
            let errors = split.validate(namespace);
            if !errors.is_empty() {
                return errors.via_field_index("splits", index);
            }
            total = total.saturating_add(split.percent);
        }
        let single_without_share = self.splits.len() == 1 && total == 0;
        if total == 100 || single_without_share {
            return FieldErrors::none();
        }
        FieldErrors::one(format!("traffic split percentage must total to 100, but was {total}"), ["splits"])
    }
}

impl IngressBackendSplit {
    fn validate(&self, namespace: &str) -> FieldErrors {
        if is_default(self) {
            return missing_field(CURRENT_FIELD);
        }
        let mut errors = FieldErrors::none();
        if !(0..=100).contains(&self.percent) {
            errors.also(invalid_value(self.percent, "percent"));
        }
        let no_port = self.service_port == IntOrString::Int(0);
        if self.service_namespace.is_empty() && self.service_name.is_empty() && no_port {
            return errors.and(missing_field(CURRENT_FIELD));
        }
        if self.service_namespace.is_empty() {
            errors.also(missing_field("serviceNamespace"));
        } else if self.service_namespace != namespace {
            errors.also(FieldErrors::one("service namespace must match ingress namespace", ["serviceNamespace"]));
        }
        if self.service_name.is_empty() {
            errors.also(missing_field("serviceName"));
        }
        if no_port {
            errors.also(missing_field("servicePort"));
        }
        errors
    }
}

impl IngressTls {
    fn validate(&self) -> FieldErrors {
        if is_default(self) {
            return missing_field(CURRENT_FIELD);
        }
        let mut errors = FieldErrors::none();
        if self.secret_name.is_empty() {
            errors.also(missing_field("secretName"));
        }
        if self.secret_namespace.is_empty() {
            errors.also(missing_field("secretNamespace"));
        }
        errors
    }
}

impl IngressStatus {
    /// The configuration has been written.
    pub fn mark_network_configured(&mut self, now: Timestamp) {
        self.manage(now).mark_true(NETWORK_CONFIGURED);
    }

    /// Something of that name is there and belongs to somebody else.
    pub fn mark_resource_not_owned(&mut self, kind: &str, name: &str, now: Timestamp) {
        let message = crate::serving::not_owned_message(kind, name);
        self.manage(now).mark_false(NETWORK_CONFIGURED, "NotOwned", &message);
    }

    /// Every instance serves it, at these points of entry.
    pub fn mark_load_balancer_ready(
        &mut self,
        public: Vec<LoadBalancerIngressStatus>,
        private: Vec<LoadBalancerIngressStatus>,
        now: Timestamp,
    ) {
        self.public_load_balancer = Some(LoadBalancerStatus { ingress: public });
        self.private_load_balancer = Some(LoadBalancerStatus { ingress: private });
        self.manage(now).mark_true(LOAD_BALANCER_READY);
    }

    /// Not every instance serves it yet.
    pub fn mark_load_balancer_not_ready(&mut self, now: Timestamp) {
        self.manage(now).mark_unknown(LOAD_BALANCER_READY, "Uninitialized", "Waiting for load balancer to be ready");
    }

    /// It cannot be served.
    pub fn mark_load_balancer_failed(&mut self, reason: &str, message: &str, now: Timestamp) {
        self.manage(now).mark_false(LOAD_BALANCER_READY, reason, message);
    }

    /// It is being worked on, for a reason that concerns the whole.
    pub fn mark_not_ready(&mut self, reason: &str, message: &str, now: Timestamp) {
        self.manage(now).mark_unknown(crate::condition::READY, reason, message);
    }
}
