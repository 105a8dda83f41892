//! Host names to addresses, without the C library: a static binary's `getaddrinfo` would look for shared libraries that need not be there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::FutureExt;
use futures::future::BoxFuture;
use hickory_resolver::TokioResolver;

/// Looks up host names. Addresses and `localhost` never come here.
pub trait NameResolver: Send + Sync + std::fmt::Debug + 'static {
    /// The addresses of `host`, the preferred one first.
    fn lookup(&self, host: String) -> BoxFuture<'_, io::Result<Vec<IpAddr>>>;
}

/// Asks as `/etc/hosts` and `/etc/resolv.conf` say at that moment: a machine that moves between networks needs no restart.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl NameResolver for SystemResolver {
    fn lookup(&self, host: String) -> BoxFuture<'_, io::Result<Vec<IpAddr>>> {
        async move {
            let resolver = TokioResolver::builder_tokio().and_then(hickory_resolver::ResolverBuilder::build);
            match resolver.map_err(io::Error::other)?.lookup_ip(host.as_str()).await {
                Ok(found) => Ok(found.iter().collect()),
                Err(error) if error.is_nx_domain() || error.is_no_records_found() => {
                    Err(io::Error::new(io::ErrorKind::NotFound, format!("no address of {host:?} is known")))
                }
                Err(error) => Err(io::Error::other(error)),
            }
        }
        .boxed()
    }
}

/// The addresses of `host` that need no resolver.
pub(super) fn literal(host: &str) -> Option<Vec<IpAddr>> {
    if host == "localhost" || host.ends_with(".localhost") {
        return Some(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok().map(|address| vec![address])
}

/// Loopback, or within a site: what leaves no network of the user's own.
pub(super) fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => {
            let mapped = address.to_ipv4_mapped().is_some_and(|address| is_private(address.into()));
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local() || mapped
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_is_what_stays_in_the_house() {
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.1.1",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(is_private(address.parse().unwrap()), "{address}");
        }
        for address in ["8.8.8.8", "172.32.0.1", "100.64.0.1", "2001:db8::1", "::ffff:8.8.8.8", "0.0.0.0"] {
            assert!(!is_private(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn addresses_need_no_resolver() {
        assert_eq!(literal("10.0.0.1"), Some(vec!["10.0.0.1".parse().unwrap()]));
        assert_eq!(literal("[::1]"), Some(vec!["::1".parse().unwrap()]));
        assert_eq!(literal("localhost").unwrap().len(), 2);
        assert_eq!(literal("registry.example"), None);
    }
}
