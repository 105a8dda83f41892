//! HTTP header names and values between client, gateway, activator, queue-proxy and container.
//!
//! Names are lower case, as `http::HeaderName` stores them; the spelling in Knative's documents
//! stands beside each.

/// `K-Network-Probe`: who should answer a health probe.
pub const PROBE: &str = "k-network-probe";
/// The value of [`PROBE`] that an ingress answers.
pub const PROBE_INGRESS: &str = "probe";
/// The value of [`PROBE`] that the activator answers.
pub const PROBE_ACTIVATOR: &str = "activator";
/// The value of [`PROBE`] that queue-proxy answers.
pub const PROBE_QUEUE: &str = "queue";
/// `K-Network-Hash`: the version of an Ingress that answered.
pub const HASH: &str = "k-network-hash";
/// The value of [`HASH`] in a request that asks for the current one.
pub const HASH_OVERRIDE: &str = "override";
/// `K-Proxy-Request`: set by the activator, so that the request is counted once.
pub const PROXY: &str = "k-proxy-request";
/// The value of [`PROXY`].
pub const PROXY_ACTIVATOR: &str = "activator";
/// `K-Original-Host`: the client's Host, where a proxy has rewritten it.
pub const ORIGINAL_HOST: &str = "k-original-host";
/// `K-Kubelet-Probe`: marks a probe of the node.
pub const KUBELET_PROBE: &str = "k-kubelet-probe";
/// `K-Passthrough-Lb`: asks a mesh to address the pod itself.
pub const PASSTHROUGH_LB: &str = "k-passthrough-lb";
/// `Knative-Direct-Lb`: asks a mesh to address the pod itself, in the autoscaler's scrapes.
pub const DIRECT_LB: &str = "knative-direct-lb";
/// `Knative-Serving-Revision`: the revision a gateway chose.
pub const REVISION: &str = "knative-serving-revision";
/// `Knative-Serving-Namespace`: the namespace of that revision.
pub const NAMESPACE: &str = "knative-serving-namespace";
/// [`REVISION`] as an Ingress spells it in `appendHeaders`.
pub const REVISION_NAME: &str = "Knative-Serving-Revision";
/// [`NAMESPACE`] as an Ingress spells it in `appendHeaders`.
pub const NAMESPACE_NAME: &str = "Knative-Serving-Namespace";
/// `Knative-Serving-Tag`: chooses a tag on the main host.
pub const TAG: &str = "knative-serving-tag";
/// [`TAG`] as an Ingress spells it.
pub const TAG_NAME: &str = "Knative-Serving-Tag";
/// `Knative-Serving-Default-Route`: says that no tag was chosen.
pub const DEFAULT_ROUTE: &str = "knative-serving-default-route";
/// [`DEFAULT_ROUTE`] as an Ingress spells it.
pub const DEFAULT_ROUTE_NAME: &str = "Knative-Serving-Default-Route";

/// The start of the User-Agent of a node's probes.
pub const KUBE_PROBE_AGENT_PREFIX: &str = "kube-probe/";
/// The User-Agent of the activator's probes.
pub const ACTIVATOR_AGENT: &str = "Knative-Activator-Probe";
/// The User-Agent of queue-proxy's probes.
pub const QUEUE_PROXY_AGENT: &str = "Knative-Queue-Proxy-Probe";
/// The User-Agent of probes of an ingress.
pub const INGRESS_AGENT: &str = "Knative-Ingress-Probe";
/// The User-Agent of the autoscaler's probes.
pub const AUTOSCALING_AGENT: &str = "Knative-Autoscaling-Probe";
