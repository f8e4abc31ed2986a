//! Lookup tables: what a scheduler chooses, laid out so that the data path only has to look.
//!
//! The data path comes upon a slot by turns or by a hash ([`method`]); the slot says what becomes of
//! the flow ([`Pick`]). Everything else that IPVS's schedulers do happens here.

mod buckets;
mod maglev;
mod turns;

use std::net::Ipv4Addr;

use lb_common::table::Method;

pub use self::turns::Turn;
pub(super) use self::turns::{cycle_of, slots_of};
use crate::{
    config::{Scheduler, VirtualService},
    plan::ActualService,
};

/// What stands in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// New flows go to this server.
    Server(Ipv4Addr),
    /// New flows are refused: their server takes none.
    Refuse,
    /// Their server takes none; the data path looks for another, and takes this one if it finds
    /// none.
    Instead(Ipv4Addr),
}

impl Pick {
    /// Its server's address, 0.0.0.0 if there is none.
    const fn address(&self) -> Ipv4Addr {
        match self {
            Self::Server(address) | Self::Instead(address) => *address,
            Self::Refuse => Ipv4Addr::UNSPECIFIED,
        }
    }
}

/// A server with all that schedulers go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its weight.
    pub weight: u32,
    /// The last weight it had that was not 0; 0 when it never had one.
    pub last_weight: u32,
}

impl Candidate {
    const fn is_available(&self) -> bool {
        self.weight > 0
    }
}

/// A service's servers, in the order of its list. `actual` knows their past.
pub fn candidates(service: &VirtualService, actual: Option<&ActualService>) -> Vec<Candidate> {
    let candidate = |server: &crate::config::Server| {
        let weight = server.weight.get();
        let known = actual.and_then(|actual| actual.servers.get(&server.address));
        let last_weight =
            if weight > 0 { weight } else { known.map_or(0, |s| s.last_weight.get()) };
        Candidate { address: server.address, weight, last_weight }
    };
    service.servers.iter().map(candidate).collect()
}

/// The lookup table of a service: [`slots`] picks, none when no server takes new flows. A table that
/// is read by turns starts where a new service's would that had all its servers at once.
pub fn build(service: &VirtualService, candidates: &[Candidate]) -> Vec<Pick> {
    if !candidates.iter().any(Candidate::is_available) {
        return Vec::new();
    }
    match service.scheduler {
        Scheduler::Rr => turns::round_robin(candidates),
        Scheduler::Wrr => turns::weighted_round_robin(candidates),
        Scheduler::Sh(flags) => buckets::source(candidates, flags.fallback),
        Scheduler::Dh => buckets::destination(candidates),
        Scheduler::Mh(flags, size) => {
            maglev::build(candidates, service.address.port.get(), size.get(), flags.fallback)
        }
        Scheduler::Fo => vec![fail_over(candidates)],
    }
}

/// The heaviest server; the first in the list of several.
fn fail_over(candidates: &[Candidate]) -> Pick {
    let heavier = |best: Candidate, other: &Candidate| {
        if other.weight > best.weight { *other } else { best }
    };
    let none = Candidate { address: Ipv4Addr::UNSPECIFIED, weight: 0, last_weight: 0 };
    Pick::Server(candidates.iter().fold(none, heavier).address)
}

/// How many slots a service's lookup table takes.
pub fn slots(service: &VirtualService) -> u64 {
    let available = || service.servers.iter().map(|server| server.weight.get()).filter(|&w| w > 0);
    if available().next().is_none() {
        return 0;
    }
    match service.scheduler {
        Scheduler::Rr => available().count() as u64,
        Scheduler::Wrr => {
            let total: u64 = available().map(u64::from).sum();
            total / u64::from(turns::divisor(available()))
        }
        Scheduler::Sh(_) | Scheduler::Dh => lb_common::hash::BUCKETS.into(),
        Scheduler::Mh(_, size) => size.get().into(),
        Scheduler::Fo => 1,
    }
}

/// Where a service's turn is once its table is replaced by one of these candidates' picks, and for
/// `rr` the server that was used last; `last` is the one that was told before, if no flow was opened
/// since.
pub fn turn(
    service: &VirtualService,
    old: &ActualService,
    last: Option<Ipv4Addr>,
    new: &[Candidate],
    position: u64,
) -> (Turn, Option<Ipv4Addr>) {
    let weighted = match service.scheduler {
        Scheduler::Rr => false,
        Scheduler::Wrr => true,
        Scheduler::Sh(_) | Scheduler::Dh | Scheduler::Mh(..) | Scheduler::Fo => {
            return (Turn::default(), None);
        }
    };
    if old.scheduler != service.scheduler {
        return (Turn { base: position, start: 0 }, None);
    }
    if weighted {
        let weight = |address| old.servers.get(&address).map_or(0, |s| s.weight.get());
        (old.turn.weighted_round_robin(&old.picks, weight, new, position), None)
    } else {
        old.turn.round_robin(&old.picks, last, new, position)
    }
}

/// How the data path comes upon a slot.
pub fn method(scheduler: Scheduler) -> Method {
    let (method, port) = match scheduler {
        Scheduler::Rr | Scheduler::Wrr | Scheduler::Fo => (Method::TURNS, false),
        Scheduler::Sh(flags) => (Method::SOURCE, flags.port),
        Scheduler::Dh => (Method::DESTINATION, false),
        Scheduler::Mh(flags, _) => (Method::MAGLEV, flags.port),
    };
    if port { method.with_port() } else { method }
}

#[cfg(test)]
mod tests;
