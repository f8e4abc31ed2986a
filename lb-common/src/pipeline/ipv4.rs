//! An IPv4 packet's way: is it for a VIP, of which flow, to which real server.

use network_types::{ip::Ipv4Hdr, tcp::TcpHdr, udp::UdpHdr};

use super::{
    answer,
    encapsulate::{self, Tunnelled},
    schedule,
};
use crate::{
    address::{Address, Be16},
    flow::{FlowKey, FlowSet, FlowState, FlowWord, Place, Segment, find},
    packet::Packet,
    reason::{Reason, Verdict},
    table::{RealServer, Tables, Vip},
    wire::{self, ethernet::Ethernet, icmp::IcmpError, ipv4},
};

/// A packet that is not forwarded ends with a verdict, or with an ICMP error to the client.
#[derive(Clone, Copy)]
pub(super) enum Stop {
    Verdict(Verdict),
    Error(IcmpError, Reason),
}

impl From<Verdict> for Stop {
    #[inline(always)]
    fn from(verdict: Verdict) -> Self {
        Self::Verdict(verdict)
    }
}

/// Where an IPv4 packet is in its frame, and its header.
pub(super) struct Ipv4<'a> {
    pub(super) ethernet: &'a Ethernet,
    pub(super) header: Ipv4Hdr,
}

impl Ipv4<'_> {
    /// Where its header starts.
    #[inline(always)]
    pub(super) fn offset(&self) -> usize {
        self.ethernet.payload_offset()
    }
}

/// A flow's packet: the flow, and what the packet means to its state.
pub(super) struct FlowPacket {
    pub(super) key: FlowKey,
    /// `None` for UDP.
    pub(super) segment: Option<Segment>,
}

/// The real server for a packet.
pub(super) struct Choice<'t> {
    pub(super) index: u32,
    pub(super) real_server: &'t RealServer,
    pub(super) new_flow: bool,
}

/// Balances a packet that is for a VIP; passes every other one.
#[inline(always)]
pub(super) fn balance<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    ethernet: &Ethernet,
) -> Verdict {
    let (Some(bytes), Some(filter)) =
        (packet.load::<{ ipv4::HEADER }>(ethernet.payload_offset()), tables.vip_filter())
    else {
        return Reason::PassNotVip.pass();
    };
    let mut ip = Ipv4 { ethernet, header: ipv4::from_bytes(bytes) };
    if !filter.may_contain_v4(ip.header.dst_addr) {
        return Reason::PassNotVip.pass();
    }
    let Some(interface) = tables.interface() else {
        return Reason::DropInternal.drop();
    };
    if ethernet.destination != interface.mac {
        return Reason::PassOtherHost.pass();
    }
    let stop = match choose(packet, tables, &ip) {
        Ok(choice) => match encapsulate::check(&mut ip.header, choice.real_server) {
            Ok(()) => return send(packet, tables, &ip, &choice),
            Err(stop) => stop,
        },
        Err(stop) => stop,
    };
    match stop {
        Stop::Verdict(verdict) => verdict,
        Stop::Error(error, reason) => answer::error(packet, tables, &ip, error, reason),
    }
}

#[inline(always)]
fn send<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    ip: &Ipv4<'_>,
    choice: &Choice<'_>,
) -> Verdict {
    let bytes = ipv4::total_length(&ip.header) as u64;
    match encapsulate::encapsulate(packet, tables, ip, choice.real_server) {
        Tunnelled::Sent(action) => {
            tables.count_real_server(choice.index, bytes, choice.new_flow);
            let reason = if choice.new_flow { Reason::Scheduled } else { Reason::Forwarded };
            Verdict { action, reason }
        }
        Tunnelled::NoHeadroom => Reason::DropHeadroom.drop(),
    }
}

/// Finds the packet's flow, or opens one.
#[inline(always)]
fn choose<'t, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &'t T,
    ip: &Ipv4<'_>,
) -> Result<Choice<'t>, Stop> {
    let flow = match flow_packet(packet, ip) {
        Ok(flow) => flow,
        Err(odd) => return Err(odd_packet(packet, tables, ip, odd)),
    };
    let config = tables.config();
    let now = tables.now();
    let hash = flow.key.hash(&config.seed);
    let sets = hash.sets(config.set_mask);
    let tag = hash.tag();
    let (Some(first), Some(second)) = (tables.flow_set(sets[0]), tables.flow_set(sets[1])) else {
        return Err(Reason::DropInternal.drop().into());
    };

    let found = match find(&first, tag) {
        Some((way, old)) => Some((&first, Place { set: 0, way, old })),
        None => find(&second, tag).map(|(way, old)| (&second, Place { set: 1, way, old })),
    };
    if let Some((set, place)) = found
        && let Some(choice) = known(tables, &flow, set, place, now)
    {
        return Ok(choice);
    }
    let stale = found.map(|(_, place)| place);
    schedule::open(tables, &flow, tag, sets, [&first, &second], stale, now)
}

/// A packet that no flow can have.
#[derive(Clone, Copy)]
enum Odd {
    Malformed,
    Fragment,
    Protocol,
}

#[inline(always)]
fn flow_packet<P: Packet>(packet: &P, ip: &Ipv4<'_>) -> Result<FlowPacket, Odd> {
    let header = &ip.header;
    let offset = ip.offset();
    let total = ipv4::total_length(header);
    if !ipv4::is_well_formed(header) || packet.len() < offset + total {
        return Err(Odd::Malformed);
    }
    if ipv4::is_fragment(header) {
        return Err(Odd::Fragment);
    }
    let length = ipv4::header_length(header);
    let transport = offset + length;
    let least = match header.proto {
        wire::TCP => TcpHdr::LEN,
        wire::UDP => UdpHdr::LEN,
        _ => return Err(Odd::Protocol),
    };
    let ports = packet.load::<4>(transport);
    let (Some([s0, s1, d0, d1]), true) = (ports, total >= length + least) else {
        return Err(Odd::Malformed);
    };
    let segment = if header.proto == wire::TCP {
        let Some([flags]) = packet.load::<1>(transport + Segment::FLAGS_OFFSET) else {
            return Err(Odd::Malformed);
        };
        Some(Segment::of(flags))
    } else {
        None
    };
    let key =
        FlowKey::v4(header.src_addr, header.dst_addr, Be16([s0, s1]), Be16([d0, d1]), header.proto);
    Ok(FlowPacket { key, segment })
}

/// The real server of a known flow, after moving the flow's state on. `None` when the word is of
/// a flow that has ended, that may be reopened, or of another service.
#[inline(always)]
fn known<'t, T: Tables>(
    tables: &'t T,
    flow: &FlowPacket,
    set: &T::FlowSet,
    place: Place,
    now: u64,
) -> Option<Choice<'t>> {
    let word = place.old;
    let index = word.real_server();
    let real_server = tables.real_server(index)?;
    if real_server.service != flow.key.service() {
        return None;
    }
    let state = match flow.segment {
        Some(Segment::Syn) if word.state().is_reusable() => return None,
        Some(segment) => word.state().after(segment),
        None => FlowState::UDP,
    };
    let touched = word.touched(state, now);
    if touched != word {
        // At most once per tick and flow, or when the state changes: the line stays shared.
        if word.is_expired(now) {
            return None;
        }
        touch(set, place, touched);
    }
    Some(Choice { index, real_server, new_flow: false })
}

/// Another CPU may have changed the word meanwhile; then its change stands.
#[inline(always)]
fn touch<S: FlowSet>(set: &S, place: Place, touched: FlowWord) {
    set.replace(place.way, place.old, touched);
}

/// What becomes of a packet that no flow can have: it may still be for a VIP.
#[inline(always)]
fn odd_packet<P: Packet, T: Tables>(packet: &mut P, tables: &T, ip: &Ipv4<'_>, odd: Odd) -> Stop {
    let verdict = match tables.vip(&Address::v4(ip.header.dst_addr)) {
        Some(Vip::OWNED) => match odd {
            Odd::Malformed => Reason::DropMalformed.drop(),
            Odd::Fragment => Reason::DropFragment.drop(),
            Odd::Protocol if ip.header.proto == wire::ICMP => answer::echo(packet, ip),
            Odd::Protocol => Reason::DropProtocol.drop(),
        },
        Some(_) => Reason::PassLocalVip.pass(),
        None => Reason::PassNotVip.pass(),
    };
    verdict.into()
}
