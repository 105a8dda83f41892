//! Tokens of ServiceAccounts, for Pods that mount one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base_rt::Timestamp;
use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Client;
use kube::api::{Api, PostParams};

/// Whose token is wanted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

/// Tokens that are good for a while yet: each is asked for again only when four fifths of its life are over, as a kubelet does it.
pub(crate) struct KeptTokens {
    provider: Arc<dyn TokenProvider>,
    kept: Mutex<BTreeMap<TokenAsk, Kept>>,
}

#[derive(Clone)]
struct Kept {
    token: Token,
    renew_at: Timestamp,
}

impl KeptTokens {
    /// Keeps what `provider` gives.
    pub(crate) fn new(provider: Arc<dyn TokenProvider>) -> Self {
        Self { provider, kept: Mutex::default() }
    }

    /// A token that need not be renewed `now`, and when it has to be.
    ///
    /// # Errors
    /// The provider's.
    pub(crate) async fn token(&self, ask: TokenAsk, now: Timestamp) -> Result<(Token, Timestamp), TokenError> {
        let known = self.kept().get(&ask).filter(|kept| now < kept.renew_at).cloned();
        if let Some(Kept { token, renew_at }) = known {
            return Ok((token, renew_at));
        }
        let token = self.provider.token(ask.clone()).await?;
        let life = token.expires_at.duration_since(now);
        let renew_at = now.checked_add(life / 5 * 4).unwrap_or(token.expires_at);
        self.kept().insert(ask, Kept { token: token.clone(), renew_at });
        Ok((token, renew_at))
    }

    /// A Pod is gone: nobody asks for its tokens again.
    pub(crate) fn forget(&self, pod_uid: &str) {
        self.kept().retain(|ask, _| ask.pod_uid != pod_uid);
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<TokenAsk, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::time::Duration;

    use super::*;

    /// Numbers its tokens, which are valid until ten minutes after the epoch.
    struct Numbered(AtomicI64);

    impl TokenProvider for Numbered {
        fn token(&self, _: TokenAsk) -> BoxFuture<'static, Result<Token, TokenError>> {
            let number = self.0.fetch_add(1, Ordering::Relaxed);
            let expires_at = Timestamp::UNIX_EPOCH + Duration::from_secs(600);
            async move { Ok(Token { text: number.to_string(), expires_at }) }.boxed()
        }
    }

    #[tokio::test]
    async fn a_token_is_asked_for_again_near_the_end_of_its_life() {
        let tokens = KeptTokens::new(Arc::new(Numbered(AtomicI64::new(0))));
        let ask = |pod: &str| TokenAsk {
            namespace: "n".to_owned(),
            service_account: "default".to_owned(),
            pod: pod.to_owned(),
            pod_uid: pod.to_owned(),
            audience: None,
            expiration_s: 600,
        };
        let at = |seconds| Timestamp::UNIX_EPOCH + Duration::from_secs(seconds);
        let (first, renew_at) = tokens.token(ask("p"), at(0)).await.unwrap();
        assert_eq!((first.text.as_str(), renew_at), ("0", at(480)));
        assert_eq!(tokens.token(ask("p"), at(479)).await.unwrap().0, first);
        assert_eq!(tokens.token(ask("q"), at(479)).await.unwrap().0.text, "1", "another Pod's is another");
        assert_eq!(tokens.token(ask("p"), at(480)).await.unwrap().0.text, "2");
        tokens.forget("p");
        assert_eq!(tokens.kept().len(), 1, "a Pod's tokens go with it");
        assert_eq!(tokens.token(ask("q"), at(479)).await.unwrap().0.text, "1", "and no other's");
    }
}
