//! The schedulers' choices, against those of a running ip_vs.
//!
//! `data/ipvs_sequences.json` and `data/ipvs_mappings.json` were measured on Linux 6.1's ip_vs in
//! Tunnel mode: server k (`10.3.0.1k`) was added to a service in the order given, with its weight;
//! then new connections were opened and the servers noted that they went to (0: refused). Steps are
//! such choices, or changes in ipvsadm's words. Mappings have a choice per client, and
//! `data/ipvs_destinations.json` has one per VIP, each of a service of its own.
//!
//! Here the same goes through the whole of tunlb but the kernel: the edit of the file, the plan, the
//! tables, a packet through the pipeline.

use std::net::Ipv4Addr;

use lb_common::{
    MacAddress, Reason,
    memory::{MemoryPacket, MemoryTables, SEED},
    table::{Interface, RealServer, Service},
};
use lb_userspace::{
    config::{Change, Config, Overrides, Scheduler, SchedulerFlag, ServiceAddress},
    nexthop::NextHop,
    plan::{Desired, plan},
    tables::{Tables, Way},
};
use serde::Deserialize;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const VIP: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);

fn server(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 3, 0, 10 + number)
}

/// A director with one service, changed as from the command line.
struct Director {
    text: String,
    memory: MemoryTables,
    tables: Tables,
    service: ServiceAddress,
    client_port: u16,
}

impl Director {
    fn new(vip: Ipv4Addr, scheduler: Scheduler) -> Self {
        let mut memory = MemoryTables::new(1024, SEED, 1000);
        memory.services = vec![Service::default(); 1];
        memory.real_servers = vec![RealServer::default(); 64];
        memory.lookup = vec![0; 1 << 18];
        memory.front.interfaces[0] = Interface::new(MacAddress(MAC));
        memory.now = 1000;
        let tables = Tables::adopt(&mut memory).expect("empty");
        let service = format!("tcp:{vip}:80").parse().expect("a service");
        let text = "interfaces = [\"eth0\"]\n".into();
        let mut director = Self { text, memory, tables, service, client_port: 1000 };
        director.change(Change::AddService { service, scheduler });
        director
    }

    /// As measured: servers with these weights, added in this order.
    fn with_servers(vip: Ipv4Addr, scheduler: Scheduler, weights: &[u32], added: &[u8]) -> Self {
        let mut director = Self::new(vip, scheduler);
        for &number in added {
            director.add(number, weights[usize::from(number) - 1]);
        }
        director
    }

    fn add(&mut self, number: u8, weight: u32) {
        let weight = weight.to_string().parse().expect("a weight");
        self.change(Change::AddServer { service: self.service, server: server(number), weight });
    }

    fn change(&mut self, change: Change) {
        self.text = change.edit(&self.text).expect("possible");
        let config = Config::parse(&self.text, "t.toml", &Overrides::default()).expect("valid");
        let servers = config.services.iter().flat_map(|service| &service.servers);
        let ways = servers.map(|server| (server.address, Way::Over(HOP))).collect();
        let desired = Desired::new(config.services, &[].into());
        let diff = plan(&desired, self.tables.actual());
        self.tables.apply(&mut self.memory, &diff, &ways).expect("room");
        let adopted = Tables::adopt(&mut self.memory).expect("readable");
        assert_eq!(adopted.actual(), self.tables.actual(), "as another daemon would read it");
    }

    /// A change in ipvsadm's words.
    fn command(&mut self, command: &str) {
        let service = self.service;
        let words: Vec<_> = command.split(' ').collect();
        let number = |word: &str| word.parse().expect("a server's number");
        match words.as_slice() {
            ["-a", added] => self.add(number(added), 1),
            ["-d", gone] => {
                self.change(Change::DeleteServer { service, server: server(number(gone)) });
            }
            ["-e", changed, "-w", weight] => {
                let weight = weight.parse().expect("a weight");
                self.change(Change::EditServer {
                    service,
                    server: server(number(changed)),
                    weight,
                });
            }
            ["-E", "SVC", "-s", name] => {
                let name = name.parse().expect("a scheduler");
                let scheduler = Scheduler::new(name, &[], None).expect("no flags");
                self.change(Change::EditService { service, scheduler });
            }
            _ => panic!("`{command}`"),
        }
    }

    /// The server that a client's SYN goes to; 0 when it is refused.
    fn choice(&self, client: Ipv4Addr, port: u16) -> u8 {
        let mut frame = Vec::new();
        etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], MAC)
            .ipv4(client.octets(), self.service.vip.octets(), 64)
            .tcp(port, 80, 1, 1024)
            .syn()
            .write(&mut frame, &[])
            .expect("a frame");
        let mut packet = MemoryPacket::new(&frame, 7);
        let verdict = lb_common::director(&mut packet, &&self.memory);
        match verdict.reason {
            Reason::NoServer => 0,
            Reason::Scheduled => packet.frame()[33] - 10,
            other => panic!("{other:?}"),
        }
    }

    /// The choices for so many new flows in a row.
    fn choices(&mut self, flows: usize) -> Vec<u8> {
        let ports = self.client_port..;
        self.client_port += flows as u16;
        ports.take(flows).map(|port| self.choice(Ipv4Addr::new(10, 1, 0, 2), port)).collect()
    }
}

const HOP: NextHop = NextHop {
    interface: 7,
    vlan: None,
    source_mac: MAC,
    destination_mac: [2, 0, 0, 0, 0, 2],
    source: std::net::IpAddr::V4(Ipv4Addr::new(10, 2, 0, 1)),
    mtu: 1500,
};

fn scheduler(name: &str, flags: &[String]) -> Scheduler {
    let flags: Vec<SchedulerFlag> =
        flags.iter().map(|flag| flag.parse().expect("a flag")).collect();
    Scheduler::new(name.parse().expect("a name"), &flags, None).expect("compatible")
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Step {
    Choices(Vec<u8>),
    Command(String),
}

#[derive(Debug, Deserialize)]
struct Sequence {
    scheduler: String,
    weights: Vec<u32>,
    added: Vec<u8>,
    steps: Vec<Step>,
}

#[test]
fn every_measured_sequence() {
    let text = include_str!("data/ipvs_sequences.json");
    let sequences: Vec<Sequence> = serde_json::from_str(text).expect("the measured sequences");
    assert_eq!(sequences.len(), SEQUENCES);
    let (mut commands, mut anew) = (0, Vec::new());
    for sequence in &sequences {
        let Sequence { scheduler: name, weights, added, steps } = sequence;
        let mut director = Director::with_servers(VIP, scheduler(name, &[]), weights, added);
        for (number, step) in steps.iter().enumerate() {
            match step {
                // ip_vs starts anew when a weight is set to what it is; here nothing changes.
                Step::Command(command) if command == "-e 2 -w 1" => {
                    director.command(command);
                    let [Step::Choices(by_ipvs)] = &steps[number + 1..] else {
                        panic!("{sequence:?}")
                    };
                    anew.push((by_ipvs.clone(), director.choices(by_ipvs.len())));
                    break;
                }
                Step::Command(command) => {
                    director.command(command);
                    commands += 1;
                }
                Step::Choices(expected) => {
                    assert_eq!(&director.choices(expected.len()), expected, "{sequence:?}");
                }
            }
        }
    }
    assert_eq!(commands, COMMANDS);
    // By ip_vs, and here, where the turn goes on.
    assert_eq!(anew, [(vec![3, 2, 1, 3, 2, 1], vec![2, 1, 3, 2, 1, 3])]);
}

const SEQUENCES: usize = 46;
const COMMANDS: usize = 55;
const MAPPINGS: usize = 59;
/// Some mappings were measured with the first of the clients only.
const CHOICES: usize = 4640;

#[derive(Debug, Deserialize)]
struct Mappings {
    clients: Vec<(Ipv4Addr, u16)>,
    cases: Vec<Mapping>,
}

#[derive(Debug, Deserialize)]
struct Mapping {
    scheduler: String,
    flags: Vec<String>,
    weights: Vec<u32>,
    added: Vec<u8>,
    changes: Vec<String>,
    choices: String,
}

#[test]
fn every_measured_mapping() {
    let text = include_str!("data/ipvs_mappings.json");
    let Mappings { clients, cases } = serde_json::from_str(text).expect("the measured mappings");
    assert_eq!(cases.len(), MAPPINGS);
    let mut compared = 0;
    for case in &cases {
        let Mapping { scheduler: name, flags, weights, added, changes, choices } = case;
        let mut director = Director::with_servers(VIP, scheduler(name, flags), weights, added);
        for change in changes {
            director.command(change);
        }
        assert!(choices.len() <= clients.len(), "{case:?}");
        for ((client, port), expected) in clients.iter().zip(choices.bytes()) {
            let choice = director.choice(*client, *port);
            assert_eq!(choice, expected - b'0', "{client}:{port} of {case:?}");
            compared += 1;
        }
    }
    assert_eq!(compared, CHOICES);
}

#[derive(Debug, Deserialize)]
struct Destinations {
    weights: Vec<u32>,
    added: Vec<u8>,
    vips: Vec<Ipv4Addr>,
    choices: String,
}

#[test]
fn every_measured_destination() {
    let text = include_str!("data/ipvs_destinations.json");
    let cases: Vec<Destinations> = serde_json::from_str(text).expect("the measured choices");
    assert_eq!(cases.len(), 3);
    for case in &cases {
        let Destinations { weights, added, vips, choices } = case;
        assert_eq!(choices.len(), vips.len(), "{case:?}");
        for (vip, expected) in vips.iter().zip(choices.bytes()) {
            let mut director = Director::with_servers(*vip, Scheduler::Dh, weights, added);
            assert_eq!(director.choices(2), [expected - b'0'; 2], "{vip} of {case:?}");
        }
    }
}
