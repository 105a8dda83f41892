//! Which addresses an instance uses: derived from its name, moved on while something on the machine has them. Pure.

use std::net::Ipv4Addr;

use crate::spec::{InstanceId, Ranges};

const LINK_PREFIX: u8 = 30;
/// Pods and services have half a block of /19 each: 4094 addresses.
const HALF_PREFIX: u8 = 20;
const HALF_SIZE: u32 = 1 << (32 - HALF_PREFIX as u32);

/// Private space, in order of preference: (first block, number of blocks of /19).
const POOLS: [(Ipv4Addr, u32); 3] =
    [(Ipv4Addr::new(10, 64, 0, 0), 512), (Ipv4Addr::new(172, 16, 0, 0), 128), (Ipv4Addr::new(100, 64, 0, 0), 512)];
/// Link-local space without its ends and without 169.254.169.254, where clouds answer.
const LINKS: (Ipv4Addr, u32) = (Ipv4Addr::new(169, 254, 100, 0), 4096);
/// What others use by default though it may not be there at this moment: Podman, kubeadm's services, Docker.
const OTHERS: [(Ipv4Addr, u8); 3] =
    [(Ipv4Addr::new(10, 88, 0, 0), 16), (Ipv4Addr::new(10, 96, 0, 0), 16), (Ipv4Addr::new(172, 17, 0, 0), 16)];

/// The first ranges that overlap nothing in `used`: what the instance had before, else what follows from its name.
pub(crate) fn choose(instance: &InstanceId, previous: Option<Ranges>, used: &[(Ipv4Addr, u8)]) -> Option<Ranges> {
    // A default route says nothing about who is where.
    let used: Vec<_> = used.iter().copied().filter(|(_, prefix)| *prefix > 0).collect();
    let is_free = |range| !used.iter().any(|other| overlap(range, *other));
    if let Some(ranges) = previous.filter(|ranges| is_sane(*ranges))
        && [ranges.pods, ranges.services, ranges.link].into_iter().all(is_free)
    {
        return Some(ranges);
    }
    let seed = hash(instance);
    let (pods, services) = POOLS
        .into_iter()
        .flat_map(|(first, count)| rotated(seed, count).map(move |block| first.to_bits() + block * 2 * HALF_SIZE))
        .map(|first| ((Ipv4Addr::from_bits(first), HALF_PREFIX), (Ipv4Addr::from_bits(first + HALF_SIZE), HALF_PREFIX)))
        .filter(|(pods, services)| !OTHERS.iter().any(|other| overlap(*pods, *other) || overlap(*services, *other)))
        .find(|(pods, services)| is_free(*pods) && is_free(*services))?;
    let (first, count) = LINKS;
    let link = rotated(seed, count)
        .map(|number| (Ipv4Addr::from_bits(first.to_bits() + number * 4), LINK_PREFIX))
        .find(|link| is_free(*link))?;
    Some(Ranges { pods, services, link })
}

/// The host's and the instance's address on the link between them.
pub(crate) fn link_ends(ranges: Ranges) -> (Ipv4Addr, Ipv4Addr) {
    let first = ranges.link.0.to_bits();
    (Ipv4Addr::from_bits(first + 1), Ipv4Addr::from_bits(first + 2))
}

/// The pods' gateway: the first address of their range.
pub(crate) fn gateway(ranges: Ranges) -> Ipv4Addr {
    Ipv4Addr::from_bits(ranges.pods.0.to_bits() + 1)
}

/// How many addresses a range has.
pub(crate) fn size(range: (Ipv4Addr, u8)) -> u32 {
    u32::try_from(1_u64 << (32 - u32::from(range.1.min(32)))).unwrap_or(u32::MAX)
}

/// A name-dependent number, the same in every version of this program.
pub(crate) fn hash(instance: &InstanceId) -> u32 {
    // FNV-1a.
    instance.as_str().bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// What was kept may come from a damaged file.
fn is_sane(ranges: Ranges) -> bool {
    let is_aligned = |(ip, prefix): (Ipv4Addr, u8)| prefix <= 32 && ip.to_bits() & (size((ip, prefix)) - 1) == 0;
    let is_roomy = |(_, prefix): (Ipv4Addr, u8)| (8..=28).contains(&prefix);
    let apart = !overlap(ranges.pods, ranges.services)
        && !overlap(ranges.pods, ranges.link)
        && !overlap(ranges.services, ranges.link);
    is_roomy(ranges.pods)
        && is_roomy(ranges.services)
        && ranges.link.1 == LINK_PREFIX
        && apart
        && [ranges.pods, ranges.services, ranges.link].into_iter().all(is_aligned)
}

fn overlap(one: (Ipv4Addr, u8), other: (Ipv4Addr, u8)) -> bool {
    let shorter = u32::from(one.1.min(other.1).min(32));
    let mask = u32::MAX.checked_shl(32 - shorter).unwrap_or(0);
    one.0.to_bits() & mask == other.0.to_bits() & mask
}

fn rotated(seed: u32, count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(move |step| (seed % count + step) % count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(name: &str) -> InstanceId {
        InstanceId::try_new(name).unwrap()
    }

    fn range(text: &str) -> (Ipv4Addr, u8) {
        let (ip, prefix) = text.split_once('/').unwrap();
        (ip.parse().unwrap(), prefix.parse().unwrap())
    }

    #[test]
    fn a_choice_is_stable_and_differs_between_instances() {
        let one = choose(&instance("one"), None, &[]).unwrap();
        assert_eq!(Some(one), choose(&instance("one"), None, &[]));
        assert_ne!(one.pods, choose(&instance("two"), None, &[]).unwrap().pods);
        assert!(is_sane(one));
    }

    #[test]
    fn a_clash_moves_on() {
        let first = choose(&instance("one"), None, &[]).unwrap();
        for taken in [first.pods, first.services, (Ipv4Addr::from_bits(first.pods.0.to_bits() + 77), 32)] {
            let next = choose(&instance("one"), None, &[taken]).unwrap();
            assert!(!overlap(next.pods, taken) && !overlap(next.services, taken), "{taken:?}");
        }
        let next = choose(&instance("one"), None, &[first.link]).unwrap();
        assert_ne!(next.link, first.link);
        // A route to all of 10.0.0.0/8, as VPNs have, leaves the other private space.
        let next = choose(&instance("one"), None, &[range("10.0.0.0/8")]).unwrap();
        assert!(overlap(next.pods, range("172.16.0.0/12")));
        assert!(!overlap(next.pods, range("172.17.0.0/16")));
        assert_eq!(choose(&instance("one"), None, &[range("0.0.0.0/0")]), Some(first), "a default route is no clash");
        let everything = [range("10.0.0.0/8"), range("172.16.0.0/12"), range("100.64.0.0/10")];
        assert_eq!(choose(&instance("one"), None, &everything), None);
    }

    #[test]
    fn what_was_kept_is_used_again_if_it_is_free_and_sane() {
        let kept =
            Ranges { pods: range("10.1.0.0/20"), services: range("10.1.16.0/20"), link: range("169.254.7.4/30") };
        assert_eq!(choose(&instance("one"), Some(kept), &[]), Some(kept));
        assert_ne!(choose(&instance("one"), Some(kept), &[range("10.1.0.0/16")]), Some(kept));
        for damaged in [
            Ranges { services: kept.pods, ..kept },
            Ranges { pods: range("10.1.0.1/20"), ..kept },
            Ranges { pods: range("0.0.0.0/0"), ..kept },
            Ranges { link: range("169.254.7.4/24"), ..kept },
            Ranges { pods: range("10.1.0.0/33"), ..kept },
        ] {
            assert_ne!(choose(&instance("one"), Some(damaged), &[]), Some(damaged));
        }
    }
}
