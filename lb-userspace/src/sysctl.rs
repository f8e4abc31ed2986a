//! The one module that reads and writes `/proc/sys`.
//!
//! `/proc/sys/net` shows the network namespace of the thread that opens a file in it, so the calls here are plain blocking
//! ones on the calling thread; they take microseconds.

use std::{
    collections::BTreeMap,
    fs, io,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// A sysctl that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SysctlError {
    /// There is no such sysctl (or no such interface).
    #[error("sysctl {key} does not exist")]
    Missing {
        /// Its path below `/proc/sys`.
        key: String,
    },
    /// The key is no path below `/proc/sys`.
    #[error("sysctl name {key:?} is not a path below /proc/sys")]
    InvalidKey {
        /// What was given.
        key: String,
    },
    /// Reading failed.
    #[error("cannot read sysctl {key}")]
    Read {
        /// Its path below `/proc/sys`.
        key: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Writing failed.
    #[error("cannot set sysctl {key} to {value}; is /proc/sys writable, and are you root?")]
    Write {
        /// Its path below `/proc/sys`.
        key: String,
        /// What it should have become.
        value: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Reads and writes sysctls.
///
/// A key is the path below `/proc/sys`, with slashes (`net/ipv4/conf/eth0/arp_ignore`): the name of an interface may contain
/// dots.
pub trait Sysctls: Send + Sync {
    /// The value, without the line's end.
    fn read(&self, key: &str) -> Result<String, SysctlError>;

    /// Sets the value.
    fn write(&self, key: &str, value: &str) -> Result<(), SysctlError>;
}

/// The kernel's sysctls, as the calling thread's network namespace has them.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcSys;

impl ProcSys {
    fn path(key: &str) -> Result<PathBuf, SysctlError> {
        let valid = key.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if valid {
            Ok(PathBuf::from("/proc/sys").join(key))
        } else {
            Err(SysctlError::InvalidKey { key: key.to_owned() })
        }
    }
}

impl Sysctls for ProcSys {
    fn read(&self, key: &str) -> Result<String, SysctlError> {
        match fs::read_to_string(Self::path(key)?) {
            Ok(text) => Ok(text.trim_end().to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(SysctlError::Missing { key: key.to_owned() })
            }
            Err(source) => Err(SysctlError::Read { key: key.to_owned(), source }),
        }
    }

    fn write(&self, key: &str, value: &str) -> Result<(), SysctlError> {
        let path = Self::path(key)?;
        // Not fs::write: /proc has nothing to create or truncate, and a missing sysctl should say so.
        let result = fs::OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()));
        match result {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(SysctlError::Missing { key: key.to_owned() })
            }
            Err(source) => {
                Err(SysctlError::Write { key: key.to_owned(), value: value.to_owned(), source })
            }
        }
    }
}

/// Sysctls in memory, for tests: only the keys that it was made with exist.
#[derive(Debug, Default)]
pub struct MemorySysctls {
    values: Mutex<BTreeMap<String, String>>,
}

impl MemorySysctls {
    /// Sysctls with these values.
    pub fn new<K: Into<String>, V: Into<String>>(values: impl IntoIterator<Item = (K, V)>) -> Self {
        let values = values.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        Self { values: Mutex::new(values) }
    }

    /// All keys and values.
    pub fn snapshot(&self) -> BTreeMap<String, String> {
        self.values().clone()
    }

    fn values(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sysctls for MemorySysctls {
    fn read(&self, key: &str) -> Result<String, SysctlError> {
        self.values().get(key).cloned().ok_or_else(|| SysctlError::Missing { key: key.to_owned() })
    }

    fn write(&self, key: &str, value: &str) -> Result<(), SysctlError> {
        match self.values().get_mut(key) {
            Some(slot) => {
                value.clone_into(slot);
                Ok(())
            }
            None => Err(SysctlError::Missing { key: key.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_cannot_leave_proc_sys() {
        for key in ["../etc/passwd", "net/../../x", "/net", "net//ipv4", ""] {
            let error = ProcSys.read(key).expect_err(key);
            assert!(matches!(error, SysctlError::InvalidKey { .. }), "{key}: {error}");
        }
    }

    #[test]
    fn the_kernels_values_come_without_the_lines_end() {
        let value = ProcSys.read("kernel/ostype").expect("read");
        assert_eq!(value, "Linux");
        let error = ProcSys.read("kernel/no_such_thing").expect_err("missing");
        assert_eq!(error.to_string(), "sysctl kernel/no_such_thing does not exist");
    }

    #[test]
    fn in_memory_only_known_keys_can_be_written() {
        let sysctls = MemorySysctls::new([("a", "0")]);
        sysctls.write("a", "1").expect("write");
        assert_eq!(sysctls.read("a").expect("read"), "1");
        assert!(sysctls.write("b", "1").is_err());
    }
}
