//! Who has which flows: one pass over the flow table that removes the expired and counts the others.
//!
//! Not for: when that is due; see `daemon`.

use std::sync::atomic::{AtomicU64, Ordering};

use lb_common::flow::{FlowState, FlowWord, WAYS};
use serde::{Deserialize, Serialize};

/// The flows of a real server, told apart as IPVS does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowCounts {
    /// TCP connections that are being opened or are established.
    pub active: u32,
    /// TCP connections that are closing or closed and not forgotten yet, and every UDP flow.
    pub inactive: u32,
}

/// By state, one bit each: whether IPVS counts a connection in it as active. Measured on a running
/// ip_vs; SYN_SENT, which it lists as well, is not reachable in Tunnel mode.
const ACTIVE: u64 =
    1 << FlowState::ESTABLISHED.0 | 1 << FlowState::SYN_RECV.0 | 1 << FlowState::SYNACK.0;

/// What a pass over the flow table has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Census {
    /// By real server: inactive flows, active flows.
    counts: Box<[[u32; 2]]>,
    in_use: u32,
    expired: u32,
}

impl Census {
    /// Nothing found yet, in tables of so many real servers.
    pub fn new(real_servers: u32) -> Self {
        Self { counts: vec![[0; 2]; real_servers as usize].into(), in_use: 0, expired: 0 }
    }

    /// Goes through flow words, at `now` (ticks of the data path's clock). The data path may change
    /// them meanwhile: a word is counted as it was at one moment of the pass.
    pub fn take(&mut self, words: &[AtomicU64], now: u64) {
        let Self { counts, in_use, expired } = self;
        for set in words.chunks(WAYS) {
            // Most sets of most tables are empty: one branch, which the CPU predicts.
            if set.iter().fold(0, |any, word| any | word.load(Ordering::Relaxed)) == 0 {
                continue;
            }
            for place in set {
                let mut word = FlowWord(place.load(Ordering::Relaxed));
                if word.is_empty() {
                    continue;
                }
                if word.is_expired(now) {
                    match place.compare_exchange(
                        word.0,
                        FlowWord::EMPTY.0,
                        Ordering::Relaxed,
                        Ordering::Relaxed,
                    ) {
                        Ok(_) => {
                            *expired += 1;
                            continue;
                        }
                        // A packet was faster: the flow goes on, or another has taken its place.
                        Err(changed) => word = FlowWord(changed),
                    }
                }
                let active = ACTIVE >> word.state().0 & 1;
                if let Some(counts) = counts.get_mut(word.real_server() as usize) {
                    counts[active as usize] += 1;
                }
                *in_use += 1;
            }
        }
    }

    /// The flows of the real server with this index; none beyond the table.
    pub fn of(&self, real_server: u32) -> FlowCounts {
        let counts = self.counts.get(real_server as usize).copied();
        let [inactive, active] = counts.unwrap_or_default();
        FlowCounts { active, inactive }
    }

    /// How many flows the table has, whosever they are.
    pub fn in_use(&self) -> u32 {
        self.in_use
    }

    /// How many were removed.
    pub fn expired(&self) -> u32 {
        self.expired
    }

    /// Forgets the flows that were counted for an entry which another real server has by now.
    pub(crate) fn forget(&mut self, real_server: u32) {
        if let Some(counts) = self.counts.get_mut(real_server as usize) {
            *counts = [0; 2];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(flows: &[(u16, FlowState, u64)]) -> Vec<AtomicU64> {
        let word = |(server, state, seen): &(u16, FlowState, u64)| {
            AtomicU64::new(FlowWord::new(1, *server, *state, *seen).0)
        };
        flows.iter().map(word).collect()
    }

    fn taken(words: &[AtomicU64], real_servers: u32, now: u64) -> Census {
        let mut census = Census::new(real_servers);
        census.take(words, now);
        census
    }

    /// `ipvsadm -Ln` on a running ip_vs: a SYN alone gives ActiveConn 1; FIN_WAIT, TIME_WAIT and CLOSE
    /// stand under InActConn, and so does UDP.
    #[test]
    fn flows_are_active_and_inactive_as_with_ipvs() {
        let active = [FlowState::SYN_RECV, FlowState::SYNACK, FlowState::ESTABLISHED];
        let inactive = [
            FlowState::FIN_WAIT,
            FlowState::TIME_WAIT,
            FlowState::CLOSE,
            FlowState::CLOSE_WAIT,
            FlowState::LAST_ACK,
            FlowState::LISTEN,
            FlowState::UDP,
            FlowState::UDP_FIRST,
        ];
        for (states, expected) in [
            (active.as_slice(), FlowCounts { active: 1, inactive: 0 }),
            (inactive.as_slice(), FlowCounts { active: 0, inactive: 1 }),
        ] {
            for state in states {
                assert_eq!(taken(&words(&[(2, *state, 7)]), 4, 7).of(2), expected, "{state:?}");
            }
        }
    }

    #[test]
    fn every_server_has_its_own_flows_and_the_expired_are_nobodys() {
        let (open, closed) = (FlowState::ESTABLISHED, FlowState::CLOSE);
        let mut flows = vec![(0, open, 1000), (3, closed, 1000), (3, open, 1000), (3, open, 990)];
        // Ten seconds.
        flows.extend([(0, closed, 980), (3, closed, 980)]);
        // An index beyond the table: a word that nobody wrote, or of a larger table.
        flows.push((4, open, 1000));
        let words = words(&flows);
        let census = taken(&words, 4, 1000);
        assert_eq!(census.of(0), FlowCounts { active: 1, inactive: 0 });
        assert_eq!(census.of(3), FlowCounts { active: 2, inactive: 1 });
        assert_eq!([1, 2, 4, u32::MAX].map(|index| census.of(index)), [FlowCounts::default(); 4]);
        assert_eq!((census.in_use(), census.expired()), (5, 2));
        assert_eq!(words.iter().filter(|word| word.load(Ordering::Relaxed) == 0).count(), 2);
    }

    #[test]
    fn words_alone_in_their_set_are_found_wherever_they_stand() {
        for place in 0..2 * WAYS {
            let words: Vec<_> = (0..2 * WAYS).map(|_| AtomicU64::new(0)).collect();
            words[place].store(FlowWord::new(1, 1, FlowState::UDP, 5).0, Ordering::Relaxed);
            assert_eq!(taken(&words, 2, 5).of(1), FlowCounts { active: 0, inactive: 1 });
        }
    }
}
