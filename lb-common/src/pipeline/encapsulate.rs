//! IPIP encapsulation in place (RFC 2003), wire-exact with IPVS's Tunnel mode.

use super::ipv4::{Ipv4Packet, Stop};
use crate::{
    packet::Packet,
    reason::Reason,
    table::{RealServer, Tables},
    wire::{
        self,
        ethernet::{self, HEADER, TAG},
        icmp::IcmpError,
        ipv4::{self, Fields, Ipv4, MINIMUM_MTU},
    },
};

/// What the outer header adds.
pub(super) const OVERHEAD: u16 = ipv4::HEADER as u16;

/// Whether a packet can go to this real server. Takes the hop off the TTL, as IPVS has done by the
/// time it finds a packet too big.
#[inline(always)]
pub(super) fn check(header: &mut Ipv4, real_server: &RealServer) -> Result<(), Stop> {
    let ttl = header.ttl();
    if ttl <= 1 {
        return Err(Stop::Error(IcmpError::TimeExceeded, Reason::TimeExceeded));
    }
    if real_server.interface == RealServer::UNROUTABLE {
        return Err(Stop::Error(IcmpError::HostUnreachable, Reason::HostUnreachable));
    }
    if !RealServer::can_send(real_server.interface) {
        return Err(Reason::DropNoNextHop.drop().into());
    }
    *header = header.with_ttl(ttl - 1);
    let mtu = real_server.mtu.saturating_sub(OVERHEAD);
    if mtu < MINIMUM_MTU {
        return Err(Reason::DropPathMtu.drop().into());
    }
    if header.total_length() > mtu as usize {
        return Err(if header.dont_fragment() {
            Stop::Error(IcmpError::FragmentationNeeded(mtu), Reason::FragmentationNeeded)
        } else {
            Reason::DropTooBig.drop().into()
        });
    }
    Ok(())
}

/// Wraps a checked packet and addresses the frame to the next hop; false when it could not grow.
#[inline(always)]
pub(super) fn encapsulate<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    ip: &Ipv4Packet<'_>,
    real_server: &RealServer,
) -> bool {
    let offset = ip.offset();
    let inner = ip.header;
    let length = inner.total_length();
    let mut fits = packet.store(offset + ipv4::TTL, &inner.ttl_to_checksum());
    // What follows the packet is the padding of a short frame.
    if packet.len() > offset + length {
        fits &= packet.truncate(offset + length);
    }

    let tag = real_server.vlan.tag();
    let link = if tag.is_some() { HEADER + TAG } else { HEADER };
    let growth = (link + ipv4::HEADER) as i32 - offset as i32;
    fits &= packet.move_head(growth);

    let [d0, d1, d2, d3, d4, d5] = real_server.next_hop.0;
    let [s0, s1, s2, s3, s4, s5] = real_server.source_mac.0;
    fits &= packet.store(0, &[d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5]);
    let [t0, t1] = ethernet::IPV4.0;
    fits &= match tag {
        None => packet.store(HEADER - 2, &[t0, t1]),
        Some(tag) => {
            let [v0, v1] = ethernet::VLAN.0;
            let [i0, i1] = tag.to_be_bytes();
            packet.store(HEADER - 2, &[v0, v1, i0, i1, t0, t1])
        }
    };
    fits && packet.store(link, &outer_header(tables, inner, real_server).to_bytes())
}

/// The outer header: TTL of the inner after its decrement, DSCP and ECN by [`ipv4::outer_tos`], DF
/// of the inner, an identification only where a router may fragment (RFC 6864).
#[inline(always)]
pub(super) fn outer_header<T: Tables>(tables: &T, inner: Ipv4, real_server: &RealServer) -> Ipv4 {
    let dont_fragment = inner.dont_fragment();
    Ipv4::new(Fields {
        tos: ipv4::outer_tos(inner.tos()),
        length: inner.total_length() as u16 + OVERHEAD,
        id: if dont_fragment { 0 } else { tables.random() as u16 },
        dont_fragment,
        ttl: inner.ttl(),
        protocol: wire::IPIP,
        source: real_server.source.v4_octets(),
        destination: real_server.address.v4_octets(),
    })
}
