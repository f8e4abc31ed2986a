//! The thread that sweeps the flow table, and what it counted last.
//!
//! The table may have many millions of words: going through them must keep neither requests nor
//! whatever else the daemon does waiting.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{Sweeper, chain};
use crate::census::{Census, FlowCounts};

/// How long after a sweep the next one begins.
///
/// Timeouts are rounded up to ticks and a word tells the tick that a flow was last seen in, so a flow
/// expires up to two ticks (2.15 s) after its timeout, and never before it. Half a second more keeps
/// that below two seconds and one tick, and costs little: a million flows take about two
/// milliseconds.
pub const SWEEP_PERIOD: Duration = Duration::from_millis(500);

/// What was counted last; its clones are the same.
#[derive(Clone, Default)]
pub(super) struct Counted(Arc<Mutex<Latest>>);

#[derive(Default)]
struct Latest {
    census: Option<Census>,
    /// Entries that were given to new real servers since the sweep began that is under way.
    renewed: BTreeSet<u32>,
}

impl Counted {
    fn latest(&self) -> MutexGuard<'_, Latest> {
        // Whatever a panic left is as good as before: the next sweep replaces it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many flows there are; `None` before the first sweep, or when the last one failed.
    pub(super) fn in_use(&self) -> Option<u32> {
        self.latest().census.as_ref().map(Census::in_use)
    }

    /// The flows of the real server with this index; `None` as above.
    pub(super) fn of(&self, real_server: u32) -> Option<FlowCounts> {
        self.latest().census.as_ref().map(|census| census.of(real_server))
    }

    /// Entries that belong to new real servers from now on: what was counted for them was another's.
    pub(super) fn renew(&self, real_servers: impl IntoIterator<Item = u32>) {
        let mut latest = self.latest();
        let Latest { census, renewed } = &mut *latest;
        for real_server in real_servers {
            renewed.insert(real_server);
            if let Some(census) = census {
                census.forget(real_server);
            }
        }
    }

    fn begin(&self) {
        self.latest().renewed.clear();
    }

    fn end(&self, mut census: Option<Census>) {
        let mut latest = self.latest();
        if let Some(census) = &mut census {
            for real_server in &latest.renewed {
                census.forget(*real_server);
            }
        }
        latest.census = census;
    }
}

/// The thread; it ends with this value.
pub(super) struct Sweeping {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sweeping {
    /// Sweeps from now on. The receiver hears of the end of the first sweep.
    pub(super) fn start(
        mut sweeper: Box<dyn Sweeper>,
        counted: Counted,
    ) -> io::Result<(Self, oneshot::Receiver<()>)> {
        let (stop, stopped) = mpsc::channel();
        let (first, is_first) = oneshot::channel();
        let thread = thread::Builder::new().name("sweeper".into()).spawn(move || {
            let mut first = Some(first);
            let mut failed = false;
            loop {
                failed = sweep(&mut *sweeper, &counted, failed);
                // Whoever waited may have gone.
                let _ = first.take().map(|first| first.send(()));
                if stopped.recv_timeout(SWEEP_PERIOD) != Err(mpsc::RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok((Self { stop: Some(stop), thread: Some(thread) }, is_first))
    }
}

impl Drop for Sweeping {
    fn drop(&mut self) {
        drop(self.stop.take());
        // It has told of its panic itself.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Sweeps once; whether it failed, which is told once.
fn sweep(sweeper: &mut dyn Sweeper, counted: &Counted, failed_before: bool) -> bool {
    counted.begin();
    let begun = Instant::now();
    match sweeper.sweep() {
        Ok(census) => {
            let (expired, in_use) = (census.expired(), census.in_use());
            tracing::trace!("swept in {:?}: {expired} expired, {in_use} in use", begun.elapsed());
            counted.end(Some(census));
            false
        }
        Err(error) => {
            if !failed_before {
                let error = chain(&*error);
                tracing::error!(error, "cannot remove expired flows; trying again");
            }
            counted.end(None);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use lb_common::flow::{FlowState, FlowWord};

    use super::*;

    fn census() -> Census {
        let mut census = Census::new(2);
        let word = |server| FlowWord::new(1, server, FlowState::ESTABLISHED, 7).0;
        census.take(&[AtomicU64::new(word(0)), AtomicU64::new(word(1))], 7);
        census
    }

    fn active(counted: &Counted) -> [Option<u32>; 2] {
        [0, 1].map(|index| counted.of(index).map(|flows| flows.active))
    }

    #[test]
    fn a_new_server_has_no_flows_until_a_sweep_that_began_after_it_came() {
        let counted = Counted::default();
        assert_eq!(active(&counted), [None; 2]);
        counted.begin();
        counted.end(Some(census()));
        assert_eq!(active(&counted), [Some(1); 2]);
        counted.begin();
        counted.renew([1]);
        assert_eq!(active(&counted), [Some(1), Some(0)]);
        counted.end(Some(census()));
        assert_eq!(active(&counted), [Some(1), Some(0)]);
        counted.begin();
        counted.end(Some(census()));
        assert_eq!(active(&counted), [Some(1); 2]);
    }
}
