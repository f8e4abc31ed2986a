//! Tables with two services of two real servers each, and frames for them, built by etherparse.
#![allow(dead_code, reason = "every test uses a part of it")]

use etherparse::{Ethernet2Header, IpNumber, Ipv4Header, TcpHeader, UdpHeader};
use lb_common::{
    Action, Address, Be16, MacAddress, Reason, Verdict, director,
    flow::HashSeed,
    memory::{MemoryPacket, MemoryTables},
    table::{Interface, LookupTable, RealServer, Service, ServiceKey, Vip, VipFilter, Vlan},
};

pub(crate) const SEED: HashSeed = HashSeed([
    0x243F_6A88_85A3_08D3,
    0x1319_8A2E_0370_7344,
    0xA409_3822_299F_31D0,
    0x082E_FA98_EC4E_6C89,
]);
pub(crate) const VIP: [u8; 4] = [192, 168, 19, 100];
pub(crate) const CLIENT: [u8; 4] = [192, 168, 18, 250];
pub(crate) const DIRECTOR: [u8; 4] = [192, 168, 19, 254];
pub(crate) const DIRECTOR_MAC: [u8; 6] = [2, 0, 0, 0, 0x19, 0xfe];
pub(crate) const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0x19, 1];
pub(crate) const INTERFACE: u32 = 1;
pub(crate) const HTTP: u16 = 80;
pub(crate) const HTTPS: u16 = 443;
pub(crate) const DNS: u16 = 53;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const FIN: u8 = 0x01;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;

/// TCP ports 80 and 443 and UDP port 53 of [`VIP`], each with real servers `2 n` and `2 n + 1`.
pub(crate) fn tables(flow_sets: u32) -> MemoryTables {
    let mut tables = MemoryTables::new(flow_sets, SEED, 1000);
    tables.front.interfaces[0] = Interface::new(MacAddress(DIRECTOR_MAC));
    tables.vips.insert(Address::v4(VIP), Vip::OWNED);
    tables.front.vip_filter = VipFilter::of([Address::v4(VIP)]);
    for (index, (port, protocol)) in [(HTTP, 6), (HTTPS, 6), (DNS, 17)].into_iter().enumerate() {
        let key = ServiceKey::new(Address::v4(VIP), Be16::new(port), protocol);
        let first = 2 * index as u32;
        tables.services.push(Service {
            table: LookupTable::new(first, 2),
            key,
            scheduler: Service::ROUND_ROBIN,
            ..Service::default()
        });
        tables.service_indices.insert(key, index as u32);
        for server in [first, first + 1] {
            tables.lookup.push(server);
            tables.real_servers.push(RealServer {
                service: key,
                interface: INTERFACE,
                next_hop: MacAddress([2, 0, 0, 0, 0x19, 2 + server as u8]),
                source_mac: MacAddress(DIRECTOR_MAC),
                vlan: Vlan::NONE,
                mtu: 1500,
                address: Address::v4(server_address(server)),
                source: Address::v4(DIRECTOR),
                service_index: index as u32,
                weight: 1,
                ..RealServer::default()
            });
        }
    }
    tables
}

pub(crate) fn server_address(server: u32) -> [u8; 4] {
    [10, 0, 0, 1 + server as u8]
}

/// An IPv4 header from [`CLIENT`] to [`VIP`], its checksum and length still to come.
pub(crate) fn header(protocol: IpNumber) -> Ipv4Header {
    let mut header = Ipv4Header::new(0, 64, protocol, CLIENT, VIP).expect("a header");
    header.dont_fragment = true;
    header
}

pub(crate) fn tcp(source_port: u16, destination_port: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut tcp = TcpHeader::new(source_port, destination_port, 1000, 65535);
    tcp.fin = flags & FIN != 0;
    tcp.syn = flags & SYN != 0;
    tcp.rst = flags & RST != 0;
    tcp.psh = flags & PSH != 0;
    tcp.ack = flags & ACK != 0;
    tcp.urg = flags & 0x20 != 0;
    tcp.ece = flags & 0x40 != 0;
    tcp.cwr = flags & 0x80 != 0;
    [&tcp.to_bytes()[..], payload].concat()
}

pub(crate) fn udp(source_port: u16, destination_port: u16, payload: &[u8]) -> Vec<u8> {
    let header = UdpHeader::without_ipv4_checksum(source_port, destination_port, payload.len())
        .expect("fits");
    [&header.to_bytes()[..], payload].concat()
}

/// The packet with its length and checksum filled in.
pub(crate) fn packet(mut header: Ipv4Header, transport: &[u8]) -> Vec<u8> {
    header.set_payload_len(transport.len()).expect("fits");
    header.header_checksum = header.calc_header_checksum();
    [&header.to_bytes()[..], transport].concat()
}

/// A frame from the router to the director; tags are (EtherType, TCI).
pub(crate) fn frame(packet: &[u8], tags: &[(u16, u16)]) -> Vec<u8> {
    let ethernet = Ethernet2Header {
        destination: DIRECTOR_MAC,
        source: ROUTER_MAC,
        ether_type: tags.first().map_or(0x0800, |tag| tag.0).into(),
    };
    let mut frame = ethernet.to_bytes().to_vec();
    for (position, (_, tci)) in tags.iter().enumerate() {
        frame.extend(tci.to_be_bytes());
        frame.extend(tags.get(position + 1).map_or(0x0800u16, |tag| tag.0).to_be_bytes());
    }
    frame.extend(packet);
    frame
}

/// A TCP packet of a client to a port.
pub(crate) fn segment(
    client: [u8; 4],
    source_port: u16,
    destination_port: u16,
    flags: u8,
) -> Vec<u8> {
    let mut header = header(IpNumber::TCP);
    header.source = client;
    frame(&packet(header, &tcp(source_port, destination_port, flags, b"")), &[])
}

/// A UDP packet of a client to a port.
pub(crate) fn datagram(client: [u8; 4], source_port: u16, destination_port: u16) -> Vec<u8> {
    let mut header = header(IpNumber::UDP);
    header.source = client;
    frame(&packet(header, &udp(source_port, destination_port, b"?")), &[])
}

/// Sends a frame through the director.
pub(crate) fn direct(tables: &MemoryTables, frame: &[u8]) -> (Verdict, Vec<u8>) {
    let mut packet = MemoryPacket::new(frame, INTERFACE);
    let verdict = director(&mut packet, &tables);
    (verdict, packet.frame().to_vec())
}

/// The real server that an untagged frame from the director goes to.
pub(crate) fn server_of(frame: &[u8]) -> u32 {
    u32::from(frame[33]) - 1
}

/// Sends a frame that must reach a real server; which, and as the first of its flow?
pub(crate) fn reached(tables: &MemoryTables, frame: &[u8]) -> (u32, bool) {
    let (verdict, out) = direct(tables, frame);
    assert_eq!(verdict.action(), Action::Transmit, "{verdict:?}");
    let new = match verdict.reason {
        Reason::Scheduled => true,
        Reason::Forwarded => false,
        other => panic!("{other:?}"),
    };
    (server_of(&out), new)
}
