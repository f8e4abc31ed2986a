//! The real server's side where the kernel has no ipip: takes the outer header off and hands the
//! inner packet to the stack.

use crate::{
    address::Address,
    packet::Packet,
    reason::{Reason, Verdict},
    table::{Addresses, Vip},
    wire::{
        self, checksum,
        ethernet::{self, Ethernet, LinkHeader},
        ipv4,
    },
};

/// ECN "congestion experienced" (RFC 3168).
const CONGESTED: u8 = 3;

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
    let Some(ethernet) = Ethernet::parse(packet) else {
        return pass;
    };
    if ethernet.payload != ethernet::IPV4 {
        return pass;
    }
    let offset = ethernet.payload_offset();
    let Some(bytes) = packet.load::<{ ipv4::HEADER }>(offset) else {
        return pass;
    };
    let outer = ipv4::from_bytes(bytes);
    let is_tunnel = outer.proto == wire::IPIP
        && ipv4::is_well_formed(&outer)
        && !ipv4::is_fragment(&outer)
        && addresses.vip(&Address::v4(outer.dst_addr)) == Some(Vip::TUNNEL_END);
    if !is_tunnel {
        return pass;
    }
    let length = ipv4::header_length(&outer);
    let Some(bytes) = packet.load::<{ ipv4::HEADER }>(offset + length) else {
        return Reason::DropInner.drop();
    };
    let mut inner = ipv4::from_bytes(bytes);
    if !ipv4::is_well_formed(&inner)
        || ipv4::total_length(&inner) + length > ipv4::total_length(&outer)
        || ipv4::total_length(&inner) + length > packet.len() - offset
    {
        return Reason::DropInner.drop();
    }
    if addresses.vip(&Address::v4(inner.dst_addr)) != Some(Vip::SERVED) {
        return pass;
    }
    // RFC 6040, 4.2: congestion on the way shows on the inner packet; one whose sender cannot
    // understand it is dropped.
    if outer.tos & CONGESTED == CONGESTED {
        if inner.tos & CONGESTED == 0 {
            return Reason::DropInner.drop();
        }
        let old = u16::from_be_bytes([inner.vihl, inner.tos]);
        inner.tos |= CONGESTED;
        let new = u16::from_be_bytes([inner.vihl, inner.tos]);
        inner.check = checksum::update(u16::from_be_bytes(inner.check), old, new).to_be_bytes();
        if !packet.store(offset + length, &ipv4::to_bytes(&inner)) {
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
