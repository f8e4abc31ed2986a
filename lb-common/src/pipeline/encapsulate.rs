//! IPIP encapsulation in place (RFC 2003), wire-exact with IPVS's Tunnel mode.

use network_types::ip::Ipv4Hdr;

use super::ipv4::{Ipv4, Stop};
use crate::{
    packet::Packet,
    reason::{Action, Reason},
    table::{RealServer, Tables},
    wire::{
        self,
        ethernet::{self, HEADER, TAG},
        icmp::IcmpError,
        ipv4::{self, DONT_FRAGMENT, MINIMUM_MTU},
    },
};

/// What the outer header adds.
pub(super) const OVERHEAD: u16 = ipv4::HEADER as u16;

/// Whether a packet can go to this real server. Takes the hop off the TTL, as IPVS has done by the
/// time it finds a packet too big.
#[inline(always)]
pub(super) fn check(header: &mut Ipv4Hdr, real_server: &RealServer) -> Result<(), Stop> {
    if header.ttl <= 1 {
        return Err(Stop::Error(IcmpError::TimeExceeded, Reason::TimeExceeded));
    }
    if real_server.interface == 0 {
        return Err(Reason::DropNoNextHop.drop().into());
    }
    ipv4::decrement_ttl(header);
    let mtu = real_server.mtu.saturating_sub(OVERHEAD);
    if mtu < MINIMUM_MTU {
        return Err(Reason::DropPathMtu.drop().into());
    }
    if ipv4::total_length(header) > mtu as usize {
        return Err(if ipv4::dont_fragment(header) {
            Stop::Error(IcmpError::FragmentationNeeded(mtu), Reason::FragmentationNeeded)
        } else {
            Reason::DropTooBig.drop().into()
        });
    }
    Ok(())
}

/// How encapsulation ended.
pub(super) enum Tunnelled {
    /// The frame is ready for this way out.
    Sent(Action),
    /// The frame could not grow.
    NoHeadroom,
}

/// Wraps a checked packet and addresses the frame to the next hop.
#[inline(always)]
pub(super) fn encapsulate<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    ip: &Ipv4<'_>,
    real_server: &RealServer,
) -> Tunnelled {
    let offset = ip.offset();
    let inner = &ip.header;
    let length = ipv4::total_length(inner);
    let [c0, c1] = inner.check;
    let mut fits = packet.store(offset + ipv4::TTL, &[inner.ttl, inner.proto, c0, c1]);
    // What follows the packet is the padding of a short frame.
    if packet.len() > offset + length {
        fits &= packet.truncate(offset + length);
    }

    let tag = real_server.vlan.tag();
    let link = if tag.is_some() { HEADER + TAG } else { HEADER };
    let growth = (link + ipv4::HEADER) as i32 - offset as i32;
    fits &= packet.move_head(growth);

    let outer = ipv4::to_bytes(&outer_header(tables, inner, real_server));
    let [d0, d1, d2, d3, d4, d5] = real_server.next_hop.0;
    let [s0, s1, s2, s3, s4, s5] = real_server.source_mac.0;
    let addresses = [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5];
    fits &= packet.store(0, &addresses);
    let [t0, t1] = ethernet::IPV4.0;
    fits &= match tag {
        None => packet.store(HEADER - 2, &[t0, t1]),
        Some(tag) => {
            let [v0, v1] = ethernet::VLAN.0;
            let [i0, i1] = tag.to_be_bytes();
            packet.store(HEADER - 2, &[v0, v1, i0, i1, t0, t1])
        }
    };
    fits &= packet.store(link, &outer);
    if !fits {
        return Tunnelled::NoHeadroom;
    }
    Tunnelled::Sent(if real_server.interface == packet.interface() {
        Action::Transmit
    } else {
        Action::Redirect(real_server.interface)
    })
}

/// The outer header: TTL of the inner after its decrement, DSCP and ECN by [`ipv4::outer_tos`], DF
/// of the inner, an identification only where a router may fragment (RFC 6864).
#[inline(always)]
fn outer_header<T: Tables>(tables: &T, inner: &Ipv4Hdr, real_server: &RealServer) -> Ipv4Hdr {
    let dont_fragment = ipv4::dont_fragment(inner);
    let id = if dont_fragment { 0 } else { tables.random() as u16 };
    let mut outer = Ipv4Hdr {
        vihl: 0x45,
        tos: ipv4::outer_tos(inner.tos),
        tot_len: (ipv4::total_length(inner) as u16 + OVERHEAD).to_be_bytes(),
        id: id.to_be_bytes(),
        frags: if dont_fragment { DONT_FRAGMENT.to_be_bytes() } else { [0; 2] },
        ttl: inner.ttl,
        proto: wire::IPIP,
        check: [0; 2],
        src_addr: real_server.source.v4_octets(),
        dst_addr: real_server.address.v4_octets(),
    };
    ipv4::seal(&mut outer);
    outer
}
