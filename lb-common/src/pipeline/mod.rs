//! The whole way of a packet, as one generic function over [`Packet`] and [`Tables`].
//!
//! Order of work: cheapest first. A known flow's packet touches the filter, its flow line, its real
//! server's entry and one counter line.

mod answer;
mod arp;
mod encapsulate;
mod ipv4;
mod schedule;
mod unwrap;

pub use unwrap::unwrap;

use crate::{
    packet::Packet,
    reason::{Reason, Verdict},
    table::Tables,
    wire::ethernet::{self, Ethernet},
};

/// The director: decides what becomes of a frame, changes it accordingly, and counts the outcome.
#[inline(always)]
pub fn director<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    let verdict = decide(packet, tables);
    // Known flows are counted with their real server.
    if verdict.reason != Reason::Forwarded {
        tables.count(verdict.reason);
    }
    verdict
}

#[inline(always)]
fn decide<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    let Some(ethernet) = Ethernet::parse(packet) else {
        return Reason::PassNotIpv4.pass();
    };
    match ethernet.payload {
        ethernet::IPV4 => ipv4::balance(packet, tables, &ethernet),
        ethernet::ARP => arp::answer(packet, tables, &ethernet),
        _ => Reason::PassNotIpv4.pass(),
    }
}
