//! ICMP errors about a flow: they belong to its real server, which the packet quoted in them tells.
//!
//! A router on the way from a real server to a client reports to the sender, that is to the VIP. Without
//! these messages a real server would never learn of a smaller path MTU.

use super::ipv4::{FlowPacket, Ipv4Packet, is_martian};
use crate::{
    address::Address,
    packet::Packet,
    table::Tables,
    wire::{
        self, icmp,
        ipv4::{self, Ipv4},
    },
};

/// The flow that an ICMP error is about, if it is one that IPVS relays (destination unreachable, source
/// quench, time exceeded) and quotes a TCP or UDP packet through its ports. The quoted packet went
/// from the VIP to the client, so its key is read in reverse. Its checksum and the message's are not
/// looked at, as IPVS does not.
#[inline(always)]
pub(super) fn quoted_flow<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    ip: &Ipv4Packet<'_>,
) -> Option<FlowPacket> {
    if ip.header.protocol() != wire::ICMP || is_martian(&ip.header) {
        return None;
    }
    // The filter in front lets some addresses through that are no VIPs.
    tables.vip(&Address::v4(ip.header.destination()))?;
    let message = ip.offset() + ip.header.header_length();
    let [kind, ..] = packet.load::<2>(message)?;
    let quote = message + icmp::HEADER;
    let quoted = Ipv4::from_bytes(packet.load::<{ ipv4::HEADER }>(quote)?);
    let transport = quote + quoted.header_length();
    let ports = packet.load::<4>(transport)?;
    let end = ip.offset() + ip.header.total_length();
    let balanced = quoted.protocol() == wire::TCP || quoted.protocol() == wire::UDP;
    if !icmp::is_relayed(kind)
        || !quoted.is_well_formed()
        || !quoted.is_first_fragment()
        || !balanced
        || transport + ports.len() > end
    {
        return None;
    }
    Some(FlowPacket::related(quoted.reversed(), ports))
}
