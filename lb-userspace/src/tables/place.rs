//! Where new lookup tables go, and which others make way for them.
//!
//! A plan is made before anything is written, on what will be free once all that rests has rested;
//! so what it finds to be possible is so whenever it is carried out.
//!
//! Tables go to the first gap that is long enough, as long as a gap remains for the longest of all.
//! Otherwise they are moved, each into the gap beside it, so that there is a single gap, which
//! wanders to where it is needed. The gap is at least as long as the longest table, by what the
//! configuration demands of `tables.lookup` and since a changed table goes to its far end: so it
//! is as long again as soon as the old table is given up.

use std::collections::{BTreeMap, BTreeSet};

use super::{Tables, lookup, space::Slots};
use crate::{
    config::{ServiceAddress, VirtualService},
    plan::{Diff, ServiceChange},
    store::StoreError,
};

/// A stretch of lookup slots; an empty one for a service that keeps its table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u32,
    pub(super) length: u32,
}

impl Place {
    const fn end(self) -> u32 {
        self.offset + self.length
    }
}

/// What to do, one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    /// A table makes way.
    Move(ServiceAddress, Place),
    /// A service comes or changes, and this is where its new table goes.
    Change(&'a ServiceChange, Place),
}

/// A change that leaves a service, and how many slots it needs.
struct Demand<'a> {
    change: &'a ServiceChange,
    service: &'a VirtualService,
    repicked: bool,
}

impl Demand<'_> {
    fn length(&self) -> Option<u32> {
        u32::try_from(lookup::slots(self.service)).ok()
    }
}

impl Tables {
    /// What there will be room for however long anything has rested.
    pub(super) fn steps_at_rest<'a>(
        &self,
        entries: u32,
        diff: &'a Diff,
    ) -> Result<Vec<Step<'a>>, StoreError> {
        let demands = self.demands(diff);
        let first = self.fill_gaps(self.slots.at_rest(), &demands, diff, entries);
        match first {
            Ok((steps, true)) => Ok(steps),
            first => self.packed(&demands, diff, entries).or_else(|_| Ok(first?.0)),
        }
    }

    /// What to do now, with as little waiting as possible.
    pub(super) fn steps<'a>(
        &self,
        entries: u32,
        diff: &'a Diff,
    ) -> Result<Vec<Step<'a>>, StoreError> {
        match self.fill_gaps(self.slots.clone(), &self.demands(diff), diff, entries) {
            Ok((steps, true)) => Ok(steps),
            _ => self.steps_at_rest(entries, diff),
        }
    }

    /// In the order in which they are to be met: tables that do not grow make room first.
    fn demands<'a>(&self, diff: &'a Diff) -> Vec<Demand<'a>> {
        let demand = |change: &'a ServiceChange| {
            let (service, repicked) = match change {
                ServiceChange::Remove(_) => return None,
                ServiceChange::Add(service) => (service, true),
                ServiceChange::Edit(edit) => (&edit.service, edit.repicked),
            };
            Some(Demand { change, service, repicked })
        };
        let mut demands: Vec<_> = diff.services.iter().filter_map(demand).collect();
        demands.sort_by_key(|demand| {
            lookup::slots(demand.service) > self.place_of(demand.service.address).length.into()
        });
        demands
    }

    /// Where a service's table stands now.
    fn place_of(&self, service: ServiceAddress) -> Place {
        self.actual.services.get(&service).map_or_else(Place::default, |actual| Place {
            offset: actual.table.offset(),
            length: actual.table.length(),
        })
    }

    /// Every table where there is a gap; and whether one remains for the longest.
    fn fill_gaps<'a>(
        &self,
        mut slots: Slots,
        demands: &[Demand<'a>],
        diff: &Diff,
        entries: u32,
    ) -> Result<(Vec<Step<'a>>, bool), StoreError> {
        for change in &diff.services {
            if let ServiceChange::Remove(service) = change {
                let old = self.place_of(*service);
                slots.give_up(old.offset, old.length);
            }
        }
        let mut steps = Vec::with_capacity(demands.len());
        for demand in demands {
            let mut place = Place::default();
            if demand.repicked {
                let found = demand.length().and_then(|length| Some((slots.place(length)?, length)));
                let (offset, length) = found.ok_or_else(|| no_stretch(demand.service, entries))?;
                place = Place { offset, length };
                let old = self.place_of(demand.service.address);
                slots.give_up(old.offset, old.length);
            }
            steps.push(Step::Change(demand.change, place));
        }
        let unchanged = demands.iter().all(|demand| !demand.repicked);
        Ok((steps, unchanged || slots.has_spare()))
    }

    /// Every table beside the gap, to which the others are moved together.
    fn packed<'a>(
        &self,
        demands: &[Demand<'a>],
        diff: &Diff,
        entries: u32,
    ) -> Result<Vec<Step<'a>>, StoreError> {
        let removed = diff.services.iter().filter_map(|change| match change {
            ServiceChange::Remove(service) => Some(*service),
            ServiceChange::Add(_) | ServiceChange::Edit(_) => None,
        });
        let removed: BTreeSet<_> = removed.collect();
        let services = self.actual.services.keys().filter(|service| !removed.contains(service));
        let places = services.map(|service| (self.place_of(*service), *service));
        let tables = places
            .filter(|(place, _)| place.length > 0)
            .map(|(place, service)| (place.offset, (place.length, service)))
            .collect();
        let mut packing = Packing { tables, size: entries, gap: Place::default(), steps: vec![] };
        if packing.pack().is_none() {
            return demands
                .first()
                .map_or(Ok(vec![]), |first| Err(no_stretch(first.service, entries)));
        }
        for demand in demands {
            let mut place = Place::default();
            if demand.repicked {
                let found =
                    demand.length().and_then(|length| packing.put(demand.service.address, length));
                place = found.ok_or_else(|| no_stretch(demand.service, entries))?;
            }
            packing.steps.push(Step::Change(demand.change, place));
        }
        Ok(packing.steps)
    }
}

fn no_stretch(service: &VirtualService, entries: u32) -> StoreError {
    let slots = lookup::slots(service);
    StoreError::NoStretch { service: service.address, slots, entries }
}

/// Tables that are being moved together.
struct Packing<'a> {
    /// By their offsets: their lengths, and whose they are.
    tables: BTreeMap<u32, (u32, ServiceAddress)>,
    size: u32,
    gap: Place,
    steps: Vec<Step<'a>>,
}

impl Packing<'_> {
    /// Makes one gap of all, beginning with the longest.
    fn pack(&mut self) -> Option<()> {
        let mut start = 0;
        let mut gaps = Vec::new();
        for (&offset, &(length, _)) in &self.tables {
            gaps.push(Place { offset: start, length: offset.checked_sub(start)? });
            start = offset + length;
        }
        gaps.push(Place { offset: start, length: self.size.checked_sub(start)? });
        gaps.retain(|gap| gap.length > 0);
        self.gap = gaps.iter().copied().max_by_key(|gap| gap.length).unwrap_or_default();
        if gaps.len() > 1 {
            while self.gap.end() < self.size {
                self.shift_next_left()?;
            }
            while self.gap.offset > 0 {
                self.shift_previous_right()?;
            }
        }
        Some(())
    }

    /// Moves the table behind the gap to its front; whatever was free behind that joins the gap.
    fn shift_next_left(&mut self) -> Option<()> {
        if let Some((&offset, &(length, service))) = self.tables.range(self.gap.end()..).next() {
            self.shift(service, Place { offset, length }, self.gap.offset)?;
        }
        self.widen(
            self.gap.offset + self.tables.get(&self.gap.offset).map_or(0, |(length, _)| *length),
        );
        Some(())
    }

    /// Moves the table before the gap to its end; whatever was free before that joins the gap.
    fn shift_previous_right(&mut self) -> Option<()> {
        let mut start = self.gap.offset;
        let before = self.tables.range(..self.gap.offset).next_back();
        if let Some((&offset, &(length, service))) = before {
            self.shift(service, Place { offset, length }, self.gap.end().checked_sub(length)?)?;
            start = offset;
        }
        self.widen(start);
        Some(())
    }

    /// Makes the gap the one around `free`.
    fn widen(&mut self, free: u32) {
        let before = self.tables.range(..free).next_back();
        let offset = before.map_or(0, |(offset, (length, _))| offset + length);
        let end = self.tables.range(free..).next().map_or(self.size, |(offset, _)| *offset);
        self.gap = Place { offset, length: end - offset };
    }

    /// Moves a table to where it does not overlap with what it is now.
    fn shift(&mut self, service: ServiceAddress, from: Place, offset: u32) -> Option<()> {
        let to = Place { offset, length: from.length };
        if to.end() > from.offset && to.offset < from.end() {
            return None;
        }
        self.tables.remove(&from.offset);
        self.tables.insert(to.offset, (to.length, service));
        self.steps.push(Step::Move(service, to));
        Some(())
    }

    /// Puts a service's new table to that end of the gap that is farther from its old one, which is
    /// brought beside the gap, and is free then.
    fn put(&mut self, service: ServiceAddress, length: u32) -> Option<Place> {
        let old = self.tables.iter().find(|(_, (_, owner))| *owner == service);
        let old = old.map(|(offset, _)| *offset);
        let mut offset = self.gap.offset;
        if let Some(old) = old {
            if old < self.gap.offset {
                while self.tables.range(..self.gap.offset).next_back()?.0 != &old {
                    self.shift_previous_right()?;
                }
                offset = self.gap.end().checked_sub(length)?;
            } else {
                while self.tables.range(self.gap.end()..).next()?.0 != &old {
                    self.shift_next_left()?;
                }
                offset = self.gap.offset;
            }
        }
        if length > self.gap.length {
            return None;
        }
        let place = Place { offset, length };
        if let Some(old) = old {
            self.tables.remove(&old);
        }
        if length > 0 {
            self.tables.insert(offset, (length, service));
        }
        // The gap is on one side of the new table.
        self.widen(old.filter(|old| *old < offset).unwrap_or(place.end()));
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: u32 = 64;

    proptest! {
        /// What the configuration demands is enough, whatever came before: all tables and the
        /// longest once more.
        #[test]
        fn what_fits_finds_a_place(
            changes in prop::collection::vec((1u16..7, 0u32..24), 1..60)
        ) {
            let mut tables = BTreeMap::new();
            for (port, length) in changes {
                let service = format!("tcp:10.0.0.9:{port}").parse().expect("a service");
                let others: Vec<u32> = tables
                    .values()
                    .filter(|(_, owner): &&(u32, ServiceAddress)| *owner != service)
                    .map(|(length, _)| *length)
                    .collect();
                let all: u32 = others.iter().sum();
                let longest = others.into_iter().max().unwrap_or(0).max(length);
                if all + length + longest > SIZE {
                    continue;
                }
                if length == 0 {
                    // It goes, and leaves a gap.
                    tables.retain(|_, (_, owner)| *owner != service);
                    continue;
                }
                let before = tables.clone();
                let mut packing =
                    Packing { tables, size: SIZE, gap: Place::default(), steps: vec![] };
                prop_assert!(packing.pack().is_some(), "{before:?}");
                prop_assert!(packing.put(service, length).is_some(), "{before:?} {port} {length}");
                tables = packing.tables;
                let mut end = 0;
                for (offset, (length, _)) in &tables {
                    prop_assert!(*offset >= end);
                    end = offset + length;
                }
                prop_assert!(end <= SIZE);
                prop_assert_eq!(packing.gap.length, SIZE - all - length);
            }
        }
    }
}
