//! config-network: hosts, certificates and how traffic reaches them.

use super::reader::Reader;
use super::{ConfigError, ConfigMap};
use crate::template::{Fields, Template, Value};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::BTreeMap;

/// The class of Ingress that Knative takes when none is configured.
pub const ISTIO_INGRESS_CLASS: &str = "istio.ingress.networking.knative.dev";
/// The class of Certificate that Knative takes when none is configured.
pub const CERT_MANAGER_CLASS: &str = "cert-manager.certificate.networking.knative.dev";
const DOMAIN_TEMPLATE: &str = "{{.Name}}.{{.Namespace}}.{{.Domain}}";
const TAG_TEMPLATE: &str = "{{.Tag}}-{{.Name}}";

/// What happens to plain HTTP where TLS is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpProtocol {
    /// It is served.
    Enabled,
    /// It is refused (deprecated).
    Disabled,
    /// It is redirected to HTTPS.
    Redirected,
}

/// Whether a service mesh stands between the parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeshCompatibilityMode {
    /// It is found out by probing.
    Auto,
    /// It does.
    Enabled,
    /// It does not.
    Disabled,
}

/// The operator's settings of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Which implementation serves an Ingress that names none.
    pub ingress_class: String,
    /// Which implementation provides a Certificate that names none.
    pub certificate_class: String,
    domain_template: Template,
    tag_template: Template,
    /// Whether public hosts get certificates.
    pub external_domain_tls: bool,
    /// Whether cluster-local hosts get certificates.
    pub cluster_local_domain_tls: bool,
    /// Whether gateway, activator and queue-proxy speak TLS among themselves.
    pub system_internal_tls: bool,
    /// What happens to plain HTTP where TLS is served.
    pub http_protocol: HttpProtocol,
    /// How long a gradual rollout takes where a Route does not say, in seconds; 0 is at once.
    pub rollout_duration_seconds: i64,
    /// Which namespaces get a wildcard certificate; `None`: no namespace.
    pub namespace_wildcard_cert_selector: Option<LabelSelector>,
    /// Whether a DomainMapping may claim its domain itself.
    pub autocreate_cluster_domain_claims: bool,
    /// Whether pods can be addressed one by one through a mesh.
    pub enable_mesh_pod_addressability: bool,
    /// Whether a service mesh stands between the parts.
    pub mesh_compatibility_mode: MeshCompatibilityMode,
    /// The scheme of URLs, where TLS ends in front of the cluster.
    pub default_external_scheme: String,
}

impl Default for Network {
    fn default() -> Self {
        // The built-in templates are read like any other; a test holds that they can be.
        let template =
            |name: &str, text: &str| Template::parse(name, text).unwrap_or_else(|_| Template::text_only(name));
        Self {
            ingress_class: ISTIO_INGRESS_CLASS.to_owned(),
            certificate_class: CERT_MANAGER_CLASS.to_owned(),
            domain_template: template("domain-template", DOMAIN_TEMPLATE),
            tag_template: template("tag-template", TAG_TEMPLATE),
            external_domain_tls: false,
            cluster_local_domain_tls: false,
            system_internal_tls: false,
            http_protocol: HttpProtocol::Enabled,
            rollout_duration_seconds: 0,
            namespace_wildcard_cert_selector: None,
            autocreate_cluster_domain_claims: false,
            enable_mesh_pod_addressability: false,
            mesh_compatibility_mode: MeshCompatibilityMode::Auto,
            default_external_scheme: "http".to_owned(),
        }
    }
}

/// What a host's name is made from.
#[derive(Clone, Copy, Debug)]
pub struct DomainTemplateValues<'a> {
    /// The Route's name, with its tag if it has one.
    pub name: &'a str,
    /// The Route's namespace.
    pub namespace: &'a str,
    /// The Route's domain.
    pub domain: &'a str,
    /// The Route's annotations.
    pub annotations: &'a BTreeMap<String, String>,
    /// The Route's labels.
    pub labels: &'a BTreeMap<String, String>,
}

impl Fields for DomainTemplateValues<'_> {
    fn field(&self, path: &[String]) -> Option<Value<'_>> {
        let [name] = path else { return None };
        Some(match name.as_str() {
            "Name" => Value::from(self.name),
            "Namespace" => Value::from(self.namespace),
            "Domain" => Value::from(self.domain),
            "Annotations" => Value::Map(self.annotations),
            "Labels" => Value::Map(self.labels),
            _ => return None,
        })
    }
}

struct TagTemplateValues<'a> {
    name: &'a str,
    tag: &'a str,
}

impl Fields for TagTemplateValues<'_> {
    fn field(&self, path: &[String]) -> Option<Value<'_>> {
        let [name] = path else { return None };
        Some(match name.as_str() {
            "Name" => Value::from(self.name),
            "Tag" => Value::from(self.tag),
            _ => return None,
        })
    }
}

impl Network {
    /// The host of a Route.
    ///
    /// # Errors
    /// What the template asks for and is not there.
    pub fn host(&self, values: &DomainTemplateValues<'_>) -> Result<String, crate::template::TemplateError> {
        self.domain_template.execute(values)
    }

    /// What stands for a Route's name in the host of one of its tags.
    ///
    /// # Errors
    /// What the template asks for and is not there.
    pub fn tagged_name(&self, name: &str, tag: &str) -> Result<String, crate::template::TemplateError> {
        self.tag_template.execute(&TagTemplateValues { name, tag })
    }

    /// The text of the template of hosts.
    pub fn domain_template(&self) -> &str {
        self.domain_template.text()
    }

    /// The text of the template of tagged names.
    pub fn tag_template(&self) -> &str {
        self.tag_template.text()
    }

    fn read(&mut self, data: Reader<'_>) -> Result<(), ConfigError> {
        for key in ["ingress.class", "ingress-class"] {
            data.string(key, &mut self.ingress_class)?;
        }
        for key in ["certificate.class", "certificate-class"] {
            data.string(key, &mut self.certificate_class)?;
        }
        for key in ["rolloutDuration", "rollout-duration"] {
            data.int(key, &mut self.rollout_duration_seconds)?;
        }
        for key in ["autocreateClusterDomainClaims", "autocreate-cluster-domain-claims"] {
            data.bool(key, &mut self.autocreate_cluster_domain_claims)?;
        }
        for key in ["defaultExternalScheme", "default-external-scheme"] {
            data.string(key, &mut self.default_external_scheme)?;
        }
        data.bool("enable-mesh-pod-addressability", &mut self.enable_mesh_pod_addressability)?;
        match data.text("mesh-compatibility-mode").map(str::to_ascii_lowercase).as_deref() {
            Some("enabled") => self.mesh_compatibility_mode = MeshCompatibilityMode::Enabled,
            Some("disabled") => self.mesh_compatibility_mode = MeshCompatibilityMode::Disabled,
            _ => {}
        }
        if let Some(text) = data.text("namespace-wildcard-cert-selector").filter(|text| !text.is_empty()) {
            self.namespace_wildcard_cert_selector =
                super::yaml(text, "v1.LabelSelector").map_err(ConfigError::Invalid)?;
        }
        if self.rollout_duration_seconds < 0 {
            return Err(ConfigError::Invalid(format!(
                "rollout-duration must be a positive integer, but was {}",
                self.rollout_duration_seconds
            )));
        }
        Ok(())
    }

    fn read_templates(&mut self, data: Reader<'_>) -> Result<(), ConfigError> {
        if let Some(text) = data.text("domain-template").or_else(|| data.text("domainTemplate")) {
            self.domain_template = read_template("domain-template", text)?;
            check_host(self)?;
        }
        if let Some(text) = data.text("tag-template").or_else(|| data.text("tagTemplate")) {
            self.tag_template = read_template("tag-template", text)?;
            self.tagged_name("foo", "v2").map_err(|error| ConfigError::Invalid(error.to_string()))?;
        }
        Ok(())
    }

    fn read_encryption(&mut self, data: Reader<'_>) -> Result<(), ConfigError> {
        let external = ["external-domain-tls", "auto-tls", "autoTLS"].into_iter().find_map(|key| data.text(key));
        self.external_domain_tls = external.is_some_and(|text| text.eq_ignore_ascii_case("enabled"));
        let mut internal_encryption = false;
        data.bool("internal-encryption", &mut internal_encryption)?;
        self.system_internal_tls = encryption(data, "system-internal-tls")? || internal_encryption;
        self.cluster_local_domain_tls = encryption(data, "cluster-local-domain-tls")?;
        let protocol = data.text("http-protocol").or_else(|| data.text("httpProtocol")).unwrap_or_default();
        self.http_protocol = match protocol.to_ascii_lowercase().as_str() {
            "" | "enabled" => HttpProtocol::Enabled,
            "disabled" => HttpProtocol::Disabled,
            "redirected" => HttpProtocol::Redirected,
            _ => {
                let message = format!("httpProtocol {protocol} in config-network ConfigMap is not supported");
                return Err(ConfigError::Invalid(message));
            }
        };
        Ok(())
    }
}

fn read_template(name: &str, text: &str) -> Result<Template, ConfigError> {
    Template::parse(name, text.trim()).map_err(|error| ConfigError::Invalid(error.to_string()))
}

/// That the template makes a host, and nothing beyond one.
fn check_host(network: &Network) -> Result<(), ConfigError> {
    let none = BTreeMap::new();
    let values =
        DomainTemplateValues { name: "foo", namespace: "bar", domain: "baz.com", annotations: &none, labels: &none };
    let host = network.host(&values).map_err(|error| ConfigError::Invalid(error.to_string()))?;
    let (authority, path) = host.split_at(host.find(['/', '?']).unwrap_or(host.len()));
    let name = authority.split(':').next().unwrap_or_default();
    if let Some(bad) = authority.chars().find(|c| c.is_whitespace() || c.is_control() || "<>\"^`{|}\\".contains(*c)) {
        let message = format!("invalid character {} in host name", crate::go_text::quote(&bad.to_string()));
        return Err(ConfigError::Invalid(message));
    }
    if name.is_empty() {
        return Err(ConfigError::Invalid("empty hostname".to_owned()));
    }
    if !path.is_empty() && path != "/" {
        return Err(ConfigError::Invalid(format!("domain template has url path: {path}")));
    }
    Ok(())
}

fn encryption(data: Reader<'_>, key: &str) -> Result<bool, ConfigError> {
    let text = data.text(key).unwrap_or_default();
    match text.to_ascii_lowercase().as_str() {
        "" | "disabled" => Ok(false),
        "enabled" => Ok(true),
        _ => Err(ConfigError::Invalid(format!(
            "{key} with value: {} in config-network ConfigMap is not supported",
            crate::go_text::quote(text)
        ))),
    }
}

impl ConfigMap for Network {
    const NAME: &'static str = "config-network";
    const KEYS: &'static [&'static str] = &[
        "auto-tls",
        "autoTLS",
        "autocreate-cluster-domain-claims",
        "autocreateClusterDomainClaims",
        "certificate-class",
        "certificate.class",
        "cluster-local-domain-tls",
        "default-external-scheme",
        "defaultExternalScheme",
        "domain-template",
        "domainTemplate",
        "enable-mesh-pod-addressability",
        "external-domain-tls",
        "http-protocol",
        "httpProtocol",
        "ingress-class",
        "ingress.class",
        "internal-encryption",
        "mesh-compatibility-mode",
        "namespace-wildcard-cert-selector",
        "rollout-duration",
        "rolloutDuration",
        "system-internal-tls",
        "tag-template",
        "tagTemplate",
    ];

    fn parse(data: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let data = Reader(data);
        config.read(data)?;
        config.read_templates(data)?;
        config.read_encryption(data)?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(entries: &[(&str, &str)]) -> Result<Network, String> {
        let data = entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Network::parse(&data).map_err(|error| error.to_string())
    }

    fn host(network: &Network) -> String {
        let annotations = BTreeMap::from([("sub".to_owned(), "s1".to_owned())]);
        let values = DomainTemplateValues {
            name: "hello",
            namespace: "default",
            domain: "example.com",
            annotations: &annotations,
            labels: &BTreeMap::new(),
        };
        network.host(&values).expect("a host")
    }

    #[test]
    fn hosts_are_made_by_templates() {
        assert_eq!(host(&Network::default()), "hello.default.example.com");
        assert_eq!(Network::default().tagged_name("hello", "blue").expect("a name"), "blue-hello");
        let network = parse(&[
            ("domain-template", "{{.Name}}-{{index .Annotations \"sub\"}}.{{.Domain}}"),
            ("tag-template", "{{.Name}}-{{.Tag}}"),
        ])
        .expect("templates");
        assert_eq!(host(&network), "hello-s1.example.com");
        assert_eq!(network.tagged_name("hello", "blue").expect("a name"), "hello-blue");
    }

    #[test]
    fn old_spellings_are_read() {
        let network = parse(&[
            ("ingress.class", "a"),
            ("autoTLS", "Enabled"),
            ("internal-encryption", "true"),
            ("httpProtocol", "Redirected"),
            ("mesh-compatibility-mode", "ENABLED"),
            ("namespace-wildcard-cert-selector", "matchLabels:\n  a: b"),
        ])
        .expect("a network");
        assert_eq!(network.ingress_class, "a");
        assert!(network.external_domain_tls && network.system_internal_tls && !network.cluster_local_domain_tls);
        assert_eq!(network.http_protocol, HttpProtocol::Redirected);
        assert_eq!(network.mesh_compatibility_mode, MeshCompatibilityMode::Enabled);
        assert!(network.namespace_wildcard_cert_selector.is_some());
        let newer = parse(&[("auto-tls", "Enabled"), ("external-domain-tls", "Disabled")]).expect("a network");
        assert!(!newer.external_domain_tls);
    }

    #[test]
    fn wrong_values_are_refused_in_knatives_words() {
        for (key, value, message) in [
            ("rollout-duration", "-444", "rollout-duration must be a positive integer, but was -444"),
            (
                "rollout-duration",
                "mil",
                "failed to parse \"rollout-duration\": strconv.ParseInt: parsing \"mil\": invalid syntax",
            ),
            (
                "http-protocol",
                "under-the-bridge",
                "httpProtocol under-the-bridge in config-network ConfigMap is not supported",
            ),
            (
                "system-internal-tls",
                "wrong",
                "system-internal-tls with value: \"wrong\" in config-network ConfigMap is not supported",
            ),
            ("domain-template", "{{.Name}}.{{.Namespace}}/{{.Domain}}", "domain template has url path: /baz.com"),
            ("domain-template", "{{if eq .Name \"x\"}}a{{end}}", "empty hostname"),
        ] {
            assert_eq!(parse(&[(key, value)]).expect_err(key), message);
        }
        assert!(parse(&[("domain-template", "{{.Name}}.{{.NAmespace}}")]).expect_err("no field").contains("NAmespace"));
        assert!(parse(&[("tag-template", "{{.Name}")]).is_err());
    }
}
