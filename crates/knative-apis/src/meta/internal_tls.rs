//! Names in the TLS that Knative's parts speak among themselves (`system-internal-tls`).

/// The Certificate, and its Secret, of what routes requests: in the system namespace.
pub const ROUTING_CERTIFICATE: &str = "routing-serving-certs";
/// The Certificate, and its Secret, of the queue-proxies of a namespace: in that namespace.
pub const SERVING_CERTIFICATE: &str = "serving-certs";
/// The name that what routes requests shows.
pub const ROUTING_NAME: &str = "kn-routing";
/// The name that every part shows beside its own.
pub const DATA_PLANE_NAME: &str = "data-plane.knative.dev";

/// The name that the queue-proxies of a namespace show.
pub fn data_plane_user_name(namespace: &str) -> String {
    format!("kn-user-{namespace}")
}
