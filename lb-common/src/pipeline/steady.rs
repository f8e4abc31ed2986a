//! The short way: a known flow's packet that changes nothing, in the commonest kind of frame.
//!
//! It decides nothing by itself: whatever it forwards or passes, the long way (`ipv4`) would have
//! forwarded or passed in the same way, to the byte and to the counter; a test holds it to that. It is
//! fast because it knows where everything stands (no tag, no IP option), checks the frame's
//! bounds once before and once after it grows, and reads each field when it is wanted: a helper call
//! leaves a BPF program four registers, so what is kept across one goes through memory anyway.

use network_types::{tcp::TcpHdr, udp::UdpHdr};

use crate::{
    address::Be16,
    flow::{FlowHash, FlowKey, FlowState, FlowWord, Segment, find},
    packet::Packet,
    pipeline::{encapsulate::OVERHEAD, ipv4::touch},
    reason::{Reason, Verdict},
    table::{RealServer, Tables},
    wire::{
        self,
        ethernet::{self, HEADER},
        ipv4::{self, Fields, Ipv4, MINIMUM_MTU},
    },
};

/// Where the IPv4 header ends and TCP's or UDP's starts.
const TRANSPORT: usize = HEADER + ipv4::HEADER;
/// Through TCP's flags: the shortest frame of Ethernet is longer.
const READ: usize = TRANSPORT + Segment::FLAGS_OFFSET + 1;
/// What is written after the frame grew: through the inner packet's checksum.
const WRITTEN: usize = OVERHEAD as usize + HEADER + ipv4::TTL + 4;

/// What becomes of the frame, unless only the long way can tell.
#[inline(always)]
pub(super) fn forward<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Option<Verdict> {
    let front = tables.front()?;
    let now = tables.now();
    let length = packet.len();
    let frame = packet.bytes::<READ>(0)?;
    if !is_plain(frame) {
        return None;
    }
    if !front.vip_filter.may_contain_v4(array(frame, HEADER + 16)) {
        return Some(Reason::PassNotVip.pass());
    }
    let interface = front.interface(tables.interface_slot());
    let total = total_length(frame);
    let state = steady_state(frame, total)?;
    if !interface.has_address(array(frame, 0), array(frame, 4)) || HEADER + total > length {
        return None;
    }

    let hash = tables.flow_hash(&key(frame));
    let word = find_word(tables, hash);
    // Also when there is no word: an empty one has no state.
    if word.state() != state {
        return None;
    }
    let index = word.real_server();
    let real_server = tables.real_server(index)?;
    let interface = real_server.interface;
    if real_server.service != key(frame).service() || !can_take(real_server, interface, total) {
        return None;
    }
    if !word.is_current(state, now) {
        if word.is_expired(now) {
            return None;
        }
        touch(tables, tables.flow_hash(&key(frame)), word, word.touched(state, now));
    }

    // What follows the packet is the padding of a short frame.
    let padded = HEADER + total < length;
    if padded && !packet.truncate(HEADER + total) || !packet.move_head(i32::from(OVERHEAD)) {
        return Some(Reason::DropHeadroom.drop());
    }
    let Some(frame) = packet.bytes::<WRITTEN>(0) else {
        return Some(Reason::DropHeadroom.drop());
    };
    wrap(frame, tables, real_server);
    if real_server.interface != interface {
        return Some(Reason::DropNoNextHop.drop());
    }
    tables.count_packet(index, total as u64);
    Some(if interface == packet.interface() {
        Reason::Forwarded.transmit()
    } else {
        Reason::Forwarded.redirect(interface)
    })
}

/// Whether this is an untagged frame with an IPv4 packet without options that is no fragment.
#[inline(always)]
fn is_plain(frame: &[u8; READ]) -> bool {
    // EtherType, version and header length in one comparison, then flags and fragment offset.
    let [t0, t1] = ethernet::IPV4.0;
    let plain = u32::from_le_bytes([t0, t1, ipv4::NO_OPTIONS, 0]);
    u32::from_le_bytes(array(frame, HEADER - 2)) & 0x00ff_ffff == plain
        && !ipv4::is_fragment(array(frame, HEADER + 6))
}

/// The packet's length in bytes.
#[inline(always)]
fn total_length(frame: &[u8; READ]) -> usize {
    u16::from_be_bytes(array(frame, HEADER + 2)) as usize
}

/// The state in which a packet of its kind leaves a flow as it is, if it is of a kind that can be.
#[inline(always)]
fn steady_state(frame: &[u8; READ], total: usize) -> Option<FlowState> {
    let [ttl, protocol] = array(frame, HEADER + ipv4::TTL);
    let (state, least) = match protocol {
        wire::TCP => (FlowState::ESTABLISHED, ipv4::HEADER + TcpHdr::LEN),
        wire::UDP => (FlowState::UDP, ipv4::HEADER + UdpHdr::LEN),
        _ => return None,
    };
    let opens_or_ends =
        protocol == wire::TCP && !Segment::is_plain_ack(frame[TRANSPORT + Segment::FLAGS_OFFSET]);
    (ttl > 1 && total >= least && !opens_or_ends).then_some(state)
}

#[inline(always)]
fn key(frame: &[u8; READ]) -> FlowKey {
    let [s0, s1, d0, d1] = array(frame, TRANSPORT);
    FlowKey::v4(
        array(frame, HEADER + 12),
        array(frame, HEADER + 16),
        Be16([s0, s1]),
        Be16([d0, d1]),
        frame[HEADER + ipv4::TTL + 1],
    )
}

/// The first word with the flow's tag, or the empty word.
#[inline(always)]
fn find_word<T: Tables>(tables: &T, hash: FlowHash) -> FlowWord {
    let mask = tables.set_mask();
    let Some(set) = tables.flow_set(hash.first_set(mask)) else {
        return FlowWord::EMPTY;
    };
    let (_, word) = find(&set, hash);
    if !word.is_empty() {
        return word;
    }
    match tables.flow_set(hash.second_set(mask)) {
        Some(set) => find(&set, hash).1,
        None => FlowWord::EMPTY,
    }
}

/// Whether an untagged packet of this length can go to the real server in one piece.
#[inline(always)]
fn can_take(real_server: &RealServer, interface: u32, total: usize) -> bool {
    let least = total.max(MINIMUM_MTU as usize) + OVERHEAD as usize;
    least <= real_server.mtu as usize
        && RealServer::can_send(interface)
        && real_server.vlan.tag().is_none()
}

/// Writes the outer headers in front of the inner packet, and ages that by one hop.
#[inline(always)]
fn wrap<T: Tables>(frame: &mut [u8; WRITTEN], tables: &T, real_server: &RealServer) {
    let [_, tos, l0, l1] = array(frame, TRANSPORT);
    let [flags, _] = array(frame, TRANSPORT + 6);
    let dont_fragment = flags & 0x40 != 0;
    let aged = ipv4::one_hop_on(array(frame, TRANSPORT + ipv4::TTL));
    let outer = Ipv4::new(Fields {
        tos: ipv4::outer_tos(tos),
        length: u16::from_be_bytes([l0, l1]) + OVERHEAD,
        id: if dont_fragment { 0 } else { tables.random() as u16 },
        dont_fragment,
        ttl: aged[0],
        protocol: wire::IPIP,
        source: real_server.source.v4_octets(),
        destination: real_server.address.v4_octets(),
    });
    put(frame, 0, real_server.next_hop.0);
    put(frame, 6, real_server.source_mac.0);
    put(frame, HEADER - 2, ethernet::IPV4.0);
    let [a, b, c, d, e] = outer.words();
    put(frame, HEADER, a);
    put(frame, HEADER + 4, b);
    put(frame, HEADER + 8, c);
    put(frame, HEADER + 12, d);
    put(frame, HEADER + 16, e);
    put(frame, TRANSPORT + ipv4::TTL, aged);
}

/// The `N` bytes at a constant offset.
#[inline(always)]
fn array<const FROM: usize, const N: usize>(bytes: &[u8; FROM], offset: usize) -> [u8; N] {
    core::array::from_fn(|index| bytes[offset + index])
}

/// Writes `N` bytes at a constant offset.
#[inline(always)]
fn put<const INTO: usize, const N: usize>(bytes: &mut [u8; INTO], offset: usize, value: [u8; N]) {
    bytes[offset..offset + N].copy_from_slice(&value);
}
