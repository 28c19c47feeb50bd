//! Where connections come from: addresses, networks, who stands before a proxy, and how much one address may have.
//!
//! An IPv4 address counts by itself, IPv6 by the /64 that a subscriber is given. The table is shared by all shards, and is asked when a
//! connection comes, goes, or asks for a WebSocket, never for a delivery; where no limit is set it is not asked at all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

/// An address, IPv4 as IPv6 writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address([u8; 16]);

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Address {
        match address {
            IpAddr::V4(v4) => Address(v4.to_ipv6_mapped().octets()),
            IpAddr::V6(v6) => Address(v6.octets()),
        }
    }
}

impl From<[u8; 4]> for Address {
    fn from(octets: [u8; 4]) -> Address {
        IpAddr::V4(octets.into()).into()
    }
}

impl From<[u8; 16]> for Address {
    fn from(octets: [u8; 16]) -> Address {
        Address(octets)
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Ipv6Addr::from(self.0).to_canonical().fmt(f)
    }
}

impl Address {
    fn is_v4(self) -> bool {
        self.0[..12] == Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().octets()[..12]
    }

    /// What it is counted as.
    fn group(self) -> Address {
        let mut group = self.0;
        if !self.is_v4() {
            group[8..].fill(0);
        }
        Address(group)
    }

    /// Reads what a proxy writes: an address, with a port or without, in brackets or quotes as the header wants it.
    fn parse(text: &str) -> Option<Address> {
        let text = text.trim().trim_matches('"');
        let host = match text.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?.0,
            // One colon comes before a port, more are an address of IPv6.
            None if text.matches(':').count() == 1 => text.split_once(':')?.0,
            None => text,
        };
        host.parse::<IpAddr>().ok().map(Address::from)
    }
}

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no network: write 10.0.0.0/8, 2001:db8::/32, or one address")]
pub struct NetworkError(String);

/// A range of addresses by its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: Address,
    /// Bits of the address as IPv6 writes it.
    bits: u8,
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Network, NetworkError> {
        let error = || NetworkError(text.into());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let (most, offset) = if address.is_ipv4() {
            (32, 96)
        } else {
            (128, 0)
        };
        let bits = bits.map_or(Ok(most), |bits| bits.parse::<u8>().map_err(|_| error()))?;
        if bits > most {
            return Err(error());
        }
        Ok(Network {
            address: address.into(),
            bits: bits + offset,
        })
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bits = if self.address.is_v4() {
            self.bits - 96
        } else {
            self.bits
        };
        write!(f, "{}/{bits}", self.address)
    }
}

impl Network {
    /// Whether an address is in it.
    #[must_use]
    pub fn holds(&self, address: Address) -> bool {
        let mask = u128::MAX
            .checked_shl(128 - u32::from(self.bits))
            .unwrap_or(0);
        let [ours, theirs] = [self.address, address].map(|address| u128::from_be_bytes(address.0));
        (ours ^ theirs) & mask == 0
    }
}

/// Who stands before a row of trusted proxies: the last address that none of them has, read from the right. What stands further left may be
/// anybody's invention. `None`: the headers name nobody.
#[must_use]
pub fn client_behind<'h>(
    trusted: &[Network],
    forwarded_for: impl Iterator<Item = &'h str>,
    forwarded: impl Iterator<Item = &'h str>,
) -> Option<Address> {
    let mut chain: Vec<Option<Address>> = forwarded_for
        .flat_map(|value| value.split(','))
        .map(Address::parse)
        .collect();
    if chain.is_empty() {
        chain = forwarded
            .flat_map(|value| value.split(','))
            .map(for_parameter)
            .collect();
    }
    let mut client = None;
    for address in chain.into_iter().rev() {
        // A name that is no address (RFC 7239 has "unknown") hides whoever stands before it.
        client = Some(address?);
        if !address.is_some_and(|address| trusted.iter().any(|network| network.holds(address))) {
            break;
        }
    }
    client
}

/// The `for` of one element of `Forwarded` (RFC 7239, section 5.2).
fn for_parameter(element: &str) -> Option<Address> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    Address::parse(value)
}

/// How much one address may have. 0 = any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once.
    pub connections: u32,
    /// Connections, and requests for a WebSocket or a stream, that may come in a second; ten times as many at once.
    pub handshakes_per_s: u32,
}

impl Limits {
    /// Whether there are none.
    #[must_use]
    pub fn is_off(&self) -> bool {
        *self == Limits::default()
    }
}

/// An address has as much as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooMuch {
    /// Connections.
    Connections,
    /// Handshakes: after so many seconds one more is allowed.
    Handshakes {
        /// At least 1.
        retry_s: u32,
    },
}

const SECOND_NS: u64 = 1_000_000_000;
/// So many seconds' worth may come at once.
const BURST_S: u64 = 10;
/// Locks: shards that count different addresses rarely meet.
const PARTS: usize = 16;
/// An entry is looked at when the table has doubled since it was last looked through.
const PART_ENTRIES_MIN: usize = 256;

#[derive(Debug, Default)]
struct Entry {
    connections: u32,
    /// When the bucket of handshakes is full again, nanoseconds on the monotonic clock.
    full_ns: u64,
}

#[derive(Debug, Default)]
struct Part {
    entries: HashMap<Address, Entry>,
    sweep_at: usize,
}

/// What each address has.
#[derive(Debug)]
pub struct Table {
    limits: Limits,
    parts: [Mutex<Part>; PARTS],
}

impl Table {
    /// Nobody has anything.
    #[must_use]
    pub fn new(limits: Limits) -> Table {
        Table {
            limits,
            parts: Default::default(),
        }
    }

    /// A handshake at `now_us` on the monotonic clock.
    ///
    /// # Errors
    /// It comes too early.
    pub fn knock(&self, address: Address, now_us: u64) -> Result<(), TooMuch> {
        let per_s = u64::from(self.limits.handshakes_per_s);
        if per_s == 0 {
            return Ok(());
        }
        let now_ns = now_us * 1000;
        let each_ns = SECOND_NS / per_s;
        self.with(address, now_ns, |entry| {
            let full_ns = entry.full_ns.max(now_ns) + each_ns;
            let ahead_ns = full_ns - now_ns;
            if ahead_ns > BURST_S * SECOND_NS {
                let wait_ns = ahead_ns - BURST_S * SECOND_NS;
                let retry_s = wait_ns.div_ceil(SECOND_NS).max(1) as u32;
                return Err(TooMuch::Handshakes { retry_s });
            }
            entry.full_ns = full_ns;
            Ok(())
        })
    }

    /// A connection comes; [`Table::leave`] follows when it goes.
    ///
    /// # Errors
    /// There are as many as may be; then nothing is to be given back.
    pub fn enter(&self, address: Address, now_us: u64) -> Result<(), TooMuch> {
        let most = self.limits.connections;
        if most == 0 {
            return Ok(());
        }
        self.with(address, now_us * 1000, |entry| {
            if entry.connections >= most {
                return Err(TooMuch::Connections);
            }
            entry.connections += 1;
            Ok(())
        })
    }

    /// A connection goes.
    pub fn leave(&self, address: Address) {
        if self.limits.connections == 0 {
            return;
        }
        let mut part = self
            .part(address)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = part.entries.get_mut(&address.group()) {
            debug_assert!(entry.connections > 0, "who leaves has entered");
            entry.connections = entry.connections.saturating_sub(1);
        }
    }

    /// How many addresses it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        let count = |part: &Mutex<Part>| {
            part.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entries
                .len()
        };
        self.parts.iter().map(count).sum()
    }

    /// Whether it knows none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn part(&self, address: Address) -> &Mutex<Part> {
        let group = address.group().0;
        let mixed = group.iter().fold(0usize, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(usize::from(*byte))
        });
        &self.parts[mixed % PARTS]
    }

    fn with<T>(&self, address: Address, now_ns: u64, act: impl FnOnce(&mut Entry) -> T) -> T {
        let mut part = self
            .part(address)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Part { entries, sweep_at } = &mut *part;
        if entries.len() >= *sweep_at {
            entries.retain(|_, entry| entry.connections > 0 || entry.full_ns > now_ns);
            *sweep_at = (entries.len() * 2).max(PART_ENTRIES_MIN);
        }
        act(entries.entry(address.group()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn networks_hold_what_their_prefix_says() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("0.0.0.0/0", "255.0.0.1", "::2"),
            ("2001:db8::/32", "2001:db8:1::1", "2001:db9::1"),
            ("::/0", "::1", ""),
            ("127.0.0.0/8", "::ffff:127.0.0.1", "::1"),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert!(parsed.holds(address(inside)), "{network} {inside}");
            assert!(
                outside.is_empty() || !parsed.holds(address(outside)),
                "{network} {outside}"
            );
            assert_eq!(parsed.to_string().parse::<Network>(), Ok(parsed));
        }
        for text in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "a/8",
            "10.0.0.0/-1",
            "10.0.0.0/8/8",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_client_is_the_last_that_no_trusted_proxy_is() {
        let trusted: Vec<Network> = ["10.0.0.0/8", "::1"]
            .map(|text| text.parse().unwrap())
            .into();
        let behind = |for_: &[&'static str], forwarded: &[&'static str]| {
            client_behind(&trusted, for_.iter().copied(), forwarded.iter().copied())
        };
        for (header, client) in [
            (&["192.0.2.1"][..], Some("192.0.2.1")),
            (&["6.6.6.6, 192.0.2.1"], Some("192.0.2.1")),
            (&["6.6.6.6, 192.0.2.1, 10.1.1.1"], Some("192.0.2.1")),
            (&["6.6.6.6", "192.0.2.1", "10.1.1.1"], Some("192.0.2.1")),
            (&["10.2.2.2, 10.1.1.1"], Some("10.2.2.2")),
            (&["[2001:db8::1]:80"], Some("2001:db8::1")),
            (&["2001:db8::1"], Some("2001:db8::1")),
            (&["192.0.2.1:4711"], Some("192.0.2.1")),
            (&["unknown"], None),
            (&["192.0.2.1, nonsense"], None),
            (&[""], None),
        ] {
            assert_eq!(behind(header, &[]), client.map(address), "{header:?}");
        }
        for (header, client) in [
            (&["for=192.0.2.1;proto=https"][..], Some("192.0.2.1")),
            (&["For=\"[2001:db8::1]:80\""], Some("2001:db8::1")),
            (
                &["for=6.6.6.6, for=192.0.2.1;by=x, for=10.0.0.1"],
                Some("192.0.2.1"),
            ),
            (&["for=_hidden"], None),
            (&["proto=https"], None),
        ] {
            assert_eq!(behind(&[], header), client.map(address), "{header:?}");
        }
    }

    #[test]
    fn connections_are_counted_by_address_and_by_network_of_ipv6() {
        let table = Table::new(Limits {
            connections: 2,
            handshakes_per_s: 0,
        });
        let (a, b) = (address("192.0.2.1"), address("192.0.2.2"));
        assert_eq!([table.enter(a, 0), table.enter(a, 0)], [Ok(()); 2]);
        assert_eq!(table.enter(a, 0), Err(TooMuch::Connections));
        assert_eq!(table.enter(b, 0), Ok(()));
        table.leave(a);
        assert_eq!(table.enter(a, 0), Ok(()));
        let (six, neighbour, other) = (
            address("2001:db8::1"),
            address("2001:db8::2"),
            address("2001:db8:0:1::1"),
        );
        assert_eq!(
            [table.enter(six, 0), table.enter(neighbour, 0)],
            [Ok(()); 2]
        );
        assert_eq!(table.enter(six, 0), Err(TooMuch::Connections));
        assert_eq!(table.enter(other, 0), Ok(()));
    }

    #[test]
    fn handshakes_come_in_bursts_and_then_at_their_rate() {
        let table = Table::new(Limits {
            connections: 0,
            handshakes_per_s: 2,
        });
        let a = address("192.0.2.1");
        let count = (0..100).take_while(|_| table.knock(a, 0).is_ok()).count();
        assert_eq!(count, 20);
        assert_eq!(table.knock(a, 0), Err(TooMuch::Handshakes { retry_s: 1 }));
        assert_eq!(table.knock(a, 500_000), Ok(()));
        assert!(table.knock(a, 500_000).is_err());
        assert_eq!(table.knock(address("192.0.2.2"), 0), Ok(()));
    }

    #[test]
    fn addresses_that_have_nothing_are_forgotten() {
        let table = Table::new(Limits {
            connections: 5,
            handshakes_per_s: 1,
        });
        for number in 0..100_000u32 {
            let passing = Address::from(number.to_be_bytes());
            let now_us = u64::from(number) * 100_000;
            assert_eq!(table.knock(passing, now_us), Ok(()));
            assert_eq!(table.enter(passing, now_us), Ok(()));
            table.leave(passing);
        }
        assert!(table.len() <= PARTS * PART_ENTRIES_MIN, "{}", table.len());
    }
}
