//! What can be wrong with a configuration: always with file, line, object and remedy.

use std::{fmt, io, path::PathBuf};

use super::{NameError, Scheduler, ServiceAddress};

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no such file.
    #[error(
        "no configuration at {}; create it, at least with: interfaces = [\"eth0\"]",
        path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The file cannot be written; it is as it was.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The file says something that cannot be carried out.
    #[error("{place}: {problem}")]
    Invalid {
        /// Where.
        place: Place,
        /// What.
        problem: Problem,
    },
    /// A change from the command line would make the file say something like that.
    #[error(transparent)]
    Unfit(#[from] Problem),
    /// The file changed under the daemon.
    #[error("{} was edited since it was read; run `tunlb apply` first", path.display())]
    Edited {
        /// The file.
        path: PathBuf,
    },
    /// A change names what is not there, or adds what is.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

/// A line of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file's name, or what stands for it.
    pub file: String,
    /// The line, from 1; 0 when the whole file is meant.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// What is wrong at a place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("{0}")]
    Syntax(String),
    /// No interface to attach to.
    #[error(
        "no interface to attach to; name at least one, for example interfaces = [\"eth0\"], or give --interface"
    )]
    NoInterface,
    /// Not the name of an interface.
    #[error(
        "`{0}` cannot be an interface's name; names have 1 to 15 characters, no space and no /"
    )]
    Interface(String),
    /// The same interface twice.
    #[error("interface `{0}` is named twice; name it once")]
    DuplicateInterface(String),
    /// Not a mode.
    #[error("`{0}` is no mode; native and generic are")]
    Mode(String),
    /// A relative path.
    #[error("`{key}` is `{value}`; give an absolute path")]
    Path {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// A number outside of its range.
    #[error("`{key}` is {value}; it must be {least} to {most}")]
    Range {
        /// The key.
        key: &'static str,
        /// Its value.
        value: i64,
        /// The smallest that is allowed.
        least: u32,
        /// The largest that is allowed.
        most: u32,
    },
    /// A name that names nothing.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A bad value of a service's server.
    #[error("service {service}: {source}")]
    InService {
        /// The service.
        service: ServiceAddress,
        /// What is wrong.
        source: NameError,
    },
    /// The same service twice.
    #[error("service {service} stands on line {first} already; merge the two")]
    DuplicateService {
        /// The service.
        service: ServiceAddress,
        /// The line of the first.
        first: usize,
    },
    /// The same server twice in a service.
    #[error("service {service} has server {server} on line {first} already; remove one")]
    DuplicateServer {
        /// The service.
        service: ServiceAddress,
        /// The server.
        server: std::net::Ipv4Addr,
        /// The line of the first.
        first: usize,
    },
    /// A server whose address is its service's VIP.
    #[error("service {service}: a real server cannot be the VIP; give the server's own address")]
    ServerIsVip {
        /// The service.
        service: ServiceAddress,
    },
    /// A lookup table that is longer than all of them may be.
    #[error(
        "service {service}: scheduler {scheduler} takes {slots} lookup slots, more than `tables.lookup` ({entries}); {}",
        match scheduler {
            Scheduler::Wrr => "give smaller weights, or weights with a common divisor, or raise it",
            _ => "raise it",
        }
    )]
    Slots {
        /// The service.
        service: ServiceAddress,
        /// Its scheduler.
        scheduler: Scheduler,
        /// How many it takes.
        slots: u64,
        /// How many there are.
        entries: u32,
    },
    /// Lookup tables that leave no room for changing one.
    #[error(
        "the lookup tables take {slots} slots, and {spare} more while that of service {service} is replaced; raise `tables.lookup` (now {entries}) to {} or more",
        slots + spare
    )]
    Spare {
        /// How many slots all tables take.
        slots: u64,
        /// How many the longest one takes.
        spare: u64,
        /// Whose table is the longest.
        service: ServiceAddress,
        /// How many there are.
        entries: u32,
    },
    /// More than a table holds.
    #[error("{count} {what} do not fit; raise `{setting}` (now {entries})")]
    Full {
        /// How many there are.
        count: usize,
        /// Of what.
        what: &'static str,
        /// The key that sizes the table.
        setting: &'static str,
        /// Its value.
        entries: u32,
    },
}

/// Why a single change was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The service to add is there.
    #[error("service {0} exists already; change it with `tunlb service edit`")]
    ServiceExists(ServiceAddress),
    /// The service is not there.
    #[error("no service {0}; `tunlb list` shows the services")]
    NoService(ServiceAddress),
    /// The server to add is there.
    #[error("service {service} has server {server} already; change it with `tunlb server edit`")]
    ServerExists {
        /// The service.
        service: ServiceAddress,
        /// The server.
        server: std::net::Ipv4Addr,
    },
    /// The server is not there.
    #[error("service {service} has no server {server}; `tunlb list` shows its servers")]
    NoServer {
        /// The service.
        service: ServiceAddress,
        /// The server.
        server: std::net::Ipv4Addr,
    },
}
