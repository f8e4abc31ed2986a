//! Free entries and free stretches of the lookup map; what was given up rests before it is reused.
//!
//! A packet that is being processed while a table changes may still hold an index or an offset
//! from before. It is done within microseconds; [`GRACE`] is what we wait all the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::{Duration, Instant},
};

/// How long an index or a stretch rests after the data path could last come upon it.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// Single entries of a table.
#[derive(Debug, Default)]
pub(super) struct Entries {
    size: u32,
    /// In use, or resting.
    busy: BTreeSet<u32>,
    resting: Vec<(Instant, u32)>,
    /// Those that have rested and that nobody asked for yet.
    rested: BTreeSet<u32>,
    /// All entries before this one are busy.
    lowest: u32,
}

impl Entries {
    pub(super) fn new(size: u32, used: impl IntoIterator<Item = u32>) -> Self {
        Self { size, busy: used.into_iter().collect(), ..Self::default() }
    }

    /// How many more there is room for, the resting ones included.
    pub(super) fn room(&self) -> usize {
        (self.size as usize + self.resting.len()).saturating_sub(self.busy.len())
    }

    /// Takes the lowest free entry; waits for a resting one if there is no other.
    pub(super) fn take(&mut self) -> Option<u32> {
        loop {
            for index in awake(&mut self.resting) {
                self.busy.remove(&index);
                self.rested.insert(index);
                self.lowest = self.lowest.min(index);
            }
            let free = (self.lowest..self.size).find(|index| !self.busy.contains(index));
            if let Some(index) = free {
                self.busy.insert(index);
                self.lowest = index + 1;
                return Some(index);
            }
            wait(&self.resting)?;
        }
    }

    /// The entries that are free again since this was asked last, or were when one was taken.
    pub(super) fn rested(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.rested)
    }

    pub(super) fn give_up(&mut self, index: u32) {
        self.resting.push((Instant::now() + GRACE, index));
    }
}

/// Stretches of the lookup map.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots {
    size: u32,
    /// In use, or resting; by their start, without overlap.
    busy: BTreeMap<u32, u32>,
    /// The starts of those that rest.
    resting: Vec<(Instant, u32)>,
    /// All slots before this one are busy.
    lowest: u32,
}

impl Slots {
    pub(super) fn new(size: u32, used: impl IntoIterator<Item = Range<u32>>) -> Self {
        let used = used.into_iter().filter(|range| !range.is_empty());
        let busy = used.map(|range| (range.start, range.end)).collect();
        Self { size, busy, ..Self::default() }
    }

    /// The same, as if all that rests had rested.
    pub(super) fn at_rest(&self) -> Self {
        let mut rested = Self { busy: self.busy.clone(), resting: Vec::new(), ..*self };
        for (_, start) in &self.resting {
            rested.untake(*start);
        }
        rested
    }

    /// Takes the first stretch of this length, on a clone that only plans: as if it had waited for
    /// all that rests, where there is no other.
    pub(super) fn place(&mut self, length: u32) -> Option<u32> {
        if length == 0 {
            return Some(0);
        }
        let start = self.gap(length).or_else(|| {
            *self = self.at_rest();
            self.gap(length)
        })?;
        self.busy.insert(start, start + length);
        Some(start)
    }

    /// Whether, once all has rested, there is a gap for another of the longest stretch in use.
    pub(super) fn has_spare(&self) -> bool {
        let longest = |busy: &BTreeMap<u32, u32>| busy.iter().map(|(start, end)| end - start).max();
        let mut rested = self.at_rest();
        longest(&rested.busy).is_none_or(|longest| rested.gap(longest).is_some())
    }

    /// Takes a stretch that [`Slots::place`] found; waits for those in it that rest.
    pub(super) fn take(&mut self, offset: u32, length: u32) {
        if length == 0 {
            return;
        }
        let (start, end) = (offset, offset + length);
        loop {
            for start in awake(&mut self.resting) {
                self.untake(start);
            }
            let inside = |resting: &u32| {
                *resting < end && self.busy.get(resting).is_some_and(|end| *end > start)
            };
            let resting = self.resting.iter().filter(|(_, resting)| inside(resting));
            let Some(last) = resting.map(|(until, _)| *until).max() else { break };
            std::thread::sleep(last.saturating_duration_since(Instant::now()));
        }
        self.busy.insert(start, end);
    }

    fn gap(&mut self, length: u32) -> Option<u32> {
        let mut start = self.lowest;
        for (&busy, &end) in self.busy.range(self.lowest..) {
            if busy - start >= length {
                return Some(start);
            }
            if busy == self.lowest {
                self.lowest = end;
            }
            start = end;
        }
        (self.size.checked_sub(start)? >= length).then_some(start)
    }

    pub(super) fn give_up(&mut self, offset: u32, length: u32) {
        if length > 0 {
            self.resting.push((Instant::now() + GRACE, offset));
        }
    }

    fn untake(&mut self, offset: u32) {
        self.busy.remove(&offset);
        self.lowest = self.lowest.min(offset);
    }
}

/// Takes out those that have rested.
fn awake(resting: &mut Vec<(Instant, u32)>) -> Vec<u32> {
    let now = Instant::now();
    resting.extract_if(.., |(until, _)| *until <= now).map(|(_, item)| item).collect()
}

/// Waits until the first one has rested; `None` when none rests.
fn wait(resting: &[(Instant, u32)]) -> Option<()> {
    let first = resting.iter().map(|(until, _)| *until).min()?;
    std::thread::sleep(first.saturating_duration_since(Instant::now()));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_entry_is_taken() {
        let mut entries = Entries::new(3, [1]);
        assert_eq!([entries.take(), entries.take(), entries.take()], [Some(0), Some(2), None]);
    }

    #[test]
    fn what_was_given_up_is_not_taken_again_at_once() {
        let mut entries = Entries::new(2, []);
        assert_eq!(entries.take(), Some(0));
        entries.give_up(0);
        assert_eq!(entries.room(), 2);
        assert_eq!(entries.take(), Some(1));
        assert!(entries.rested().is_empty());
        let start = Instant::now();
        assert_eq!(entries.take(), Some(0));
        assert!(start.elapsed() > GRACE / 2);
        assert_eq!(entries.rested(), BTreeSet::from([0]));
        assert!(entries.rested().is_empty());
    }

    #[test]
    fn stretches_fill_gaps_and_never_overlap() {
        let mut slots = Slots::new(10, [2..4, 6..7]);
        assert_eq!(slots.place(3), Some(7));
        assert_eq!(slots.place(2), Some(0));
        assert_eq!(slots.place(2), Some(4));
        assert_eq!(slots.place(1), None);
        slots.untake(4);
        assert_eq!(slots.place(2), Some(4));
        assert_eq!(slots.place(0), Some(0));
    }

    #[test]
    fn resting_stretches_are_taken_when_nothing_else_is_left() {
        let mut slots = Slots::new(4, []);
        slots.take(0, 2);
        slots.give_up(0, 2);
        assert_eq!(slots.clone().place(2), Some(2));
        slots.take(2, 2);
        assert_eq!(slots.clone().place(3), None);
        slots.give_up(2, 2);
        assert_eq!(slots.clone().place(4), Some(0));
    }

    #[test]
    fn a_resting_stretch_is_waited_for() {
        let mut slots = Slots::new(6, []);
        slots.take(0, 2);
        slots.take(2, 2);
        slots.give_up(0, 2);
        let start = Instant::now();
        slots.take(4, 2);
        assert_eq!(slots.resting.len(), 1, "nothing in it rests");
        slots.take(1, 1);
        assert!(start.elapsed() > GRACE / 2);
        assert_eq!(slots.busy, BTreeMap::from([(1, 2), (2, 4), (4, 6)]));
    }
}
