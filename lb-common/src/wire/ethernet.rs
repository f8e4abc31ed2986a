//! Ethernet with up to two VLAN tags, and ARP for IPv4 (RFC 826).

use network_types::{
    arp::ArpHdr,
    eth::{EthHdr, EtherType},
    vlan::VlanHdr,
};

use crate::{
    address::{Be16, MacAddress},
    packet::Packet,
};

/// An EtherType.
pub type Ethertype = Be16;

const fn ethertype(known: EtherType) -> Ethertype {
    // network-types keeps its EtherTypes in network byte order.
    Be16((known as u16).to_ne_bytes())
}

/// IPv4.
pub const IPV4: Ethertype = ethertype(EtherType::Ipv4);
/// ARP.
pub const ARP: Ethertype = ethertype(EtherType::Arp);
/// A customer's VLAN tag, 802.1Q.
pub const VLAN: Ethertype = ethertype(EtherType::Ieee8021q);
/// A service provider's VLAN tag, 802.1ad.
pub const SERVICE_VLAN: Ethertype = ethertype(EtherType::Ieee8021ad);

/// Length of a header without tags.
pub const HEADER: usize = EthHdr::LEN;
/// Length of a tag.
pub const TAG: usize = VlanHdr::LEN;
const TYPE_IN_TAG: usize = core::mem::offset_of!(VlanHdr, ether_type);

/// How long a frame's header is and what it carries.
#[derive(Clone, Copy, Debug)]
pub struct Ethernet {
    /// VLAN tags, 0 to 2.
    pub tags: usize,
    /// What follows the tags.
    pub payload: Ethertype,
}

impl Ethernet {
    /// Reads the header and up to two tags. `None` when the frame is too short.
    #[inline(always)]
    pub fn parse<P: Packet>(packet: &P) -> Option<Self> {
        let mut ethernet = Self { tags: 0, payload: Be16(packet.load::<2>(HEADER - 2)?) };
        if is_tag(ethernet.payload) {
            ethernet.tags = 1;
            ethernet.payload = Be16(packet.load::<2>(HEADER + TYPE_IN_TAG)?);
            if is_tag(ethernet.payload) {
                ethernet.tags = 2;
                ethernet.payload = Be16(packet.load::<2>(HEADER + TAG + TYPE_IN_TAG)?);
            }
        }
        Some(ethernet)
    }

    /// Where what follows the header starts.
    #[inline(always)]
    pub const fn payload_offset(&self) -> usize {
        HEADER + TAG * self.tags
    }
}

/// Who a frame is for.
#[inline(always)]
pub fn destination<P: Packet>(packet: &P) -> Option<MacAddress> {
    packet.load(0).map(MacAddress)
}

/// Who sent a frame.
#[inline(always)]
pub fn source<P: Packet>(packet: &P) -> Option<MacAddress> {
    packet.load(MacAddress::LENGTH).map(MacAddress)
}

#[inline(always)]
fn is_tag(payload: Ethertype) -> bool {
    payload == VLAN || payload == SERVICE_VLAN
}

/// A link header lifted off a frame, to be put back where the frame starts by then.
#[derive(Clone, Copy)]
pub struct LinkHeader {
    destination: MacAddress,
    source: MacAddress,
    tags: usize,
    /// From the first EtherType on: as much as two tags make it.
    rest: [u8; LinkHeader::REST],
}

impl LinkHeader {
    const ADDRESSES: usize = 2 * MacAddress::LENGTH;
    const REST: usize = HEADER + 2 * TAG - Self::ADDRESSES;

    /// Lifts the header. The frame must have at least 8 bytes of payload.
    #[inline(always)]
    pub fn load<P: Packet>(packet: &P, ethernet: &Ethernet) -> Option<Self> {
        Some(Self {
            destination: destination(packet)?,
            source: source(packet)?,
            tags: ethernet.tags,
            rest: packet.load(Self::ADDRESSES)?,
        })
    }

    /// The header of an answer.
    #[inline(always)]
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { destination: self.source, source: self.destination, ..self }
    }

    /// Puts the header at the start of the frame; false when it does not fit.
    #[inline(always)]
    pub fn store<P: Packet>(&self, packet: &mut P) -> bool {
        let [t0, t1, t2, t3, t4, t5, t6, t7, t8, t9] = self.rest;
        let rest = match self.tags {
            0 => packet.store(Self::ADDRESSES, &[t0, t1]),
            1 => packet.store(Self::ADDRESSES, &[t0, t1, t2, t3, t4, t5]),
            _ => packet.store(Self::ADDRESSES, &[t0, t1, t2, t3, t4, t5, t6, t7, t8, t9]),
        };
        rest && packet.store(0, &self.destination.0)
            && packet.store(MacAddress::LENGTH, &self.source.0)
    }
}

/// The length of an ARP packet.
pub const ARP_LENGTH: usize = ArpHdr::LEN;
/// ARP's operation: request.
pub const ARP_REQUEST: [u8; 2] = [0, 1];
/// ARP's operation: reply.
pub const ARP_REPLY: [u8; 2] = [0, 2];

/// Reads an ARP packet.
#[inline(always)]
pub fn arp_from_bytes(bytes: [u8; ARP_LENGTH]) -> ArpHdr {
    #[rustfmt::skip]
    let [h0, h1, p0, p1, hlen, plen, o0, o1, s0, s1, s2, s3, s4, s5, a0, a1, a2, a3,
         t0, t1, t2, t3, t4, t5, b0, b1, b2, b3] = bytes;
    ArpHdr {
        htype: [h0, h1],
        ptype: [p0, p1],
        hlen,
        plen,
        oper: [o0, o1],
        sha: [s0, s1, s2, s3, s4, s5],
        spa: [a0, a1, a2, a3],
        tha: [t0, t1, t2, t3, t4, t5],
        tpa: [b0, b1, b2, b3],
    }
}

/// Writes an ARP packet.
#[inline(always)]
pub fn arp_to_bytes(arp: &ArpHdr) -> [u8; ARP_LENGTH] {
    let ArpHdr { htype: [h0, h1], ptype: [p0, p1], hlen, plen, oper: [o0, o1], .. } = *arp;
    let [s0, s1, s2, s3, s4, s5] = arp.sha;
    let [a0, a1, a2, a3] = arp.spa;
    let [t0, t1, t2, t3, t4, t5] = arp.tha;
    let [b0, b1, b2, b3] = arp.tpa;
    #[rustfmt::skip]
    let bytes = [h0, h1, p0, p1, hlen, plen, o0, o1, s0, s1, s2, s3, s4, s5, a0, a1, a2, a3,
                 t0, t1, t2, t3, t4, t5, b0, b1, b2, b3];
    bytes
}

const _: () = assert!(HEADER == 14 && TAG == 4 && ARP_LENGTH == 28);
