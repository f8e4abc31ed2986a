//! Plays cases to an engine: sends each packet, and takes down what comes out for it before the next is sent.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lb_userspace::capture::{Capture, Direction};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use super::{
    engine::Engine,
    network::{self, Port, Sender},
    packet::{Flow, Packet},
    script::{self, Command, Protocol, Recorded, Service, Step},
};

/// What became of a packet that was sent, or of commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Observation {
    /// The frames that left the director for it, in order by port.
    Left(Vec<(Port, Vec<u8>)>),
    /// A command was refused; the case ends here.
    Refused(String),
}

/// How long an engine may take to pass a packet on, under emulation on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Plays cases one after the other.
pub(crate) fn play(
    engine: &(impl Engine + Sync),
    cases: &[Recorded],
) -> Result<Vec<Vec<Observation>>> {
    engine.network().outside.run(|| {
        // What one processor sends comes out in the order in which it was sent.
        let mut first = CpuSet::new();
        first.set(0)?;
        sched_setaffinity(Pid::from_raw(0), &first).context("stay on a processor")?;
        let mut player = Player::start(engine)?;
        let mut observations = Vec::new();
        for section in cases.chunk_by(|one, next| one.section == next.section) {
            let prepared: Vec<_> = section.iter().flat_map(|case| case.prepared.clone()).collect();
            engine.prepare(&prepared)?;
            for case in section {
                let played = player.case(&case.steps);
                observations.push(played.with_context(|| format!("case `{}`", case.name))?);
            }
        }
        Ok(observations)
    })?
}

struct Player<'a, E> {
    engine: &'a E,
    clients: Sender,
    servers: Sender,
    capture: Capture,
    ports: [(u32, Port); 2],
    marks: u32,
}

/// Two packets that every engine passes on show that what was sent before them has been dealt with: a datagram to a service
/// of their own arrives at the servers' port, and an echo request to its VIP is answered on the clients' port.
const MARK: &[u8] = b"all before me has been dealt with";

impl<'a, E: Engine> Player<'a, E> {
    fn start(engine: &'a E) -> Result<Self> {
        let mut ports = [(0, Port::Clients), (0, Port::Servers)];
        for (index, port) in &mut ports {
            *index = nix::net::if_::if_nametoindex(port.name())?;
        }
        let [clients, servers] = [Port::Clients, Port::Servers].map(Sender::open);
        let (clients, servers, capture) = (clients?, servers?, Capture::start()?);
        Ok(Self { engine, clients, servers, capture, ports, marks: 0 })
    }

    fn case(&mut self, steps: &[Step]) -> Result<Vec<Observation>> {
        let mut observations = Vec::new();
        let mut steps = steps.to_vec();
        while !steps.is_empty() {
            let commands = script::take_commands(&mut steps);
            if !commands.is_empty()
                && let Err(said) = self.engine.carry_out(&commands)?
            {
                observations.push(Observation::Refused(said));
                break;
            }
            if !steps.is_empty()
                && let Step::Send { port, frame } = steps.remove(0)
            {
                observations.push(Observation::Left(self.send(port, &frame)?));
            }
        }
        Ok(observations)
    }

    fn send(&mut self, port: Port, frame: &[u8]) -> Result<Vec<(Port, Vec<u8>)>> {
        match port {
            Port::Clients => self.clients.send(frame),
            Port::Servers => self.servers.send(frame),
        }
        .with_context(|| format!("send {} bytes to {port:?}", frame.len()))?;
        let mut left = Vec::new();
        // What the director's kernel answers may be held back until the end of the interrupt that brought it, and be passed by
        // a mark of the same interrupt; not by one that is sent after that has come out.
        for _ in 0..2 {
            left.extend(self.mark()?);
        }
        left.sort_by_key(|(port, _)| *port == Port::Servers);
        Ok(left)
    }

    /// Sends marks, and takes down what comes out until they do.
    fn mark(&mut self) -> Result<Vec<(Port, Vec<u8>)>> {
        self.marks += 1;
        let mark = [MARK, &self.marks.to_be_bytes()].concat();
        let flow = mark_flow();
        let datagram = flow.udp(&mark).bytes();
        let echo = Packet::icmp(flow.client, flow.vip, (8, 0), [0; 4], &mark).bytes();
        for packet in [datagram, echo] {
            self.clients.send(&network::frame(Port::Clients, &packet)).context("send a mark")?;
        }
        let mut left = Vec::new();
        let mut missing = Port::ALL.to_vec();
        let end = Instant::now() + PATIENCE;
        while !missing.is_empty() {
            if Instant::now() > end {
                bail!("no mark came out of the port of {missing:?}");
            }
            self.capture.wait(PATIENCE)?;
            for seen in self.capture.take()? {
                let Some((_, port)) = self.ports.iter().find(|(i, _)| *i == seen.interface) else {
                    continue;
                };
                if seen.direction == Direction::Out || is_arp_request(&seen.bytes) {
                    continue;
                }
                if seen.bytes.ends_with(&mark) {
                    missing.retain(|missing| missing != port);
                } else {
                    left.push((*port, seen.bytes));
                }
            }
        }
        Ok(left)
    }
}

/// What sets the marks' service up.
pub(crate) fn marks_service() -> [Command; 2] {
    let flow = mark_flow();
    let service = Service { protocol: Protocol::Udp, vip: flow.vip, port: flow.port };
    [
        Command::AddService { service, scheduler: "rr" },
        Command::AddServer { service, server: network::server(1), weight: 1 },
    ]
}

fn mark_flow() -> Flow {
    Flow::new(network::client(254), network::MARKS_VIP, 9)
}

/// Whether the director looks for a neighbour, which it may do at any time.
fn is_arp_request(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x08, 0x06]) && frame.get(20..22) == Some(&[0, 1])
}
