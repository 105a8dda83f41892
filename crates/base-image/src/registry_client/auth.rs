//! Authorisation: from a challenge to the value of an `Authorization` header, remembered while it is valid.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base_rt::{Clock, Timestamp};
use http::header::AUTHORIZATION;
use http::{Request, StatusCode, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::RESPONSE_TIMEOUT;
use super::challenge::Challenge;
use super::error::FetchError;
use super::session::Session;
use super::transport::{Scheme, Transport, empty, read_body};
use crate::keychain::Credentials;

/// Tokens that are remembered.
const MAX_TOKENS: usize = 1000;

/// The largest answer of a token service.
const MAX_ANSWER_BYTES: u64 = 256 << 10;

/// The longest token that is used.
const MAX_TOKEN_BYTES: usize = 32 << 10;

/// How long a token is valid that does not say.
const DEFAULT_LIFETIME_SECONDS: u32 = 60;

/// The longest that a token is believed to be valid.
const MAX_LIFETIME_SECONDS: u32 = 3600;

/// A token is not used in the last moments of its life: it has to arrive.
const MARGIN_SECONDS: u32 = 10;

/// What authorises requests to one registry, for one scope, with one set of credentials: who knows no more than a name gets nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) host: String,
    pub(super) scope: String,
    pub(super) credentials: Option<Credentials>,
}

/// The headers that were obtained.
#[derive(Debug)]
pub(super) struct Tokens {
    clock: Clock,
    known: Mutex<BTreeMap<Key, Token>>,
}

struct Token {
    header: String,
    expires: Timestamp,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// What a token service answers.
#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u32>,
}

impl Tokens {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, known: Mutex::default() }
    }

    /// The header for `key`, if it is known and still valid.
    pub(super) fn get(&self, key: &Key) -> Option<String> {
        let now = self.clock.now();
        self.lock().get(key).filter(|token| token.expires > now).map(|token| token.header.clone())
    }

    /// Answers `challenge` and remembers the header.
    pub(super) async fn obtain(
        &self,
        transport: &Transport,
        session: &Session<'_>,
        challenge: &Challenge,
    ) -> Result<String, FetchError> {
        let (header, seconds) = match challenge {
            Challenge::Basic => {
                let credentials =
                    session.key.credentials.as_ref().ok_or_else(|| session.unauthorized(String::new()))?;
                (credentials.basic(), MAX_LIFETIME_SECONDS)
            }
            Challenge::Bearer { realm, service, scope } => {
                let scope = scope.as_deref().unwrap_or(&session.key.scope);
                let uri = token_uri(session, realm, service.as_deref(), scope)?;
                let answer = fetch_token(transport, session, uri).await?;
                let seconds = answer.expires_in.unwrap_or(DEFAULT_LIFETIME_SECONDS).min(MAX_LIFETIME_SECONDS);
                let token = answer.token.or(answer.access_token).filter(|token| token.len() <= MAX_TOKEN_BYTES);
                let token = token.ok_or_else(|| session.protocol("no usable token"))?;
                (format!("Bearer {token}"), seconds)
            }
        };
        let lifetime = jiff_seconds(seconds.saturating_sub(MARGIN_SECONDS));
        let expires = self.clock.now().checked_add(lifetime).unwrap_or(Timestamp::MAX);
        let mut known = self.lock();
        if known.len() >= MAX_TOKENS {
            known.clear();
        }
        known.insert(session.key.clone(), Token { header: header.clone(), expires });
        Ok(header)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Token>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn jiff_seconds(seconds: u32) -> std::time::Duration {
    std::time::Duration::from_secs(seconds.into())
}

fn token_uri(session: &Session<'_>, realm: &str, service: Option<&str>, scope: &str) -> Result<Uri, FetchError> {
    let mut text = realm.to_owned();
    let parameters = [("service", service), ("scope", Some(scope))];
    for (name, value) in parameters.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        let separator = if text.contains('?') { '&' } else { '?' };
        text.push_str(&format!("{separator}{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
    }
    let uri: Uri = text.parse().map_err(|_| session.protocol("a token realm that is no URL"))?;
    let is_safe = uri.scheme_str() == Some("https") || session.scheme == Scheme::Http;
    if uri.authority().is_none() || !is_safe {
        return Err(session.protocol("a token realm without TLS"));
    }
    Ok(uri)
}

async fn fetch_token(transport: &Transport, session: &Session<'_>, uri: Uri) -> Result<Answer, FetchError> {
    let host = uri.authority().map_or(session.key.host.clone(), ToString::to_string);
    let mut request = Request::get(uri);
    if let Some(credentials) = &session.key.credentials {
        request = request.header(AUTHORIZATION, credentials.basic());
    }
    let request = request.body(empty()).map_err(|_| session.protocol("a token realm that is no URL"))?;
    let response = transport.send(&host, request, RESPONSE_TIMEOUT).await?;
    if response.status() != StatusCode::OK {
        return Err(session.failure(response).await);
    }
    let body = read_body(&host, response.into_body(), MAX_ANSWER_BYTES).await?;
    let answer = body.and_then(|body| serde_json::from_slice(&body).ok());
    answer.ok_or_else(|| session.protocol("no usable token"))
}
