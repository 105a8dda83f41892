//! Fetches what Pods name: ConfigMaps, Secrets, tokens, pull secrets; and gathers the content of volumes from them.

use std::sync::Arc;

use base_image::keychain::{DockerConfig, Keychain};
use base_rt::{Timestamp, error_chain};
use cluster_sandbox::Sandbox;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::Client;
use kube::api::Api;

use super::env::{Needs, Sources};
use super::fields::{Addresses, NodeLimits};
use super::tokens::{KeptTokens, TokenAsk};
use super::volumes::{self, Files, Part, Plan};

/// How long a token is valid that does not say.
const TOKEN_S: i64 = 3600;

/// Reads from the API.
pub(crate) struct Fetcher {
    /// The node's client.
    pub(crate) client: Client,
    /// Gives tokens.
    pub(crate) tokens: KeptTokens,
    /// The node's resources.
    pub(crate) node: NodeLimits,
}

/// A volume's content, and until when it is good.
pub(crate) struct Content {
    /// The volume's name.
    pub(crate) name: String,
    /// Its files.
    pub(crate) files: Files,
    /// When a token in it has to be renewed.
    pub(crate) renew_at: Option<Timestamp>,
}

impl Fetcher {
    /// The named objects of a namespace.
    ///
    /// # Errors
    /// The API does not answer; in words. An object that does not exist is no error.
    pub(crate) async fn sources(&self, namespace: &str, needs: &Needs) -> Result<Sources, String> {
        let mut sources = Sources::default();
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        for name in &needs.config_maps {
            let found = config_maps.get_opt(name).await.map_err(|error| error_chain(&error))?;
            sources.config_maps.insert(name.clone(), found);
        }
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        for name in &needs.secrets {
            let found = secrets.get_opt(name).await.map_err(|error| error_chain(&error))?;
            sources.secrets.insert(name.clone(), found);
        }
        Ok(sources)
    }

    /// The credentials that the Pod's pull secrets hold.
    pub(crate) async fn keychain(&self, pod: &Pod) -> Arc<dyn Keychain> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let mut config = DockerConfig::default();
        for reference in pod.spec.iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten()) {
            // A secret that is absent or malformed costs its credentials, nothing else: the pull says what is missing.
            let Ok(Some(secret)) = secrets.get_opt(&reference.name).await else { continue };
            for key in [".dockerconfigjson", ".dockercfg"] {
                let document = secret.data.as_ref().and_then(|data| data.get(key));
                if let Some(Err(error)) = document.map(|document| config.add(&document.0)) {
                    tracing::warn!(secret = reference.name, error = error_chain(&error), "pull secret is not used");
                }
            }
        }
        Arc::new(config)
    }

    /// The content of every volume of the Pod that is files.
    ///
    /// # Errors
    /// Something that a volume shows is not there; as the kubelet says it in `FailedMount`.
    pub(crate) async fn volumes(
        &self,
        pod: &Pod,
        addresses: Addresses,
        now: Timestamp,
    ) -> Result<Vec<Content>, String> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let sources = self.sources(namespace, &volumes::needs(pod)).await?;
        let mut contents = Vec::new();
        for volume in volumes::volumes(pod) {
            let failed = |why: String| failed(&volume.name, &why);
            let Plan::Files { parts, mode } = volumes::plan(volume).map_err(failed)? else { continue };
            let mut content = Content { name: volume.name.clone(), files: Files::new(), renew_at: None };
            for part in &parts {
                let files = match part {
                    Part::ConfigMap(pick) => {
                        let map = sources.config_maps.get(&pick.name).and_then(Option::as_ref);
                        volumes::config_map_files(pick, map, mode)
                    }
                    Part::Secret(pick) => {
                        let secret = sources.secrets.get(&pick.name).and_then(Option::as_ref);
                        volumes::secret_files(pick, secret, mode)
                    }
                    Part::Downward(items) => volumes::downward_files(pod, items, (addresses, self.node, mode)),
                    Part::Token(projection) => {
                        let seconds = projection.expiration_seconds.unwrap_or(TOKEN_S);
                        let ask = token_ask(pod, projection.audience.clone(), seconds);
                        let asked = self.tokens.token(ask, now).await;
                        let (token, renew_at) = asked.map_err(|error| failed(error_chain(&error)))?;
                        content.renew_at = Some(content.renew_at.map_or(renew_at, |present| present.min(renew_at)));
                        volumes::token_file(pod, &projection.path, token.text, mode)
                    }
                };
                content.files.extend(files.map_err(failed)?);
            }
            contents.push(content);
        }
        Ok(contents)
    }
}

fn token_ask(pod: &Pod, audience: Option<String>, expiration_s: i64) -> TokenAsk {
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone()).filter(|name| !name.is_empty());
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    TokenAsk {
        namespace: text(&pod.metadata.namespace),
        service_account: account.unwrap_or_else(|| "default".to_owned()),
        pod: text(&pod.metadata.name),
        pod_uid: text(&pod.metadata.uid),
        audience: audience.filter(|audience| !audience.is_empty()),
        expiration_s,
    }
}

/// Hands volumes' content to the spawner.
///
/// # Errors
/// Which volume it does not take; as the kubelet says it in `FailedMount`.
pub(crate) async fn hand_over(sandbox: &Sandbox, pod: &Pod, contents: Vec<Content>) -> Result<(), String> {
    let handed = contents.into_iter().map(async |Content { name, files, .. }| {
        let files = volumes::pod_files(pod, &name, files).map_err(|why| failed(&name, &why))?;
        sandbox.write_files(files).await.map_err(|error| failed(&name, &error_chain(&error)))
    });
    try_join_all(handed).await.map(drop)
}

pub(crate) fn failed(volume: &str, why: &str) -> String {
    format!("MountVolume.SetUp failed for volume \"{volume}\" : {why}")
}
