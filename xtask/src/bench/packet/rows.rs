//! The rows of the table: which program, on which packets, with which tables behind it.

use anyhow::{Result, bail};
use aya::programs::Xdp;
use serde::Serialize;

use super::{
    frame::{Flows, Kind, Size, frame},
    measure::{PACKETS, Patience, Times, XDP_PASS, XDP_TX, calibrate, run},
    scene::{Layout, Scene},
};
use crate::repo::Repo;

/// A row before it is measured.
struct Plan {
    id: &'static str,
    label: &'static str,
    scene: usize,
    program: &'static str,
    kind: Kind,
    flows: Flows,
    vips: u32,
    expect: Expect,
    /// At most this many nanoseconds, net.
    target: Option<f64>,
}

/// What becomes of a row's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// Nothing that the director counts.
    Transmit,
    /// As `Transmit`, with the head moved: undoing is part of the harness.
    Wrap,
    /// Each is of a known flow.
    Known,
    /// Each is of a new flow.
    New,
    Pass,
}

impl Expect {
    fn answer(self) -> u32 {
        if self == Self::Pass { XDP_PASS } else { XDP_TX }
    }
}

/// A measured row. Times are nanoseconds per packet.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) id: &'static str,
    pub(super) label: &'static str,
    pub(super) raw_min: f64,
    pub(super) raw_median: f64,
    /// Without the harness.
    pub(super) net_min: f64,
    pub(super) net_median: f64,
    /// `net_min` to that of the floor.
    pub(super) to_floor: f64,
    pub(super) target: Option<f64>,
    rounds: Times,
}

/// The director against the textbook's design.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Versus {
    pub(super) label: &'static str,
    pub(super) textbook: f64,
    pub(super) director: f64,
    /// How many times as fast.
    pub(super) ratio: f64,
    /// How many times at least.
    pub(super) target: Option<f64>,
}

/// One flow, 4K and 64K flows of both protocols.
const FLOWS: usize = 0;
/// 1M flows.
const MANY: usize = 1;
/// A full table.
const FULL: usize = 2;
/// 6 VIPs with 100 real servers each.
const VIPS: usize = 3;

fn scenes(repo: &Repo, pins: &str, size: Size) -> Result<Vec<Scene>> {
    let layout =
        |slots, vips, servers| Layout { slots: size.count(slots), vips, servers, interface: 1 };
    let new = |name: &str, layout| Scene::new(repo, &format!("{pins}-{name}"), layout);
    let mut flows = new("flows", layout(20, 1, 10))?;
    for (program, kind) in
        [("bench", Kind::Ack), ("bench", Kind::Udp), ("bench_textbook", Kind::Ack)]
    {
        flows.open_flows(program, kind, size.count(16))?;
    }
    let mut many = new("many", layout(21, 1, 10))?;
    let mut full = new("full", layout(20, 1, 10))?;
    for program in ["bench", "bench_textbook"] {
        many.open_flows(program, Kind::Ack, size.count(20))?;
        full.fill_flows(program)?;
    }
    let mut vips = new("vips", layout(20, 6, 100))?;
    vips.open_flows("bench", Kind::Ack, size.count(16))?;
    Ok(vec![flows, many, full, vips])
}

#[rustfmt::skip]
fn plans(size: Size) -> Vec<Plan> {
    let one = Flows::Random(1);
    let random = |bits| Flows::Random(size.count(bits));
    let row = |id, label, scene, program, kind, flows, expect, target| Plan {
        id, label, scene, program, kind, flows, expect, target, vips: if scene == VIPS { 6 } else { 1 },
    };
    vec![
        row("loop", "loop: make a packet", FLOWS, "harness", Kind::Ack, one, Expect::Transmit, None),
        row("undo", "loop, move the head out and back", FLOWS, "heads", Kind::Ack, one, Expect::Transmit, None),
        row("empty", "harness: the loop calls an empty XDP_TX", FLOWS, "bench_empty", Kind::Ack, one, Expect::Transmit, None),
        row("floor", "bare encapsulation, constant header", FLOWS, "bench_floor", Kind::Ack, one, Expect::Wrap, None),
        row("tcp-1", "known TCP flow, 1 flow", FLOWS, "bench", Kind::Ack, one, Expect::Known, Some(15.0)),
        row("tcp-4k", "known TCP flow, 4K flows", FLOWS, "bench", Kind::Ack, random(12), Expect::Known, Some(22.0)),
        row("tcp-64k", "known TCP flow, 64K flows", FLOWS, "bench", Kind::Ack, random(16), Expect::Known, Some(45.0)),
        row("tcp-1m", "known TCP flow, 1M flows", MANY, "bench", Kind::Ack, random(20), Expect::Known, Some(90.0)),
        row("tcp-vips", "the same, 64K flows, 6 VIPs x 100 servers", VIPS, "bench", Kind::Ack, random(16), Expect::Known, None),
        row("syn", "SYN of a known flow, 1 flow", FLOWS, "bench", Kind::Syn, one, Expect::Known, None),
        row("new", "every packet a new flow, table full", FULL, "bench", Kind::Syn, Flows::New, Expect::New, Some(100.0)),
        row("udp-1", "UDP, 1 flow", FLOWS, "bench", Kind::Udp, one, Expect::Known, Some(15.0)),
        row("udp-64k", "UDP, 64K flows", FLOWS, "bench", Kind::Udp, random(16), Expect::Known, None),
        row("foreign", "not a VIP", FLOWS, "bench", Kind::Foreign, one, Expect::Pass, Some(10.0)),
        row("arp", "ARP, passed on", FLOWS, "bench", Kind::Arp, one, Expect::Pass, None),
        row("textbook-1", "textbook, 1 flow", FLOWS, "bench_textbook", Kind::Ack, one, Expect::Known, None),
        row("textbook-64k", "textbook, 64K flows", FLOWS, "bench_textbook", Kind::Ack, random(16), Expect::Known, None),
        row("textbook-1m", "textbook, 1M flows", MANY, "bench_textbook", Kind::Ack, random(20), Expect::Known, None),
        row("textbook-new", "textbook, every packet a new flow", FULL, "bench_textbook", Kind::Syn, Flows::New, Expect::New, None),
    ]
}

/// The rows that the others' net times and ratios come from.
const REFERENCES: [&str; 4] = ["loop", "undo", "empty", "floor"];

/// By label: the textbook's row, the director's, and how many times as fast it shall be.
const PAIRS: [(&str, &str, &str, f64); 4] = [
    ("1 flow", "textbook-1", "tcp-1", 2.5),
    ("64K flows", "textbook-64k", "tcp-64k", 3.0),
    ("1M flows", "textbook-1m", "tcp-1m", 3.0),
    ("every packet a new flow", "textbook-new", "new", 4.0),
];

/// Measures every row.
pub(super) fn measure(
    repo: &Repo,
    pins: &str,
    size: Size,
    patience: Patience,
    only: &[String],
) -> Result<(Vec<Row>, Vec<Versus>)> {
    let plans = selected(plans(size), only)?;
    eprintln!("opening flows");
    let mut scenes = scenes(repo, pins, size)?;
    let mut frames = Vec::new();
    let mut repeats = Vec::new();
    for plan in &plans {
        let scene = &mut scenes[plan.scene];
        scene.load(plan.program)?;
        let mut frame = frame(plan.kind, plan.flows, plan.vips);
        repeats.push(calibrate(scene.program(plan.program)?, &mut frame, patience)?);
        frames.push(frame);
    }
    let mut times = vec![Times::default(); plans.len()];
    for round in 1..=patience.rounds {
        eprintln!("round {round} of {}", patience.rounds);
        for (row, plan) in plans.iter().enumerate() {
            let scene = &mut scenes[plan.scene];
            let before = scene.forwarded()?;
            let program = scene.program(plan.program)?;
            let warm = warm_up(program, plan, &mut frames[row], repeats[row])?;
            let measured = run(program, &mut frames[row], repeats[row])?;
            let after = scene.forwarded()?;
            times[row].push(measured.time);
            if measured.answer != plan.expect.answer() {
                bail!("{}: the program answered {}", plan.label, measured.answer);
            }
            let packets = u64::from((warm + repeats[row]) * PACKETS);
            check(plan, packets, (after.0 - before.0, after.1 - before.1))?;
        }
    }
    let rows = evaluate(&plans, &times);
    let net = |id: &str| rows.iter().find(|row| row.id == id).map_or(f64::NAN, |row| row.net_min);
    let versus = PAIRS.map(|(label, textbook, director, target)| Versus {
        label,
        textbook: net(textbook),
        director: net(director),
        ratio: net(textbook) / net(director),
        target: Some(target),
    });
    let versus = versus.into_iter().filter(|versus| !versus.ratio.is_nan()).collect();
    Ok((rows, versus))
}

/// The rows that were asked for, and those that every other one is compared with.
fn selected(plans: Vec<Plan>, only: &[String]) -> Result<Vec<Plan>> {
    if only.is_empty() {
        return Ok(plans);
    }
    let ids: Vec<&str> = plans.iter().map(|plan| plan.id).collect();
    if let Some(unknown) = only.iter().find(|id| !ids.contains(&id.as_str())) {
        bail!("there is no row {unknown}; the rows are {}", ids.join(", "));
    }
    let wanted = |plan: &Plan| only.iter().any(|id| id == plan.id) || REFERENCES.contains(&plan.id);
    Ok(plans.into_iter().filter(wanted).collect())
}

/// Fetches into the caches what other rows have driven out, and moves every flow to the present
/// tick, as a row is about packets that follow each other; how often the program was repeated.
fn warm_up(program: &Xdp, plan: &Plan, random: &mut [u8], repeat: u32) -> Result<u32> {
    match plan.flows {
        Flows::Random(count) if count > PACKETS => {
            let mut walk = frame(plan.kind, Flows::Walk(count), plan.vips);
            let repeat = count.div_ceil(PACKETS);
            run(program, &mut walk, repeat)?;
            Ok(repeat)
        }
        _ => {
            run(program, random, repeat)?;
            Ok(repeat)
        }
    }
}

/// Whether the packets went the way that the row is about.
fn check(plan: &Plan, packets: u64, (known, new): (u64, u64)) -> Result<()> {
    let right = match plan.expect {
        Expect::Known => known == packets,
        // Of random packets, a few hit the same flow twice or lose a slot.
        Expect::New => new > packets / 100 * 99,
        Expect::Transmit | Expect::Wrap | Expect::Pass => known + new == 0,
    };
    if !right {
        bail!(
            "{}: of {packets} packets {known} were of a known flow and {new} of a new one, which is not what \
             this row is about",
            plan.label
        );
    }
    Ok(())
}

fn evaluate(plans: &[Plan], times: &[Times]) -> Vec<Row> {
    let of = |id: &str, statistic: fn(&Times) -> f64| {
        plans.iter().position(|plan| plan.id == id).map_or(f64::NAN, |row| statistic(&times[row]))
    };
    let net = |row: usize, statistic: fn(&Times) -> f64| {
        // In production it is the driver that calls the program.
        let harness = of("empty", statistic);
        // Half of what moving the head there and back takes.
        let undo = match plans[row].expect {
            Expect::Wrap | Expect::Known | Expect::New => {
                (of("undo", statistic) - of("loop", statistic)) / 2.0
            }
            Expect::Transmit | Expect::Pass => 0.0,
        };
        statistic(&times[row]) - harness - undo
    };
    let floor = plans
        .iter()
        .position(|plan| plan.id == "floor")
        .map_or(f64::NAN, |row| net(row, Times::min));
    let row = |(row, plan): (usize, &Plan)| Row {
        id: plan.id,
        label: plan.label,
        raw_min: times[row].min(),
        raw_median: times[row].median(),
        net_min: net(row, Times::min),
        net_median: net(row, Times::median),
        to_floor: net(row, Times::min) / floor,
        target: plan.target,
        rounds: times[row].clone(),
    };
    plans.iter().enumerate().map(row).collect()
}
