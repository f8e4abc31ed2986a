//! What the director says itself, in a VIP's name: ICMP echo replies, ICMP errors, TCP resets.

use network_types::icmp::Icmpv4Hdr;

use super::ipv4::{Ipv4Packet, is_martian};
use crate::{
    packet::Packet,
    reason::{Reason, Verdict},
    table::{Limiter, Tables},
    wire::{
        self,
        checksum::{self, Sum},
        ethernet::LinkHeader,
        icmp::{self, IcmpError},
        ipv4::{self, Fields, Ipv4},
        tcp,
    },
};

/// Answers an echo request (RFC 792) in place.
#[inline(always)]
pub(super) fn echo<P: Packet>(packet: &mut P, ip: &Ipv4Packet<'_>) -> Verdict {
    let header = ip.header;
    let offset = ip.offset();
    let message = offset + header.header_length();
    let (Some([kind, code, c0, c1]), true) =
        (packet.load::<4>(message), header.total_length() >= header.header_length() + icmp::HEADER)
    else {
        return Reason::DropMalformed.drop();
    };
    if kind != icmp::ECHO || code != 0 {
        return Reason::DropIcmp.drop();
    }
    if is_martian(&header) {
        return Reason::DropMartian.drop();
    }
    let old = u16::from_ne_bytes([icmp::ECHO, 0]);
    let new = u16::from_ne_bytes([icmp::ECHO_REPLY, 0]);
    let check = match checksum::update(u16::from_ne_bytes([c0, c1]), old, new) {
        // The other zero of one's complement: right for every message, and the only one that is
        // when the reply is nothing but zeros.
        0 => 0xffff,
        check => check,
    };
    let [c0, c1] = check.to_ne_bytes();
    let reply = header.with_ttl(ipv4::DEFAULT_TTL).reversed();
    let Some(link) = LinkHeader::load(packet, ip.ethernet) else {
        return Reason::DropInternal.drop();
    };
    let stored = packet.store(message, &[icmp::ECHO_REPLY, 0, c0, c1])
        && packet.store(offset, &reply.to_bytes())
        && link.reversed().store(packet);
    if stored { Reason::EchoAnswered.transmit() } else { Reason::DropInternal.drop() }
}

/// Turns the packet into an ICMP error about itself (RFC 792, RFC 1812), from the VIP.
#[inline(always)]
pub(super) fn error<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    ip: &Ipv4Packet<'_>,
    error: IcmpError,
    reason: Reason,
) -> Verdict {
    /// The longest quote.
    const QUOTE: usize = icmp::ERROR_LENGTH - ipv4::HEADER - icmp::HEADER;
    if ip.header.protocol() == wire::ICMP {
        // An error about a flow that cannot be sent on. Errors are not answered with errors.
        return Reason::DropIcmp.drop();
    }
    if !tables.admit(Limiter::IcmpError) {
        return Reason::DropRateLimited.drop();
    }
    let offset = ip.offset();
    let length = ip.header.total_length();
    let quote = if length < QUOTE { length } else { QUOTE };
    // The TTL as it is by now, which the check before encapsulation may have decremented.
    let mut fits = packet.store(offset + ipv4::TTL, &ip.header.ttl_to_checksum());
    if packet.len() > offset + quote {
        fits &= packet.truncate(offset + quote);
    }
    let (type_, code, data) = error.message();
    let (Some(sum), Some(link)) =
        (quote_sum(packet, offset, quote), LinkHeader::load(packet, ip.ethernet))
    else {
        return Reason::DropInternal.drop();
    };
    let check = sum
        .word(u16::from_ne_bytes([type_, code]))
        .word32(u32::from_ne_bytes(data))
        .checksum()
        .to_ne_bytes();
    let message = Icmpv4Hdr { type_, code, check, data };
    let Icmpv4Hdr { type_, code, check: [c0, c1], data: [d0, d1, d2, d3] } = message;

    let header = Ipv4::new(Fields {
        tos: icmp::error_tos(ip.header.tos()),
        length: (ipv4::HEADER + icmp::HEADER + quote) as u16,
        id: tables.random() as u16,
        dont_fragment: false,
        ttl: ipv4::DEFAULT_TTL,
        protocol: wire::ICMP,
        source: ip.header.destination(),
        destination: ip.header.source(),
    });
    fits &= packet.move_head((ipv4::HEADER + icmp::HEADER) as i32)
        && link.reversed().store(packet)
        && packet.store(offset, &header.to_bytes())
        && packet.store(offset + ipv4::HEADER, &[type_, code, c0, c1, d0, d1, d2, d3]);
    if fits { reason.transmit() } else { Reason::DropHeadroom.drop() }
}

/// Turns the segment into the reset that answers it (RFC 9293, 3.10.7.1), from the VIP.
#[inline(always)]
pub(super) fn reset<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    ip: &Ipv4Packet<'_>,
    reason: Reason,
) -> Verdict {
    let offset = ip.offset();
    let (Some(segment), Some(link)) = (
        packet.load::<{ tcp::HEADER }>(offset + ip.header.header_length()),
        LinkHeader::load(packet, ip.ethernet),
    ) else {
        return Reason::DropMalformed.drop();
    };
    let length = ip.header.total_length() - ip.header.header_length();
    let Some(reset) = tcp::reset(segment, length) else {
        return Reason::DropMalformed.drop();
    };
    if !tables.admit(Limiter::Reset) {
        return Reason::DropRateLimited.drop();
    }
    let header = Ipv4::new(Fields {
        tos: ip.header.tos(),
        length: (ipv4::HEADER + tcp::HEADER) as u16,
        id: 0,
        dont_fragment: true,
        ttl: ipv4::DEFAULT_TTL,
        protocol: wire::TCP,
        source: ip.header.destination(),
        destination: ip.header.source(),
    });
    let reset = tcp::with_checksum(reset, header.source(), header.destination());
    // A frame of a segment with its own headers has room for those of another.
    let fits = link.reversed().store(packet)
        && packet.store(offset, &header.to_bytes())
        && packet.store(offset + ipv4::HEADER, &reset)
        && packet.truncate(offset + ipv4::HEADER + tcp::HEADER);
    if fits { reason.transmit() } else { Reason::DropInternal.drop() }
}

/// The sum of `length` bytes from `offset` on, fewer than 1024 and more than one.
///
/// A piece for every bit of the length, the largest first, instead of a loop: whether a piece was
/// there is not to be seen in any number afterwards, so a verifier's paths meet again behind each.
#[inline(always)]
fn quote_sum<P: Packet>(packet: &P, offset: usize, length: usize) -> Option<Sum> {
    let mut sum = Sum::ZERO;
    macro_rules! pieces {
        ($($size:literal)*) => {$(
            if length & $size != 0 {
                let before = length & !(2 * $size - 1);
                sum = sum.plus(packet.sum::<$size>(offset + before)?);
            }
        )*};
    }
    pieces!(512 256 128 64 32 16 8 4);
    if length & 2 != 0 {
        let word = packet.load::<2>(offset + (length & !3))?;
        sum = sum.word(u16::from_ne_bytes(word));
    }
    if length & 1 != 0 {
        // With the byte before it: kernels take no bound from a comparison of one byte's address.
        let [_, last] = packet.load::<2>((offset + (length & !1)).checked_sub(1)?)?;
        sum = sum.word(u16::from_ne_bytes([last, 0]));
    }
    Some(sum)
}
