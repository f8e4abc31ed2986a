//! XDP links, pinned so that the program outlives the process that attached it.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use aya::programs::{
    ProgramError, XdpMode,
    links::{FdLink, PinnedLink},
    xdp::XdpLink,
};

use super::{BpfError, Loaded, pin};

/// How XDP runs on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// In the driver.
    Native,
    /// In the kernel's stack, for drivers without XDP: slower, and only on request.
    Generic,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// A pinned link's name tells what it is of: mode, interface index, the interface's slot in the
/// table of interfaces, interface name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LinkPin {
    pub(super) mode: Mode,
    pub(super) index: u32,
    /// Which the pinned program has built in.
    pub(super) slot: u32,
    pub(super) interface: String,
}

const PREFIX: &str = "xdp";

impl LinkPin {
    fn name(&self) -> String {
        // Interface names may hold a dot (eth0.100), which bpffs refuses in names.
        let interface = self.interface.replace('.', "%");
        format!("{PREFIX}-{}-{}-{}-{interface}", self.mode, self.index, self.slot)
    }

    pub(super) fn path(&self, directory: &Path) -> PathBuf {
        directory.join(self.name())
    }

    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.splitn(5, '-');
        let is_link = parts.next()? == PREFIX;
        let mode = match parts.next()? {
            "native" => Mode::Native,
            "generic" => Mode::Generic,
            _ => return None,
        };
        let index = parts.next()?.parse().ok()?;
        let slot = parts.next()?.parse().ok()?;
        let interface = parts.next()?.replace('%', ".");
        is_link.then_some(Self { mode, index, slot, interface })
    }

    /// The pin for an interface among those that are there: its slot stays the same as long as it
    /// is attached; a new one gets the lowest free slot. None when all slots are taken.
    pub(super) fn assign(
        pinned: &[Self],
        interface: &str,
        index: u32,
        mode: Mode,
        slots: u32,
    ) -> Option<Self> {
        let same = |pin: &&Self| pin.index == index && pin.interface == interface;
        let slot = match pinned.iter().find(same) {
            Some(pin) => pin.slot,
            None => (0..slots).find(|slot| pinned.iter().all(|pin| pin.slot != *slot))?,
        };
        Some(Self { mode, index, slot, interface: interface.into() })
    }

    /// Every link pinned in a directory.
    pub(super) fn list(directory: &Path) -> Result<Vec<Self>, BpfError> {
        Ok(pin::names(directory)?.iter().filter_map(|name| Self::parse(name)).collect())
    }
}

/// Attaches a program and pins the link, or puts the program into the link pinned for the same
/// interface and mode already. Whether it was the latter.
pub(super) fn attach(
    program: &mut Loaded,
    directory: &Path,
    pin: &LinkPin,
) -> Result<bool, BpfError> {
    attach_within(Duration::ZERO, program, directory, pin)
}

/// How long a link may take to go after its pin went. The kernel frees it after an RCU grace
/// period, some milliseconds; a second is what a machine with all CPUs busy may need.
const UNPINNED_WITHIN: Duration = Duration::from_secs(1);

/// How often a busy interface is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(5);

/// As [`attach`]; tries for so long while another program is attached.
fn attach_within(
    patience: Duration,
    program: &mut Loaded,
    directory: &Path,
    pin: &LinkPin,
) -> Result<bool, BpfError> {
    let path = pin.path(directory);
    if path.exists() {
        match replace(program, &path) {
            Ok(()) => return Ok(true),
            // ENOLINK: the interface is gone, and a new one has taken its index and name.
            Err(error) if error_code(&error) == Some(libc::ENOLINK) => pin::remove(&path)?,
            Err(source) => return Err(BpfError::Link { path, source: Box::new(source) }),
        }
    }
    let mode = match pin.mode {
        Mode::Native => XdpMode::Driver,
        Mode::Generic => XdpMode::Skb,
    };
    let refused = |hint, source| BpfError::Attach {
        interface: pin.interface.clone(),
        mode: pin.mode,
        hint,
        source,
    };
    let xdp = program.xdp()?;
    let deadline = Instant::now() + patience;
    let id = loop {
        match xdp.attach_to_if_index(pin.index, mode) {
            Ok(id) => break id,
            Err(error) if is_busy(&error) && Instant::now() < deadline => {
                std::thread::sleep(TRY_AGAIN);
            }
            Err(error) => return Err(refused(attach_hint(&error), Box::new(error))),
        }
    };
    let link = xdp.take_link(id).map_err(|error| refused("internal error", Box::new(error)))?;
    let Ok(link) = FdLink::try_from(link) else {
        let error = io::Error::from(io::ErrorKind::Unsupported);
        return Err(refused(
            "the kernel has no XDP links (Linux 5.9), so the program could not outlive tunlb",
            Box::new(error),
        ));
    };
    link.pin(&path).map_err(|source| BpfError::Link { path, source: Box::new(source) })?;
    Ok(false)
}

/// Attaches a program as [`attach`] does, and unpins what else is `pinned` for the same interface
/// name: another mode, or another interface that had the name before.
///
/// The kernel has one mode per interface, so a link of another mode must go first; it comes back
/// if the new mode is refused. Whoever is killed in between attaches when started again.
pub(super) fn attach_alone(
    program: &mut Loaded,
    directory: &Path,
    pin: &LinkPin,
    pinned: Vec<LinkPin>,
) -> Result<bool, BpfError> {
    let others = pinned.into_iter().filter(|other| other.interface == pin.interface);
    let others = others.filter(|other| other != pin);
    let (modes, namesakes): (Vec<_>, Vec<_>) = others.partition(|other| other.index == pin.index);
    for other in &modes {
        pin::remove(&other.path(directory))?;
    }
    let patience = if modes.is_empty() { Duration::ZERO } else { UNPINNED_WITHIN };
    let attached = attach_within(patience, program, directory, pin);
    if attached.is_err() {
        for other in &modes {
            if let Err(error) = attach_within(patience, program, directory, other) {
                tracing::error!(
                    "{} is not attached in {} mode again: {error}",
                    other.interface,
                    other.mode
                );
            }
        }
    }
    let adopted = attached?;
    for other in namesakes {
        pin::remove(&other.path(directory))?;
    }
    Ok(adopted)
}

fn replace(program: &mut Loaded, path: &Path) -> Result<(), ProgramError> {
    let invalid = |error: Box<dyn std::error::Error + Send + Sync>| {
        ProgramError::IOError(io::Error::new(io::ErrorKind::InvalidData, error))
    };
    let link = PinnedLink::from_pin(path).map_err(|error| invalid(Box::new(error)))?;
    let link = XdpLink::try_from(FdLink::from(link)).map_err(|error| invalid(Box::new(error)))?;
    let xdp = program.xdp().map_err(|error| invalid(Box::new(error)))?;
    let id = xdp.attach_to_link(link)?;
    // The pin keeps the link; this handle is not needed any more.
    drop(xdp.take_link(id)?);
    Ok(())
}

fn error_code(error: &ProgramError) -> Option<i32> {
    match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    }
}

/// Whether another program is attached, in the same mode or in the other.
fn is_busy(error: &ProgramError) -> bool {
    matches!(error_code(error), Some(libc::EBUSY | libc::EEXIST))
}

/// What to do about a refused attachment.
fn attach_hint(error: &ProgramError) -> &'static str {
    match error_code(error) {
        Some(libc::EBUSY) => {
            "another XDP program is attached; see `ip link show` and detach it with `ip link set dev IF xdp off`"
        }
        Some(libc::EEXIST) => {
            "a program is attached in the other XDP mode; detach it with `ip link set dev IF xdp off`"
        }
        Some(libc::EOPNOTSUPP | libc::EINVAL) => {
            "the driver has no native XDP (or not with the interface's MTU or offloads); ask for generic mode, which is slower"
        }
        Some(libc::ENODEV) => "there is no such interface",
        Some(libc::EPERM) => "root is needed",
        _ => "the kernel refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_name_survives_dots_and_dashes_in_interface_names() {
        let pin =
            LinkPin { mode: Mode::Generic, index: 7, slot: 63, interface: "br-lan.100".into() };
        assert_eq!(pin.name(), "xdp-generic-7-63-br-lan%100");
        assert_eq!(LinkPin::parse(&pin.name()), Some(pin));
        assert_eq!(LinkPin::parse("FLOWS"), None);
    }

    #[test]
    fn an_attached_interface_keeps_its_slot_and_a_new_one_gets_the_lowest_free() {
        let pin = |slot, interface: &str, index| LinkPin {
            mode: Mode::Native,
            index,
            slot,
            interface: interface.into(),
        };
        let pinned = [pin(0, "a", 2), pin(2, "c", 4)];
        let slot = |interface: &str, index, mode| {
            LinkPin::assign(&pinned, interface, index, mode, 4).map(|pin| pin.slot)
        };
        assert_eq!(slot("c", 4, Mode::Native), Some(2));
        assert_eq!(slot("c", 4, Mode::Generic), Some(2));
        assert_eq!(slot("b", 3, Mode::Native), Some(1));
        // Another interface of the same name: the program of the old one may still run somewhere.
        assert_eq!(slot("a", 9, Mode::Native), Some(1));
        let full = [pin(0, "a", 2), pin(1, "b", 3)];
        assert_eq!(LinkPin::assign(&full, "c", 4, Mode::Native, 2), None);
    }
}
