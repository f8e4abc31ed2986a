//! The demo's directory under /run: its files, who runs it, and what has to be removed, be it by a
//! later run.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use serde::{Deserialize, Serialize};

use super::{
    process::{self, Process},
    topology,
};

/// Where run-time files belong.
const DIRECTORY: &str = "/run";
/// Where the kernel's BPF file system is by convention.
const BPF_DIRECTORY: &str = "/sys/fs/bpf";

/// Why the demo cannot have its directory.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another run is going on.
    #[error("another `tunlb demo` is running; wait for it or stop it")]
    Running,
    /// A run with `--keep` is still there.
    #[error("the demo's network was kept and is running; remove it with `tunlb demo --remove`")]
    Kept,
    /// A file or directory cannot be made, read or removed.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// What is written down for whoever removes it all.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    /// Left running on purpose.
    kept: bool,
    processes: Vec<Process>,
    /// Directories in the BPF file system.
    pins: Vec<PathBuf>,
}

/// The directory, locked. Dropped, it takes everything that is written down in it away: processes,
/// pins, namespaces, itself.
#[derive(Debug)]
pub struct Runtime {
    prefix: String,
    directory: PathBuf,
    state: State,
    /// Tells other runs that this one goes on; the kernel lets go of it however this process ends.
    _lock: Flock<File>,
}

impl Runtime {
    /// Takes the directory `/run/PREFIX` for a new run; what a crashed run left is removed first.
    ///
    /// # Errors
    ///
    /// [`Error::Running`], [`Error::Kept`], or [`Error::File`].
    pub fn claim(prefix: &str) -> Result<Self, Error> {
        let mut runtime = Self::open(prefix)?;
        if runtime.state.kept && runtime.state.processes.iter().any(Process::alive) {
            return Err(Error::Kept);
        }
        if !runtime.state.processes.is_empty() || topology::exists(prefix) {
            tracing::warn!(prefix, "removing what an earlier run left behind");
            runtime.state.kept = false;
            drop(runtime);
            runtime = Self::open(prefix)?;
        }
        runtime.state = State { pins: vec![runtime.pins()], ..State::default() };
        runtime.save()?;
        Ok(runtime)
    }

    /// Removes what a run of that prefix left, on purpose or not; says whether there was anything.
    ///
    /// # Errors
    ///
    /// [`Error::Running`], [`Error::File`].
    pub fn remove(prefix: &str) -> Result<bool, Error> {
        let existed = Path::new(DIRECTORY).join(prefix).exists() || topology::exists(prefix);
        if existed {
            let mut runtime = Self::open(prefix)?;
            runtime.state.kept = false;
            drop(runtime);
        }
        Ok(existed)
    }

    fn open(prefix: &str) -> Result<Self, Error> {
        let directory = Path::new(DIRECTORY).join(prefix);
        let lock_path = directory.join("lock");
        let lock = loop {
            fs::create_dir_all(&directory).map_err(failed("create", &directory))?;
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(&lock_path)
                .map_err(failed("open", &lock_path))?;
            let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => lock,
                Err((_, Errno::EAGAIN)) => return Err(Error::Running),
                Err((_, errno)) => return Err(failed("lock", &lock_path)(errno.into())),
            };
            // Between open and lock another run may have ended and removed the file: then this lock
            // guards nothing.
            let locked = lock.metadata().map_err(failed("read", &lock_path))?;
            match fs::metadata(&lock_path) {
                Ok(current) if current.ino() == locked.ino() => break lock,
                _ => {}
            }
        };
        let state_path = directory.join("state.json");
        let state = match fs::read(&state_path) {
            // A file that a crash cut short names nothing that could be ended.
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => State::default(),
            Err(error) => return Err(failed("read", &state_path)(error)),
        };
        Ok(Self { prefix: prefix.to_owned(), directory, state, _lock: lock })
    }

    /// A file in the directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The directory in the BPF file system that this run may pin in.
    #[must_use]
    pub fn pins(&self) -> PathBuf {
        Path::new(BPF_DIRECTORY).join(&self.prefix)
    }

    /// A further directory in the BPF file system; [`Runtime::record_pins`] before it is used.
    #[must_use]
    pub fn pins_of(&self, name: &str) -> PathBuf {
        Path::new(BPF_DIRECTORY).join(format!("{}-{name}", self.prefix))
    }

    /// Writes a file in the directory, and says where it is.
    ///
    /// # Errors
    ///
    /// [`Error::File`].
    pub fn write(&self, name: &str, content: &str) -> Result<PathBuf, Error> {
        let path = self.path(name);
        fs::write(&path, content).map_err(failed("write", &path))?;
        Ok(path)
    }

    /// Writes down a process that has to end with this run.
    ///
    /// # Errors
    ///
    /// [`Error::File`]; it is remembered all the same, until this value goes.
    pub fn record(&mut self, process: Process) -> Result<(), Error> {
        self.state.processes.push(process);
        self.save()
    }

    /// Writes down a further directory of pins that has to go with this run.
    ///
    /// # Errors
    ///
    /// [`Error::File`]; it is remembered all the same, until this value goes.
    pub fn record_pins(&mut self, directory: PathBuf) -> Result<(), Error> {
        self.state.pins.push(directory);
        self.save()
    }

    /// Leaves everything behind when this value goes; [`Runtime::remove`] takes it away.
    ///
    /// # Errors
    ///
    /// [`Error::File`]; then it is not kept.
    pub fn keep(&mut self) -> Result<(), Error> {
        self.state.kept = true;
        let saved = self.save();
        self.state.kept = saved.is_ok();
        saved
    }

    fn save(&self) -> Result<(), Error> {
        let path = self.path("state.json");
        let content = serde_json::to_vec_pretty(&self.state)
            .map_err(|error| failed("write", &path)(error.into()))?;
        let new = self.path("state.json.new");
        fs::write(&new, content).map_err(failed("write", &new))?;
        fs::rename(&new, &path).map_err(failed("replace", &path))
    }

    /// Removes everything. Goes on over failures, so that as little as possible stays.
    fn clear(&mut self) {
        process::end_all(&self.state.processes);
        self.state.processes.clear();
        for pins in self.state.pins.drain(..).chain([Path::new(BPF_DIRECTORY).join(&self.prefix)]) {
            remove_directory(&pins);
        }
        if let Err(error) = topology::remove(&self.prefix) {
            tracing::error!(%error, "namespace left behind");
        }
        remove_directory(&self.directory);
        self.state.kept = false;
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if !self.state.kept {
            self.clear();
        }
    }
}

fn remove_directory(path: &Path) {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::error!(%error, path = %path.display(), "left behind");
        }
        _ => {}
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::File { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn prefix(test: &str) -> String {
        assert!(nix::unistd::geteuid().is_root(), "this test needs root, which /run takes");
        format!("t{}-{test}", std::process::id())
    }

    #[test]
    fn only_one_run_at_a_time() {
        let prefix = prefix("one");
        let first = Runtime::claim(&prefix).expect("is free");
        assert!(matches!(Runtime::claim(&prefix), Err(Error::Running)));
        assert!(matches!(Runtime::remove(&prefix), Err(Error::Running)));
        let directory = first.path("");
        drop(first);
        assert!(!directory.exists());
        drop(Runtime::claim(&prefix).expect("is free again"));
    }

    #[test]
    fn kept_run_is_refused_while_it_lives_and_removed_with_its_processes() {
        let prefix = prefix("kept");
        let mut child = Command::new("/bin/sleep").arg("60").spawn().expect("starts");
        let mut runtime = Runtime::claim(&prefix).expect("is free");
        runtime.record(Process::running("sleep", child.id()).expect("runs")).expect("writes");
        runtime.keep().expect("writes");
        let directory = runtime.path("");
        drop(runtime);
        assert!(directory.exists());
        assert!(child.try_wait().expect("can be asked").is_none(), "it goes on");
        assert!(matches!(Runtime::claim(&prefix), Err(Error::Kept)));

        assert!(Runtime::remove(&prefix).expect("removes"));
        assert!(!directory.exists());
        assert!(!child.wait().expect("has ended").success());
        assert!(!Runtime::remove(&prefix).expect("nothing is there"));
    }

    #[test]
    fn kept_run_whose_processes_are_gone_makes_way() {
        let prefix = prefix("gone");
        let mut child = Command::new("/bin/sleep").arg("60").spawn().expect("starts");
        let mut runtime = Runtime::claim(&prefix).expect("is free");
        runtime.record(Process::running("sleep", child.id()).expect("runs")).expect("writes");
        runtime.keep().expect("writes");
        drop(runtime);
        child.kill().expect("can be killed");
        child.wait().expect("ends");
        drop(Runtime::claim(&prefix).expect("makes way"));
    }
}
