//! Counters and limits; one copy per CPU, so that no line is shared.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What was sent to one real server by one CPU.
///
/// A known flow's packet writes no counter but these: the count of [`Reason::Forwarded`] is the sum of
/// `packets` over the real servers less the count of [`Reason::Scheduled`].
///
/// [`Reason::Forwarded`]: crate::Reason::Forwarded
/// [`Reason::Scheduled`]: crate::Reason::Scheduled
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct ServerCounters {
    /// Flows opened, also those whose first packet could not be sent.
    pub flows: u64,
    /// Packets sent.
    pub packets: u64,
    /// Bytes of the inner IP packets sent.
    pub bytes: u64,
    /// Zero.
    pub reserved: u64,
}

/// Slots for counters of reasons: more than there are reasons, so that a later program with more of
/// them can take over the maps of an earlier one.
pub const REASONS: u32 = 64;

/// What is limited per second and CPU.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limiter {
    /// ICMP errors to clients.
    IcmpError = 0,
    /// TCP resets to clients.
    Reset = 1,
}

impl Limiter {
    /// How many there are.
    pub const COUNT: u32 = 2;
}

/// How much of a tick's allowance is used.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct RateLimit {
    /// The tick that `used` counts in.
    pub tick: u64,
    /// Given out in that tick.
    pub used: u64,
}

impl RateLimit {
    /// Takes one, unless `limit` were given out in this tick already.
    #[inline(always)]
    pub fn admit(&mut self, now: u64, limit: u32) -> bool {
        if self.tick != now {
            *self = Self { tick: now, used: 0 };
        }
        let admitted = self.used < u64::from(limit);
        if admitted {
            self.used += 1;
        }
        admitted
    }
}

const _: () = assert!(size_of::<ServerCounters>() == 32);
const _: () = assert!(size_of::<RateLimit>() == 16);
const _: () = assert!(crate::Reason::ALL.len() <= REASONS as usize);
