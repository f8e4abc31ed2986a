//! What the director says itself, in a VIP's name: ICMP echo replies and ICMP errors.

use network_types::{icmp::Icmpv4Hdr, ip::Ipv4Hdr};

use super::ipv4::Ipv4;
use crate::{
    packet::Packet,
    reason::{Reason, Verdict},
    table::{Limiter, Tables},
    wire::{
        self,
        checksum::{self, Sum},
        ethernet::LinkHeader,
        icmp::{self, IcmpError},
        ipv4,
    },
};

/// Answers an echo request (RFC 792) in place.
#[inline(always)]
pub(super) fn echo<P: Packet>(packet: &mut P, ip: &Ipv4<'_>) -> Verdict {
    let offset = ip.offset();
    let message = offset + ipv4::header_length(&ip.header);
    let length = ipv4::total_length(&ip.header);
    let (Some([kind, code, c0, c1]), true) =
        (packet.load::<4>(message), length >= ipv4::header_length(&ip.header) + icmp::HEADER)
    else {
        return Reason::DropMalformed.drop();
    };
    if kind != icmp::ECHO || code != 0 {
        return Reason::DropIcmp.drop();
    }
    if ipv4::is_martian(ip.header.src_addr) || ip.header.src_addr == ip.header.dst_addr {
        return Reason::DropMartian.drop();
    }
    let old = u16::from_be_bytes([icmp::ECHO, 0]);
    let new = u16::from_be_bytes([icmp::ECHO_REPLY, 0]);
    let check = match checksum::update(u16::from_be_bytes([c0, c1]), old, new) {
        // The other zero of one's complement: right for every message, and the only one that is
        // when the reply is nothing but zeros.
        0 => 0xffff,
        check => check,
    };
    let [c0, c1] = check.to_be_bytes();

    let mut header = ip.header;
    let old = u16::from_be_bytes([header.ttl, header.proto]);
    header.ttl = ipv4::DEFAULT_TTL;
    let new = u16::from_be_bytes([header.ttl, header.proto]);
    header.check = checksum::update(u16::from_be_bytes(header.check), old, new).to_be_bytes();
    (header.src_addr, header.dst_addr) = (header.dst_addr, header.src_addr);

    let stored = packet.store(message, &[icmp::ECHO_REPLY, 0, c0, c1])
        && packet.store(offset, &ipv4::to_bytes(&header))
        && packet.store(0, &ip.ethernet.source.0)
        && packet.store(ip.ethernet.source.0.len(), &ip.ethernet.destination.0);
    if stored { Reason::EchoAnswered.transmit() } else { Reason::DropInternal.drop() }
}

/// Turns the packet into an ICMP error about itself (RFC 792, RFC 1812), from the VIP.
#[inline(always)]
pub(super) fn error<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    ip: &Ipv4<'_>,
    error: IcmpError,
    reason: Reason,
) -> Verdict {
    /// The longest quote.
    const QUOTE: usize = icmp::ERROR_LENGTH - ipv4::HEADER - icmp::HEADER;
    if !tables.admit(Limiter::IcmpError) {
        return Reason::DropRateLimited.drop();
    }
    let offset = ip.offset();
    let length = ipv4::total_length(&ip.header);
    let quote = if length < QUOTE { length } else { QUOTE };
    // The TTL as it is by now, which `check` may have decremented.
    let [c0, c1] = ip.header.check;
    let mut fits = packet.store(offset + ipv4::TTL, &[ip.header.ttl, ip.header.proto, c0, c1]);
    if packet.len() > offset + quote {
        fits &= packet.truncate(offset + quote);
    }
    let (kind, code, data) = error.message();
    let (Some(sum), Some(link)) =
        (quote_sum::<P, QUOTE>(packet, offset, quote), LinkHeader::load(packet, ip.ethernet))
    else {
        return Reason::DropInternal.drop();
    };
    let check = sum.word(u16::from_be_bytes([kind, code])).bytes4(data).checksum();
    let message = Icmpv4Hdr { type_: kind, code, check: check.to_be_bytes(), data };
    let Icmpv4Hdr { type_, code, check: [c0, c1], data: [d0, d1, d2, d3] } = message;

    let total = ipv4::HEADER + icmp::HEADER + quote;
    let mut header = Ipv4Hdr {
        vihl: 0x45,
        tos: icmp::ERROR_TOS,
        tot_len: (total as u16).to_be_bytes(),
        id: (tables.random() as u16).to_be_bytes(),
        frags: [0; 2],
        ttl: ipv4::DEFAULT_TTL,
        proto: wire::ICMP,
        check: [0; 2],
        src_addr: ip.header.dst_addr,
        dst_addr: ip.header.src_addr,
    };
    ipv4::seal(&mut header);
    fits &= packet.move_head((ipv4::HEADER + icmp::HEADER) as i32)
        && link.reversed().store(packet)
        && packet.store(offset, &ipv4::to_bytes(&header))
        && packet.store(offset + ipv4::HEADER, &[type_, code, c0, c1, d0, d1, d2, d3]);
    if fits { reason.transmit() } else { Reason::DropHeadroom.drop() }
}

/// The sum of `length` bytes, at most `MOST`, from `offset` on.
#[inline(always)]
fn quote_sum<P: Packet, const MOST: usize>(
    packet: &P,
    offset: usize,
    length: usize,
) -> Option<Sum> {
    let mut sum = Sum::ZERO;
    let mut at = 0;
    while at + 4 <= MOST && at + 4 <= length {
        sum = sum.bytes4(packet.load::<4>(offset + at)?);
        at += 4;
    }
    if at + 2 <= length && at + 2 <= MOST {
        sum = sum.word(u16::from_be_bytes(packet.load::<2>(offset + at)?));
        at += 2;
    }
    if at < length && at < MOST {
        let [last] = packet.load::<1>(offset + at)?;
        sum = sum.word(u16::from_be_bytes([last, 0]));
    }
    Some(sum)
}
