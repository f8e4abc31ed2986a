//! Captures frames as they pass interfaces, and reads the headers that tunlb cares about.
//!
//! An XDP program's own transmissions are invisible on its interface; the peer end of a veth sees
//! them, before anything else does.

mod frame;

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket,
        sockopt::RcvBufForce,
    },
};
use std::os::fd::AsFd;

pub use frame::{Ethernet, Frame, Ip, Mac, Payload, Ports};

/// Room for frames that wait to be read, in bytes. Four requests leave some 20 kB; a test's
/// megabyte each way fits too.
const BUFFER: usize = 16 << 20;

/// The longest frame read in full, in bytes: a veth's largest GSO frame.
const LONGEST: usize = 65_550;

/// Which way a frame passed an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The interface received it.
    In,
    /// It was sent out of the interface.
    Out,
}

/// A frame, and where it was seen.
#[derive(Debug, Clone)]
pub struct Captured {
    /// The interface's index in the namespace of the capture.
    pub interface: u32,
    /// Which way it passed the interface.
    pub direction: Direction,
    /// The frame's bytes from the destination MAC on.
    pub bytes: Vec<u8>,
}

/// A running capture of every interface of one network namespace.
///
/// One socket for all of them, so that the frames come in the order in which they were seen.
#[derive(Debug)]
pub struct Capture {
    socket: OwnedFd,
}

impl Capture {
    /// Starts to capture in the current thread's network namespace. Frames are kept from now on.
    ///
    /// # Errors
    ///
    /// What the kernel says; CAP_NET_RAW is needed.
    pub fn start() -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::EthAll,
        )?;
        setsockopt(&socket, RcvBufForce, &BUFFER)?;
        Ok(Self { socket })
    }

    /// Takes the frames that were seen since the start or the last call.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn take(&self) -> io::Result<Vec<Captured>> {
        let mut buffer = vec![0; LONGEST];
        let mut frames = Vec::new();
        loop {
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut buffer) {
                Ok((length, Some(address))) => frames.push(Captured {
                    interface: u32::try_from(address.ifindex()).unwrap_or(0),
                    direction: if address.pkttype() == libc::PACKET_OUTGOING {
                        Direction::Out
                    } else {
                        Direction::In
                    },
                    bytes: buffer.get(..length).unwrap_or_default().to_vec(),
                }),
                Ok((_, None)) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(frames),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Waits until a frame can be taken, or `timeout` has passed; says which.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        let mut descriptors = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut descriptors, timeout) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}
