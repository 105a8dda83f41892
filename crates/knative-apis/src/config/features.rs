//! config-features: what users may ask for beyond the common fields.

use super::{ConfigError, ConfigMap};
use std::collections::BTreeMap;

/// Whether a feature may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// It is used, or may be.
    Enabled,
    /// It may be used by those who ask for it.
    Allowed,
    /// It may not.
    Disabled,
    /// Secure defaults that leave a container its root user.
    AllowRootBounded,
}

impl Flag {
    /// Whether it may be used without being asked for.
    pub fn is_enabled(self) -> bool {
        self == Self::Enabled
    }
}

/// The type, the keys and the reading are one table.
macro_rules! features {
    ($($(#[$doc:meta])* $field:ident = $key:literal, $default:ident;)+) => {
        /// What users may ask for.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Features {
            $($(#[$doc])* pub $field: Flag,)+
        }

        impl Default for Features {
            fn default() -> Self {
                Self { $($field: Flag::$default,)+ }
            }
        }

        impl ConfigMap for Features {
            const NAME: &'static str = "config-features";
            const KEYS: &'static [&'static str] = &[$($key),+];

            fn parse(data: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
                let mut config = Self::default();
                $(read(data, $key, &mut config.$field);)+
                Ok(config)
            }
        }
    };
}

features! {
    /// HTTP/2 is found out by asking the container.
    auto_detect_http2 = "autodetect-http2", Disabled;
    /// Several containers.
    multi_container = "multi-container", Enabled;
    /// Probes of containers beside the serving one.
    multi_container_probing = "multi-container-probing", Disabled;
    /// Pod information in the sidecar.
    queue_proxy_mount_pod_info = "queueproxy.mount-podinfo", Disabled;
    /// Default resources of the sidecar.
    queue_proxy_resource_defaults = "queueproxy.resource-defaults", Disabled;
    /// Secure values where a container's security context says nothing.
    secure_pod_defaults = "secure-pod-defaults", Disabled;
    /// A header that chooses a traffic tag.
    tag_header_based_routing = "tag-header-based-routing", Disabled;
    /// `securityContext.capabilities.add` of containers.
    container_spec_add_capabilities = "kubernetes.containerspec-addcapabilities", Disabled;
    /// `affinity`.
    pod_spec_affinity = "kubernetes.podspec-affinity", Disabled;
    /// `dnsConfig`.
    pod_spec_dns_config = "kubernetes.podspec-dnsconfig", Disabled;
    /// `dnsPolicy`.
    pod_spec_dns_policy = "kubernetes.podspec-dnspolicy", Disabled;
    /// `fieldRef` and `resourceFieldRef` of variables.
    pod_spec_field_ref = "kubernetes.podspec-fieldref", Disabled;
    /// `hostAliases`.
    pod_spec_host_aliases = "kubernetes.podspec-hostaliases", Disabled;
    /// `hostIPC`.
    pod_spec_host_ipc = "kubernetes.podspec-hostipc", Disabled;
    /// `hostNetwork`.
    pod_spec_host_network = "kubernetes.podspec-hostnetwork", Disabled;
    /// `hostPID`.
    pod_spec_host_pid = "kubernetes.podspec-hostpid", Disabled;
    /// `initContainers`.
    pod_spec_init_containers = "kubernetes.podspec-init-containers", Disabled;
    /// `nodeSelector`.
    pod_spec_node_selector = "kubernetes.podspec-nodeselector", Disabled;
    /// Volumes from persistent volume claims.
    pod_spec_persistent_volume_claim = "kubernetes.podspec-persistent-volume-claim", Disabled;
    /// Writing to them.
    pod_spec_persistent_volume_write = "kubernetes.podspec-persistent-volume-write", Disabled;
    /// `priorityClassName`.
    pod_spec_priority_class_name = "kubernetes.podspec-priorityclassname", Disabled;
    /// `runtimeClassName`.
    pod_spec_runtime_class_name = "kubernetes.podspec-runtimeclassname", Disabled;
    /// `schedulerName`.
    pod_spec_scheduler_name = "kubernetes.podspec-schedulername", Disabled;
    /// `securityContext` of the pod.
    pod_spec_security_context = "kubernetes.podspec-securitycontext", Disabled;
    /// `shareProcessNamespace`.
    pod_spec_share_process_namespace = "kubernetes.podspec-shareprocessnamespace", Disabled;
    /// `tolerations`.
    pod_spec_tolerations = "kubernetes.podspec-tolerations", Disabled;
    /// `topologySpreadConstraints`.
    pod_spec_topology_spread_constraints = "kubernetes.podspec-topologyspreadconstraints", Disabled;
    /// Volumes from CSI drivers.
    pod_spec_volumes_csi = "kubernetes.podspec-volumes-csi", Disabled;
    /// Empty directories.
    pod_spec_volumes_empty_dir = "kubernetes.podspec-volumes-emptydir", Enabled;
    /// Ephemeral volumes.
    pod_spec_volumes_ephemeral = "kubernetes.podspec-volumes-ephemeral", Disabled;
    /// Directories of the node.
    pod_spec_volumes_host_path = "kubernetes.podspec-volumes-hostpath", Disabled;
    /// Volumes from images.
    pod_spec_volumes_image = "kubernetes.podspec-volumes-image", Disabled;
    /// `mountPropagation` of mounts.
    pod_spec_volumes_mount_propagation = "kubernetes.podspec-volumes-mount-propagation", Disabled;
}

/// A value that is none of a feature's leaves its default, as in Knative.
fn read(data: &BTreeMap<String, String>, key: &str, target: &mut Flag) {
    let Some(text) = data.get(key) else { return };
    let third = match key {
        "secure-pod-defaults" => ("allowrootbounded", Flag::AllowRootBounded),
        _ => ("allowed", Flag::Allowed),
    };
    match text.to_ascii_lowercase().as_str() {
        "enabled" => *target = Flag::Enabled,
        "disabled" => *target = Flag::Disabled,
        text if text == third.0 => *target = third.1,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_whatever_their_case() {
        let data = [
            ("multi-container", "DISABLED"),
            ("kubernetes.podspec-affinity", "allowed"),
            ("kubernetes.podspec-fieldref", "Enabled"),
            ("kubernetes.podspec-tolerations", "sure"),
            ("secure-pod-defaults", "AllowRootBounded"),
            ("tag-header-based-routing", "AllowRootBounded"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let features = Features::parse(&BTreeMap::from(data)).expect("no error is possible");
        assert_eq!(features.multi_container, Flag::Disabled);
        assert_eq!(features.pod_spec_affinity, Flag::Allowed);
        assert!(features.pod_spec_field_ref.is_enabled());
        assert_eq!(features.pod_spec_tolerations, Flag::Disabled);
        assert_eq!(features.secure_pod_defaults, Flag::AllowRootBounded);
        assert_eq!(features.tag_header_based_routing, Flag::Disabled);
    }

    #[test]
    fn secure_defaults_have_no_allowed() {
        let data = BTreeMap::from([("secure-pod-defaults".to_owned(), "Allowed".to_owned())]);
        let features = Features::parse(&data).expect("no error is possible");
        assert_eq!(features.secure_pod_defaults, Flag::Disabled);
    }
}
