//! Why bpf(2) work failed.

use std::{io, path::PathBuf};

/// An error of this module.
#[derive(Debug, thiserror::Error)]
pub enum BpfError {
    /// Not root.
    #[error("loading BPF programs needs root; run it with sudo")]
    NotRoot,
    /// Root, but without what makes root privileged.
    #[error(
        "the kernel lets root here load no BPF programs; give this container CAP_BPF, CAP_NET_ADMIN \
         and CAP_PERFMON"
    )]
    NotPrivileged,
    /// The pin directory is unusable.
    #[error("cannot use {} to pin BPF objects; it must be on a BPF file system, e.g. below /sys/fs/bpf", path.display())]
    PinDirectory {
        /// The directory.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The pin directory holds something that is not removed with it.
    #[error(
        "detached, but {} is kept: this tunlb did not pin what else is in it: {names}; \
         remove that with `rm`, then the directory with `rmdir`", directory.display()
    )]
    Unknown {
        /// The directory.
        directory: PathBuf,
        /// What is in it.
        names: String,
    },
    /// Another process has the pin directory.
    #[error(
        "another director uses {} ({holder}); stop it first, or give this one another directory with --pin",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Its process, as far as it is known.
        holder: String,
    },
    /// A pinned map was made by something else.
    #[error(
        "pinned map {} has {found}, this tunlb wants {wanted}: it was made by another version or \
         with other table sizes; use those, or remove it with `tunlb detach --pin {}` (known flows are lost)",
        path.display(), path.parent().unwrap_or(path).display()
    )]
    Layout {
        /// The pinned map.
        path: PathBuf,
        /// What it is.
        found: String,
        /// What was wanted.
        wanted: String,
    },
    /// The kernel refused a map.
    #[error("cannot create or open the BPF map {name}")]
    Map {
        /// The map.
        name: String,
        /// What the kernel said.
        #[source]
        source: aya::maps::MapError,
    },
    /// The object did not load.
    #[error("the kernel refused the BPF object {name}{hint}")]
    Object {
        /// The object.
        name: &'static str,
        /// What to do, if that is known.
        hint: &'static str,
        /// What aya said.
        #[source]
        source: Box<aya::EbpfError>,
    },
    /// The program did not load.
    #[error("the kernel refused the BPF program {name}{hint}")]
    Program {
        /// The program.
        name: &'static str,
        /// What to do, if that is known.
        hint: &'static str,
        /// What aya said.
        #[source]
        source: Box<aya::programs::ProgramError>,
    },
    /// Attaching failed.
    #[error("cannot attach to {interface} in {mode} XDP mode: {hint}")]
    Attach {
        /// The interface.
        interface: String,
        /// The mode.
        mode: super::Mode,
        /// What to do.
        hint: &'static str,
        /// What the kernel said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A link could not be pinned or opened.
    #[error("cannot pin or open the XDP link {}", path.display())]
    Link {
        /// The pin.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something else in the file system.
    #[error("cannot access {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
}
