//! Requests to one registry for one repository: authorised when the registry asks for it, redirected where it says.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use serde::Deserialize;

use super::auth::Key;
use super::challenge::choose;
use super::error::FetchError;
use super::transport::{RequestBody, Scheme, empty, invalid_address, read_body};
use super::{RESPONSE_TIMEOUT, RegistryClient};
use crate::digest::shorten;
use crate::keychain::{Anonymous, Keychain};
use crate::reference::Reference;

/// Redirects that are followed for one request.
const MAX_REDIRECTS: usize = 5;

/// How much of an error's text is read.
const MAX_ERROR_BYTES: u64 = 64 << 10;

/// What is to be done in a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Pull,
    Push,
}

/// A registry, a repository and who asks.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    pub(super) client: &'a RegistryClient,
    pub(super) scheme: Scheme,
    pub(super) key: Key,
    /// The reference, for messages.
    pub(super) image: String,
    pub(super) repository: String,
    response_timeout: Duration,
}

/// The body of an error, as the specification has it.
#[derive(Default, Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl RegistryClient {
    /// Prepares requests to the registry at `host` about `reference`.
    pub(crate) async fn session(
        &self,
        host: &str,
        reference: &Reference,
        action: Action,
        keychain: &dyn Keychain,
    ) -> Result<Session<'_>, FetchError> {
        let scheme = self.scheme(host).await?;
        Ok(self.session_by(scheme, host, reference, action, keychain))
    }

    /// Prepares requests to the registry of ours at `host`, which speaks plain HTTP and asks nobody who they are.
    pub(super) fn own_session(&self, host: &str, reference: &Reference) -> Session<'_> {
        self.session_by(Scheme::Http, host, reference, Action::Push, &Anonymous)
    }

    fn session_by(
        &self,
        scheme: Scheme,
        host: &str,
        reference: &Reference,
        action: Action,
        keychain: &dyn Keychain,
    ) -> Session<'_> {
        let verbs = if action == Action::Pull { "pull" } else { "pull,push" };
        let credentials = keychain.credentials(reference);
        let scope = format!("repository:{}:{verbs}", reference.repository());
        Session {
            client: self,
            scheme,
            key: Key { host: host.to_owned(), scope, credentials },
            image: reference.to_string(),
            repository: reference.repository().to_owned(),
            response_timeout: RESPONSE_TIMEOUT,
        }
    }
}

impl Session<'_> {
    /// Waits less long for answers.
    pub(crate) fn with_timeout(mut self, response_timeout: Duration) -> Self {
        self.response_timeout = response_timeout;
        self
    }

    /// `GET` or `HEAD`, authorised and redirected. The response has a status of success.
    pub(super) async fn read(
        &self,
        method: Method,
        path: &str,
        accept: &[&str],
    ) -> Result<Response<Incoming>, FetchError> {
        let mut uri = self.uri(path)?;
        for _ in 0..=MAX_REDIRECTS {
            let response = self.authorised(&method, &uri, accept).await?;
            if !response.status().is_redirection() {
                return self.successful(response).await;
            }
            uri = self.redirected(&uri, &response)?;
        }
        Err(self.protocol("too many redirects"))
    }

    /// Anything that is sent once: it goes out with what authorised the request before it.
    pub(super) async fn write(
        &self,
        method: Method,
        path: &str,
        headers: &[(http::HeaderName, String)],
        body: RequestBody,
    ) -> Result<Response<Incoming>, FetchError> {
        let uri = self.uri(path)?;
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(header) = self.client.0.tokens.get(&self.key) {
            request = request.header(AUTHORIZATION, header);
        }
        let request = request.body(body).map_err(|_| self.protocol("a URL that is none"))?;
        let response = self.client.0.transport.send(&self.key.host, request, self.response_timeout).await?;
        self.successful(response).await
    }

    /// A path of a `Location` header, which must stay at this registry.
    pub(super) fn location(&self, response: &Response<Incoming>) -> Result<PathAndQuery, FetchError> {
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let uri: Option<Uri> = location.and_then(|location| location.parse().ok());
        let uri = uri.ok_or_else(|| self.protocol("no usable Location"))?;
        if uri.authority().is_some_and(|authority| authority.as_str() != self.key.host) {
            return Err(self.protocol("a Location at another host"));
        }
        uri.into_parts().path_and_query.ok_or_else(|| self.protocol("no usable Location"))
    }

    async fn authorised(&self, method: &Method, uri: &Uri, accept: &[&str]) -> Result<Response<Incoming>, FetchError> {
        let is_home = uri.authority().is_some_and(|authority| authority.as_str() == self.key.host);
        let tokens = &self.client.0.tokens;
        let header = if is_home { tokens.get(&self.key) } else { None };
        let response = self.send(method, uri, accept, header.as_deref()).await?;
        if !is_home || response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let challenges = response.headers().get_all(WWW_AUTHENTICATE);
        let Some(challenge) = choose(challenges.iter().filter_map(|value| value.to_str().ok())) else {
            return Ok(response);
        };
        let header = tokens.obtain(&self.client.0.transport, self, &challenge).await?;
        self.send(method, uri, accept, Some(&header)).await
    }

    async fn send(
        &self,
        method: &Method,
        uri: &Uri,
        accept: &[&str],
        authorization: Option<&str>,
    ) -> Result<Response<Incoming>, FetchError> {
        let mut request = Request::builder().method(method.clone()).uri(uri.clone());
        if !accept.is_empty() {
            request = request.header(ACCEPT, accept.join(", "));
        }
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(empty()).map_err(|_| self.protocol("a URL that is none"))?;
        let host = uri.authority().map_or(self.key.host.as_str(), http::uri::Authority::as_str);
        self.client.0.transport.send(host, request, self.response_timeout).await
    }

    fn uri(&self, path: &str) -> Result<Uri, FetchError> {
        let path: Result<PathAndQuery, _> = path.parse();
        let uri = path.ok().and_then(|path| self.scheme.uri(&self.key.host, &path).ok());
        uri.ok_or_else(|| invalid_address(&self.key.host))
    }

    fn redirected(&self, from: &Uri, response: &Response<Incoming>) -> Result<Uri, FetchError> {
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.ok_or_else(|| self.protocol("a redirect without Location"))?;
        let to: Uri = location.parse().map_err(|_| self.protocol("a redirect to no URL"))?;
        if to.authority().is_none() {
            let mut parts = from.clone().into_parts();
            parts.path_and_query = to.into_parts().path_and_query;
            return Uri::from_parts(parts).map_err(|_| self.protocol("a redirect to no URL"));
        }
        match (from.scheme_str(), to.scheme_str()) {
            (_, Some("https")) | (Some("http"), Some("http")) => Ok(to),
            _ => Err(self.protocol("a redirect from TLS to plain HTTP")),
        }
    }

    async fn successful(&self, response: Response<Incoming>) -> Result<Response<Incoming>, FetchError> {
        if response.status().is_success() { Ok(response) } else { Err(self.failure(response).await) }
    }

    /// What a status that is no success means.
    pub(super) async fn failure(&self, response: Response<Incoming>) -> FetchError {
        let (status, registry) = (response.status(), self.key.host.clone());
        let body = read_body(&registry, response.into_body(), MAX_ERROR_BYTES).await;
        let message = message(&body.ok().flatten().unwrap_or_default());
        match status {
            StatusCode::NOT_FOUND => FetchError::NotFound { image: self.image.clone() },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.unauthorized(message),
            StatusCode::TOO_MANY_REQUESTS => FetchError::RateLimited { registry },
            status => FetchError::Status { registry, status: status.as_u16(), message },
        }
    }

    pub(super) fn unauthorized(&self, message: String) -> FetchError {
        FetchError::Unauthorized { image: self.image.clone(), registry: self.key.host.clone(), message }
    }

    pub(super) fn protocol(&self, what: &str) -> FetchError {
        FetchError::Protocol { registry: self.key.host.clone(), what: what.to_owned() }
    }
}

/// The first error's text, in brackets.
fn message(body: &Bytes) -> String {
    let errors: Errors = serde_json::from_slice(body).unwrap_or_default();
    errors
        .errors
        .first()
        .map(|error| format!(" ({}: {})", shorten(&error.code), shorten(&error.message)))
        .unwrap_or_default()
}

/// The headers of a body of known length.
pub(super) fn content(media_type: &str, length: u64) -> [(http::HeaderName, String); 2] {
    [(CONTENT_TYPE, media_type.to_owned()), (CONTENT_LENGTH, length.to_string())]
}
