//! An IPv4 packet's way: is it for a VIP, of which flow, to which real server.

use network_types::{tcp::TcpHdr, udp::UdpHdr};

use super::{answer, encapsulate, icmp, schedule};
use crate::{
    address::{Address, Be16},
    flow::{FlowHash, FlowKey, FlowSet, FlowState, FlowWord, Place, Segment, WAYS, find, standing},
    packet::Packet,
    reason::{Reason, Verdict},
    table::{RealServer, ServiceKey, Tables, Vip},
    wire::{
        self,
        ethernet::{self, Ethernet},
        icmp::IcmpError,
        ipv4::{self, Ipv4},
    },
};

/// A packet that is not forwarded ends with a verdict, or with an ICMP error or TCP reset to the client.
#[derive(Clone, Copy)]
pub(super) enum Stop {
    Verdict(Verdict),
    Error(IcmpError, Reason),
    Reset(Reason),
}

impl From<Verdict> for Stop {
    #[inline(always)]
    fn from(verdict: Verdict) -> Self {
        Self::Verdict(verdict)
    }
}

/// An IPv4 packet in its frame.
pub(super) struct Ipv4Packet<'a> {
    pub(super) ethernet: &'a Ethernet,
    pub(super) header: Ipv4,
}

impl Ipv4Packet<'_> {
    /// Where its header starts.
    #[inline(always)]
    pub(super) fn offset(&self) -> usize {
        self.ethernet.payload_offset()
    }
}

/// A packet as its flow sees it.
#[derive(Clone, Copy)]
pub(super) struct FlowPacket {
    header: Ipv4,
    /// Source and destination port.
    ports: [u8; 4],
    /// TCP's flags; 0 for UDP.
    flags: u8,
    /// Whether this is not the flow's own packet, but an ICMP error about one of its answers.
    related: bool,
}

impl FlowPacket {
    /// What an ICMP error is about: `header` and `ports` (source and destination, as quoted) are of the
    /// real server's packet, `header` already reversed.
    #[inline(always)]
    pub(super) const fn related(header: Ipv4, [s0, s1, d0, d1]: [u8; 4]) -> Self {
        Self { header, ports: [d0, d1, s0, s1], flags: 0, related: true }
    }

    /// The packet's header.
    #[inline(always)]
    pub(super) const fn header(&self) -> &Ipv4 {
        &self.header
    }

    /// The flow.
    #[inline(always)]
    pub(super) const fn key(&self) -> FlowKey {
        let [s0, s1, d0, d1] = self.ports;
        FlowKey::v4(
            self.header.source(),
            self.header.destination(),
            Be16([s0, s1]),
            Be16([d0, d1]),
            self.header.protocol(),
        )
    }

    /// What the packet means to the flow's state; `None` for UDP.
    #[inline(always)]
    pub(super) fn segment(&self) -> Option<Segment> {
        (self.header.protocol() == wire::TCP).then_some(Segment::of(self.flags))
    }

    /// Whether a TCP packet has the SYN flag, whatever else it has.
    #[inline(always)]
    const fn is_syn(&self) -> bool {
        self.flags & Segment::SYN != 0
    }

    /// The state in which this packet changes nothing.
    #[inline(always)]
    fn steady_state(&self) -> FlowState {
        if self.header.protocol() != wire::TCP {
            FlowState::UDP
        } else if Segment::is_plain_ack(self.flags) {
            FlowState::ESTABLISHED
        } else {
            FlowState::NONE
        }
    }

    /// Whether the packet is for this service.
    #[inline(always)]
    fn is_for(&self, service: &ServiceKey) -> bool {
        let [_, _, d0, d1] = self.ports;
        service.address == Address::v4(self.header.destination())
            && service.port == Be16([d0, d1])
            && service.protocol == self.header.protocol()
    }
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
    let (Some(bytes), Some(front)) =
        (packet.load::<{ ipv4::HEADER }>(ethernet.payload_offset()), tables.front())
    else {
        return Reason::PassNotVip.pass();
    };
    let mut ip = Ipv4Packet { ethernet, header: Ipv4::from_bytes(bytes) };
    if !front.vip_filter.may_contain_v4(ip.header.destination()) {
        return Reason::PassNotVip.pass();
    }
    let interface = front.interface(tables.interface_slot());
    if ethernet::destination(packet) != Some(interface.mac()) {
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
        Stop::Reset(reason) => answer::reset(packet, tables, &ip, reason),
    }
}

#[inline(always)]
fn send<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    ip: &Ipv4Packet<'_>,
    choice: &Choice<'_>,
) -> Verdict {
    let bytes = ip.header.total_length() as u64;
    let interface = choice.real_server.interface;
    if !encapsulate::encapsulate(packet, tables, ip, choice.real_server) {
        return Reason::DropHeadroom.drop();
    }
    if choice.real_server.interface != interface || !RealServer::can_send(interface) {
        return Reason::DropNoNextHop.drop();
    }
    tables.count_packet(choice.index, bytes);
    let reason = if choice.new_flow { Reason::Scheduled } else { Reason::Forwarded };
    if interface == packet.interface() { reason.transmit() } else { reason.redirect(interface) }
}

/// Finds the packet's flow, or opens one.
#[inline(always)]
fn choose<'t, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &'t T,
    ip: &Ipv4Packet<'_>,
) -> Result<Choice<'t>, Stop> {
    let flow = match flow_packet(packet, tables, ip) {
        Ok(flow) => flow,
        Err(odd) => return Err(odd_packet(packet, tables, ip, odd)),
    };
    let hash = tables.flow_hash(&flow.key());
    let now = tables.now();
    let mask = tables.set_mask();
    tables.prefetch_flow_key(hash.first_set(mask) * WAYS as u32 + hash.way() as u32);
    let mut word = match tables.flow_set(hash.first_set(mask)) {
        Some(set) => find(&set, hash).1,
        None => FlowWord::EMPTY,
    };
    if word.is_empty()
        && let Some(set) = tables.flow_set(hash.second_set(mask))
    {
        word = find(&set, hash).1;
    }
    let mut real_server = serving(tables, &flow, word);
    if real_server.is_none() && !word.is_empty() {
        // A flow of another service has the same tag and sets.
        word = search(tables, &flow, hash);
        real_server = serving(tables, &flow, word);
    }
    if flow.related {
        // It does not keep the flow alive, and nothing answers an ICMP error.
        return match real_server {
            Some(real_server) if !word.is_expired(now) => {
                Ok(Choice { index: word.real_server(), real_server, new_flow: false })
            }
            _ => Err(odd_packet(packet, tables, ip, Odd::Protocol)),
        };
    }
    match real_server {
        Some(real_server) if carries_on(tables, &flow, hash, word, now) => {
            Ok(Choice { index: word.real_server(), real_server, new_flow: false })
        }
        Some(_) => schedule::open(tables, &flow, hash, word, now),
        None => schedule::open(tables, &flow, hash, FlowWord::EMPTY, now),
    }
}

/// Whether no client can have sent this.
#[inline(always)]
pub(super) fn is_martian(header: &Ipv4) -> bool {
    ipv4::is_martian(header.source()) || header.source() == header.destination()
}

/// A packet that no flow can have.
#[derive(Clone, Copy)]
enum Odd {
    Malformed,
    Fragment,
    Protocol,
}

#[inline(always)]
fn flow_packet<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    ip: &Ipv4Packet<'_>,
) -> Result<FlowPacket, Odd> {
    let header = ip.header;
    let offset = ip.offset();
    let total = header.total_length();
    if !header.is_well_formed() || packet.len() < offset + total {
        return Err(Odd::Malformed);
    }
    if header.is_fragment() {
        return Err(Odd::Fragment);
    }
    let length = header.header_length();
    let transport = offset + length;
    let (ports, flags, least) = match header.protocol() {
        wire::TCP => {
            let flags = packet.load::<1>(transport + Segment::FLAGS_OFFSET);
            (packet.load::<4>(transport), flags, TcpHdr::LEN)
        }
        wire::UDP => (packet.load::<4>(transport), Some([0]), UdpHdr::LEN),
        _ => return icmp::quoted_flow(packet, tables, ip).ok_or(Odd::Protocol),
    };
    match (ports, flags) {
        (Some(ports), Some([flags])) if total >= length + least => {
            Ok(FlowPacket { header, ports, flags, related: false })
        }
        _ => Err(Odd::Malformed),
    }
}

/// The real server that a word names, if it serves the packet's service: else the word is empty or
/// another flow's, or its real server is gone.
#[inline(always)]
fn serving<'t, T: Tables>(
    tables: &'t T,
    flow: &FlowPacket,
    word: FlowWord,
) -> Option<&'t RealServer> {
    if word.is_empty() {
        return None;
    }
    tables.real_server(word.real_server()).filter(|server| flow.is_for(&server.service))
}

/// Looks at every word with the flow's tag, since the first one was of another service; empty when
/// none is of this one.
#[inline(always)]
fn search<T: Tables>(tables: &T, flow: &FlowPacket, hash: FlowHash) -> FlowWord {
    let [first, second] = hash.sets(tables.set_mask());
    let (Some(first), Some(second)) = (tables.flow_set(first), tables.flow_set(second)) else {
        return FlowWord::EMPTY;
    };
    let mut slot = 0;
    while slot < T::FlowSet::opaque(2 * WAYS as u64) {
        let way = slot as usize & (WAYS - 1);
        let word = if slot < WAYS as u64 { first.word(way) } else { second.word(way) };
        if word.tag() == hash.tag() && serving(tables, flow, word).is_some() {
            return word;
        }
        slot += 1;
    }
    FlowWord::EMPTY
}

/// Moves a known flow's state on. False when the flow has ended, or the packet opens it anew.
#[inline(always)]
fn carries_on<T: Tables>(
    tables: &T,
    flow: &FlowPacket,
    hash: FlowHash,
    word: FlowWord,
    now: u64,
) -> bool {
    // Else the word changes, at most once per tick and state: the line stays shared.
    if !word.is_current(flow.steady_state(), now) {
        if word.is_expired(now) {
            return false;
        }
        let state = match flow.segment() {
            Some(_) if flow.is_syn() && word.state().is_reusable() => return false,
            Some(segment) => word.state().after(segment),
            None => FlowState::UDP,
        };
        let touched = word.touched(state, now);
        if touched != word {
            touch(tables, hash, word, touched);
        }
    }
    true
}

/// Replaces a flow's word where it stands. Another CPU may have changed it meanwhile; then its
/// change stands.
#[inline(always)]
pub(super) fn touch<T: Tables>(tables: &T, hash: FlowHash, word: FlowWord, touched: FlowWord) {
    let [first, second] = hash.sets(tables.set_mask());
    if let (Some(first), Some(second)) = (tables.flow_set(first), tables.flow_set(second))
        && let Some(Place { set, way, old }) = standing(&[first, second], word)
    {
        if set == 0 {
            first.replace(way, old, touched)
        } else {
            second.replace(way, old, touched)
        };
    }
}

/// What becomes of a packet that no flow can have: it may still be for a VIP.
#[inline(always)]
fn odd_packet<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    ip: &Ipv4Packet<'_>,
    odd: Odd,
) -> Stop {
    let verdict = match (tables.vip(&Address::v4(ip.header.destination())), odd) {
        (Some(Vip::OWNED), Odd::Malformed) => Reason::DropMalformed.drop(),
        (Some(Vip::OWNED), Odd::Fragment) => Reason::DropFragment.drop(),
        (Some(Vip::OWNED), Odd::Protocol) if ip.header.protocol() == wire::ICMP => {
            answer::echo(packet, ip)
        }
        (Some(Vip::OWNED), Odd::Protocol) if is_martian(&ip.header) => Reason::DropMartian.drop(),
        (Some(Vip::OWNED), Odd::Protocol) => {
            return Stop::Error(IcmpError::ProtocolUnreachable, Reason::ProtocolUnreachable);
        }
        (Some(_), Odd::Fragment) if opens_fragments_of_service(packet, tables, ip) => {
            // The kernel would put the packet together and answer it itself, with a reset.
            Reason::DropFragment.drop()
        }
        (Some(_), _) => Reason::PassLocalVip.pass(),
        (None, _) => Reason::PassNotVip.pass(),
    };
    verdict.into()
}

/// Whether this is the first fragment of a packet to a service. Without it, the others come to
/// nothing.
#[inline(always)]
fn opens_fragments_of_service<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    ip: &Ipv4Packet<'_>,
) -> bool {
    let header = ip.header;
    let transport = ip.offset() + header.header_length();
    let Some(ports) = packet.load::<4>(transport) else {
        return false;
    };
    let service = FlowPacket { header, ports, flags: 0, related: false }.key().service();
    header.is_first_fragment() && tables.service_index(&service).is_some()
}
