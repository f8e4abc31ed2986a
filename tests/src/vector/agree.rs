//! The same frames through two engines: whatever comes in, both do the same.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use lb_common::{Action, Reason};

use super::{engine::Engine, fixture::Fixture, frame::difference, runner::mask_identification};

/// Runs frames one after the other through fresh tables of both engines; the reasons met.
///
/// # Errors
/// When action, counters or resulting frames differ, with the frame that shows it.
pub fn agree<A: Engine, B: Engine>(
    a: &mut A,
    b: &mut B,
    fixture: &Fixture,
    frames: &[Vec<u8>],
) -> Result<BTreeSet<Reason>> {
    a.apply(fixture)?;
    b.apply(fixture)?;
    let met = frames.iter().map(|frame| {
        agree_on(a, b, frame).with_context(|| format!("input\n{}", difference(frame, frame)))
    });
    met.collect()
}

fn agree_on<A: Engine, B: Engine>(a: &mut A, b: &mut B, frame: &[u8]) -> Result<Reason> {
    let before = (a.counts()?, b.counts()?);
    let (left, right) = (a.run(frame)?, b.run(frame)?);
    let after = (a.counts()?, b.counts()?);
    let reasons = (after.0.reasons_since(&before.0), after.1.reasons_since(&before.1));
    ensure!(
        left.action == right.action && reasons.0 == reasons.1 && reasons.0.len() == 1,
        "{}: {:?} {:?}, {}: {:?} {:?}",
        A::NAME,
        left.action,
        reasons.0,
        B::NAME,
        right.action,
        reasons.1,
    );
    let servers = (after.0.servers_since(&before.0), after.1.servers_since(&before.1));
    ensure!(servers.0 == servers.1, "{servers:?}");
    let (reason, _) = reasons.0[0];
    if left.action == Action::Drop {
        return Ok(reason);
    }
    let [mut left, mut right] = [left.frame, right.frame];
    if let Some(offset) = random_id(reason, &left) {
        mask_identification(&mut left, offset)?;
        mask_identification(&mut right, offset)?;
    }
    ensure!(left == right, "{} and {} differ\n{}", A::NAME, B::NAME, difference(&left, &right));
    Ok(reason)
}

/// Where the IPv4 header is whose identification is random, if the reason makes one.
fn random_id(reason: Reason, frame: &[u8]) -> Option<usize> {
    /// "Don't fragment" in the first byte of flags and offset.
    const DONT_FRAGMENT: u8 = 0x40;
    let tag =
        |offset: usize| matches!(frame.get(offset..offset + 2), Some([0x81, 0] | [0x88, 0xa8]));
    let offset = match (tag(12), tag(16)) {
        (false, _) => 14,
        (true, false) => 18,
        (true, true) => 22,
    };
    match reason {
        Reason::FragmentationNeeded
        | Reason::TimeExceeded
        | Reason::NoServer
        | Reason::PortUnreachable
        | Reason::ProtocolUnreachable
        | Reason::HostUnreachable => Some(offset),
        Reason::Forwarded | Reason::Scheduled => {
            (frame.get(offset + 6)? & DONT_FRAGMENT == 0).then_some(offset)
        }
        _ => None,
    }
}

/// A deterministic stream of frames near those given: bytes changed, cut off, added.
pub struct Mutations<'a> {
    frames: &'a [Vec<u8>],
    state: u64,
}

impl<'a> Mutations<'a> {
    /// Mutations of these frames; the same seed gives the same stream.
    pub fn new(frames: &'a [Vec<u8>], seed: u64) -> Self {
        Self { frames, state: seed }
    }

    /// splitmix64.
    fn number(&mut self, below: usize) -> usize {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ z >> 31) as usize % below
    }
}

impl Iterator for Mutations<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        /// The kernel's test run takes no less.
        const LEAST: usize = 14;
        /// Past all headers of a frame with two tags and options.
        const HEADERS: usize = 100;
        let mut frame = self.frames[self.number(self.frames.len())].clone();
        for _ in 0..self.number(4) {
            let position = self.number(frame.len().min(HEADERS));
            // Flipped bits stay near what is valid; whole bytes go further.
            frame[position] = match self.number(3) {
                0 => self.number(256) as u8,
                _ => frame[position] ^ 1 << self.number(8),
            };
        }
        if self.number(4) == 0 {
            frame.truncate(LEAST + self.number(frame.len() - LEAST + 1));
        }
        let tail = self.number(3) * self.number(20);
        frame.resize(frame.len() + tail, 0xaa);
        Some(frame)
    }
}
