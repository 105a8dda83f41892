//! HTTP/1.1 upgrades through a proxy: two connections that have left HTTP, joined.
//!
//! A proxy takes the client's side from the request before passing it on ([`client_side`]), and joins both once the upstream has switched
//! protocols ([`join`]).

use base_rt::{Phase, Tasks};
use http::{HeaderMap, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::body::{Request, Response};

/// Whether a head asks for, or grants, an upgrade.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
        && headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|token| token.trim().eq_ignore_ascii_case("upgrade")))
}

/// The client's connection, once it has left HTTP; none if the request asks for no upgrade. The request no longer holds it.
pub fn client_side(request: &mut Request) -> Option<OnUpgrade> {
    is_upgrade(request.headers()).then(|| hyper::upgrade::on(request))
}

/// If `response` switches protocols, has both connections copied into each other, until both have ended or the process has drained.
/// The response is to be passed on to the client in any case.
pub fn join(client: Option<OnUpgrade>, response: &mut Response, tasks: &Tasks) {
    let (Some(client), StatusCode::SWITCHING_PROTOCOLS) = (client, response.status()) else { return };
    let upstream = hyper::upgrade::on(response);
    let shutdown = tasks.shutdown().clone();
    tasks.spawn_transient("upgraded", async move {
        tokio::select! {
            biased;
            () = shutdown.reached(Phase::Drained) => {}
            () = copy(client, upstream) => {}
        }
    });
}

async fn copy(client: OnUpgrade, upstream: OnUpgrade) {
    let copied = async {
        let (client, upstream) = tokio::try_join!(client, upstream)?;
        let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
        // Either end may go away at any time.
        let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
        Ok::<(), hyper::Error>(())
    };
    if let Err(error) = copied.await {
        tracing::debug!(error = base_rt::error_chain(&error), "upgrade failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_needs_both_headers() {
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
        };
        assert!(is_upgrade(&headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")])));
        assert!(!is_upgrade(&headers(&[("connection", "upgrade")])));
        assert!(!is_upgrade(&headers(&[("connection", "close"), ("upgrade", "websocket")])));
    }
}
