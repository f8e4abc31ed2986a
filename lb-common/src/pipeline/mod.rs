//! The whole way of a packet, as one generic function over [`Packet`] and [`Tables`].
//!
//! Order of work: cheapest first. A known flow's packet touches the filter, its flow line, its real
//! server's entry and one counter line. Most packets go the short way (`steady`), which is a part of
//! the long one with everything in its commonest place; all others go the long way, from the start.

mod answer;
mod arp;
mod encapsulate;
mod icmp;
mod ipv4;
mod schedule;
mod steady;
mod unwrap;

pub use unwrap::unwrap;

use crate::{
    packet::Packet,
    reason::{Reason, Verdict},
    table::Tables,
    wire::ethernet::{self, Ethernet},
};

/// The director: decides what becomes of a frame, changes it accordingly, and counts the outcome.
///
/// Programs for the kernel call its two halves themselves, to keep them apart: code for the long way
/// in the same function would cost the short one registers.
#[inline(always)]
pub fn director<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    match short_way(packet, tables) {
        Some(verdict) => verdict,
        None => long_way(packet, tables),
    }
}

/// The director, for what can be told at a glance. `None` when it cannot, and nothing was done.
#[inline(always)]
pub fn short_way<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Option<Verdict> {
    let verdict = steady::forward(packet, tables)?;
    count(tables, verdict);
    Some(verdict)
}

/// The director, for every frame.
#[inline(always)]
pub fn long_way<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    let verdict = decide(packet, tables);
    count(tables, verdict);
    verdict
}

#[inline(always)]
fn count<T: Tables>(tables: &T, verdict: Verdict) {
    // Known flows are counted with their real server.
    if verdict.reason != Reason::Forwarded {
        tables.count(verdict.reason);
    }
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
