//! One way to run the data path.

use anyhow::Result;
use lb_common::{Action, Reason, table::ServerCounters};

use lb_userspace::store::Store;

use super::fixture::Fixture;

/// What became of a frame.
#[derive(Debug)]
pub struct Outcome {
    /// The verdict's action; of a redirect the interface is 0 unless the engine
    /// [tells](Engine::TELLS_REDIRECTS).
    pub action: Action,
    /// The frame as it is by then.
    pub frame: Vec<u8>,
}

/// All counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// By reason. Packets of known flows count under [`Reason::Forwarded`].
    pub reasons: Vec<u64>,
    /// By real server.
    pub servers: Vec<ServerCounters>,
}

/// One way to run the data path. A new engine has empty tables.
pub trait Engine {
    /// Its name in messages.
    const NAME: &'static str;

    /// Whether the clock can be set.
    const HAS_CLOCK: bool;

    /// Whether it tells where a redirect goes to.
    const TELLS_REDIRECTS: bool;

    /// A fresh engine for a fixture's kind of program.
    fn new(fixture: &Fixture) -> Result<Self>
    where
        Self: Sized;

    /// Makes this engine as good as a new one for another fixture, where that is cheaper than
    /// making one; whether it could.
    fn renew(&mut self, _fixture: &Fixture) -> Result<bool> {
        Ok(false)
    }

    /// Makes the tables what the fixture says; flows, round-robin positions and limits stay.
    fn apply(&mut self, fixture: &Fixture) -> Result<()>;

    /// Sets the clock, in ticks.
    fn set_now(&mut self, now: u64);

    /// Runs the program on a frame.
    fn run(&mut self, frame: &[u8]) -> Result<Outcome>;

    /// Reads the counters.
    fn counts(&mut self) -> Result<Counts>;
}

impl Counts {
    /// Reads the counters of a director's tables.
    pub(super) fn of(store: &dyn Store) -> Result<Self> {
        let servers: Vec<ServerCounters> = (0..store.capacity().real_servers)
            .map(|index| store.counters(index))
            .collect::<Result<_, _>>()?;
        let mut reasons = store.reasons()?;
        let sent: u64 = servers.iter().map(|counters| counters.packets).sum();
        reasons[Reason::Forwarded as usize] += sent;
        reasons[Reason::Forwarded as usize] -= reasons[Reason::Scheduled as usize];
        Ok(Self { reasons, servers })
    }

    /// The reasons counted since `before`, each with how often.
    pub fn reasons_since(&self, before: &Self) -> Vec<(Reason, u64)> {
        let pairs = self.reasons.iter().zip(&before.reasons).zip(Reason::ALL);
        pairs
            .filter(|((now, before), _)| now != before)
            .map(|((now, before), reason)| (*reason, now - before))
            .collect()
    }

    /// What the real servers counted since `before`: index, flows, packets, bytes.
    pub fn servers_since(&self, before: &Self) -> Vec<(usize, [u64; 3])> {
        let numbers = |c: &ServerCounters| [c.flows, c.packets, c.bytes];
        let pairs = self.servers.iter().zip(&before.servers).enumerate();
        pairs
            .filter(|(_, (now, before))| now != before)
            .map(|(index, (now, before))| {
                let [now, before] = [numbers(now), numbers(before)];
                (index, std::array::from_fn(|n| now[n] - before[n]))
            })
            .collect()
    }
}
