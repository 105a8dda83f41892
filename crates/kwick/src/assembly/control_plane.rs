//! [`ControlPlane`]: the API and the controllers behind it, in the order in which they may start.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base_controller::{Context, ContextConfig};
use cluster_apiserver::store::durability::LazyTable;
use cluster_apiserver::{ApiServer, ApiServerConfig, Identity};
use cluster_workloads::Environment;
use knative_serving::explain::Explainer;
use knative_serving::manifests::Installation;
use knative_serving::{Seams, Settings};

use super::admission::KnativeAdmission;
use super::install::{Bundle, InstallError};
use super::process::Process;

/// Who installs.
const INSTALLER: &str = "system:kwick";
/// The account that Knative's controllers act as.
const CONTROLLER_ACCOUNT: &str = "controller";
/// Under which Knative's controllers report Events.
const CONTROLLER_COMPONENT: &str = "serving-controller";

/// Whose status may be lost in a crash: the autoscaler and its reconcilers compute it again from what is observed then.
const LAZY_STATUS: [&str; 3] = [
    "metrics.autoscaling.internal.knative.dev",
    "podautoscalers.autoscaling.internal.knative.dev",
    "serverlessservices.networking.internal.knative.dev",
];

/// How much of the house is built: `kwick up --only …`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The API alone: a store of Kubernetes objects.
    Api,
    /// The API and what a cluster does under it.
    Cluster,
    /// Everything.
    All,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Api => "api",
            Self::Cluster => "cluster",
            Self::All => "all",
        })
    }
}

/// No level has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not one of api, cluster, all")]
pub struct UnknownLevel(String);

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        match text {
            "api" => Ok(Self::Api),
            "cluster" => Ok(Self::Cluster),
            "all" => Ok(Self::All),
            other => Err(UnknownLevel(other.to_owned())),
        }
    }
}

/// Why there is no control plane.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The API server does not start.
    #[error("start the API server")]
    Start(#[source] cluster_apiserver::StartError),
    /// The API does not take what has to be in it.
    #[error("install what the controllers need")]
    Install(#[source] InstallError),
}

/// The API with everything in it that controllers need, and the ways to start them.
#[derive(Debug)]
pub struct ControlPlane {
    /// The API.
    pub api: ApiServer,
    /// How much is to run.
    pub level: Level,
    admission: Arc<KnativeAdmission>,
    system_namespace: String,
}

impl ControlPlane {
    /// Starts the API over the configuration's journal and installs what `level` needs. Nothing runs yet that would act on objects, so
    /// whoever knows objects that the journal has lost puts them back now.
    ///
    /// # Errors
    /// The journal cannot be read or written.
    pub async fn open(
        mut config: ApiServerConfig,
        level: Level,
        installation: &Installation,
    ) -> Result<Self, OpenError> {
        let admission = Arc::new(KnativeAdmission::new(&installation.system_namespace));
        if level == Level::All {
            config.admissions.push(Arc::<KnativeAdmission>::clone(&admission));
            config.lazy = LazyTable::with_status(LAZY_STATUS);
        }
        let api = ApiServer::start(config).await.map_err(OpenError::Start)?;
        let bundle = match level {
            Level::Api => Bundle::default(),
            Level::Cluster => Bundle::of_cluster(),
            Level::All => Bundle::of_cluster().and(Bundle::of_knative(installation)),
        };
        let client = api.client_of_installer(&Identity::master(INSTALLER));
        bundle.install(&client).await.map_err(OpenError::Install)?;
        api.crds_settled(&bundle.definitions()).await;
        Ok(Self { api, level, admission, system_namespace: installation.system_namespace.clone() })
    }

    /// Starts the controllers of Kubernetes' own kinds. The result has the shared informers, behind a client that may only read.
    pub fn run_cluster(&self, process: &Process, config: &cluster_workloads::Config) -> Context {
        let client_of =
            |name: &'static str| process.client_of_account(&self.api, cluster_workloads::rbac::NAMESPACE, name);
        let environment = Environment {
            client_of: &client_of,
            clock: process.clock,
            tasks: process.tasks.clone(),
            metrics: process.metrics.sub("workloads"),
            seed: process.seed,
        };
        cluster_workloads::wire(config, &environment)
    }

    /// Starts Knative's controllers and the autoscaler; what explains them comes along. When this returns, admission goes by the ConfigMaps: requests from outside may come.
    pub async fn run_serving(&self, process: &Process, settings: Settings, seams: Seams) -> (Context, Explainer) {
        let context = Context::new(ContextConfig {
            client: process.client_of_account(&self.api, &self.system_namespace, CONTROLLER_ACCOUNT),
            clock: process.clock,
            tasks: process.tasks.clone(),
            metrics: process.metrics.sub("serving"),
            seed: process.seed,
            component: CONTROLLER_COMPONENT,
        });
        self.admission.follow(&context, &settings.cluster_domain).await;
        let explainer = knative_serving::wire(&context, settings, seams);
        (context, explainer)
    }
}

#[cfg(test)]
mod tests {
    use base_rt::{Clock, Shutdown, Tasks};
    use cluster_apiserver::ServiceAccountKey;
    use cluster_apiserver::store::journal::memory::MemoryDisk;
    use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
    use serde_json::json;

    use super::*;

    #[tokio::test(start_paused = true)]
    #[expect(clippy::disallowed_methods, reason = "tests play reconcilers")]
    async fn a_status_that_is_computed_again_waits_for_no_disk() {
        let disk = MemoryDisk::new();
        let (_handle, shutdown) = Shutdown::new();
        let key = ServiceAccountKey::from_pem(&ServiceAccountKey::generate_pem().unwrap()).unwrap();
        let config = ApiServerConfig::new(disk.journal(), Clock::system(), Tasks::new(shutdown), key);
        let installation = Installation {
            system_namespace: "knative-serving".to_owned(),
            gateway_namespace: "kwick-system".to_owned(),
            image: "kwick".to_owned(),
            domain: "localhost".to_owned(),
            ingress_class: "kwick".to_owned(),
        };
        let plane = ControlPlane::open(config, Level::All, &installation).await.unwrap();
        let bundle = Bundle::of_knative(&installation);
        let names = bundle.definitions();
        assert!(LAZY_STATUS.iter().all(|name| names.contains(name)), "{names:?}");

        let client = plane.api.client_as(&Identity::master("test"));
        let kind = GroupVersionKind::gvk("networking.internal.knative.dev", "v1alpha1", "ServerlessService");
        let resource = ApiResource::from_gvk_with_plural(&kind, "serverlessservices");
        let services: Api<DynamicObject> = Api::namespaced_with(client, "default", &resource);
        let service = json!({
            "apiVersion": "networking.internal.knative.dev/v1alpha1", "kind": "ServerlessService",
            "metadata": {"name": "s"},
            "spec": {"mode": "Serve", "protocolType": "http1", "objectRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}},
        });
        services.create(&PostParams::default(), &serde_json::from_value(service).unwrap()).await.unwrap();
        let appends = disk.appends();
        let params = PatchParams::default();
        let status = json!({"status": {"serviceName": "s"}});
        services.patch_status("s", &params, &Patch::Merge(&status)).await.unwrap();
        assert_eq!(disk.appends(), appends);
        let spec = json!({"spec": {"mode": "Proxy"}});
        services.patch("s", &params, &Patch::Merge(&spec)).await.unwrap();
        assert!(disk.appends() > appends);
    }
}
