//! Runs the vectors of a file through an engine and compares.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use lb_common::{Action, Reason, table::ServerCounters};

use super::{
    engine::{Counts, Engine},
    fixture::{FEW, Fixture},
    format::{Case, Step, load},
    frame::difference,
};

/// Runs every case of a file that the engine can run; all failures in one message.
pub fn run<E: Engine>(name: &str) -> Result<()> {
    let (file, fixtures) = load(name)?;
    let mut engine: Option<E> = None;
    let mut failures = Vec::new();
    for case in file.cases.iter().filter(|case| E::HAS_CLOCK || case.memory_only.is_none()) {
        let mut result = run_case(&mut engine, case, &fixtures);
        // Limits are per tick: one may have begun in between.
        if result.is_err() && !E::HAS_CLOCK && fixtures[&case.fixture].limit < FEW {
            result = run_case(&mut engine, case, &fixtures);
        }
        if let Err(error) = result {
            let Case { name: case, source, .. } = case;
            failures.push(format!("{name}: {case} ({})\n  from: {source}\n{error:#}", E::NAME));
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    bail!("{} of {} vectors failed\n\n{}", failures.len(), file.cases.len(), failures.join("\n\n"));
}

fn run_case<E: Engine>(
    used: &mut Option<E>,
    case: &Case,
    fixtures: &BTreeMap<String, Fixture>,
) -> Result<()> {
    let fixture = &fixtures[&case.fixture];
    let renewed = match used {
        Some(engine) => engine.renew(fixture)?,
        None => false,
    };
    if !renewed {
        // The old one goes first: there is no need for the maps of two.
        *used = None;
    }
    let engine = match used {
        Some(engine) => engine,
        None => used.insert(E::new(fixture)?),
    };
    engine.apply(fixture)?;
    for (index, step) in case.steps.iter().enumerate() {
        if let Some(name) = &step.apply {
            engine.apply(&fixtures[name])?;
        }
        if let Some(now) = step.now {
            engine.set_now(now);
        }
        let note = step.note.as_deref().unwrap_or_default();
        run_step(engine, step).with_context(|| format!("step {} {note}", index + 1))?;
    }
    Ok(())
}

fn run_step<E: Engine>(engine: &mut E, step: &Step) -> Result<()> {
    let before = engine.counts()?;
    let outcome = engine.run(&step.frame.0)?;
    let after = engine.counts()?;
    let counted = after.reasons_since(&before);
    let action = match step.action {
        Action::Redirect(_) if !E::TELLS_REDIRECTS => Action::Redirect(0),
        action => action,
    };
    ensure!(
        outcome.action == action && counted == [(step.reason, 1)],
        "expected {:?} as {}, was {:?} as {:?}",
        action,
        step.reason.label(),
        outcome.action,
        counted.iter().map(|(reason, times)| (reason.label(), times)).collect::<Vec<_>>(),
    );
    if step.action != Action::Drop {
        compare(step, &outcome.frame)?;
    }
    compare_servers(step, &before, &after)
}

fn compare(step: &Step, actual: &[u8]) -> Result<()> {
    let mut expected = step.out.as_ref().unwrap_or(&step.frame).0.clone();
    let mut actual = actual.to_vec();
    for &offset in &step.random_id {
        for frame in [&mut expected, &mut actual] {
            mask_identification(frame, offset)?;
        }
    }
    ensure!(expected == actual, "frames differ\n{}", difference(&expected, &actual));
    Ok(())
}

/// Zeroes an IPv4 header's identification and checksum, after a look at whether it sums right.
pub(super) fn mask_identification(frame: &mut [u8], offset: usize) -> Result<()> {
    let length = frame.get(offset).map_or(20, |vihl| usize::from(vihl & 0xf) * 4);
    let header = frame.get_mut(offset..offset + length);
    let header = header.with_context(|| format!("no IPv4 header at offset {offset}"))?;
    let words = header.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum = words.sum::<u32>();
    let sum = (sum & 0xffff) + (sum >> 16);
    ensure!(sum == 0xffff, "the header checksum at offset {offset} is wrong (sum {sum:04x})");
    header[4..6].fill(0);
    header[10..12].fill(0);
    Ok(())
}

/// Only the expected server counts the packet.
fn compare_servers(step: &Step, before: &Counts, after: &Counts) -> Result<()> {
    let mut opened = 0;
    for (index, now) in after.servers.iter().enumerate() {
        let mut expected = before.servers.get(index).copied().unwrap_or_default();
        if is_of_a_flow(step.reason) {
            // The flow may have been opened all the same, as with IPVS.
            opened += now.flows - expected.flows;
            expected.flows = now.flows;
        }
        if step.server == Some(index as u32) {
            let ServerCounters { flows, packets, bytes, .. } = &mut expected;
            *flows += u64::from(step.reason == Reason::Scheduled);
            *packets += 1;
            *bytes += step.bytes.context("the vector names a server but no bytes")?;
        }
        ensure!(expected == *now, "server {index} counts {now:?}, expected {expected:?}");
    }
    ensure!(opened <= 1, "one packet opened {opened} flows");
    Ok(())
}

/// Whether the packet of a flow can end like this without being sent.
fn is_of_a_flow(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::FragmentationNeeded
            | Reason::TimeExceeded
            | Reason::HostUnreachable
            | Reason::DropNoNextHop
            | Reason::DropTooBig
            | Reason::DropRateLimited
            | Reason::DropHeadroom
            | Reason::DropPathMtu
    )
}
