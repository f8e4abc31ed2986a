//! ICMP for IPv4 (RFC 792): the messages that the director sends and answers.

use network_types::icmp::{Icmpv4Hdr, Icmpv4Type};

/// Length of a header.
pub const HEADER: usize = size_of::<Icmpv4Hdr>();
/// Type of an echo request.
pub const ECHO: u8 = Icmpv4Type::Echo as u8;
/// Type of an echo reply.
pub const ECHO_REPLY: u8 = Icmpv4Type::EchoReply as u8;
/// TOS of an ICMP error about a packet: its type of service under precedence "internetwork control"
/// (RFC 1812, 4.3.2.5), as Linux's `icmp_send` makes it.
#[inline(always)]
pub const fn error_tos(tos: u8) -> u8 {
    tos & 0x1e | 0xc0
}
/// The longest ICMP error, outer header included (RFC 1812, 4.3.2.3).
pub const ERROR_LENGTH: usize = 576;

/// Whether a message of this type is an error that IPVS relays (`ip_vs_in_icmp`): destination
/// unreachable, source quench, time exceeded.
#[inline(always)]
pub const fn is_relayed(kind: u8) -> bool {
    matches!(kind, UNREACHABLE | SOURCE_QUENCH | TIME_EXCEEDED)
}

const UNREACHABLE: u8 = Icmpv4Type::DestinationUnreachable as u8;
/// Deprecated by RFC 6633, but IPVS relays it.
const SOURCE_QUENCH: u8 = 4;
/// network-types lacks it.
const TIME_EXCEEDED: u8 = 11;

/// An error about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// Destination unreachable, fragmentation needed (RFC 1191), with the MTU that fits.
    FragmentationNeeded(u16),
    /// Destination unreachable, host unreachable.
    HostUnreachable,
    /// Destination unreachable, protocol unreachable.
    ProtocolUnreachable,
    /// Destination unreachable, port unreachable.
    PortUnreachable,
    /// Time to live exceeded in transit.
    TimeExceeded,
}

impl IcmpError {
    /// Type, code and the four bytes after the checksum.
    #[inline(always)]
    pub const fn message(self) -> (u8, u8, [u8; 4]) {
        match self {
            Self::FragmentationNeeded(mtu) => {
                let [high, low] = mtu.to_be_bytes();
                (UNREACHABLE, 4, [0, 0, high, low])
            }
            Self::HostUnreachable => (UNREACHABLE, 1, [0; 4]),
            Self::ProtocolUnreachable => (UNREACHABLE, 2, [0; 4]),
            Self::PortUnreachable => (UNREACHABLE, 3, [0; 4]),
            Self::TimeExceeded => (TIME_EXCEEDED, 0, [0; 4]),
        }
    }
}

const _: () = assert!(HEADER == 8);
