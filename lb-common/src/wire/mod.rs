//! Headers on the wire. Layouts and protocol numbers come from network-types; here stand only the
//! views on bytes that the pipeline needs, the checksum, and headers that we write.

pub mod checksum;
pub mod ethernet;
pub mod icmp;
pub mod ipv4;
pub mod tcp;

/// TCP's number (IANA protocol numbers).
pub const TCP: u8 = network_types::ip::IpProto::Tcp as u8;
/// UDP's number.
pub const UDP: u8 = network_types::ip::IpProto::Udp as u8;
/// ICMP's number.
pub const ICMP: u8 = network_types::ip::IpProto::Icmp as u8;
/// The number of IPv4 in IP, RFC 2003.
pub const IPIP: u8 = network_types::ip::IpProto::Ipv4 as u8;
