//! What can go wrong with netlink, naming the object and the operation.

use std::io;

use nix::errno::Errno;

use super::About;

/// A netlink request that failed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The socket could not be opened or bound.
    #[error("cannot open a netlink socket")]
    Connect(#[source] io::Error),
    /// The kernel refused.
    #[error("cannot {operation} {object}: {}{}", errno.desc(), remedy(*errno))]
    Refused {
        /// What was asked for, such as `add address`.
        operation: &'static str,
        /// The name of the object.
        object: String,
        /// The kernel's reason.
        errno: Errno,
    },
    /// No object of that name or number exists.
    #[error("{object} does not exist")]
    NotFound {
        /// The name of the object.
        object: String,
    },
    /// The kernel's answer did not come, or could not be decoded.
    #[error("cannot {operation} {object}: the kernel gave no answer that could be read")]
    NoAnswer {
        /// What was asked for.
        operation: &'static str,
        /// The name of the object.
        object: String,
    },
    /// The connection's task has ended.
    #[error("cannot {operation} {object}: the netlink connection is closed")]
    Closed {
        /// What was asked for.
        operation: &'static str,
        /// The name of the object.
        object: String,
    },
    /// An attribute that the kernel cannot take.
    #[error("cannot {operation} {object}: {reason}")]
    Invalid {
        /// What was asked for.
        operation: &'static str,
        /// The name of the object.
        object: String,
        /// Why not.
        reason: &'static str,
    },
}

impl NetlinkError {
    /// The kernel's reason, when the kernel refused.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    /// Whether what was to be created exists.
    pub fn already_exists(&self) -> bool {
        self.errno() == Some(Errno::EEXIST)
    }

    /// Whether the object does not exist (any more).
    pub fn not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
            || matches!(
                self.errno(),
                Some(Errno::ENODEV | Errno::ENOENT | Errno::ESRCH | Errno::EADDRNOTAVAIL)
            )
    }

    /// Whether this kernel does not know the kind of object.
    pub fn unsupported(&self) -> bool {
        matches!(
            self.errno(),
            Some(Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT | Errno::EPROTONOSUPPORT)
        )
    }

    pub(super) fn refused(about: &About, code: i32) -> Self {
        Self::Refused {
            operation: about.operation,
            object: about.object.clone(),
            errno: Errno::from_raw(code.wrapping_abs()),
        }
    }

    pub(super) fn closed(about: &About) -> Self {
        Self::Closed { operation: about.operation, object: about.object.clone() }
    }

    pub(super) fn no_answer(about: &About) -> Self {
        Self::NoAnswer { operation: about.operation, object: about.object.clone() }
    }

    pub(super) fn unexpected(about: About) -> Self {
        Self::NoAnswer { operation: about.operation, object: about.object }
    }
}

/// What to do about a refusal, where there is something that usually helps.
fn remedy(errno: Errno) -> &'static str {
    match errno {
        Errno::EPERM | Errno::EACCES => "; run as root (CAP_NET_ADMIN)",
        _ => "",
    }
}
