//! Why a call has no answer, in the words of Go's HTTP client and of Kubernetes' REST client.

use std::error::Error as _;
use std::io::ErrorKind;

use base_net::connect::DialError;
use base_net::pool::{SendCause, SendError};
use rustls::CertificateError;
use serde_json::Value;

use crate::field_error::quote;
use crate::value::str_at;

/// A body that is quoted in a text is cut after so many bytes.
const MAX_QUOTED_BYTES: usize = 2048;
/// The code of a call that brought no status of its own.
const UNAVAILABLE: u16 = 503;

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct CallError {
    pub(crate) text: String,
    /// The code by which metrics count it.
    pub(crate) code: u16,
}

impl CallError {
    /// The exchange at `url` failed.
    pub(super) fn post(url: &str, why: &str) -> Self {
        Self::unsent(&format!("Post {}: {why}", quote(url)))
    }

    /// Anything that is no answer.
    pub(super) fn unsent(why: &str) -> Self {
        Self { text: why.to_owned(), code: UNAVAILABLE }
    }
}

/// Checks the status of an answer.
///
/// # Errors
/// It is none of success.
pub(super) fn check_status(code: u16, body: &[u8]) -> Result<(), CallError> {
    if (200..=206).contains(&code) {
        return Ok(());
    }
    // A Status speaks for itself.
    if let Ok(status) = serde_json::from_slice::<Value>(body)
        && str_at(&status, &["kind"]) == "Status"
        && str_at(&status, &["status"]) == "Failure"
    {
        let own = status["code"].as_u64().and_then(|code| u16::try_from(code).ok());
        return Err(CallError { text: str_at(&status, &["message"]).to_owned(), code: own.unwrap_or(code) });
    }
    let cut = body.get(..MAX_QUOTED_BYTES).unwrap_or(body);
    let said = String::from_utf8_lossy(cut);
    Err(CallError { text: status_text(code, if said.is_empty() { "unknown" } else { said.trim() }), code })
}

fn status_text(code: u16, said: &str) -> String {
    let text = match code {
        400 => "the server rejected our request for an unknown reason",
        401 => "the server has asked for the client to provide credentials",
        403 | 415 => said,
        404 => "the server could not find the requested resource",
        405 => "the server does not allow this method on the requested resource",
        406 if said == "unknown" => "the server was unable to respond with a content type that the client supports",
        406 => said,
        409 => "the server reported a conflict",
        422 => "the server rejected our request due to an error in our request",
        429 => "the server has received too many requests and has asked us to try again later",
        503 => "the server is currently unable to handle the request",
        504 => {
            "the server was unable to return a response in the time allotted, but may still be processing the request"
        }
        500.. => return format!("an error on the server ({}) has prevented the request from succeeding", quote(said)),
        _ => return format!("the server responded with the status code {code} but did not return more information"),
    };
    text.to_owned()
}

/// Why a request has no response.
pub(super) fn text_of(error: &SendError) -> String {
    match &error.cause {
        SendCause::Dial(dial) => dial_text(dial),
        SendCause::Exchange(error) if error.is_incomplete_message() || error.is_closed() => "EOF".to_owned(),
        SendCause::Exchange(error) => base_rt::error_chain(error),
        cause => cause.to_string(),
    }
}

fn dial_text(error: &DialError) -> String {
    match error {
        DialError::Connect { target, source } => {
            let why = match source.kind() {
                ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
                ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
                ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
                ErrorKind::ConnectionReset => "connect: connection reset by peer".to_owned(),
                _ => format!("connect: {source}"),
            };
            format!("dial tcp {target}: {why}")
        }
        DialError::Timeout { target, .. } => format!("dial tcp {target}: i/o timeout"),
        DialError::Supply { target, source } => format!("dial tcp {target}: {source}"),
        DialError::Tls { source, .. } => tls_text(source),
    }
}

fn tls_text(error: &std::io::Error) -> String {
    let wrapped = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match wrapped {
        Some(rustls::Error::InvalidCertificate(wrong)) => certificate_text(wrong),
        Some(rustls::Error::InvalidMessage(_)) => "http: server gave HTTP response to HTTPS client".to_owned(),
        Some(other) => format!("tls: {other}"),
        None if error.kind() == ErrorKind::UnexpectedEof => "EOF".to_owned(),
        None if error.kind() == ErrorKind::ConnectionReset => "read: connection reset by peer".to_owned(),
        None => error.source().map_or_else(|| error.to_string(), ToString::to_string),
    }
}

fn certificate_text(wrong: &CertificateError) -> String {
    let why = match wrong {
        // An authority of the same name that is another one.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "certificate signed by unknown authority".to_owned()
        }
        CertificateError::Expired | CertificateError::NotValidYet => {
            "certificate has expired or is not yet valid".to_owned()
        }
        CertificateError::ExpiredContext { .. } | CertificateError::NotValidYetContext { .. } => {
            format!("certificate has expired or is not yet valid: {wrong}")
        }
        CertificateError::NotValidForName => "certificate is not valid for the requested name".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<String> = presented.iter().map(|name| bare(name).to_owned()).collect();
            format!("certificate is valid for {}, not {}", names.join(", "), expected.to_str())
        }
        other => other.to_string(),
    };
    format!("tls: failed to verify certificate: x509: {why}")
}

/// `DnsName("a.b")` as `a.b`.
fn bare(presented: &str) -> &str {
    let inner = presented.split_once('(').map_or(presented, |(_, rest)| rest.trim_end_matches(')'));
    inner.trim_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_of_failure_is_worded_as_kubernetes_client_words_it() {
        assert_eq!(check_status(200, b"{}"), Ok(()));
        let said = |code, body: &str| check_status(code, body.as_bytes()).expect_err("failure");
        assert_eq!(said(404, "404 page not found").text, "the server could not find the requested resource");
        let boom = "an error on the server (\"boom\") has prevented the request from succeeding";
        assert_eq!(said(500, "boom\n"), CallError { text: boom.to_owned(), code: 500 });
        let status = r#"{"kind":"Status","status":"Failure","message":"no","code":418}"#;
        assert_eq!(said(500, status), CallError { text: "no".to_owned(), code: 418 });
        assert_eq!(bare("DnsName(\"a.b\")"), "a.b");
    }
}
