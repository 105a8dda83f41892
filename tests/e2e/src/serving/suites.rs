//! The suites: what there is, in the order in which it runs, and with which switches.
//!
//! The switches are those with which Knative's own `test/e2e-tests.sh` runs the same folder.

use std::path::{Path, PathBuf};

use super::results::Entry;
use super::runner::State;

/// A setting of a ConfigMap: its name, the key, the value.
pub(super) type Setting = (&'static str, &'static str, &'static str);

/// The tests of one folder, which are one binary.
pub(super) struct Suite {
    /// Its folder below `knative.dev/serving/test`.
    pub(super) name: &'static str,
    /// What is set while it runs.
    pub(super) settings: &'static [Setting],
    /// How many Pods the activator has meanwhile.
    pub(super) activators: u32,
    /// Flags beside those that every suite gets.
    pub(super) flags: &'static [&'static str],
    /// How many of its tests run at once.
    pub(super) parallel: u32,
    /// The most minutes that it may take.
    pub(super) minutes: u64,
    /// When its tests run every day.
    pub(super) everyday: Everyday,
}

/// When tests run every day.
pub(super) enum Everyday {
    Always,
    /// If they passed the last time, within so many seconds.
    Within(f64),
    Never,
}

const FEATURES: &str = "config-features";
const NETWORK: &str = "config-network";
const OBSERVABILITY: &str = "config-observability";
const GC: &str = "config-gc";

/// What the ingress under test is called, where tests skip themselves unless it is one of those that Knative's authors have run them with.
const AS_KOURIER: &[&str] = &["-ingress-class=kourier.ingress.networking.knative.dev"];

/// A suite of few tests that needs nothing of its own.
const SMALL: Suite =
    Suite { name: "", settings: &[], activators: 1, flags: &[], parallel: 6, minutes: 5, everyday: Everyday::Never };

/// Every suite.
pub(super) const SUITES: &[Suite] = &[
    Suite { name: "conformance/api/v1", minutes: 15, everyday: Everyday::Always, ..SMALL },
    Suite { name: "conformance/api/v1beta1", everyday: Everyday::Always, ..SMALL },
    Suite { name: "conformance/runtime", minutes: 10, everyday: Everyday::Always, ..SMALL },
    Suite { name: "e2e", minutes: 40, everyday: Everyday::Within(60.0), ..SMALL },
    Suite { name: "e2e/tagheader", settings: &[(FEATURES, "tag-header-based-routing", "Enabled")], ..SMALL },
    Suite { name: "e2e/initscale", settings: &[("config-autoscaler", "allow-zero-initial-scale", "true")], ..SMALL },
    Suite { name: "e2e/domainmapping", flags: AS_KOURIER, ..SMALL },
    Suite { name: "e2e/externaldomaintls", settings: &[(NETWORK, "external-domain-tls", "Enabled")], ..SMALL },
    Suite {
        name: "e2e/clusterlocaldomaintls",
        settings: &[(NETWORK, "cluster-local-domain-tls", "enabled")],
        flags: AS_KOURIER,
        ..SMALL
    },
    Suite {
        name: "e2e/systeminternaltls",
        settings: &[
            (NETWORK, "system-internal-tls", "enabled"),
            (OBSERVABILITY, "logging.enable-request-log", "true"),
            (OBSERVABILITY, "logging.request-log-template", "TLS: {{.Request.TLS}}"),
        ],
        flags: AS_KOURIER,
        ..SMALL
    },
    Suite {
        name: "e2e/gc",
        settings: &[
            (GC, "retain-since-create-time", "disabled"),
            (GC, "retain-since-last-active-time", "disabled"),
            (GC, "min-non-active-revisions", "0"),
            (GC, "max-non-active-revisions", "0"),
        ],
        ..SMALL
    },
    Suite {
        name: "e2e/initcontainers",
        settings: &[(FEATURES, "kubernetes.podspec-init-containers", "Enabled")],
        ..SMALL
    },
    Suite { name: "e2e/multicontainerprobing", settings: &[(FEATURES, "multi-container-probing", "Enabled")], ..SMALL },
    Suite {
        name: "e2e/pvc",
        settings: &[
            (FEATURES, "kubernetes.podspec-persistent-volume-claim", "Enabled"),
            (FEATURES, "kubernetes.podspec-persistent-volume-write", "Enabled"),
            (FEATURES, "kubernetes.podspec-securitycontext", "Enabled"),
        ],
        ..SMALL
    },
    Suite { name: "e2e/securedefaults", settings: &[(FEATURES, "secure-pod-defaults", "Enabled")], ..SMALL },
    Suite { name: "ha", activators: 2, flags: &["-spoofinterval=10ms"], parallel: 1, minutes: 20, ..SMALL },
    // Every Service is a test that waits, so all of them run at once.
    Suite { name: "scale", parallel: 300, minutes: 20, ..SMALL },
];

impl Suite {
    /// Its binary in the folder of what was built.
    pub(super) fn binary(&self, built: &Path) -> PathBuf {
        let (_, last) = self.name.rsplit_once('/').unwrap_or(("", self.name));
        built.join("tests").join(format!("{last}.test"))
    }

    /// Whether a test with this result runs every day.
    pub(super) fn is_everyday(&self, entry: Option<&Entry>) -> bool {
        match self.everyday {
            Everyday::Always => true,
            Everyday::Never => false,
            Everyday::Within(seconds) => {
                entry.is_some_and(|entry| entry.state == State::Passed && entry.seconds <= seconds)
            }
        }
    }
}
