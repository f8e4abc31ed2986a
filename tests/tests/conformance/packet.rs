//! Packets of clients, well formed unless a case spoils them.

use std::net::Ipv4Addr;

use etherparse::{IpFragOffset, IpNumber, Ipv4Header, Ipv4Options, TcpHeader, UdpHeader};

/// TCP flags.
pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const URG: u8 = 0x20;
pub(crate) const ECE: u8 = 0x40;
pub(crate) const CWR: u8 = 0x80;

/// A client's flow to a VIP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub(crate) client: Ipv4Addr,
    pub(crate) client_port: u16,
    pub(crate) vip: Ipv4Addr,
    pub(crate) port: u16,
}

impl Flow {
    pub(crate) const fn new(client: Ipv4Addr, vip: Ipv4Addr, port: u16) -> Self {
        Self { client, client_port: 40_000, vip, port }
    }

    /// Another flow of the same client.
    pub(crate) const fn with_client_port(self, client_port: u16) -> Self {
        Self { client_port, ..self }
    }

    /// A TCP segment with these flags and no payload.
    pub(crate) fn tcp(self, flags: u8) -> Packet {
        self.tcp_with(flags, &[])
    }

    pub(crate) fn syn(self) -> Packet {
        self.tcp(SYN)
    }

    /// A TCP segment with these flags.
    pub(crate) fn tcp_with(self, flags: u8, payload: &[u8]) -> Packet {
        let mut packet = Packet::new(self.client, self.vip, IpNumber::TCP);
        let mut tcp = TcpHeader::new(self.client_port, self.port, 1_000_000, 64_000);
        tcp.fin = flags & FIN != 0;
        tcp.syn = flags & SYN != 0;
        tcp.rst = flags & RST != 0;
        tcp.psh = flags & PSH != 0;
        tcp.ack = flags & ACK != 0;
        tcp.urg = flags & URG != 0;
        tcp.ece = flags & ECE != 0;
        tcp.cwr = flags & CWR != 0;
        tcp.acknowledgment_number = if tcp.ack { 2_000_000 } else { 0 };
        tcp.checksum = tcp.calc_checksum_ipv4(&packet.header, payload).expect("short enough");
        packet.payload = tcp.to_bytes().to_vec();
        packet.payload.extend_from_slice(payload);
        packet
    }

    /// A TCP segment with ACK that makes an IPv4 packet of `length` bytes.
    pub(crate) fn tcp_of_length(self, length: usize) -> Packet {
        self.tcp_with(ACK, &vec![b'x'; length - Ipv4Header::MIN_LEN - TcpHeader::MIN_LEN])
    }

    /// A UDP datagram.
    pub(crate) fn udp(self, payload: &[u8]) -> Packet {
        let mut packet = Packet::new(self.client, self.vip, IpNumber::UDP);
        let udp =
            UdpHeader::with_ipv4_checksum(self.client_port, self.port, &packet.header, payload);
        packet.payload = udp.expect("short enough").to_bytes().to_vec();
        packet.payload.extend_from_slice(payload);
        packet
    }

    /// A UDP datagram that makes an IPv4 packet of `length` bytes.
    pub(crate) fn udp_of_length(self, length: usize) -> Packet {
        self.udp(&vec![b'x'; length - Ipv4Header::MIN_LEN - UdpHeader::LEN])
    }

    /// What a real server answers on this flow, straight to the client.
    pub(crate) fn answer(self) -> Packet {
        let back = Self {
            client: self.vip,
            client_port: self.port,
            vip: self.client,
            port: self.client_port,
        };
        back.tcp_with(ACK, b"an answer")
    }
}

/// An IPv4 packet whose lengths and checksums are right when its bytes are asked for.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) header: Ipv4Header,
    pub(crate) payload: Vec<u8>,
}

impl Packet {
    pub(crate) fn new(source: Ipv4Addr, destination: Ipv4Addr, protocol: IpNumber) -> Self {
        let header = Ipv4Header::new(0, 64, protocol, source.octets(), destination.octets());
        let mut header = header.expect("an empty packet");
        header.identification = 0x1234;
        header.dont_fragment = true;
        Self { header, payload: Vec::new() }
    }

    /// An ICMP message; `rest` are the four bytes after the checksum.
    pub(crate) fn icmp(
        source: Ipv4Addr,
        destination: Ipv4Addr,
        (kind, code): (u8, u8),
        rest: [u8; 4],
        payload: &[u8],
    ) -> Self {
        let mut packet = Self::new(source, destination, IpNumber::ICMP);
        packet.payload = vec![kind, code, 0, 0];
        packet.payload.extend(rest);
        packet.payload.extend_from_slice(payload);
        let checksum = checksum(&packet.payload).to_be_bytes();
        packet.payload[2..4].copy_from_slice(&checksum);
        packet
    }

    pub(crate) const fn ttl(mut self, ttl: u8) -> Self {
        self.header.time_to_live = ttl;
        self
    }

    /// DSCP and ECN in one byte.
    pub(crate) fn tos(mut self, tos: u8) -> Self {
        self.header.dscp = (tos >> 2).try_into().expect("six bits");
        self.header.ecn = (tos & 3).try_into().expect("two bits");
        self
    }

    pub(crate) const fn id(mut self, id: u16) -> Self {
        self.header.identification = id;
        self
    }

    /// Without DF.
    pub(crate) const fn may_fragment(mut self) -> Self {
        self.header.dont_fragment = false;
        self
    }

    /// With IP options, a multiple of four bytes.
    pub(crate) fn options(mut self, options: &[u8]) -> Self {
        self.header.options = Ipv4Options::try_from(options).expect("a multiple of four");
        self
    }

    /// Its bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut header = self.header.clone();
        header.set_payload_len(self.payload.len()).expect("short enough");
        header.header_checksum = header.calc_header_checksum();
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// Its bytes with the header spoiled by `change`, its checksum right again.
    pub(crate) fn spoiled(&self, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut bytes = self.bytes();
        change(&mut bytes);
        bytes[10..12].fill(0);
        let sum = checksum(&bytes[..self.header.header_len()]).to_be_bytes();
        bytes[10..12].copy_from_slice(&sum);
        bytes
    }

    /// The packet cut into fragments at these offsets of its payload, which are multiples of 8.
    pub(crate) fn fragments(&self, cuts: &[usize]) -> Vec<Vec<u8>> {
        let starts = std::iter::once(&0).chain(cuts);
        let ends = cuts.iter().chain(std::iter::once(&usize::MAX));
        let piece = |(start, end): (&usize, &usize)| {
            let end = (*end).min(self.payload.len());
            let mut piece = self.clone().may_fragment();
            piece.header.dont_fragment = self.header.dont_fragment;
            piece.payload = self.payload[*start..end].to_vec();
            piece.header.more_fragments = end < self.payload.len();
            let offset = u16::try_from(start / 8).expect("short enough");
            piece.header.fragment_offset = IpFragOffset::try_new(offset).expect("short enough");
            piece.bytes()
        };
        starts.zip(ends).map(piece).collect()
    }
}

/// The internet checksum (RFC 1071).
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    !ones_complement_sum(bytes)
}

fn ones_complement_sum(bytes: &[u8]) -> u16 {
    let pairs = bytes.chunks(2).map(|pair| [pair[0], pair.get(1).copied().unwrap_or(0)]);
    let mut sum: u32 = pairs.map(|pair| u32::from(u16::from_be_bytes(pair))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}
