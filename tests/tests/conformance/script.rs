//! A case: what is set up and what is sent, written down once and played to every engine.

use std::net::Ipv4Addr;

use super::{
    network::{self, Port},
    packet::{Flow, Packet},
};

/// A name, and what the case does.
pub(crate) type Case = (&'static str, fn(&mut Script));

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

/// What names a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) protocol: Protocol,
    pub(crate) vip: Ipv4Addr,
    pub(crate) port: u16,
}

/// What an operator types.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    AddService { service: Service, scheduler: &'static str },
    EditService { service: Service, scheduler: &'static str },
    DeleteService { service: Service },
    AddServer { service: Service, server: Ipv4Addr, weight: u32 },
    EditServer { service: Service, server: Ipv4Addr, weight: u32 },
    DeleteServer { service: Service, server: Ipv4Addr },
}

/// One step of a case.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Command(Command),
    /// A frame into one of the director's ports.
    Send {
        port: Port,
        frame: Vec<u8>,
    },
}

/// A case, written down.
pub(crate) struct Recorded {
    pub(crate) section: &'static str,
    pub(crate) name: &'static str,
    pub(crate) vip: Ipv4Addr,
    /// What is set up before the first packet of its section.
    pub(crate) prepared: Vec<Command>,
    pub(crate) steps: Vec<Step>,
}

/// Takes the commands from the front of some steps.
pub(crate) fn take_commands(steps: &mut Vec<Step>) -> Vec<Command> {
    let is_command = |step: &Step| matches!(step, Step::Command(_));
    let number = steps.iter().take_while(|step| is_command(step)).count();
    let taken = steps.drain(..number).filter_map(|step| match step {
        Step::Command(command) => Some(command),
        Step::Send { .. } => None,
    });
    taken.collect()
}

/// What a case does, as it is written down. Every case has a VIP of its own: IPVS keeps what it knew of a removed server, and
/// remembers it when the same one is added to the same service again.
pub(crate) struct Script {
    /// The case's own VIP; of a case on the director's own address, that address.
    pub(crate) vip: Ipv4Addr,
    /// The port of the case's services.
    pub(crate) port: u16,
    steps: Vec<Step>,
}

impl Script {
    /// Writes down what a case does.
    pub(crate) fn record(vip: Ipv4Addr, port: u16, case: fn(&mut Self)) -> Vec<Step> {
        let mut script = Self { vip, port, steps: Vec::new() };
        case(&mut script);
        script.steps
    }

    /// Adds a TCP service with servers 1, 2, 3… of these weights, added in this order.
    pub(crate) fn tcp(&mut self, scheduler: &'static str, weights: &[u32]) -> Service {
        let service = Service { protocol: Protocol::Tcp, vip: self.vip, port: self.port };
        self.service(service, scheduler, weights)
    }

    /// The same for UDP.
    pub(crate) fn udp(&mut self, scheduler: &'static str, weights: &[u32]) -> Service {
        let service = Service { protocol: Protocol::Udp, vip: self.vip, port: self.port };
        self.service(service, scheduler, weights)
    }

    /// A TCP service with one server.
    pub(crate) fn tcp_to(&mut self, server: Ipv4Addr) -> Service {
        let service = self.tcp("rr", &[]);
        self.add(service, server, 1);
        service
    }

    /// A UDP service with one server.
    pub(crate) fn udp_to(&mut self, server: Ipv4Addr) -> Service {
        let service = self.udp("rr", &[]);
        self.add(service, server, 1);
        service
    }

    /// Adds any service with servers 1, 2, 3… of these weights, added in this order.
    pub(crate) fn service(
        &mut self,
        service: Service,
        scheduler: &'static str,
        weights: &[u32],
    ) -> Service {
        self.command(Command::AddService { service, scheduler });
        for (number, weight) in (1..).zip(weights) {
            self.add(service, network::server(number), *weight);
        }
        service
    }

    pub(crate) fn add(&mut self, service: Service, server: Ipv4Addr, weight: u32) {
        self.command(Command::AddServer { service, server, weight });
    }

    /// Changes the weight of server `number`.
    pub(crate) fn weight(&mut self, service: Service, number: u8, weight: u32) {
        let server = network::server(number);
        self.command(Command::EditServer { service, server, weight });
    }

    /// Removes server `number`.
    pub(crate) fn delete(&mut self, service: Service, number: u8) {
        self.command(Command::DeleteServer { service, server: network::server(number) });
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.steps.push(Step::Command(command));
    }

    /// The flow of client `number` to the case's VIP and port.
    pub(crate) fn flow(&self, number: u8) -> Flow {
        Flow::new(network::client(number), self.vip, self.port)
    }

    /// Sends a client's packet to the director.
    pub(crate) fn send(&mut self, packet: &Packet) {
        self.send_bytes(&packet.bytes());
    }

    /// Sends a SYN of each of these clients, one after the other.
    pub(crate) fn syns(&mut self, clients: impl IntoIterator<Item = u8>) {
        for client in clients {
            self.send(&self.flow(client).syn());
        }
    }

    /// Sends packets of one flow with these TCP flags, one after the other.
    pub(crate) fn segments(&mut self, flow: Flow, flags: &[u8]) {
        for flags in flags {
            self.send(&flow.tcp(*flags));
        }
    }

    /// Sends an IPv4 packet, well formed or not, as clients' packets come in.
    pub(crate) fn send_bytes(&mut self, packet: &[u8]) {
        self.send_frame(Port::Clients, network::frame(Port::Clients, packet));
    }

    /// Sends an IPv4 packet as a real server's, or a router's beyond it, comes in.
    pub(crate) fn send_from_servers(&mut self, packet: &[u8]) {
        self.send_frame(Port::Servers, network::frame(Port::Servers, packet));
    }

    /// Makes the last frame so long.
    pub(crate) fn pad_last(&mut self, length: usize) {
        if let Some(Step::Send { frame, .. }) = self.steps.last_mut() {
            frame.resize(length, 0);
        }
    }

    /// Sends a frame into one of the director's ports.
    pub(crate) fn send_frame(&mut self, port: Port, frame: Vec<u8>) {
        self.steps.push(Step::Send { port, frame });
    }
}
