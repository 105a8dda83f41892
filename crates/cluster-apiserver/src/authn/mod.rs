//! Who asks: client certificate, static token, ServiceAccount token, or nobody; and whom they ask as.
//!
//! A wrong token is 401; no token at all is the user `system:anonymous`, whom the rules give next to nothing.

pub(crate) mod certificate;
pub(crate) mod impersonate;
mod service_account;

use std::collections::BTreeMap;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};

use base_rt::Timestamp;

use crate::identity::Identity;
use crate::status::{Result, StatusError};
use crate::store::Store;

pub(crate) use service_account::{BoundObject, TokenAsk};
pub use service_account::{ServiceAccountKey, ServiceAccountKeyError};

/// Knows tokens.
pub(crate) struct Authenticator {
    /// By digest, so that looking one up takes the same time whatever is wrong with it.
    tokens: BTreeMap<[u8; 32], Identity>,
    accounts: service_account::Accounts,
}

impl Authenticator {
    pub(crate) fn new(
        tokens: impl IntoIterator<Item = (String, Identity)>,
        key: ServiceAccountKey,
        issuer: String,
        store: Store,
    ) -> Self {
        let tokens = tokens.into_iter().filter(|(token, _)| !token.is_empty());
        Self {
            tokens: tokens.map(|(token, identity)| (digest(&token), identity)).collect(),
            accounts: service_account::Accounts::new(key, issuer, store),
        }
    }

    /// The user of a request. `peer` is who the client's certificate names.
    ///
    /// # Errors
    /// 401 for a token that nobody vouches for.
    pub(crate) fn authenticate(
        &self,
        headers: &HeaderMap,
        peer: Option<&Identity>,
        now: Timestamp,
    ) -> Result<Identity> {
        if let Some(peer) = peer {
            return Ok(peer.clone());
        }
        match bearer(headers) {
            Some(token) => self.token(token, &[], now).map(|(user, _)| user).ok_or_else(StatusError::unauthorized),
            None if headers.contains_key(AUTHORIZATION) => Err(StatusError::unauthorized()),
            None => Ok(Identity::anonymous()),
        }
    }

    /// The user of a token and the audiences that it is for, among those asked for (none: this server).
    pub(crate) fn token(&self, token: &str, audiences: &[String], now: Timestamp) -> Option<(Identity, Vec<String>)> {
        let own = self.accounts.issuer();
        if let Some(identity) = self.tokens.get(&digest(token)) {
            let is_meant = audiences.is_empty() || audiences.iter().any(|audience| audience == own);
            return is_meant.then(|| (identity.clone(), vec![own.to_owned()]));
        }
        self.accounts.verify(token, audiences, now)
    }

    /// The issuer and signer of ServiceAccount tokens.
    pub(crate) fn accounts(&self) -> &service_account::Accounts {
        &self.accounts
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}
