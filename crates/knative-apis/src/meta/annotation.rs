//! Annotation keys. Those that steer autoscaling are read by [`crate::annotations`].

use super::KeyPriority;

/// The user that created an object.
pub const CREATOR: &str = "serving.knative.dev/creator";
/// The user that changed an object's spec last.
pub const LAST_MODIFIER: &str = "serving.knative.dev/lastModifier";
/// The Routes that use a Configuration or Revision, joined by commas.
pub const ROUTES: &str = "serving.knative.dev/routes";
/// When the routing state of a Revision changed, RFC 3339.
pub const ROUTING_STATE_MODIFIED: &str = "serving.knative.dev/routingStateModified";
/// When a Route last pinned a Revision (no longer written).
pub const LAST_PINNED: &str = "serving.knative.dev/lastPinned";
/// `"true"` keeps a Revision from being collected.
pub const NO_GC: &str = "serving.knative.dev/no-gc";
/// How long a gradual rollout takes.
pub const ROLLOUT_DURATION: KeyPriority =
    KeyPriority(&["serving.knative.dev/rollout-duration", "serving.knative.dev/rolloutDuration"]);
/// How long a Revision may take to become ready, on its template.
pub const PROGRESS_DEADLINE: KeyPriority = KeyPriority(&["serving.knative.dev/progress-deadline"]);

/// The sidecar's resources as a percentage of the user container's (deprecated).
pub const QUEUE_RESOURCE_PERCENTAGE: KeyPriority = KeyPriority(&[
    "queue.sidecar.serving.knative.dev/resource-percentage",
    "queue.sidecar.serving.knative.dev/resourcePercentage",
]);
/// The sidecar's CPU request.
pub const QUEUE_CPU_REQUEST: KeyPriority = KeyPriority(&["queue.sidecar.serving.knative.dev/cpu-resource-request"]);
/// The sidecar's CPU limit.
pub const QUEUE_CPU_LIMIT: KeyPriority = KeyPriority(&["queue.sidecar.serving.knative.dev/cpu-resource-limit"]);
/// The sidecar's memory request.
pub const QUEUE_MEMORY_REQUEST: KeyPriority =
    KeyPriority(&["queue.sidecar.serving.knative.dev/memory-resource-request"]);
/// The sidecar's memory limit.
pub const QUEUE_MEMORY_LIMIT: KeyPriority = KeyPriority(&["queue.sidecar.serving.knative.dev/memory-resource-limit"]);
/// The sidecar's request of ephemeral storage.
pub const QUEUE_EPHEMERAL_STORAGE_REQUEST: KeyPriority =
    KeyPriority(&["queue.sidecar.serving.knative.dev/ephemeral-storage-resource-request"]);
/// The sidecar's limit of ephemeral storage.
pub const QUEUE_EPHEMERAL_STORAGE_LIMIT: KeyPriority =
    KeyPriority(&["queue.sidecar.serving.knative.dev/ephemeral-storage-resource-limit"]);

/// `enabled` mounts pod information into the sidecar, where the feature is allowed.
pub const QUEUE_POD_INFO: &str = "features.knative.dev/queueproxy-podinfo";
/// `Enabled` lets HTTP/1 requests be read while the response is written.
pub const HTTP_FULL_DUPLEX: &str = "features.knative.dev/http-full-duplex";

/// Which implementation serves an Ingress.
pub const INGRESS_CLASS: KeyPriority =
    KeyPriority(&["networking.knative.dev/ingress.class", "networking.knative.dev/ingress-class"]);
/// Which implementation provides a Certificate.
pub const CERTIFICATE_CLASS: KeyPriority =
    KeyPriority(&["networking.knative.dev/certificate.class", "networking.knative.dev/certificate-class"]);
/// `"true"` turns off external-domain TLS for one Route.
pub const DISABLE_EXTERNAL_DOMAIN_TLS: KeyPriority = KeyPriority(&[
    "networking.knative.dev/disableAutoTLS",
    "networking.knative.dev/disable-auto-tls",
    "networking.knative.dev/disable-external-domain-tls",
]);
/// Whether plain HTTP is served or redirected, for one Route.
pub const HTTP_PROTOCOL: KeyPriority =
    KeyPriority(&["networking.knative.dev/httpOption", "networking.knative.dev/http-protocol"]);

/// The state of a gradual rollout, JSON, on a Route's Ingress.
pub const ROLLOUT: &str = "networking.internal.knative.dev/rollout";
/// Which hosts a traffic tag has, JSON, on a Route's Ingress.
pub const TAG_TO_HOST: &str = "networking.internal.knative.dev/tag-to-host";

/// What `kubectl apply` remembers; never copied to children.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The container that `kubectl logs` and `exec` take when none is named.
pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
