//! Who answers ARP for a VIP.

use std::net::Ipv4Addr;

use lb_userspace::demo::seed::mac_of;

use crate::{
    network::{self, Port},
    script::{Case, Script},
};

const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const BROADCAST: [u8; 6] = [0xff; 6];
const REQUEST: u8 = 1;
const REPLY: u8 = 2;

/// An ARP packet of the clients' router, after a service is there.
fn arp(s: &mut Script, to: [u8; 6], operation: u8, sender: Ipv4Addr, target: Ipv4Addr) {
    s.tcp("rr", &[1]);
    let mac = mac_of(ROUTER).0;
    let mut frame = [to, mac].concat();
    frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, operation]);
    frame.extend(mac);
    frame.extend(sender.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    s.send_frame(Port::Clients, frame);
}

pub(crate) const CASES: &[Case] = &[
    ("ARP request for the VIP", |s| arp(s, BROADCAST, REQUEST, ROUTER, s.vip)),
    ("ARP request for the VIP, to the director alone", |s| {
        arp(s, mac_of(network::DIRECTOR_CLIENTS).0, REQUEST, ROUTER, s.vip);
    }),
    ("ARP probe for the VIP, by a host without an address", |s| {
        arp(s, BROADCAST, REQUEST, Ipv4Addr::UNSPECIFIED, s.vip);
    }),
    ("ARP announcement of the VIP by another host", |s| {
        arp(s, BROADCAST, REQUEST, s.vip, s.vip);
    }),
    ("ARP reply about the VIP", |s| arp(s, BROADCAST, REPLY, ROUTER, s.vip)),
    ("ARP request for the director itself", |s| {
        arp(s, BROADCAST, REQUEST, ROUTER, network::DIRECTOR_CLIENTS);
    }),
    ("ARP request for an address that nobody has", |s| {
        arp(s, BROADCAST, REQUEST, ROUTER, Ipv4Addr::new(10, 9, 0, 99));
    }),
    ("ARP request for the VIP, padded", |s| {
        arp(s, BROADCAST, REQUEST, ROUTER, s.vip);
        s.pad_last(60);
    }),
];
