//! How a service chooses the real server of a new flow: a scheduler with what belongs to it.

use std::{fmt, str::FromStr};

use lb_common::table::Service;
use serde::{Deserialize, Serialize};

use super::NameError;

/// The name of a scheduler, as `ipvsadm` has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SchedulerName {
    /// Round robin.
    #[default]
    Rr,
    /// Weighted round robin.
    Wrr,
    /// Source hashing.
    Sh,
    /// Destination hashing.
    Dh,
    /// Maglev hashing.
    Mh,
    /// Fail-over.
    Fo,
}

impl SchedulerName {
    const ALL: [Self; 6] = [Self::Rr, Self::Wrr, Self::Sh, Self::Dh, Self::Mh, Self::Fo];

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rr => "rr",
            Self::Wrr => "wrr",
            Self::Sh => "sh",
            Self::Dh => "dh",
            Self::Mh => "mh",
            Self::Fo => "fo",
        }
    }
}

impl fmt::Display for SchedulerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SchedulerName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let found = Self::ALL.into_iter().find(|scheduler| scheduler.name() == text);
        found.ok_or_else(|| NameError::Scheduler(text.into()))
    }
}

/// A flag of a scheduler, as `ipvsadm -b` has it; in the order in which `ipvsadm -L` shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SchedulerFlag {
    /// `sh`: flows of a server that takes none go to others.
    ShFallback,
    /// `sh`: the client's port counts.
    ShPort,
    /// `mh`: flows of a server that takes none go to others.
    MhFallback,
    /// `mh`: the client's port counts.
    MhPort,
}

impl SchedulerFlag {
    const ALL: [Self; 4] = [Self::ShFallback, Self::ShPort, Self::MhFallback, Self::MhPort];

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ShFallback => "sh-fallback",
            Self::ShPort => "sh-port",
            Self::MhFallback => "mh-fallback",
            Self::MhPort => "mh-port",
        }
    }
}

impl fmt::Display for SchedulerFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SchedulerFlag {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let found = Self::ALL.into_iter().find(|flag| flag.name() == text);
        found.ok_or_else(|| NameError::SchedulerFlag(text.into()))
    }
}

/// How many slots `mh`'s table has: a prime, so that every server's slots are all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TableSize(u32);

impl TableSize {
    /// The smallest, and the largest below 2^20: those that the kernel can be built with.
    pub const RANGE: [u32; 2] = [251, 1_048_573];

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Default for TableSize {
    /// The kernel's, unless it was configured otherwise.
    fn default() -> Self {
        Self(4093)
    }
}

impl TryFrom<i64> for TableSize {
    type Error = NameError;

    fn try_from(number: i64) -> Result<Self, NameError> {
        let [least, most] = Self::RANGE;
        let in_range = |number: &u32| (least..=most).contains(number);
        let divides = |number: u32, d: u32| number.is_multiple_of(d);
        let is_prime =
            |number: &u32| (2..).take_while(|d| d * d <= *number).all(|d| !divides(*number, d));
        let number = u32::try_from(number).ok().filter(in_range).filter(is_prime).ok_or(number);
        number.map(Self).map_err(NameError::TableSize)
    }
}

/// What `sh` and `mh` can be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HashFlags {
    /// Flows of a server that takes none (weight 0) go to others, instead of being refused.
    pub fallback: bool,
    /// The client's port counts, not only its address.
    pub port: bool,
}

/// How a service chooses the real server of a new flow: as IPVS's scheduler of the same name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scheduler {
    /// One server after the other; weight 0 is skipped, other weights make no difference.
    #[default]
    Rr,
    /// By turns, as many as a server's weight.
    Wrr,
    /// By the client's address.
    Sh(HashFlags),
    /// By the VIP.
    Dh,
    /// By the client's address; a change of servers moves few clients that it does not concern.
    Mh(HashFlags, TableSize),
    /// The heaviest server; the first in the list of several.
    Fo,
}

impl Scheduler {
    /// The scheduler with this name, these flags and this size of its table.
    ///
    /// # Errors
    ///
    /// When a flag or the size is not for this scheduler, or the size is bad.
    pub fn new(
        name: SchedulerName,
        flags: &[SchedulerFlag],
        table_size: Option<i64>,
    ) -> Result<Self, NameError> {
        let (own, scheduler): (&[_], _) = match name {
            SchedulerName::Rr => (&[], Self::Rr),
            SchedulerName::Wrr => (&[], Self::Wrr),
            SchedulerName::Dh => (&[], Self::Dh),
            SchedulerName::Fo => (&[], Self::Fo),
            SchedulerName::Sh => {
                let own = &[SchedulerFlag::ShFallback, SchedulerFlag::ShPort];
                (own, Self::Sh(HashFlags::among(flags, *own)))
            }
            SchedulerName::Mh => {
                let own = &[SchedulerFlag::MhFallback, SchedulerFlag::MhPort];
                let size = table_size.map(TableSize::try_from).transpose()?.unwrap_or_default();
                (own, Self::Mh(HashFlags::among(flags, *own), size))
            }
        };
        if let Some(&flag) = flags.iter().find(|flag| !own.contains(flag)) {
            return Err(NameError::IncompatibleFlag { flag, scheduler: name });
        }
        if table_size.is_some() && name != SchedulerName::Mh {
            return Err(NameError::NoTable(name));
        }
        Ok(scheduler)
    }

    /// Its name.
    pub const fn name(self) -> SchedulerName {
        match self {
            Self::Rr => SchedulerName::Rr,
            Self::Wrr => SchedulerName::Wrr,
            Self::Sh(_) => SchedulerName::Sh,
            Self::Dh => SchedulerName::Dh,
            Self::Mh(..) => SchedulerName::Mh,
            Self::Fo => SchedulerName::Fo,
        }
    }

    /// Its flags, in the order in which `ipvsadm -L` shows them.
    pub fn flags(self) -> Vec<SchedulerFlag> {
        let (flags, fallback, port) = match self {
            Self::Sh(flags) => (flags, SchedulerFlag::ShFallback, SchedulerFlag::ShPort),
            Self::Mh(flags, _) => (flags, SchedulerFlag::MhFallback, SchedulerFlag::MhPort),
            Self::Rr | Self::Wrr | Self::Dh | Self::Fo => return Vec::new(),
        };
        let all = [(flags.fallback, fallback), (flags.port, port)];
        all.into_iter().filter_map(|(set, flag)| set.then_some(flag)).collect()
    }

    /// The size of its table, where that can be chosen.
    pub const fn table_size(self) -> Option<TableSize> {
        match self {
            Self::Mh(_, size) => Some(size),
            Self::Rr | Self::Wrr | Self::Sh(_) | Self::Dh | Self::Fo => None,
        }
    }

    /// The service entry with what makes it known again.
    pub(crate) fn mark(self, entry: Service) -> Service {
        let bits = |HashFlags { fallback, port }| {
            (if fallback { Service::FALLBACK } else { 0 }) | (if port { Service::PORT } else { 0 })
        };
        let (scheduler, flags) = match self {
            Self::Rr => (Service::ROUND_ROBIN, 0),
            Self::Wrr => (Service::WEIGHTED_ROUND_ROBIN, 0),
            Self::Sh(flags) => (Service::SOURCE_HASH, bits(flags)),
            Self::Dh => (Service::DESTINATION_HASH, 0),
            Self::Mh(flags, _) => (Service::MAGLEV, bits(flags)),
            Self::Fo => (Service::FAIL_OVER, 0),
        };
        let table_size = self.table_size().map_or(0, TableSize::get);
        Service { scheduler, flags, table_size, ..entry }
    }

    /// The scheduler that a service entry was marked with.
    pub(crate) fn of(entry: &Service) -> Option<Self> {
        let flags = HashFlags {
            fallback: entry.flags & Service::FALLBACK != 0,
            port: entry.flags & Service::PORT != 0,
        };
        Some(match entry.scheduler {
            Service::ROUND_ROBIN => Self::Rr,
            Service::WEIGHTED_ROUND_ROBIN => Self::Wrr,
            Service::SOURCE_HASH => Self::Sh(flags),
            Service::DESTINATION_HASH => Self::Dh,
            Service::MAGLEV => Self::Mh(flags, TableSize(entry.table_size)),
            Service::FAIL_OVER => Self::Fo,
            _ => return None,
        })
    }
}

impl HashFlags {
    fn among(flags: &[SchedulerFlag], [fallback, port]: [SchedulerFlag; 2]) -> Self {
        Self { fallback: flags.contains(&fallback), port: flags.contains(&port) }
    }
}

/// As `ipvsadm -L` shows it: `sh (sh-fallback,sh-port)`. A table of another size than the kernel's
/// is mentioned.
impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name().fmt(f)?;
        let flags: Vec<_> = self.flags().into_iter().map(SchedulerFlag::name).collect();
        if !flags.is_empty() {
            write!(f, " ({})", flags.join(","))?;
        }
        match self.table_size() {
            Some(size) if size != TableSize::default() => write!(f, " table-size {}", size.get()),
            _ => Ok(()),
        }
    }
}

/// A scheduler as JSON has it, in three fields.
#[derive(Serialize, Deserialize)]
struct Fields {
    scheduler: SchedulerName,
    #[serde(default)]
    scheduler_flags: Vec<SchedulerFlag>,
    #[serde(default)]
    table_size: Option<i64>,
}

impl Serialize for Scheduler {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = Fields {
            scheduler: self.name(),
            scheduler_flags: self.flags(),
            table_size: self.table_size().map(|size| size.get().into()),
        };
        fields.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Scheduler {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Fields { scheduler, scheduler_flags, table_size } = Fields::deserialize(deserializer)?;
        Self::new(scheduler, &scheduler_flags, table_size).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scheduler(
        name: &str,
        flags: &[&str],
        table_size: Option<i64>,
    ) -> Result<Scheduler, NameError> {
        let flags: Result<Vec<_>, _> = flags.iter().map(|flag| flag.parse()).collect();
        Scheduler::new(name.parse()?, &flags?, table_size)
    }

    #[test]
    fn it_is_shown_as_ipvsadm_does() {
        for (name, flags, table_size, shown) in [
            ("rr", &[] as &[_], None, "rr"),
            ("sh", &[], None, "sh"),
            ("sh", &["sh-port", "sh-fallback"], None, "sh (sh-fallback,sh-port)"),
            ("mh", &["mh-port"], None, "mh (mh-port)"),
            ("mh", &["mh-port", "mh-fallback"], Some(4093), "mh (mh-fallback,mh-port)"),
            ("mh", &["mh-fallback"], Some(65_537), "mh (mh-fallback) table-size 65537"),
            ("dh", &[], None, "dh"),
            ("fo", &[], None, "fo"),
        ] {
            let scheduler = scheduler(name, flags, table_size).expect(shown);
            assert_eq!(scheduler.to_string(), shown);
            let entry = scheduler.mark(Service::default());
            assert_eq!(Scheduler::of(&entry), Some(scheduler));
            let json = serde_json::to_string(&scheduler).expect(shown);
            assert_eq!(serde_json::from_str::<Scheduler>(&json).expect(shown), scheduler);
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (name, flags, table_size, refusal) in [
            ("lc", &[] as &[_], None, "`lc` is no scheduler; rr, wrr, sh, dh, mh and fo are"),
            ("sh", &["port"], None, "`port` is no scheduler flag; sh-fallback, sh-port"),
            ("rr", &["sh-port"], None, "incompatible scheduler flag `sh-port`: rr takes no flags"),
            ("dh", &["sh-port"], None, "incompatible scheduler flag `sh-port`: dh takes no flags"),
            ("mh", &["mh-port", "sh-port"], None, "mh takes mh-fallback and mh-port"),
            ("sh", &["mh-port"], None, "sh takes sh-fallback and sh-port"),
            ("sh", &[], Some(4093), "scheduler sh has no table size; mh has"),
            ("mh", &[], Some(4096), "table size 4096 is no prime from 251 to 1048573"),
            ("mh", &[], Some(241), "table size 241 is no prime"),
            ("mh", &[], Some(1_048_583), "table size 1048583 is no prime"),
            ("mh", &[], Some(-1), "table size -1 is no prime"),
        ] {
            let error = scheduler(name, flags, table_size).expect_err(refusal).to_string();
            assert!(error.contains(refusal), "{error}\n  does not say\n{refusal}");
        }
    }
}
