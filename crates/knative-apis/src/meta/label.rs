//! Label keys and the values that Knative gives them.

/// Names the owning Service, on everything made for it.
pub const SERVICE: &str = "serving.knative.dev/service";
/// The uid of the owning Service.
pub const SERVICE_UID: &str = "serving.knative.dev/serviceUID";
/// Names the Configuration that made a Revision, on the Revision and below.
pub const CONFIGURATION: &str = "serving.knative.dev/configuration";
/// The uid of that Configuration.
pub const CONFIGURATION_UID: &str = "serving.knative.dev/configurationUID";
/// The generation of the Configuration that a Revision stands for.
pub const CONFIGURATION_GENERATION: &str = "serving.knative.dev/configurationGeneration";
/// Names the Revision, on its Deployment, pods, autoscaler and Kubernetes Services.
pub const REVISION: &str = "serving.knative.dev/revision";
/// The uid of the Revision; what a Deployment selects its pods by.
pub const REVISION_UID: &str = "serving.knative.dev/revisionUID";
/// Names the Route, on its Ingress, Certificates and placeholder Services.
pub const ROUTE: &str = "serving.knative.dev/route";
/// The namespace of that Route.
pub const ROUTE_NAMESPACE: &str = "serving.knative.dev/routeNamespace";
/// Whether a Revision is reachable: see [`crate::serving::v1::RoutingState`].
pub const ROUTING_STATE: &str = "serving.knative.dev/routingState";
/// A hash of the desired Deployment; a Deployment is written again only when it changes.
pub const DEPLOYMENT_HASH: &str = "serving.knative.dev/deployment-hash";
/// The uid of the DomainMapping that made an Ingress or Certificate.
pub const DOMAIN_MAPPING_UID: &str = "serving.knative.dev/domainMappingUID";
/// The namespace of that DomainMapping.
pub const DOMAIN_MAPPING_NAMESPACE: &str = "serving.knative.dev/domainMappingNamespace";
/// The application's name on pods and Deployments, unless the user set it.
pub const APP: &str = "app";

/// Set to [`CLUSTER_LOCAL`] to keep a Service, Route or tag inside the cluster.
pub const VISIBILITY: &str = "networking.knative.dev/visibility";
/// The value of [`VISIBILITY`] that hides a host from outside.
pub const CLUSTER_LOCAL: &str = "cluster-local";
/// The domain that a namespace's wildcard Certificate covers.
pub const WILDCARD_DOMAIN: &str = "networking.knative.dev/wildcardDomain";
/// What a Certificate is for: external-domain, cluster-local-domain or system-internal.
pub const CERTIFICATE_TYPE: &str = "networking.knative.dev/certificate-type";
/// Marks ConfigMaps with CA bundles that the activator trusts.
pub const TRUST_BUNDLE: &str = "networking.knative.dev/trust-bundle";

/// Names the ServerlessService, on the Kubernetes Services it made.
pub const SERVERLESS_SERVICE: &str = "networking.internal.knative.dev/serverlessservice";
/// Which of the two Services of a ServerlessService this is.
pub const SERVICE_TYPE: &str = "networking.internal.knative.dev/serviceType";
/// The value of [`SERVICE_TYPE`] on the Service that clients use.
pub const SERVICE_TYPE_PUBLIC: &str = "Public";
/// The value of [`SERVICE_TYPE`] on the Service that selects the pods.
pub const SERVICE_TYPE_PRIVATE: &str = "Private";
/// Names an Ingress on what an ingress implementation makes for it.
pub const INGRESS: &str = "networking.internal.knative.dev/ingress";
/// The uid of a Certificate on its Secret.
pub const CERTIFICATE_UID: &str = "networking.internal.knative.dev/certificate-uid";
/// The name of the Secret that another was copied from.
pub const ORIGIN_SECRET_NAME: &str = "networking.internal.knative.dev/originSecretName";
/// The namespace of the Secret that another was copied from.
pub const ORIGIN_SECRET_NAMESPACE: &str = "networking.internal.knative.dev/originSecretNamespace";
/// The traffic tag that a placeholder Service or Certificate belongs to.
pub const TAG: &str = "networking.internal.knative.dev/tag";
