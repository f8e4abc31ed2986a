//! What `down` needs to know, kept in a file that is written before anything is changed.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    net::Ipv4Addr,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::{Mode, RealServerError, action::Action, plan::Desired};

const VERSION: u32 = 1;
const FILE: &str = "state.json";
const LOCK: &str = "lock";

/// What has been set up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    version: u32,
    /// Nothing of what `up` does survives a reboot, so neither does its state.
    boot: String,
    /// The network namespace, by the inode number of its file.
    namespace: u64,
    pub(super) interface: String,
    pub(super) mode: Mode,
    pub(super) generic: bool,
    pub(super) vips: BTreeSet<Ipv4Addr>,
    /// What restores the host, to be done from the last to the first.
    pub(super) undo: Vec<Action>,
}

/// The folder that holds the state, locked for this process.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    boot: String,
    namespace: u64,
    _lock: Flock<File>,
}

impl Store {
    /// Opens the folder, makes it if need be, and locks it until the store is dropped.
    pub(super) fn open(folder: &Path) -> Result<Self, RealServerError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed("make the folder", folder))?;
        let path = folder.join(LOCK);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed("open", &path))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
            .map_err(|_| RealServerError::Busy(folder.to_owned()))?;
        // The holder before us may have deleted the file while we opened it; then another process may lock a new one.
        let locked = lock.metadata().map_err(failed("read", &path))?.ino();
        if fs::metadata(&path).map(|metadata| metadata.ino()).ok() != Some(locked) {
            return Err(RealServerError::Busy(folder.to_owned()));
        }
        let (boot, namespace) = surroundings()?;
        Ok(Self { folder: folder.to_owned(), boot, namespace, _lock: lock })
    }

    /// The file's path.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// A state for a first set-up, here and now.
    pub(super) fn fresh(&self, interface: &str, desired: &Desired) -> State {
        State {
            version: VERSION,
            boot: self.boot.clone(),
            namespace: self.namespace,
            interface: interface.to_owned(),
            mode: desired.mode,
            generic: desired.generic,
            vips: desired.vips.clone(),
            undo: Vec::new(),
        }
    }

    /// The state in force; none if nothing is set up, or if that was before the last boot.
    pub(super) fn load(&self) -> Result<Option<State>, RealServerError> {
        let Some(state) = read(&self.folder)? else {
            return Ok(None);
        };
        if state.boot != self.boot {
            return Ok(None);
        }
        if state.namespace != self.namespace {
            return Err(RealServerError::OtherNamespace(self.path()));
        }
        Ok(Some(state))
    }

    /// Replaces the state; it is on disk when this returns, and a crash leaves the old or the new one.
    pub(super) fn save(&self, state: &State) -> Result<(), RealServerError> {
        let path = self.path();
        let temporary = self.folder.join("state.json.new");
        let mut text = serde_json::to_string_pretty(state)
            .map_err(|error| failed("write", &path)(io::Error::other(error)))?;
        text.push('\n');
        let write = || {
            let mut file = OpenOptions::new()
                .create(true)
                .truncate(true)
                .write(true)
                .mode(0o600)
                .open(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(failed("write", &path))
    }

    /// Removes the state, the lock, and the folder if nothing else is in it.
    pub(super) fn clear(self) -> Result<(), RealServerError> {
        self.forget()?;
        // All that is lost without these is tidiness: another process may have put something there.
        let _ = fs::remove_file(self.folder.join(LOCK));
        let _ = fs::remove_dir(&self.folder);
        Ok(())
    }

    /// Removes the state only.
    pub(super) fn forget(&self) -> Result<(), RealServerError> {
        let path = self.path();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("delete", &path)(error))
            }
            _ => Ok(()),
        }
    }
}

/// The state in a folder as `check` wants it: without a lock, and only if it is of this boot and namespace.
pub(super) fn peek(folder: &Path) -> Result<Option<State>, RealServerError> {
    let Some(state) = read(folder)? else {
        return Ok(None);
    };
    let (boot, namespace) = surroundings()?;
    Ok((state.boot == boot && state.namespace == namespace).then_some(state))
}

/// Whether a folder holds a state of whatever age.
pub(super) fn exists(folder: &Path) -> bool {
    folder.join(FILE).exists()
}

fn read(folder: &Path) -> Result<Option<State>, RealServerError> {
    let path = folder.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", &path)(error)),
    };
    let state: State = serde_json::from_str(&text).map_err(|error| RealServerError::BadState {
        path: path.clone(),
        reason: error.to_string(),
    })?;
    if state.version != VERSION {
        let reason = format!("it is of version {}, not {VERSION}", state.version);
        return Err(RealServerError::BadState { path, reason });
    }
    Ok(Some(state))
}

/// The boot's random number and the network namespace of the calling thread.
fn surroundings() -> Result<(String, u64), RealServerError> {
    const BOOT: &str = "/proc/sys/kernel/random/boot_id";
    const NAMESPACE: &str = "/proc/thread-self/ns/net";
    let boot = fs::read_to_string(BOOT).map_err(failed("read", Path::new(BOOT)))?;
    let namespace = fs::metadata(NAMESPACE).map_err(failed("read", Path::new(NAMESPACE)))?.ino();
    Ok((boot.trim_end().to_owned(), namespace))
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RealServerError {
    let path = path.to_owned();
    move |source| RealServerError::State { operation, path, source }
}
