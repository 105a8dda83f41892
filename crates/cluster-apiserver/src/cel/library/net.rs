//! Addresses, networks, URLs, and texts of named formats.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;

use super::super::eval::{Evaluated, Evaluation, Fault};
use super::super::keys::Key;
use super::super::value::{Text, Val};
use crate::names;
use crate::schema::has_format;

/// A network: an address of it, and how many bits all of its addresses share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Cidr {
    ip: IpAddr,
    bits: u8,
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.bits)
    }
}

impl Cidr {
    fn parse(text: &str) -> Option<Self> {
        let (ip, bits) = crate::schema::cidr(text)?;
        let is_plain = parse_ip(text.split('/').next()?).is_some() && text.ends_with(&format!("/{bits}"));
        if !is_plain {
            return None;
        }
        Some(Self { ip, bits })
    }

    fn masked(self) -> Self {
        Self { ip: mask(self.ip, self.bits), ..self }
    }

    fn contains(self, ip: IpAddr) -> bool {
        self.ip.is_ipv4() == ip.is_ipv4() && mask(ip, self.bits) == mask(self.ip, self.bits)
    }
}

fn mask(ip: IpAddr, bits: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or_default();
            IpAddr::V4((u32::from(ip) & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or_default();
            IpAddr::V6((u128::from(ip) & mask).into())
        }
    }
}

/// An address without a zone, and not an IPv4 one in IPv6's form.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let ip: IpAddr = text.parse().ok()?;
    let is_mapped = matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some());
    (!is_mapped).then_some(ip)
}

/// An absolute URL, or a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Url {
    scheme: String,
    host: String,
    port: String,
    path: String,
    query: String,
}

impl Url {
    fn parse(text: &str) -> Option<Self> {
        if text.chars().any(|c| c.is_ascii_control() || c == ' ') {
            return None;
        }
        let text = text.split('#').next().unwrap_or_default();
        let (rest, query) = text.split_once('?').unwrap_or((text, ""));
        if rest.starts_with('/') && !rest.starts_with("//") {
            let none = String::new();
            let (scheme, host, port) = (none.clone(), none.clone(), none);
            return Some(Self { scheme, host, port, path: rest.to_owned(), query: query.to_owned() });
        }
        let (scheme, rest) = rest.split_once(':')?;
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        if !is_scheme {
            return None;
        }
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
            None => ("", rest),
        };
        let host = authority.rsplit('@').next().unwrap_or_default();
        let (host, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (name, port),
            _ => (host, ""),
        };
        let is_host =
            host.starts_with('[') == host.ends_with(']') && (host.starts_with('[') || !host.contains([':', '[']));
        if !is_host || !port.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let (scheme, host, port) = (scheme.to_ascii_lowercase(), host.to_owned(), port.to_owned());
        Some(Self { scheme, host, port, path: path.to_owned(), query: query.to_owned() })
    }

    fn host_and_port(&self) -> String {
        if self.port.is_empty() { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// The values of each name.
    fn query<'a>(&self) -> Val<'a> {
        let decoded = |text: &str| {
            let text = text.replace('+', " ");
            percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned()
        };
        let mut names: BTreeMap<String, Vec<Val<'a>>> = BTreeMap::new();
        for pair in self.query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            names.entry(decoded(name)).or_default().push(Val::text(decoded(value)));
        }
        let key = |name: String| Key::Text(Text::Shared(name.into()));
        Val::Map(Rc::new(names.into_iter().map(|(name, values)| (key(name), Val::list(values))).collect()))
    }
}

pub(super) fn call<'a>(evaluation: &mut Evaluation<'a>, name: &str, args: &[Val<'a>]) -> Option<Evaluated<'a>> {
    let text = |value: String| Some(Ok(Val::text(value)));
    match (name, args) {
        ("url", [Val::Text(a)]) => Some(match Url::parse(a) {
            Some(url) => Ok(Val::Url(url.into())),
            None => Fault::error(format!("URL parse error during conversion from string: {}", &**a)),
        }),
        ("isURL", [Val::Text(a)]) => Some(Ok(Val::Bool(Url::parse(a).is_some()))),
        ("getScheme", [Val::Url(url)]) => text(url.scheme.clone()),
        ("getHost", [Val::Url(url)]) => text(url.host_and_port()),
        ("getHostname", [Val::Url(url)]) => text(url.host.trim_matches(['[', ']']).to_owned()),
        ("getPort", [Val::Url(url)]) => text(url.port.clone()),
        ("getEscapedPath", [Val::Url(url)]) => text(url.path.clone()),
        ("getQuery", [Val::Url(url)]) => Some(evaluation.budget.spend(url.query.len()).map(|()| url.query())),
        ("ip", [Val::Text(a)]) => Some(address(a).map(Val::Ip)),
        ("isIP", [Val::Text(a)]) => Some(Ok(Val::Bool(parse_ip(a).is_some()))),
        ("ip.isCanonical", [Val::Text(a)]) => Some(address(a).map(|ip| Val::Bool(ip.to_string() == **a))),
        ("cidr", [Val::Text(a)]) => Some(network(a).map(Val::Cidr)),
        ("isCIDR", [Val::Text(a)]) => Some(Ok(Val::Bool(Cidr::parse(a).is_some()))),
        ("ip", [Val::Cidr(cidr)]) => Some(Ok(Val::Ip(cidr.ip))),
        ("masked", [Val::Cidr(cidr)]) => Some(Ok(Val::Cidr(cidr.masked()))),
        ("prefixLength", [Val::Cidr(cidr)]) => Some(Ok(Val::Int(i64::from(cidr.bits)))),
        ("containsIP", [Val::Cidr(cidr), Val::Ip(ip)]) => Some(Ok(Val::Bool(cidr.contains(*ip)))),
        ("containsIP", [Val::Cidr(cidr), Val::Text(ip)]) => Some(address(ip).map(|ip| Val::Bool(cidr.contains(ip)))),
        ("containsCIDR", [Val::Cidr(cidr), other]) => {
            let other = match other {
                Val::Cidr(other) => Ok(*other),
                Val::Text(text) => network(text),
                _ => return None,
            };
            Some(other.map(|other| Val::Bool(cidr.bits <= other.bits && cidr.contains(other.ip))))
        }
        (_, [Val::Ip(ip)]) => about(name, *ip).map(Ok),
        ("format.named", [Val::Text(a)]) => {
            let known = FORMATS.into_iter().find(|known| *known == &**a);
            Some(Ok(known.map_or(Val::Optional(None), |known| Val::some(Val::Format(known)))))
        }
        (_, []) => {
            let known = name.strip_prefix("format.")?;
            Some(Ok(Val::Format(FORMATS.into_iter().find(|name| *name == known)?)))
        }
        ("validate", [Val::Format(format), Val::Text(a)]) => {
            let wrong = wrong_with(format, a);
            let texts = || Val::list(wrong.iter().map(|text| Val::text(text.as_str())).collect());
            Some(Ok(if wrong.is_empty() { Val::Optional(None) } else { Val::some(texts()) }))
        }
        _ => None,
    }
}

fn address(text: &str) -> Result<IpAddr, Fault> {
    parse_ip(text).ok_or_else(|| Fault::Error(format!("IP Address {text:?} parse error during conversion from string")))
}

fn network(text: &str) -> Result<Cidr, Fault> {
    Cidr::parse(text)
        .ok_or_else(|| Fault::Error(format!("network address parse error during conversion from string: {text}")))
}

fn about<'a>(name: &str, ip: IpAddr) -> Option<Val<'a>> {
    let is_link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    Some(match name {
        "family" => Val::Int(if ip.is_ipv4() { 4 } else { 6 }),
        "isUnspecified" => Val::Bool(ip.is_unspecified()),
        "isLoopback" => Val::Bool(ip.is_loopback()),
        "isLinkLocalUnicast" => Val::Bool(is_link_local),
        "isLinkLocalMulticast" => Val::Bool(match ip {
            IpAddr::V4(ip) => ip.octets().starts_with(&[224, 0, 0]),
            IpAddr::V6(ip) => ip.segments().first().is_some_and(|first| first & 0xff0f == 0xff02),
        }),
        "isGlobalUnicast" => Val::Bool(
            !ip.is_unspecified()
                && !ip.is_loopback()
                && !ip.is_multicast()
                && !is_link_local
                && ip != IpAddr::from([255, 255, 255, 255]),
        ),
        _ => return None,
    })
}

const FORMATS: [&str; 13] = [
    "dns1123Label",
    "dns1123Subdomain",
    "dns1035Label",
    "dns1123LabelPrefix",
    "dns1123SubdomainPrefix",
    "dns1035LabelPrefix",
    "qualifiedName",
    "labelValue",
    "uri",
    "uuid",
    "byte",
    "date",
    "datetime",
];

fn wrong_with(format: &str, text: &str) -> Vec<String> {
    let prefix = || text.strip_suffix('-').map_or_else(|| text.to_owned(), |rest| format!("{rest}a"));
    let plain = |name: &str, why: &str| if has_format(name, text) { Vec::new() } else { vec![why.to_owned()] };
    match format {
        "dns1123Label" => names::dns1123_label(text),
        "dns1123Subdomain" => names::dns1123_subdomain(text),
        "dns1035Label" => names::dns1035_label(text),
        "dns1123LabelPrefix" => names::dns1123_label(&prefix()),
        "dns1123SubdomainPrefix" => names::dns1123_subdomain(&prefix()),
        "dns1035LabelPrefix" => names::dns1035_label(&prefix()),
        "qualifiedName" => names::qualified_name(text),
        "labelValue" => names::label_value(text),
        "uri" if Url::parse(text).is_some() => Vec::new(),
        "uri" => vec!["invalid URI".to_owned()],
        "uuid" => plain("uuid", "does not match the UUID format"),
        "byte" => plain("byte", "invalid base64"),
        "date" => plain("date", "invalid date"),
        _ => plain("date-time", "invalid datetime"),
    }
}
