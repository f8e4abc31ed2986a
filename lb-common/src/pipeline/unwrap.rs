//! The real server's side where the kernel has no ipip: takes the outer header off and hands the
//! inner packet to the stack.

use crate::{
    address::Address,
    packet::Packet,
    reason::{Reason, Verdict},
    table::{Addresses, Vip},
    wire::{
        self,
        ethernet::{self, Ethernet, LinkHeader},
        ipv4::{self, CONGESTED, Ipv4},
    },
};

/// Unwraps IPIP packets addressed to this host whose inner packet is for one of its VIPs; leaves
/// every other frame to the kernel. Counts the outcome.
#[inline(always)]
pub fn unwrap<P: Packet, A: Addresses>(packet: &mut P, addresses: &A) -> Verdict {
    let verdict = decide(packet, addresses);
    addresses.count(verdict.reason);
    verdict
}

#[inline(always)]
fn decide<P: Packet, A: Addresses>(packet: &mut P, addresses: &A) -> Verdict {
    let pass = Reason::PassNotTunnel.pass();
    let Some(ethernet) = Ethernet::parse(packet) else { return pass };
    if ethernet.payload != ethernet::IPV4 {
        return pass;
    }
    let offset = ethernet.payload_offset();
    let Some(bytes) = packet.load::<{ ipv4::HEADER }>(offset) else { return pass };
    let outer = Ipv4::from_bytes(bytes);
    let is_tunnel = outer.protocol() == wire::IPIP
        && outer.is_well_formed()
        && !outer.is_fragment()
        && addresses.vip(&Address::v4(outer.destination())) == Some(Vip::TUNNEL_END);
    if !is_tunnel {
        return pass;
    }
    let length = outer.header_length();
    let Some(bytes) = packet.load::<{ ipv4::HEADER }>(offset + length) else {
        return Reason::DropInner.drop();
    };
    let inner = Ipv4::from_bytes(bytes);
    let wrapped = inner.total_length() + length;
    if !inner.is_well_formed() || wrapped > outer.total_length() || wrapped > packet.len() - offset
    {
        return Reason::DropInner.drop();
    }
    if addresses.vip(&Address::v4(inner.destination())) != Some(Vip::SERVED) {
        return pass;
    }
    // RFC 6040, 4.2: congestion on the way shows on the inner packet; one whose sender cannot
    // understand it is dropped.
    if outer.tos() & CONGESTED == CONGESTED {
        let understood = inner.tos() & CONGESTED != 0;
        if !understood || !packet.store(offset + length, &inner.congested().to_bytes()) {
            return Reason::DropInner.drop();
        }
    }
    let Some(link) = LinkHeader::load(packet, &ethernet) else {
        return Reason::DropInner.drop();
    };
    if packet.move_head(-(length as i32)) && link.store(packet) {
        Reason::Unwrapped.pass()
    } else {
        Reason::DropInner.drop()
    }
}
