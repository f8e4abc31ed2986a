//! The MAC addresses that neighbours had, so that an entry which the kernel drops or asks about
//! anew does not cut off a real server that works; pure.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use tokio::time::Instant;

use crate::netlink::{Neighbour, NeighbourState};

/// How long a neighbour's last MAC address is used after its entry went.
///
/// A flushed or evicted entry is back within milliseconds of a probe. A neighbour that is gone is
/// found out by the kernel within 3 s (three questions, a second apart); that it then says so ends
/// the use at once. 5 s leaves it the time, and bounds the loss where no answer comes at all.
pub const HOLD: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
struct Seen {
    mac: [u8; 6],
    /// Since when the kernel does not know it any more.
    missing: Option<Instant>,
}

/// What neighbours answered last, by link index and address.
#[derive(Debug, Default)]
pub struct Memory(BTreeMap<(u32, IpAddr), Seen>);

impl Memory {
    /// The neighbour entry to decide with: as the kernel has it, or with the last MAC address
    /// while the kernel knows none and has not given up.
    pub fn recall(
        &mut self,
        link: u32,
        address: IpAddr,
        entry: Option<Neighbour>,
        now: Instant,
    ) -> Option<Neighbour> {
        let key = (link, address);
        match entry {
            Some(Neighbour { mac: Some(mac), state, .. }) if state.usable() => {
                self.0.insert(key, Seen { mac, missing: None });
                return entry;
            }
            Some(Neighbour { state: NeighbourState::Failed, .. }) => {
                self.0.remove(&key);
                return entry;
            }
            _ => {}
        }
        let Some(seen) = self.0.get_mut(&key) else { return entry };
        let missing = *seen.missing.get_or_insert(now);
        if now.saturating_duration_since(missing) > HOLD {
            self.0.remove(&key);
            return entry;
        }
        Some(Neighbour { link, address, mac: Some(seen.mac), state: NeighbourState::Probe })
    }

    /// Forgets a neighbour: its link is down, so that whoever answers next may be another.
    pub fn forget(&mut self, link: u32, address: IpAddr) {
        self.0.remove(&(link, address));
    }

    /// Forgets all neighbours but these.
    pub fn retain(&mut self, keep: impl Fn(&(u32, IpAddr)) -> bool) {
        self.0.retain(|key, _| keep(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 19, 1));
    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

    fn entry(state: NeighbourState, mac: Option<[u8; 6]>) -> Option<Neighbour> {
        Some(Neighbour { link: 2, address: ROUTER, mac, state })
    }

    fn mac(entry: Option<Neighbour>) -> Option<[u8; 6]> {
        entry.filter(|entry| entry.state.usable()).and_then(|entry| entry.mac)
    }

    fn known(now: Instant) -> Memory {
        let mut memory = Memory::default();
        let reachable = entry(NeighbourState::Reachable, Some(MAC));
        assert_eq!(memory.recall(2, ROUTER, reachable, now), reachable);
        memory
    }

    #[test]
    fn what_disappears_or_is_asked_anew_is_held_for_a_while() {
        let start = Instant::now();
        for missing in
            [None, entry(NeighbourState::Incomplete, None), entry(NeighbourState::None, None)]
        {
            let mut memory = known(start);
            // However long ago it was last looked at.
            let gone = start + 10 * HOLD;
            assert_eq!(mac(memory.recall(2, ROUTER, missing, gone)), Some(MAC));
            assert_eq!(mac(memory.recall(2, ROUTER, missing, gone + HOLD)), Some(MAC));
            let late = gone + HOLD + Duration::from_millis(1);
            assert_eq!(memory.recall(2, ROUTER, missing, late), missing);
            assert_eq!(memory.recall(2, ROUTER, missing, late), missing);
        }
    }

    #[test]
    fn what_comes_back_is_held_anew() {
        let start = Instant::now();
        let mut memory = known(start);
        memory.recall(2, ROUTER, None, start);
        let other = entry(NeighbourState::Reachable, Some([2, 0, 0, 0, 0, 3]));
        memory.recall(2, ROUTER, other, start + HOLD);
        let held = memory.recall(2, ROUTER, None, start + 2 * HOLD);
        assert_eq!(mac(held), Some([2, 0, 0, 0, 0, 3]));
    }

    #[test]
    fn what_the_kernel_gave_up_is_not_held() {
        let start = Instant::now();
        let mut memory = known(start);
        let failed = entry(NeighbourState::Failed, None);
        assert_eq!(memory.recall(2, ROUTER, failed, start), failed);
        // Nor when it is asked again, or when the failed entry is collected.
        assert_eq!(mac(memory.recall(2, ROUTER, None, start)), None);
    }

    #[test]
    fn neighbours_are_told_apart_and_forgotten() {
        let start = Instant::now();
        let mut memory = known(start);
        assert_eq!(memory.recall(3, ROUTER, None, start), None);
        memory.forget(2, ROUTER);
        assert_eq!(memory.recall(2, ROUTER, None, start), None);
        let mut memory = known(start);
        memory.retain(|key| *key == (3, ROUTER));
        assert_eq!(memory.recall(2, ROUTER, None, start), None);
    }
}
