//! One director per pin directory: a lock on the directory itself, so that no lock file is left.

use std::{
    fs::{self, File, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    sys::stat::{major, minor},
};

use super::BpfError;

/// The sole use of a pin directory, until this is dropped or the process ends, however it ends.
pub(super) struct PinLock(#[expect(dead_code, reason = "held, not read")] Flock<File>);

impl PinLock {
    /// Locks a directory; none if it is not there, or is removed at this moment.
    pub(super) fn take(directory: &Path) -> Result<Option<Self>, BpfError> {
        let failed = |source| BpfError::Io { path: directory.into(), source };
        let file = match File::open(directory) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let locked = file.metadata().map_err(failed)?;
        let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, Errno::EWOULDBLOCK)) => {
                let holder = holder(&locked);
                return Err(BpfError::InUse { path: directory.into(), holder });
            }
            Err((_, errno)) => return Err(failed(errno.into())),
        };
        // Whoever held it before may have removed the directory; then the lock is on nothing.
        let same = |there: &Metadata| (there.dev(), there.ino()) == (locked.dev(), locked.ino());
        match fs::metadata(directory) {
            Ok(there) if same(&there) => Ok(Some(Self(lock))),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }
}

/// Who holds the lock, for the message of who comes second.
fn holder(file: &Metadata) -> String {
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let pid = holder_in(&locks, file.dev(), file.ino());
    pid.map_or_else(|| "pid unknown".into(), |pid| format!("pid {pid}"))
}

/// The process that holds an flock, from proc_locks(5): `1: FLOCK ADVISORY WRITE PID MAJ:MIN:INODE 0 EOF`.
fn holder_in(locks: &str, device: u64, inode: u64) -> Option<u32> {
    let file = format!("{:02x}:{:02x}:{inode}", major(device), minor(device));
    locks.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let is_held = words.next()? == "FLOCK";
        let pid = words.nth(2)?.parse().ok()?;
        (is_held && words.next()? == file).then_some(pid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_found_and_a_waiter_is_not() {
        let locks = "\
            1: POSIX  ADVISORY  READ 7 fd:00:33 128 128\n\
            2: FLOCK  ADVISORY  WRITE 4242 00:1c:33 0 EOF\n\
            2: -> FLOCK  ADVISORY  WRITE 4243 00:1c:34 0 EOF\n";
        let device = nix::sys::stat::makedev(0, 0x1c);
        assert_eq!(holder_in(locks, device, 33), Some(4242));
        assert_eq!(holder_in(locks, device, 34), None);
        assert_eq!(holder_in("", device, 33), None);
    }

    #[test]
    fn a_directory_is_locked_until_its_lock_is_dropped() {
        let folder = tempfile::tempdir().expect("a folder");
        let lock = PinLock::take(folder.path()).expect("free").expect("there");
        let error = PinLock::take(folder.path()).err().expect("held").to_string();
        assert!(error.contains(&folder.path().display().to_string()), "{error}");
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        assert_eq!(fs::read_dir(&folder).expect("readable").count(), 0);
        drop(lock);
        let _again = PinLock::take(folder.path()).expect("free").expect("there");
        assert!(PinLock::take(&folder.path().join("none")).expect("no error").is_none());
    }
}
