//! What the process that runs the controllers knows and no ConfigMap says: handed in once, by the binary.

use base_controller::Key;
use knative_apis::config::CERT_MANAGER_CLASS;
use knative_apis::meta::{CLUSTER_DOMAIN, SYSTEM_NAMESPACE};
use knative_apis::networking::LoadBalancerIngressStatus;

/// The Secret of the authority, in the system namespace, unless told otherwise.
pub const AUTHORITY_SECRET: &str = "kwick-serving-ca";

/// The facts of one installation.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The namespace of Knative's own objects and ConfigMaps.
    pub system_namespace: String,
    /// The DNS domain of the cluster.
    pub cluster_domain: String,
    /// What the sidecar's container is told beyond its image's own entry point. Nothing for an image that is a queue-proxy by itself; the
    /// role's name for an image that has several.
    pub queue_proxy_args: Vec<String>,
    /// The class of the Ingresses that this process answers for; those of other classes are somebody else's.
    pub ingress_class: String,
    /// The class of the Certificates that this process issues; those of other classes are somebody else's.
    pub certificate_class: String,
    /// The Secret with the certificate and key of the authority that signs them; made if it is not there.
    pub authority_secret: Key,
    /// Where the gateway is reached from outside. The port stands in URLs when it is not the scheme's own (Knative itself knows no other
    /// port, so with 80 every URL is Knative's).
    pub external_port: u16,
    /// Where the gateway speaks TLS to the outside, for URLs likewise.
    pub external_tls_port: u16,
    /// The one entry of `status.publicLoadBalancer`.
    pub public_load_balancer: LoadBalancerIngressStatus,
    /// The one entry of `status.privateLoadBalancer`: where calls from inside the cluster go.
    pub private_load_balancer: LoadBalancerIngressStatus,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            system_namespace: SYSTEM_NAMESPACE.to_owned(),
            cluster_domain: CLUSTER_DOMAIN.to_owned(),
            queue_proxy_args: Vec::new(),
            ingress_class: String::new(),
            certificate_class: CERT_MANAGER_CLASS.to_owned(),
            authority_secret: Key::new(SYSTEM_NAMESPACE, AUTHORITY_SECRET),
            external_port: 80,
            external_tls_port: 443,
            public_load_balancer: LoadBalancerIngressStatus::default(),
            private_load_balancer: LoadBalancerIngressStatus::default(),
        }
    }
}

impl Settings {
    /// An authority (`host` or `host:port`) as it stands in a URL of `scheme` that leads through the public gateway.
    pub fn external_authority(&self, scheme: &str, host: &str) -> String {
        let own_port = if scheme == "https" { 443 } else { 80 };
        // Whoever ends TLS in front of the gateway has the scheme's port, whatever ours is.
        if scheme == "https" || self.external_port == own_port || self.external_port == 443 {
            host.to_owned()
        } else {
            format!("{host}:{}", self.external_port)
        }
    }

    /// The same of a URL with `https` where the public gateway itself ends TLS.
    pub fn external_tls_authority(&self, host: &str) -> String {
        if self.external_tls_port == 443 { host.to_owned() } else { format!("{host}:{}", self.external_tls_port) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_named_only_when_nobody_would_guess_it() {
        let at = |external_port| Settings { external_port, ..Settings::default() };
        assert_eq!(at(80).external_authority("http", "a.b"), "a.b");
        assert_eq!(at(443).external_authority("http", "a.b"), "a.b");
        assert_eq!(at(8080).external_authority("http", "a.b"), "a.b:8080");
        assert_eq!(at(8080).external_authority("https", "a.b"), "a.b");
        let at = |external_tls_port| Settings { external_tls_port, ..Settings::default() };
        assert_eq!(at(443).external_tls_authority("a.b"), "a.b");
        assert_eq!(at(8443).external_tls_authority("a.b"), "a.b:8443");
    }
}
