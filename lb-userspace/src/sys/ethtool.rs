//! Offloads of a network interface, through ethtool's ioctl.

use std::{io, mem, os::fd::AsRawFd, ptr};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// An offload of a network interface that ethtool's ioctl can switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offload {
    /// The sender leaves checksums to the hardware (`tx`).
    TxChecksum,
    /// Segmentation of large TCP sends by the hardware (`tso`).
    TcpSegmentation,
    /// Segmentation of large sends just before the driver (`gso`).
    GenericSegmentation,
}

impl Offload {
    /// The command that sets it (include/uapi/linux/ethtool.h; libc has no names for these).
    const fn set_command(self) -> u32 {
        match self {
            Self::TxChecksum => 0x17,
            Self::TcpSegmentation => 0x1f,
            Self::GenericSegmentation => 0x24,
        }
    }
}

/// `struct ethtool_value` of include/uapi/linux/ethtool.h.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Switches an offload of `interface`, in the current thread's network namespace, on or off.
///
/// # Errors
///
/// What the kernel says: no such interface, not permitted, or not supported by the driver.
pub fn switch_offload(interface: &str, offload: Offload, on: bool) -> io::Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut value = EthtoolValue { command: offload.set_command(), data: u32::from(on) };
    // SAFETY: ifreq is plain old data (byte arrays, integers, raw pointers), for which all zeroes
    // is a value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    // The last byte stays zero: the kernel wants the name terminated.
    let room = request.ifr_name.len() - 1;
    if interface.len() > room {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = ptr::from_mut(&mut value).cast();
    // SAFETY: the descriptor is open; the kernel reads `request` and reads and writes the
    // `EthtoolValue` that it points to, and both outlive the call.
    let result =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, ptr::from_mut(&mut request)) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
