//! Free entries and free stretches of the lookup map; what was given up rests before it is reused.
//!
//! A packet that is being processed while a table changes may still hold an index or an offset
//! from before. It is done within microseconds; [`GRACE`] is what we wait all the same.

use std::{
    collections::BTreeSet,
    ops::Range,
    time::{Duration, Instant},
};

/// How long an index or a stretch rests after the data path could last come upon it.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// Single entries of a table.
#[derive(Debug, Default)]
pub(super) struct Entries {
    size: u32,
    used: BTreeSet<u32>,
    resting: Vec<(Instant, u32)>,
}

impl Entries {
    pub(super) fn new(size: u32, used: impl IntoIterator<Item = u32>) -> Self {
        Self { size, used: used.into_iter().collect(), resting: Vec::new() }
    }

    /// How many more there is room for, the resting ones included.
    pub(super) fn room(&self) -> usize {
        (self.size as usize).saturating_sub(self.used.len())
    }

    /// Takes the lowest free entry; waits for a resting one if there is no other.
    pub(super) fn take(&mut self) -> Option<u32> {
        wake(&mut self.resting);
        if self.used.len() >= self.size as usize {
            return None;
        }
        loop {
            let resting = |index: &u32| self.resting.iter().any(|(_, other)| other == index);
            let free = (0..self.size).find(|index| !self.used.contains(index) && !resting(index));
            if let Some(index) = free {
                self.used.insert(index);
                return Some(index);
            }
            wait(&mut self.resting);
        }
    }

    pub(super) fn give_up(&mut self, index: u32) {
        if self.used.remove(&index) {
            self.resting.push((Instant::now() + GRACE, index));
        }
    }
}

/// Stretches of the lookup map.
#[derive(Debug, Default)]
pub(super) struct Slots {
    size: u32,
    /// Sorted, without overlap.
    used: Vec<Range<u32>>,
    resting: Vec<(Instant, Range<u32>)>,
}

impl Slots {
    pub(super) fn new(size: u32, used: impl IntoIterator<Item = Range<u32>>) -> Self {
        let mut used: Vec<_> = used.into_iter().filter(|range| !range.is_empty()).collect();
        used.sort_unstable_by_key(|range| range.start);
        Self { size, used, resting: Vec::new() }
    }

    /// Takes the first stretch of this length; waits for resting ones if there is no other.
    pub(super) fn take(&mut self, length: u32) -> Option<u32> {
        if length == 0 {
            return Some(0);
        }
        wake(&mut self.resting);
        loop {
            if let Some(start) = self.gap(length) {
                let place = self.used.partition_point(|range| range.start < start);
                self.used.insert(place, start..start + length);
                return Some(start);
            }
            if self.resting.is_empty() {
                return None;
            }
            wait(&mut self.resting);
        }
    }

    fn gap(&self, length: u32) -> Option<u32> {
        let mut taken: Vec<_> = self.used.iter().collect();
        taken.extend(self.resting.iter().map(|(_, range)| range));
        taken.sort_unstable_by_key(|range| range.start);
        let mut start = 0;
        for range in taken {
            if range.start >= start && range.start - start >= length {
                return Some(start);
            }
            start = start.max(range.end);
        }
        (self.size.checked_sub(start)? >= length).then_some(start)
    }

    pub(super) fn give_up(&mut self, offset: u32, length: u32) {
        if length > 0 {
            self.used.retain(|range| range.start != offset);
            self.resting.push((Instant::now() + GRACE, offset..offset + length));
        }
    }

    /// Gives back what the data path never saw.
    pub(super) fn untake(&mut self, offset: u32) {
        self.used.retain(|range| range.start != offset);
    }
}

/// Forgets those that have rested.
fn wake<T>(resting: &mut Vec<(Instant, T)>) {
    let now = Instant::now();
    resting.retain(|(until, _)| *until > now);
}

/// Waits until the first one has rested.
fn wait<T>(resting: &mut Vec<(Instant, T)>) {
    if let Some(first) = resting.iter().map(|(until, _)| *until).min() {
        std::thread::sleep(first.saturating_duration_since(Instant::now()));
    }
    wake(resting);
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
        let start = Instant::now();
        assert_eq!(entries.take(), Some(0));
        assert!(start.elapsed() > GRACE / 2);
    }

    #[test]
    fn stretches_fill_gaps_and_never_overlap() {
        let mut slots = Slots::new(10, [2..4, 6..7]);
        assert_eq!(slots.take(3), Some(7));
        assert_eq!(slots.take(2), Some(0));
        assert_eq!(slots.take(2), Some(4));
        assert_eq!(slots.take(1), None);
        slots.untake(4);
        assert_eq!(slots.take(2), Some(4));
        assert_eq!(slots.take(0), Some(0));
    }
}
