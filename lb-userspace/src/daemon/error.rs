//! Why the daemon could not start or could not do what it was asked.

use std::path::PathBuf;

use super::DataPlaneError;
use crate::{config::ConfigError, netlink::NetlinkError, store::StoreError};

/// Why the daemon failed.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Not root.
    #[error("the director needs root; run it with sudo")]
    NotRoot,
    /// The configuration or a change of it was refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A setting that cannot change while the director runs.
    #[error(
        "{settings} cannot change while the director runs; stop it and start it again (for `tables` or `pin`, with `tunlb detach` before: known flows are lost)"
    )]
    Fixed {
        /// The keys.
        settings: String,
    },
    /// An interface that the configuration names is not there.
    #[error("no interface {name} here; `interfaces` may name: {present}")]
    NoInterface {
        /// The interface.
        name: String,
        /// Those that are there.
        present: String,
    },
    /// An interface without Ethernet.
    #[error("interface {name} is not an Ethernet device; the director takes Ethernet frames only")]
    NotEthernet {
        /// The interface.
        name: String,
    },
    /// Loading, attaching or detaching failed.
    #[error("the data path refused")]
    DataPlane(#[source] DataPlaneError),
    /// The tables.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no thread for the flow table.
    #[error("cannot start the thread that removes expired flows; allow the director more tasks")]
    Thread(#[source] std::io::Error),
    /// The network could not be asked.
    #[error("cannot read the host's network")]
    Network(#[from] NetlinkError),
    /// Another daemon listens on the socket.
    #[error(
        "a director listens on {} already ({holder}); stop it first, or give this one another socket with --socket",
        socket.display()
    )]
    Running {
        /// The socket.
        socket: PathBuf,
        /// Its process, as far as it is known.
        holder: String,
    },
    /// The socket or its folder.
    #[error("cannot listen on {}; give another socket with --socket", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// A change failed, and what was before could not be brought back.
    #[error("{0}; bringing back what was before failed as well: {1}; restart the director")]
    NotUndone(Box<DaemonError>, Box<DaemonError>),
    /// The daemon is about to end.
    #[error("the director is stopping; start it again with `tunlb director`")]
    Stopping,
}
