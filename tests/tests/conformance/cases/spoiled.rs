//! Packets that are not what they should be.

use crate::{
    network::{self, Port},
    packet::{ACK, SYN},
    script::{Case, Script},
};

/// A SYN from a source address that no client has.
fn syn_from(s: &mut Script, source: [u8; 4]) {
    s.tcp("rr", &[1]);
    let mut flow = s.flow(1);
    flow.client = source.into();
    s.send(&flow.syn());
}

/// A frame of a good SYN with another MAC address to send it to.
fn syn_to_mac(s: &mut Script, mac: [u8; 6]) {
    s.tcp("rr", &[1]);
    let mut frame = network::frame(Port::Clients, &s.flow(1).syn().bytes());
    frame[..6].copy_from_slice(&mac);
    s.send_frame(Port::Clients, frame);
}

/// A frame of a good SYN with a VLAN tag.
fn syn_with_tag(s: &mut Script, tag: [u8; 2]) {
    s.tcp("rr", &[1]);
    let mut frame = network::frame(Port::Clients, &s.flow(1).syn().bytes());
    frame.splice(12..12, [[0x81, 0x00], tag].concat());
    s.send_frame(Port::Clients, frame);
}

pub(crate) const CASES: &[Case] = &[
    ("source 127.0.0.1", |s| syn_from(s, [127, 0, 0, 1])),
    ("source 0.0.0.0", |s| syn_from(s, [0, 0, 0, 0])),
    ("source 0.1.2.3", |s| syn_from(s, [0, 1, 2, 3])),
    ("source 224.0.0.1", |s| syn_from(s, [224, 0, 0, 1])),
    ("source 240.0.0.1", |s| syn_from(s, [240, 0, 0, 1])),
    ("source 255.255.255.255", |s| syn_from(s, [255; 4])),
    ("source 169.254.1.1", |s| syn_from(s, [169, 254, 1, 1])),
    ("source is the VIP", |s| syn_from(s, s.vip.octets())),
    ("source is the director, clients' side", |s| {
        syn_from(s, network::DIRECTOR_CLIENTS.octets());
    }),
    ("source is the director, servers' side", |s| {
        syn_from(s, network::DIRECTOR_SERVERS.octets());
    }),
    ("source is the clients' network itself", |s| syn_from(s, [10, 9, 0, 0])),
    ("source is the clients' broadcast address", |s| syn_from(s, [10, 9, 0, 255])),
    ("source is a real server", |s| syn_from(s, network::server(1).octets())),
    ("source without a route back", |s| syn_from(s, [100, 64, 0, 1])),
    ("source port 0", |s| {
        s.tcp("rr", &[1]);
        s.send(&s.flow(1).with_client_port(0).syn());
    }),
    ("another host's MAC address", |s| syn_to_mac(s, [2, 0, 10, 9, 0, 77])),
    ("the broadcast MAC address", |s| syn_to_mac(s, [0xff; 6])),
    ("a multicast MAC address", |s| syn_to_mac(s, [1, 0, 0x5e, 0, 0, 1])),
    ("a VLAN tag of no VLAN", |s| syn_with_tag(s, [0xe0, 0])),
    ("a VLAN tag of a VLAN that the director is not in", |s| syn_with_tag(s, [0, 7])),
    ("wrong header checksum", |s| {
        s.tcp("rr", &[1]);
        let mut packet = s.flow(1).syn().bytes();
        packet[10] ^= 0x55;
        s.send_bytes(&packet);
    }),
    ("wrong header checksum, known flow", |s| {
        s.tcp("rr", &[1]);
        s.syns([1]);
        let mut packet = s.flow(1).tcp(ACK).bytes();
        packet[10] ^= 0x55;
        s.send_bytes(&packet);
    }),
    ("wrong TCP checksum, no flow", |s| {
        s.tcp("rr", &[1]);
        let mut packet = s.flow(1).tcp(ACK).bytes();
        packet[36] ^= 0x55;
        s.send_bytes(&packet);
    }),
    ("wrong TCP checksum", |s| {
        s.tcp("rr", &[1]);
        let mut packet = s.flow(1).syn().bytes();
        packet[36] ^= 0x55;
        s.send_bytes(&packet);
    }),
    ("wrong UDP checksum", |s| {
        s.udp("rr", &[1]);
        let mut packet = s.flow(1).udp(b"a question").bytes();
        packet[26] ^= 0x55;
        s.send_bytes(&packet);
    }),
    ("no UDP checksum", |s| {
        s.udp("rr", &[1]);
        let mut packet = s.flow(1).udp(b"a question").bytes();
        packet[26..28].fill(0);
        s.send_bytes(&packet);
    }),
    ("UDP that says it is longer than its packet", |s| {
        s.udp("rr", &[1]);
        let mut packet = s.flow(1).udp(b"a question").bytes();
        packet[24] = 1;
        s.send_bytes(&packet);
    }),
    ("UDP that says it is shorter than its header", |s| {
        s.udp("rr", &[1]);
        let mut packet = s.flow(1).udp(b"a question").bytes();
        packet[25] = 4;
        s.send_bytes(&packet);
    }),
    ("UDP of 7 bytes", |s| {
        s.udp("rr", &[1]);
        let mut packet = s.flow(1).udp(b"");
        packet.payload.truncate(7);
        s.send(&packet);
    }),
    ("TCP of 19 bytes", |s| {
        s.tcp("rr", &[1]);
        let mut packet = s.flow(1).syn();
        packet.payload.truncate(19);
        s.send(&packet);
    }),
    ("TCP data offset below a header", |s| {
        s.tcp("rr", &[1]);
        let mut packet = s.flow(1).syn();
        packet.payload[12] = 0x20;
        s.send(&packet);
    }),
    ("TCP data offset beyond the packet", |s| {
        s.tcp("rr", &[1]);
        let mut packet = s.flow(1).syn();
        packet.payload[12] = 0xf0;
        s.send(&packet);
    }),
    ("IP version 5", |s| {
        s.tcp("rr", &[1]);
        s.send_bytes(&s.flow(1).syn().spoiled(|bytes| bytes[0] = 0x55));
    }),
    ("IP header of 16 bytes", |s| {
        s.tcp("rr", &[1]);
        s.send_bytes(&s.flow(1).syn().spoiled(|bytes| bytes[0] = 0x44));
    }),
    ("IP length beyond the frame", |s| {
        s.tcp("rr", &[1]);
        s.send_bytes(&s.flow(1).syn().spoiled(|bytes| bytes[3] += 8));
    }),
    ("IP length below the header", |s| {
        s.tcp("rr", &[1]);
        s.send_bytes(&s.flow(1).syn().spoiled(|bytes| bytes[3] = 12));
    }),
    ("a frame that ends within the IP header", |s| {
        s.tcp("rr", &[1]);
        let packet = s.flow(1).tcp_with(SYN, b"data").bytes();
        s.send_bytes(&packet[..18]);
    }),
];
