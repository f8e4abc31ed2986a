//! The rows: which packets, by which scheduler, and what each engine makes of them round by round.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use aya::programs::xdp::XdpLinkId;
use lb_userspace::{
    bpf::{Pass, attach_pass},
    demo::interrupt::Interrupt,
};
use serde::{Deserialize, Serialize};

use super::{
    cpu::{Spent, settle},
    ipvs,
    lane::{GENERATOR, IN, Lane, SINK, VIPS},
    tunlb::Daemon,
};
use crate::bench::{
    frame::{Ends, Flows, Kind, live_frame},
    measure::pin_to,
    pktgen::{self, Datagrams},
    series::Series,
    traffic::Traffic,
};

/// How a real server is chosen for a new flow.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Scheduler {
    RoundRobin,
    /// By source address and port: IPVS's `sh` with `sh-port`.
    SourceHash,
}

/// Which packets.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Load {
    OneFlow,
    /// Known flows, picked at random.
    ManyFlows,
    /// SYNs from random sources: each opens a flow.
    SynFlood,
}

/// Who sends them.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Generator {
    /// XDP frames, handed over as a driver does.
    LiveFrames,
    /// The kernel's, whose packets come from the stack and which veth copies into frames for XDP.
    Pktgen,
}

/// An engine, and what receives at the real servers' side.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Engine {
    Tunlb,
    Ipvs,
    /// Without an XDP program at the sink, for which veth would copy each packet.
    IpvsPlainSink,
    /// No director: frames are dropped where they would come in.
    None,
}

/// What an engine did, a value per round.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Measured {
    pub(super) engine: Engine,
    /// Packets per second that arrived at the real servers' side.
    pub(super) rate: Series,
    /// Of those that were sent, how many arrived.
    pub(super) delivered: Series,
    /// Microseconds per packet that all CPUs were busy, and that they spent in soft interrupts: the director and the sink.
    pub(super) busy: Series,
    pub(super) softirq: Series,
}

/// A row of the table.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Row {
    pub(super) generator: Generator,
    pub(super) scheduler: Scheduler,
    pub(super) load: Load,
    pub(super) engines: Vec<Measured>,
}

impl Row {
    pub(super) fn engine(&self, engine: Engine) -> Option<&Measured> {
        self.engines.iter().find(|measured| measured.engine == engine)
    }

    /// tunlb's packets per second to another engine's, round by round.
    pub(super) fn ratio(&self, to: Engine) -> Option<Series> {
        Some(self.engine(Engine::Tunlb)?.rate.per(&self.engine(to)?.rate))
    }
}

/// How long and how often to measure.
#[derive(Clone, Debug)]
pub(super) struct Extent {
    pub(super) rounds: u32,
    /// Of each engine in each round.
    pub(super) time: Duration,
    /// Of `ManyFlows`; a power of two.
    pub(super) flows: u32,
    /// Where the generator runs.
    pub(super) cpu: usize,
    /// Whether to wait until the machine is idle before each row.
    pub(super) settle: bool,
    /// Looked at between stretches, so that what was made is also removed.
    pub(super) interrupt: Interrupt,
}

/// A director's lane with whatever makes it one.
pub(super) struct Pair {
    /// Before the lanes, whose namespaces the daemon is in.
    _daemon: Daemon,
    tunlb: Lane,
    /// Two, so that the sinks need not be changed in every round.
    ipvs: Option<[Lane; 2]>,
}

impl Pair {
    /// Sets up tunlb, and IPVS if this kernel has it, with the same services.
    pub(super) fn build(
        name: &str,
        program: &std::path::Path,
        scheduler: Scheduler,
        with_ipvs: bool,
    ) -> Result<Self> {
        let tunlb = Lane::build(&format!("{name}-tunlb"))?;
        let daemon = Daemon::start(program, &tunlb.director, scheduler)?;
        let ipvs_lane = |name: String| {
            let lane = Lane::build(&name)?;
            lane.own_vips()?;
            ipvs::restore(&lane.director, &ipvs::rules(scheduler))?;
            anyhow::Ok(lane)
        };
        let ipvs = if with_ipvs {
            Some([ipvs_lane(format!("{name}-ipvs"))?, ipvs_lane(format!("{name}-plain"))?])
        } else {
            None
        };
        Ok(Self { _daemon: daemon, tunlb, ipvs })
    }

    fn lane(&self, engine: Engine) -> Option<&Lane> {
        match engine {
            Engine::Tunlb => Some(&self.tunlb),
            Engine::Ipvs => self.ipvs.as_ref().map(|[lane, _]| lane),
            Engine::IpvsPlainSink => self.ipvs.as_ref().map(|[_, lane]| lane),
            Engine::None => None,
        }
    }
}

/// How long nothing arrives until nothing is expected any more.
const STRAGGLERS: Duration = Duration::from_millis(50);

/// Measures one row, the engines one after the other in each round, every other round backwards.
pub(super) fn measure(
    traffic: &mut Traffic,
    pair: &Pair,
    (generator, scheduler, load): (Generator, Scheduler, Load),
    extent: &Extent,
) -> Result<Row> {
    if extent.settle {
        settle()?;
    }
    let mut runs = Vec::new();
    for engine in [Engine::Tunlb, Engine::Ipvs, Engine::IpvsPlainSink] {
        if let Some(lane) = pair.lane(engine) {
            let mut run = Run::new(traffic, lane, engine, (generator, load), extent)?;
            run.prepare(traffic)?;
            runs.push(run);
        }
    }
    for round in 0..extent.rounds {
        for index in 0..runs.len() {
            let index = if round % 2 == 0 { index } else { runs.len() - 1 - index };
            runs[index].round(traffic)?;
        }
    }
    let engines = runs.into_iter().map(|run| run.end(traffic)).collect::<Result<_>>()?;
    Ok(Row { generator, scheduler, load, engines })
}

/// What the generator alone gives, dropped where it would come in.
pub(super) fn baseline(traffic: &mut Traffic, lane: &Lane, extent: &Extent) -> Result<Measured> {
    let load = (Generator::LiveFrames, Load::OneFlow);
    let mut run = Run::new(traffic, lane, Engine::None, load, extent)?;
    run.prepare(traffic)?;
    for _ in 0..extent.rounds {
        run.round(traffic)?;
    }
    run.end(traffic)
}

/// One engine under one load.
struct Run<'a> {
    lane: &'a Lane,
    generator: Generator,
    load: Load,
    extent: &'a Extent,
    /// Packets per round.
    count: u32,
    measured: Measured,
    sink: Option<XdpLinkId>,
    /// Frames from XDP enter the stack only through a program that passes them.
    _pass: Option<Pass>,
}

/// What came of one stretch of packets.
struct Stretch {
    arrived: f64,
    sent: f64,
    seconds: f64,
    spent: Spent,
}

impl<'a> Run<'a> {
    fn new(
        traffic: &mut Traffic,
        lane: &'a Lane,
        engine: Engine,
        (generator, load): (Generator, Load),
        extent: &'a Extent,
    ) -> Result<Self> {
        let sink = match engine {
            Engine::None => Some(traffic.attach_sink(&lane.director, IN)?),
            Engine::IpvsPlainSink => None,
            Engine::Tunlb | Engine::Ipvs => Some(traffic.attach_sink(&lane.servers, SINK)?),
        };
        let pass = match (engine, generator) {
            (Engine::Ipvs | Engine::IpvsPlainSink, Generator::LiveFrames) => {
                Some(lane.director.run(|| attach_pass(IN))?.context("cannot let IPVS see frames")?)
            }
            _ => None,
        };
        let measured = Measured {
            engine,
            rate: Series::new(),
            delivered: Series::new(),
            busy: Series::new(),
            softirq: Series::new(),
        };
        Ok(Self { lane, generator, load, extent, count: 0, measured, sink, _pass: pass })
    }

    fn end(self, traffic: &mut Traffic) -> Result<Measured> {
        if let Some(sink) = self.sink {
            traffic.detach_sink(sink)?;
        }
        Ok(self.measured)
    }

    /// Opens the flows, warms up, and finds out how many packets make a round.
    fn prepare(&mut self, traffic: &Traffic) -> Result<()> {
        const FIRST: u32 = 2_000;
        if self.generator == Generator::LiveFrames && self.load != Load::SynFlood {
            // Flows are picked at random: of N flows, N/e^8 are not met by 8 N packets. Without an answer to a SYN
            // IPVS waits for a minute, so the first packets after it follow at once.
            self.stretch(traffic, Kind::Syn, 8 * self.flows() + FIRST)?;
            self.stretch(traffic, Kind::Ack, 4 * self.flows() + FIRST)?;
        }
        let first = self.stretch(traffic, self.kind(), FIRST)?;
        let second = (first.sent / first.seconds * self.extent.time.as_secs_f64() / 8.0) as u32;
        let second = self.stretch(traffic, self.kind(), second.max(FIRST))?;
        let per_round = second.sent / second.seconds * self.extent.time.as_secs_f64();
        self.count = (per_round as u32).max(FIRST);
        Ok(())
    }

    fn round(&mut self, traffic: &Traffic) -> Result<()> {
        let Stretch { arrived, sent, seconds, spent } =
            self.stretch(traffic, self.kind(), self.count)?;
        if arrived == 0.0 {
            bail!(
                "{:?}, {:?}, {:?}: no packet arrived",
                self.measured.engine,
                self.generator,
                self.load
            );
        }
        self.measured.rate.push(arrived / seconds);
        self.measured.delivered.push(arrived / sent);
        self.measured.busy.push(spent.busy * 1e6 / arrived);
        self.measured.softirq.push(spent.softirq * 1e6 / arrived);
        Ok(())
    }

    /// Sends packets, and counts those that arrive.
    fn stretch(&self, traffic: &Traffic, kind: Kind, count: u32) -> Result<Stretch> {
        let Self { lane, generator, extent, .. } = self;
        let engine = self.measured.engine;
        extent.interrupt.check()?;
        let counter = || match engine {
            Engine::None => lane.director.run(|| super::lane::received(IN))?,
            _ => lane.arrived(),
        };
        let frame = live_frame(Ends::BENCH, kind, self.picks(), VIPS);
        let (before, spent_before) = (counter()?, Spent::until_now()?);
        let sending = match generator {
            Generator::LiveFrames => lane.client.run(|| {
                pin_to(extent.cpu)?;
                traffic.generate(lane.generator, &frame, count)
            })??,
            Generator::Pktgen => {
                let ports = self.flows().div_ceil(VIPS);
                let vips = if self.load == Load::OneFlow { 1 } else { VIPS };
                let datagrams = Datagrams { ends: Ends::BENCH, vips, ports, cpu: extent.cpu };
                lane.client.run(|| pktgen::send(GENERATOR, datagrams, u64::from(count)))??
            }
        };
        // The last ones may still be in a queue.
        let sent = Instant::now();
        let mut seconds = sending;
        let mut arrived = counter()? - before;
        let mut last = Instant::now();
        while arrived < u64::from(count) && last.elapsed() < STRAGGLERS {
            thread::sleep(Duration::from_millis(5));
            let now = counter()? - before;
            if now != arrived {
                (arrived, last, seconds) =
                    (now, Instant::now(), sending + sent.elapsed().as_secs_f64());
            }
        }
        let spent = Spent::until_now()?.since(spent_before);
        let arrived = arrived as f64;
        Ok(Stretch { arrived, sent: f64::from(count), seconds, spent })
    }

    fn kind(&self) -> Kind {
        if self.load == Load::SynFlood { Kind::Syn } else { Kind::Ack }
    }

    fn flows(&self) -> u32 {
        if self.load == Load::OneFlow { 1 } else { self.extent.flows }
    }

    fn picks(&self) -> Flows {
        match self.load {
            Load::SynFlood => Flows::New,
            Load::OneFlow | Load::ManyFlows => Flows::Random(self.flows()),
        }
    }
}
