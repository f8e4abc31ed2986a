//! ARP for the VIPs that tunlb owns (RFC 826), so that the director's stack needs no address.

use network_types::arp::ArpHdr;

use crate::{
    address::{Address, MacAddress},
    packet::Packet,
    reason::{Reason, Verdict},
    table::{Tables, Vip},
    wire::ethernet::{self, ARP_LENGTH, ARP_REPLY, ARP_REQUEST, Ethernet},
};

/// Bytes in an IPv4 address.
const IPV4_LENGTH: usize = 4;
/// Ethernet (IANA ARP hardware types).
const HARDWARE_ETHERNET: [u8; 2] = [0, 1];

/// Answers a request for an owned VIP; leaves everything else to the kernel.
#[inline(always)]
pub(super) fn answer<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    ethernet: &Ethernet,
) -> Verdict {
    let offset = ethernet.payload_offset();
    let (Some(bytes), Some(front)) = (packet.load::<ARP_LENGTH>(offset), tables.front()) else {
        return Reason::PassNotIpv4.pass();
    };
    let mac = front.interface(tables.interface_slot()).mac();
    let request = ethernet::arp_from_bytes(bytes);
    let is_request = request.htype == HARDWARE_ETHERNET
        && request.ptype == ethernet::IPV4.0
        && (request.hlen as usize, request.plen as usize) == (MacAddress::LENGTH, IPV4_LENGTH)
        && request.oper == ARP_REQUEST
        // A gratuitous request announces or disputes the address; it asks for no answer.
        && request.spa != request.tpa;
    let destination = ethernet::destination(packet);
    let for_us = destination == Some(MacAddress::BROADCAST) || destination == Some(mac);
    if !is_request || !for_us || tables.vip(&Address::v4(request.tpa)) != Some(Vip::OWNED) {
        return Reason::PassNotVip.pass();
    }
    let reply = ArpHdr {
        oper: ARP_REPLY,
        sha: mac.0,
        spa: request.tpa,
        tha: request.sha,
        tpa: request.spa,
        ..request
    };
    let stored = ethernet::source(packet).is_some_and(|source| packet.store(0, &source.0))
        && packet.store(MacAddress::LENGTH, &mac.0)
        && packet.store(offset, &ethernet::arp_to_bytes(&reply));
    if stored { Reason::ArpAnswered.transmit() } else { Reason::DropInternal.drop() }
}
