//! In which order the words of a real server's entry change while the data path reads it.

use core::mem::offset_of;

use lb_common::table::RealServer;
use zerocopy::IntoBytes;

/// Words of an entry.
pub(super) const WORDS: usize = size_of::<RealServer>() / 8;
/// The words that the data path confirms an entry by.
const SERVICE: usize = 3;
/// The word without which an entry has no next hop.
const INTERFACE: usize = offset_of!(RealServer, interface) / 8;

const _: () = assert!(offset_of!(RealServer, service) == 0);
const _: () = assert!(offset_of!(RealServer, next_hop) == SERVICE * 8);

fn words(entry: &RealServer) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    words.as_mut_bytes().copy_from_slice(entry.as_bytes());
    words
}

/// The writes, word and value, that make an entry another one, so that no packet is sent by a
/// mixture of both.
///
/// The service comes last when the entry comes to life and goes first. In between, the entry has no
/// next hop while more than one word of it changes: a packet that comes in this instant is dropped.
pub(super) fn writes(old: &RealServer, new: &RealServer) -> Vec<(usize, u64)> {
    let (from, to) = (words(old), words(new));
    let change = |range: std::ops::Range<usize>| {
        let changed = range.filter(|word| from[*word] != to[*word]);
        changed.map(|word| (word, to[word])).collect::<Vec<_>>()
    };
    let (service, rest) = (change(0..SERVICE), change(SERVICE..WORDS));
    if new.service.protocol == 0 {
        return [service, rest].concat();
    }
    if !service.is_empty() {
        return [rest, service].concat();
    }
    if rest.len() < 2 {
        return rest;
    }
    let without = words(&RealServer { interface: 0, ..*old })[INTERFACE];
    let others = rest.into_iter().filter(|(word, _)| *word != INTERFACE);
    [(INTERFACE, without)].into_iter().chain(others).chain([(INTERFACE, to[INTERFACE])]).collect()
}

#[cfg(test)]
mod tests {
    use lb_common::{
        Address, Be16, MacAddress,
        table::{ServiceKey, Vlan},
    };

    use super::*;

    const SERVED: ServiceKey = ServiceKey::new(Address::v4([10, 0, 0, 9]), Be16::new(80), 6);

    fn entry(interface: u32, last: u8) -> RealServer {
        RealServer {
            service: SERVED,
            next_hop: MacAddress([2, 0, 0, 0, 0, last]),
            vlan: Vlan::id(last.into()),
            source_mac: MacAddress([2, 0, 0, 0, 1, last]),
            mtu: 1500,
            interface,
            service_index: 1,
            address: Address::v4([10, 1, 0, 1]),
            source: Address::v4([10, 1, 0, last]),
            weight: 1,
            last_weight: 1,
            reserved: [0; 10],
        }
    }

    /// Everything that the data path can see, from the old entry to the new.
    fn seen(old: &RealServer, new: &RealServer) -> Vec<RealServer> {
        let mut present = words(old);
        let mut seen = vec![*old];
        for (word, value) in writes(old, new) {
            present[word] = value;
            seen.push(zerocopy::transmute!(present));
        }
        assert_eq!(seen.last(), Some(new));
        seen
    }

    fn is_sent_to(entry: &RealServer) -> bool {
        entry.service == SERVED && entry.interface != 0
    }

    #[test]
    fn no_packet_is_sent_by_a_mixture() {
        let free = RealServer::default();
        let dead = RealServer { service: ServiceKey::default(), ..entry(7, 4) };
        let entries = [free, dead, entry(0, 4), entry(0, 5), entry(7, 4), entry(7, 5), entry(8, 5)];
        for old in &entries {
            for new in &entries {
                for seen in seen(old, new) {
                    assert!(!is_sent_to(&seen) || seen == *old || seen == *new, "{seen:?}");
                }
            }
        }
    }

    #[test]
    fn a_weight_changes_without_a_gap() {
        let (old, new) = (entry(7, 4), RealServer { weight: 9, ..entry(7, 4) });
        assert_eq!(seen(&old, &new), [old, new]);
    }
}
