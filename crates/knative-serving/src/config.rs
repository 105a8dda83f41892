//! The ConfigMaps that the controllers look at: followed live, and taken as one snapshot per reconcile.

use std::sync::Arc;

use base_controller::config_store::{ConfigName, ConfigStore};
use base_controller::{Context, Controller, Informer, Reconciler, Scope};
use base_rt::watch;
use k8s_openapi::api::core::v1::ConfigMap as CoreConfigMap;
use knative_apis::config::{
    Autoscaler, ConfigMap, Defaults, Deployment, Domain, Features, Gc, Logging, Network, Observability, known_keys,
};

use crate::settings::Settings;

type Followed<C> = watch::Receiver<Arc<C>>;

/// The ConfigMaps, as they change. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ConfigStores {
    autoscaler: Followed<Autoscaler>,
    defaults: Followed<Defaults>,
    deployment: Followed<Deployment>,
    domain: Followed<Domain>,
    features: Followed<Features>,
    gc: Followed<Gc>,
    logging: Followed<Logging>,
    network: Followed<Network>,
    observability: Followed<Observability>,
    settings: Arc<Settings>,
    maps: Informer<CoreConfigMap>,
}

/// The ConfigMaps as they are at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Configs {
    pub(crate) autoscaler: Arc<Autoscaler>,
    pub(crate) defaults: Arc<Defaults>,
    pub(crate) deployment: Arc<Deployment>,
    pub(crate) domain: Arc<Domain>,
    pub(crate) features: Arc<Features>,
    pub(crate) gc: Arc<Gc>,
    pub(crate) logging: Arc<Logging>,
    pub(crate) network: Arc<Network>,
    pub(crate) observability: Arc<Observability>,
    pub(crate) settings: Arc<Settings>,
}

/// Which ConfigMaps a controller's plans depend on: a change of one wakes every key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Concern {
    Autoscaler,
    Defaults,
    Deployment,
    Domain,
    Features,
    Gc,
    Logging,
    Network,
    Observability,
}

impl ConfigStores {
    /// Follows the ConfigMaps of the system namespace.
    pub(crate) fn follow(context: &Context, settings: Arc<Settings>) -> Self {
        let store = ConfigStore::new(context, &settings.system_namespace);
        Self {
            autoscaler: follow(&store),
            defaults: follow(&store),
            deployment: follow(&store),
            domain: follow(&store),
            features: follow(&store),
            gc: follow(&store),
            logging: follow(&store),
            network: follow(&store),
            observability: follow(&store),
            maps: context.informers.get(Scope::namespace(settings.system_namespace.as_str())),
            settings,
        }
    }

    /// The configuration now.
    pub(crate) fn snapshot(&self) -> Configs {
        Configs {
            autoscaler: latest(&self.autoscaler),
            defaults: latest(&self.defaults),
            deployment: latest(&self.deployment),
            domain: latest(&self.domain),
            features: latest(&self.features),
            gc: latest(&self.gc),
            logging: latest(&self.logging),
            network: latest(&self.network),
            observability: latest(&self.observability),
            settings: Arc::clone(&self.settings),
        }
    }

    /// The settings of the autoscaler, as they change.
    pub(crate) fn autoscaler(&self) -> watch::Receiver<Arc<Autoscaler>> {
        self.autoscaler.clone()
    }

    /// The settings of Deployments, as they change.
    pub(crate) fn deployment(&self) -> watch::Receiver<Arc<Deployment>> {
        self.deployment.clone()
    }

    /// The cache of the ConfigMaps themselves.
    pub(crate) fn maps(&self) -> &Informer<CoreConfigMap> {
        &self.maps
    }

    /// Has `controller` wait for the ConfigMaps, and plan every key again when one of those named changes.
    pub(crate) fn concern<R: Reconciler>(&self, mut controller: Controller<R>, concerns: &[Concern]) -> Controller<R> {
        for concern in concerns {
            controller = match concern {
                Concern::Autoscaler => controller.wakes_all_on(self.autoscaler.clone()),
                Concern::Defaults => controller.wakes_all_on(self.defaults.clone()),
                Concern::Deployment => controller.wakes_all_on(self.deployment.clone()),
                Concern::Domain => controller.wakes_all_on(self.domain.clone()),
                Concern::Features => controller.wakes_all_on(self.features.clone()),
                Concern::Gc => controller.wakes_all_on(self.gc.clone()),
                Concern::Logging => controller.wakes_all_on(self.logging.clone()),
                Concern::Network => controller.wakes_all_on(self.network.clone()),
                Concern::Observability => controller.wakes_all_on(self.observability.clone()),
            };
        }
        controller.reads(&self.maps)
    }
}

fn follow<C: ConfigMap + PartialEq + Send + Sync + 'static>(store: &ConfigStore) -> Followed<C> {
    let known_keys = known_keys(C::NAME).unwrap_or_default();
    store.follow(ConfigName { name: C::NAME, known_keys }, C::parse)
}

fn latest<C>(followed: &Followed<C>) -> Arc<C> {
    Arc::clone(&followed.borrow())
}

#[cfg(test)]
impl Configs {
    /// The configuration that these ConfigMaps (name, data) make.
    pub(crate) fn of(maps: &std::collections::BTreeMap<String, std::collections::BTreeMap<String, String>>) -> Self {
        fn read<C: ConfigMap>(
            maps: &std::collections::BTreeMap<String, std::collections::BTreeMap<String, String>>,
        ) -> Arc<C> {
            let data = maps.get(C::NAME);
            Arc::new(data.map(|data| C::parse(data).expect("a good ConfigMap")).unwrap_or_default())
        }
        let mut deployment: Arc<Deployment> = read(maps);
        if deployment.queue_sidecar_image.is_empty() {
            Arc::make_mut(&mut deployment).queue_sidecar_image = "queue-proxy".to_owned();
        }
        Self {
            autoscaler: read(maps),
            defaults: read(maps),
            deployment,
            domain: read(maps),
            features: read(maps),
            gc: read(maps),
            logging: read(maps),
            network: read(maps),
            observability: read(maps),
            settings: Arc::new(Settings::default()),
        }
    }
}
