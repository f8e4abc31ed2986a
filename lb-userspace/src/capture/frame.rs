//! Reads a captured frame: Ethernet, IPv4, IPv4 in IPv4, TCP and UDP ports. It judges nothing but
//! lengths.
//!
//! Not the pipeline's parser: what checks the director must not share its code.

use std::{fmt, net::Ipv4Addr};

use serde::{Serialize, Serializer};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const PROTOCOL_IPIP: u8 = 4;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const ETHERNET_LENGTH: usize = 14;
const IPV4_LENGTH: usize = 20;

/// A MAC address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The Ethernet header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ethernet {
    /// The sender on this link.
    pub source: Mac,
    /// The receiver on this link.
    pub destination: Mac,
}

/// A frame, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its Ethernet header.
    pub ethernet: Ethernet,
    /// What it carries.
    pub payload: Payload,
}

/// What a frame carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// An ARP packet.
    Arp,
    /// An IPv4 packet.
    Ip(Ip),
    /// Anything else, or an IPv4 packet that is cut short.
    Other,
}

/// An IPv4 packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ip {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Protocol number.
    pub protocol: u8,
    /// Time to live, in hops.
    pub ttl: u8,
    /// Type of service: DSCP and ECN.
    pub tos: u8,
    /// Do not fragment.
    pub dont_fragment: bool,
    /// The length that the header states, header included, in bytes.
    pub total_length: u16,
    /// The header's own length, in bytes.
    pub header_length: u16,
    /// Whether the header's checksum is right.
    pub checksum_valid: bool,
    /// TCP or UDP ports, of a packet that is not a later fragment.
    pub ports: Option<Ports>,
    /// The packet inside, if the protocol is IP in IP.
    pub inner: Option<Box<Ip>>,
    /// What follows the header, up to the stated length.
    pub body: Vec<u8>,
}

/// The ports of a TCP segment or a UDP datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ports {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
}

impl Frame {
    /// Reads a frame from its destination MAC on; none if it is shorter than an Ethernet header.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let header = bytes.first_chunk::<ETHERNET_LENGTH>()?;
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, type_high, type_low] = *header;
        let ethernet = Ethernet {
            source: Mac([s0, s1, s2, s3, s4, s5]),
            destination: Mac([d0, d1, d2, d3, d4, d5]),
        };
        let rest = &bytes[ETHERNET_LENGTH..];
        let payload = match u16::from_be_bytes([type_high, type_low]) {
            ETHERTYPE_ARP => Payload::Arp,
            ETHERTYPE_IPV4 => Ip::parse(rest).map_or(Payload::Other, Payload::Ip),
            _ => Payload::Other,
        };
        Some(Self { ethernet, payload })
    }

    /// The IPv4 packet that it carries.
    #[must_use]
    pub fn ip(&self) -> Option<&Ip> {
        match &self.payload {
            Payload::Ip(ip) => Some(ip),
            Payload::Arp | Payload::Other => None,
        }
    }
}

impl Ip {
    /// Reads an IPv4 packet; none if the header is malformed or the bytes end before the stated
    /// length.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let fixed = bytes.first_chunk::<IPV4_LENGTH>()?;
        let header_length = usize::from(fixed[0] & 0x0f) * 4;
        let total_length = u16::from_be_bytes([fixed[2], fixed[3]]);
        if fixed[0] >> 4 != 4
            || header_length < IPV4_LENGTH
            || usize::from(total_length) < header_length
        {
            return None;
        }
        // What lies behind the stated length is padding of a short Ethernet frame.
        let packet = bytes.get(..usize::from(total_length))?;
        let (header, body) = packet.split_at_checked(header_length)?;
        let fragment = u16::from_be_bytes([fixed[6], fixed[7]]);
        let first_fragment = fragment & 0x1fff == 0;
        let protocol = fixed[9];
        Some(Self {
            source: Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]),
            destination: Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]),
            protocol,
            ttl: fixed[8],
            tos: fixed[1],
            dont_fragment: fragment & 0x4000 != 0,
            total_length,
            header_length: u16::try_from(header_length).ok()?,
            checksum_valid: ones_complement_sum(header) == 0xffff,
            ports: match (protocol, body) {
                (PROTOCOL_TCP | PROTOCOL_UDP, [a, b, c, d, ..]) if first_fragment => Some(Ports {
                    source: u16::from_be_bytes([*a, *b]),
                    destination: u16::from_be_bytes([*c, *d]),
                }),
                _ => None,
            },
            inner: if protocol == PROTOCOL_IPIP && first_fragment {
                Self::parse(body).map(Box::new)
            } else {
                None
            },
            body: body.to_vec(),
        })
    }

    /// Whether it is a TCP segment.
    #[must_use]
    pub const fn is_tcp(&self) -> bool {
        self.protocol == PROTOCOL_TCP
    }

    /// Whether it is an IPv4 packet in an IPv4 packet.
    #[must_use]
    pub const fn is_ipip(&self) -> bool {
        self.protocol == PROTOCOL_IPIP
    }
}

/// The ones' complement sum of 16-bit words (RFC 1071); 0xffff over a header with a right checksum.
fn ones_complement_sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use etherparse::{PacketBuilder, ip_number};

    use super::*;

    fn inner() -> Vec<u8> {
        let mut bytes = Vec::new();
        PacketBuilder::ipv4([192, 168, 18, 250], [192, 168, 19, 100], 62)
            .tcp(33456, 80, 1, 1024)
            .write(&mut bytes, b"GET /")
            .expect("writes to memory");
        bytes
    }

    fn encapsulated() -> Vec<u8> {
        let inner = inner();
        let header = etherparse::Ipv4Header::new(
            u16::try_from(inner.len()).expect("short"),
            62,
            ip_number::IPV4,
            [192, 168, 19, 254],
            [192, 168, 19, 2],
        )
        .expect("short");
        let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
        header.write(&mut bytes).expect("writes to memory");
        bytes.extend(inner);
        bytes
    }

    #[test]
    fn encapsulated_frame_reads_as_outer_and_inner() {
        let frame = Frame::parse(&encapsulated()).expect("a frame");
        assert_eq!(frame.ethernet.source.to_string(), "02:00:00:00:00:01");
        let outer = frame.ip().expect("an IPv4 packet");
        assert!(outer.is_ipip() && outer.checksum_valid);
        assert_eq!(outer.destination, Ipv4Addr::new(192, 168, 19, 2));
        assert_eq!(outer.ports, None);
        let inner = outer.inner.as_deref().expect("a packet inside");
        assert!(inner.is_tcp() && inner.checksum_valid);
        assert_eq!(inner.ports, Some(Ports { source: 33456, destination: 80 }));
        assert_eq!(outer.total_length, inner.total_length + 20);
    }

    #[test]
    fn wrong_checksum_is_seen() {
        let mut bytes = encapsulated();
        bytes[ETHERNET_LENGTH + 8] -= 1;
        let frame = Frame::parse(&bytes).expect("a frame");
        let outer = frame.ip().expect("an IPv4 packet");
        assert!(!outer.checksum_valid);
        assert!(outer.inner.as_ref().expect("a packet inside").checksum_valid);
    }

    #[test]
    fn padding_is_not_part_of_the_packet() {
        let mut bytes = encapsulated();
        let exact = Frame::parse(&bytes);
        bytes.extend([0; 6]);
        assert_eq!(Frame::parse(&bytes), exact);
    }

    #[test]
    fn no_prefix_of_a_frame_panics_or_reads_as_whole() {
        let bytes = encapsulated();
        for length in 0..bytes.len() {
            if let Some(frame) = Frame::parse(&bytes[..length]) {
                assert_eq!(frame.payload, Payload::Other, "{length} bytes");
            }
        }
    }

    #[test]
    fn options_and_later_fragments_have_no_wrong_ports() {
        let mut later = inner();
        later[7] = 1;
        assert_eq!(Ip::parse(&later).expect("a packet").ports, None);

        let mut options = inner();
        options[0] = 0x46;
        options.splice(20..20, [1, 1, 1, 1]);
        let length = u16::try_from(options.len()).expect("short");
        options[2..4].copy_from_slice(&length.to_be_bytes());
        let packet = Ip::parse(&options).expect("a packet");
        assert_eq!(packet.header_length, 24);
        assert_eq!(packet.ports.map(|ports| ports.destination), Some(80));
    }
}
