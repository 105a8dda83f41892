//! The way out of an instance, and the host's protection from its pods: what is changed on the host itself, and undone.
//!
//! Pods reach the outside when the host masquerades their addresses and forwards between the link and its uplinks. Forwarding is switched
//! per interface, never globally. One firewall table per instance, named after its link, holds
//! - `input`: packets from pods that would open a connection to one of the host's own listeners are dropped. Stateless on purpose: tracking
//!   connections would cost every packet of the host something. (UDP replies to the host's own clients pass because those use high ports.)
//! - `forward`: nothing passes from one instance to another, and nobody but the host itself opens a connection into an instance: not the
//!   neighbours of a machine that forwards. With egress what comes in is answers, so the connections that pass are tracked there as the
//!   masquerade does anyway; without it nothing comes in at all.
//! - `postrouting`: masquerade, only with egress.
//!
//! What was there before is noted in the link's alias and in the table's comment, `kwick instance=NAME uplink=eth0:0`: whoever finds either
//! later, after a crash, can undo it. (The link goes by itself when its namespace does, the table does not.) Two instances share an uplink;
//! the last one to leave restores it.

use std::io::{self, Write};
use std::process::{Command, Stdio};

use super::instance::Wanted;
use super::{NetworkError, sysctl};
use crate::netlink::Socket;
use crate::netlink::route::{self, Link, LinkIndex};
use crate::spec::{InstanceId, Ranges};

/// How links of instances are named, for the firewall rule between instances.
const LINK_PATTERN: &str = "kw*";
/// A machine with more default routes over different links gets forwarding for so many.
const UPLINKS_MAX: usize = 4;
const TABLE_PREFIX: &str = "kwick_";
const ALIAS_START: &str = "kwick instance=";
/// The longest comment that the kernel keeps with a table, in bytes.
const COMMENT_MAX_BYTES: usize = 127;
/// No link.
const NO_LINK: LinkIndex = 0;
const NFT_PATHS: [&str; 4] = ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft", "/bin/nft"];

/// What an instance changes on its host.
#[derive(Debug, Default)]
pub(crate) struct Egress {
    link: String,
    uplinks: Vec<Uplink>,
    is_open: bool,
    has_table: bool,
}

/// A link to the outside, with its forwarding switch as it was before any instance.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Uplink {
    name: String,
    before: String,
}

impl Egress {
    /// Decides what will be changed. Changes nothing.
    pub(super) fn plan(wanted: Wanted<'_>, link: &str, host: &mut Socket) -> Result<Self, NetworkError> {
        let mut plan = Self { link: link.to_owned(), ..Self::default() };
        if !wanted.has_egress {
            return Ok(plan);
        }
        let links = route::all_links(host).map_err(NetworkError::system("listing links"))?;
        let routes = route::default_route_links(host).map_err(NetworkError::system("listing default routes"))?;
        for index in routes.into_iter().take(UPLINKS_MAX) {
            let Some(uplink) = links.iter().find(|link| link.index == index) else { continue };
            // Another instance may have switched it already; its note knows the value before.
            let noted =
                links.iter().flat_map(|link| noted_uplinks(&link.alias)).find(|noted| noted.name == uplink.name);
            let before = match noted {
                Some(noted) => noted.before,
                None => sysctl::get(&forwarding(&uplink.name))
                    .map_err(NetworkError::system("reading an uplink's forwarding"))?,
            };
            plan.uplinks.push(Uplink { name: uplink.name.clone(), before });
        }
        Ok(plan)
    }

    /// The note to keep on the instance's link.
    pub(super) fn alias(&self, instance: &InstanceId) -> String {
        let uplinks: Vec<_> = self.uplinks.iter().map(|uplink| format!("{}:{}", uplink.name, uplink.before)).collect();
        format!("{ALIAS_START}{instance} uplink={}", uplinks.join(","))
    }

    /// Carries the plan out as far as the machine allows; what it does not allow is told in `notices`.
    pub(super) fn install(&mut self, (link, note): (&str, &str), ranges: Ranges, notices: &mut Vec<String>) {
        let is_wanted = !self.uplinks.is_empty();
        match run_nft(&self.table(ranges, note, is_wanted)) {
            Ok(()) => self.has_table = true,
            Err(error) => {
                notices.push(format!(
                    "the firewall table could not be installed ({error}): pods reach the host's own listeners and nothing outside, and if this machine forwards, its neighbours reach the pods; install nftables"
                ));
                return;
            }
        }
        if !is_wanted {
            return;
        }
        let switched = sysctl::set(&forwarding(link), "1")
            .and_then(|()| self.uplinks.iter().try_for_each(|uplink| sysctl::set(&forwarding(&uplink.name), "1")));
        match switched {
            Ok(()) => self.is_open = true,
            Err(error) => {
                notices.push(format!("forwarding could not be switched on ({error}): pods reach nothing outside"))
            }
        }
    }

    /// Whether pods reach the outside, as far as this host is concerned.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether the host's own listeners are shut to pods.
    pub(super) fn is_host_shielded(&self) -> bool {
        self.has_table
    }

    /// What a crashed spawner must have changed, going by its link.
    pub(super) fn left_behind(link: &Link) -> Self {
        Self { link: link.name.clone(), uplinks: noted_uplinks(&link.alias), is_open: true, has_table: true }
    }

    /// Restores the host. `own` is the instance's link, which is still there.
    pub(super) fn undo(&self, host: &mut Socket, own: LinkIndex) {
        if self.has_table
            && let Err(error) = run_nft(&format!("delete table inet {}\n", self.table_name()))
        {
            tracing::debug!(link = self.link, %error, "the firewall table was not there");
        }
        let links = route::all_links(host).unwrap_or_default();
        for uplink in &self.uplinks {
            let others = links.iter().filter(|link| link.index != own).flat_map(|link| noted_uplinks(&link.alias));
            if others.into_iter().any(|noted| noted.name == uplink.name) {
                continue;
            }
            if let Err(error) = sysctl::set(&forwarding(&uplink.name), &uplink.before) {
                tracing::warn!(uplink = uplink.name, %error, "forwarding could not be restored");
            }
        }
    }

    fn table_name(&self) -> String {
        format!("{TABLE_PREFIX}{}", self.link)
    }

    fn table(&self, ranges: Ranges, note: &str, has_egress: bool) -> String {
        let link = &self.link;
        let answers = if has_egress {
            format!("oifname \"{link}\" ct state established,related accept\n")
        } else {
            String::new()
        };
        let comment = if note.len() <= COMMENT_MAX_BYTES { format!("comment \"{note}\"\n") } else { String::new() };
        let mut table = format!(
            "table inet {name} {{\n\
             {comment}\
             chain input {{ type filter hook input priority -10; policy accept;\n\
             iifname \"{link}\" tcp flags & (syn | ack) == syn drop\n\
             iifname \"{link}\" udp dport < 32768 drop\n\
             }}\n\
             chain forward {{ type filter hook forward priority -10; policy accept;\n\
             iifname \"{link}\" oifname \"{LINK_PATTERN}\" drop\n\
             {answers}\
             oifname \"{link}\" drop\n\
             }}\n",
            name = self.table_name(),
        );
        if has_egress {
            let (pods, prefix) = ranges.pods;
            table.push_str(&format!(
                "chain postrouting {{ type nat hook postrouting priority 100; policy accept;\n\
                 ip saddr {pods}/{prefix} oifname != \"{link}\" masquerade\n\
                 }}\n"
            ));
        }
        table.push_str("}\n");
        table
    }
}

/// Removes the tables whose link is gone, and what they note. A link is there before its table and after it, so such a table is nobody's:
/// its spawner was killed, and the kernel took the link away with the namespace.
pub(super) fn remove_orphans(links: &[Link], host: &mut Socket) {
    // Without the program there are no tables of ours.
    let Ok(tables) = nft(&["list", "tables", "inet"], "") else { return };
    for name in tables.lines().filter_map(|line| line.trim().strip_prefix("table inet ")) {
        let Some(link) = name.strip_prefix(TABLE_PREFIX) else { continue };
        if links.iter().any(|there| there.name == link) {
            continue;
        }
        let text = nft(&["list", "table", "inet", name], "").unwrap_or_default();
        let note = text.split_once("comment \"").and_then(|(_, rest)| rest.split('"').next()).unwrap_or_default();
        let left = Egress { link: link.to_owned(), uplinks: noted_uplinks(note), is_open: true, has_table: true };
        left.undo(host, NO_LINK);
    }
}

/// Whether a link carries the note of this instance.
pub(super) fn is_link_of(alias: &str, instance: &InstanceId) -> bool {
    let name = alias.strip_prefix(ALIAS_START).and_then(|rest| rest.split(' ').next());
    name == Some(instance.as_str())
}

fn noted_uplinks(alias: &str) -> Vec<Uplink> {
    let Some(rest) = alias.strip_prefix(ALIAS_START) else { return Vec::new() };
    let Some((_, uplinks)) = rest.split_once(" uplink=") else { return Vec::new() };
    let pairs = uplinks.split(',').filter_map(|pair| pair.rsplit_once(':'));
    let sane = pairs.filter(|(name, before)| !name.contains('/') && matches!(*before, "0" | "1"));
    sane.map(|(name, before)| Uplink { name: name.to_owned(), before: before.to_owned() }).collect()
}

fn forwarding(link: &str) -> String {
    format!("ipv4/conf/{link}/forwarding")
}

fn run_nft(script: &str) -> io::Result<()> {
    nft(&["-f", "-"], script).map(drop)
}

/// Every chain of every table, as `nft` lists them.
pub(crate) fn firewall() -> io::Result<String> {
    nft(&["list", "chains"], "")
}

/// A chain, not of an instance, that drops what is forwarded unless it is told otherwise: no rule of ours can overrule it.
pub(crate) fn foreign_drop(chains: &str) -> Option<String> {
    let mut table = "";
    let mut chain = "";
    for line in chains.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("table ") {
            table = name.trim_end_matches(['{', ' ']);
        } else if let Some(name) = line.strip_prefix("chain ") {
            chain = name.trim_end_matches(['{', ' ']);
        } else if line.contains("hook forward") && line.contains("policy drop") && !table.contains(TABLE_PREFIX) {
            return Some(format!("chain {chain} of table {table}"));
        }
    }
    None
}

fn nft(arguments: &[&str], input: &str) -> io::Result<String> {
    let program = NFT_PATHS.iter().find(|path| std::path::Path::new(path).exists());
    let program = program.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "nft is not installed"))?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env_clear()
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(text.lines().next().unwrap_or("nft failed").chars().take(200).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_tells_what_was_before() {
        let id = InstanceId::try_new("one").unwrap();
        let uplinks = vec![
            Uplink { name: "eth0".into(), before: "0".into() },
            Uplink { name: "wlan0.7".into(), before: "1".into() },
        ];
        let egress = Egress { link: "kw1".into(), uplinks: uplinks.clone(), is_open: true, has_table: true };
        let alias = egress.alias(&id);
        assert!(is_link_of(&alias, &id));
        assert!(!is_link_of(&alias, &InstanceId::try_new("on").unwrap()));
        assert_eq!(noted_uplinks(&alias), uplinks);
        assert_eq!(noted_uplinks(&Egress::default().alias(&id)), vec![]);
        assert_eq!(noted_uplinks("kwick instance=x uplink=../../kernel/x:0,eth0:7"), vec![]);
    }

    #[test]
    fn a_foreign_chain_that_drops_is_found() {
        let ours = "table inet kwick_kw1 {\n\tchain forward {\n\t\ttype filter hook forward priority -10; policy drop;\n\t}\n}\n";
        assert_eq!(foreign_drop(ours), None);
        let docker = "table ip filter {\n\tchain INPUT {\n\t\ttype filter hook input priority 0; policy drop;\n\t}\n\tchain FORWARD {\n\t\ttype filter hook forward priority filter; policy drop;\n\t}\n}\n";
        assert_eq!(foreign_drop(&format!("{ours}{docker}")).as_deref(), Some("chain FORWARD of table ip filter"));
    }
}
