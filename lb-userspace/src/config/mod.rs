//! The configuration: TOML text in, types whose values can all be carried out, out.
//!
//! The file is the one truth about what is desired. A change from the command line is an edit of
//! the file's text ([`Change::edit`]) and is then read like any other text.

mod edit;
mod error;
mod file;
mod raw;
mod resolve;
mod scheduler;
mod service;

use std::path::PathBuf;

pub use edit::Change;
pub use error::{ChangeError, ConfigError, Place, Problem};
pub use file::ConfigFile;
pub use scheduler::{HashFlags, Scheduler, SchedulerFlag, SchedulerName, TableSize};
pub(crate) use service::ipv4;
pub use service::{NameError, Protocol, Server, ServiceAddress, VirtualService, Weight, unicast};

pub use crate::bpf::Mode;
use crate::store::Capacity;

/// Where the configuration is unless told otherwise.
pub const DEFAULT_PATH: &str = "/etc/tunlb/tunlb.toml";
/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/tunlb/tunlb.sock";
/// Where maps and links are pinned unless told otherwise.
pub const DEFAULT_PIN: &str = "/sys/fs/bpf/tunlb";

/// What is fixed while the director runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How the program is attached.
    pub mode: Mode,
    /// Where the daemon listens.
    pub socket: PathBuf,
    /// Where maps and links are pinned.
    pub pin: PathBuf,
    /// The tables' sizes; `flows` is a power of two.
    pub capacity: Capacity,
    /// ICMP errors per second and CPU.
    pub icmp_per_second: u32,
}

/// A configuration that can be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What is fixed while the director runs.
    pub settings: Settings,
    /// The interfaces to attach to; at least one, none twice.
    pub interfaces: Vec<String>,
    /// The services; none twice.
    pub services: Vec<VirtualService>,
}

/// What the command line says in place of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Instead of `interfaces`, unless empty.
    pub interfaces: Vec<String>,
    /// Instead of `socket`.
    pub socket: Option<PathBuf>,
    /// Instead of `pin`.
    pub pin: Option<PathBuf>,
    /// `mode = "generic"`.
    pub generic: bool,
}

impl Config {
    /// Reads a configuration. `file` names the text in errors.
    pub fn parse(text: &str, file: &str, overrides: &Overrides) -> Result<Self, ConfigError> {
        resolve::resolve(text, file, overrides)
    }
}
