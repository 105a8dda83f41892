//! Tokens of ServiceAccounts, for Pods that mount one.

use std::fmt;

use base_rt::Timestamp;
use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Client;
use kube::api::{Api, PostParams};

/// Whose token is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenAsk {
    /// The Pod's and the account's namespace.
    pub namespace: String,
    /// The account.
    pub service_account: String,
    /// The Pod's name, which the token is bound to.
    pub pod: String,
    /// The Pod's uid.
    pub pod_uid: String,
    /// For whom it is; the API server itself if none.
    pub audience: Option<String>,
    /// How long it should be valid, in seconds.
    pub expiration_s: i64,
}

/// A token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Its text.
    pub text: String,
    /// Until when it is valid.
    pub expires_at: Timestamp,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
#[error("request a token of service account {namespace}/{service_account}")]
pub struct TokenError {
    /// The account's namespace.
    pub namespace: String,
    /// The account.
    pub service_account: String,
    /// Why.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Gives tokens.
pub trait TokenProvider: Send + Sync {
    /// A fresh token.
    fn token(&self, ask: TokenAsk) -> BoxFuture<'static, Result<Token, TokenError>>;
}

/// Asks the API for them, as a kubelet does: `serviceaccounts/NAME/token`.
#[derive(Clone)]
pub struct ApiTokens(Client);

impl fmt::Debug for ApiTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiTokens")
    }
}

impl ApiTokens {
    /// Asks through `client`, which may create `serviceaccounts/token`.
    pub fn new(client: Client) -> Self {
        Self(client)
    }
}

impl TokenProvider for ApiTokens {
    fn token(&self, ask: TokenAsk) -> BoxFuture<'static, Result<Token, TokenError>> {
        let api: Api<ServiceAccount> = Api::namespaced(self.0.clone(), &ask.namespace);
        async move {
            let request = TokenRequest {
                spec: Some(TokenRequestSpec {
                    audiences: ask.audience.clone().map(|audience| vec![audience]),
                    expiration_seconds: Some(ask.expiration_s),
                    bound_object_ref: Some(BoundObjectReference {
                        api_version: Some("v1".to_owned()),
                        kind: Some("Pod".to_owned()),
                        name: Some(ask.pod.clone()),
                        uid: Some(ask.pod_uid.clone()),
                    }),
                    ..TokenRequestSpec::default()
                }),
                ..TokenRequest::default()
            };
            let failed = |source: Box<dyn std::error::Error + Send + Sync>| TokenError {
                namespace: ask.namespace.clone(),
                service_account: ask.service_account.clone(),
                source,
            };
            let answer = api.create_token_request(&ask.service_account, &PostParams::default(), &request).await;
            let status = answer.map_err(|error| failed(error.into()))?.status;
            let status = status.ok_or_else(|| failed("the answer has no status".into()))?;
            let (text, expires_at) = match (status.token, status.expiration_timestamp) {
                (Some(text), Some(expires_at)) => (text, expires_at.0),
                _ => return Err(failed("the answer has no token".into())),
            };
            Ok(Token { text, expires_at })
        }
        .boxed()
    }
}
