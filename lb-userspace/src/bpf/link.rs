//! XDP links, pinned so that the program outlives the process that attached it.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use aya::programs::{
    ProgramError, XdpMode,
    links::{FdLink, PinnedLink},
    xdp::{XdpError, XdpLink},
};

use super::{BpfError, Loaded, pin};
use crate::sys::LinkHandle;

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
        let slot = match pinned.iter().find(|pin| pin.index == index) {
            Some(pin) => pin.slot,
            None => (0..slots).find(|slot| pinned.iter().all(|pin| pin.slot != *slot))?,
        };
        Some(Self { mode, index, slot, interface: interface.into() })
    }

    /// Every link pinned in a directory that is still attached, under the name that its interface
    /// has now.
    pub(super) fn live(directory: &Path) -> Result<Vec<Self>, BpfError> {
        let pinned = pinned(directory)?.into_iter();
        Ok(pinned.filter(|pin| pin.is_live(directory)).map(Self::renamed).collect())
    }

    /// As [`LinkPin::live`]; removes the pins of the others, and has pins follow their interfaces'
    /// names.
    pub(super) fn settle(directory: &Path) -> Result<Vec<Self>, BpfError> {
        let mut settled = Vec::new();
        for pin in pinned(directory)? {
            let path = pin.path(directory);
            if !pin.is_live(directory) {
                pin.remove(directory)?;
                continue;
            }
            let renamed = pin.clone().renamed();
            if renamed != pin {
                fs::rename(&path, renamed.path(directory))
                    .map_err(|source| BpfError::Io { path, source })?;
            }
            settled.push(renamed);
        }
        Ok(settled)
    }

    /// Whether the link is attached where its name says. It is not when it was detached behind our
    /// back, or when its interface is gone.
    fn is_live(&self, directory: &Path) -> bool {
        let interface = LinkHandle::open(&self.path(directory)).and_then(|link| link.interface());
        match interface {
            Ok(index) => index == Some(self.index),
            // What cannot be told is believed: replacing its program will tell.
            Err(error) => {
                tracing::debug!(%error, "cannot tell what {} is attached to", self.name());
                error.kind() != io::ErrorKind::NotFound
            }
        }
    }

    /// The same with the name that the interface has now.
    fn renamed(self) -> Self {
        let name = nix::net::if_::if_indextoname(self.index).ok();
        let name = name.and_then(|name| name.into_string().ok());
        Self { interface: name.unwrap_or(self.interface), ..self }
    }

    /// Detaches the program at once and removes the pin; it is no error if it is gone.
    pub(super) fn remove(&self, directory: &Path) -> Result<(), BpfError> {
        remove(&self.path(directory))
    }
}

fn pinned(directory: &Path) -> Result<Vec<LinkPin>, BpfError> {
    Ok(pin::names(directory)?.iter().filter_map(|name| LinkPin::parse(name)).collect())
}

/// Detaches every program whose link is pinned in a directory, by names of any version.
pub(super) fn remove_all(directory: &Path) -> Result<(), BpfError> {
    for name in pin::names(directory)? {
        if name.split('-').next() == Some(PREFIX) {
            remove(&directory.join(name))?;
        }
    }
    Ok(())
}

/// Detaches the link pinned at this path and removes the pin. Removing it alone would do, but the
/// kernel takes its time then, and refuses another program until it is done.
fn remove(path: &Path) -> Result<(), BpfError> {
    if let Err(error) = LinkHandle::open(path).and_then(|link| link.detach()) {
        tracing::debug!(%error, "{} is not detached at once", path.display());
    }
    pin::remove(path)
}

/// Attaches a program and pins the link, or puts the program into the link pinned for the same
/// interface and mode already. Whether it was the latter.
pub(super) fn attach(
    program: &mut Loaded,
    directory: &Path,
    pin: &LinkPin,
) -> Result<bool, BpfError> {
    let path = pin.path(directory);
    if path.exists() {
        match replace(program, &path) {
            Ok(()) => return Ok(true),
            // Detached, or the interface is gone and a new one has taken its index and name.
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
    let id = xdp
        .attach_to_if_index(pin.index, mode)
        .map_err(|error| refused(attach_hint(&error), Box::new(error)))?;
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

/// Attaches a program as [`attach`] does, in place of what is `pinned` for the same interface in
/// another mode.
///
/// The kernel has one mode per interface, so a link of another mode must go first; it comes back
/// if the new mode is refused. Whoever is killed in between attaches when started again.
pub(super) fn attach_alone(
    program: &mut Loaded,
    directory: &Path,
    pin: &LinkPin,
    pinned: Vec<LinkPin>,
) -> Result<bool, BpfError> {
    let other_mode = |other: &LinkPin| other.index == pin.index && other != pin;
    let others: Vec<_> = pinned.into_iter().filter(other_mode).collect();
    for other in &others {
        other.remove(directory)?;
    }
    let attached = attach(program, directory, pin);
    if attached.is_err() {
        for other in &others {
            // What was refused first is the error to report.
            if let Err(error) = attach(program, directory, other) {
                tracing::error!(
                    "{} is not attached in {} mode again: {error}",
                    other.interface,
                    other.mode
                );
            }
        }
    }
    attached
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
        // aya asks once more over netlink where a link is refused with EINVAL.
        ProgramError::XdpError(XdpError::NetlinkError(error)) => error.raw_os_error(),
        _ => None,
    }
}

/// What to do about a refused attachment.
fn attach_hint(error: &ProgramError) -> &'static str {
    match error_code(error) {
        Some(libc::EBUSY) => {
            "another XDP program is attached; detach it with `ip link set dev IF xdp off`, or if it has a link, find that with `bpftool link list` and use `bpftool link detach id N`"
        }
        Some(libc::EEXIST) => {
            "a program is attached in the other XDP mode; detach it with `ip link set dev IF xdp off`, or if it has a link, find that with `bpftool link list` and use `bpftool link detach id N`"
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
