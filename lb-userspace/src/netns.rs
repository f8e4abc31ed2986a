//! Named network namespaces: create, enter, start processes in them, remove.
//!
//! They are the namespaces of iproute2 (a file in [`DIRECTORY`] with the namespace mounted on it),
//! so `ip netns exec NAME` works on them, but no other program is needed to make them.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    future::Future,
    io,
    os::unix::fs::DirBuilderExt,
    panic,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};

/// Where named network namespaces live, as iproute2 has it.
pub const DIRECTORY: &str = "/run/netns";

/// What can go wrong with a network namespace.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is one of that name already.
    #[error(
        "network namespace {0} exists already; remove it with `ip netns delete {0}` or choose another name"
    )]
    Exists(String),
    /// A step of making, entering or removing it failed.
    #[error("network namespace {name}: cannot {action}; root with CAP_SYS_ADMIN is needed")]
    Step {
        /// The namespace's name.
        name: String,
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A program could not be started in it.
    #[error("network namespace {name}: cannot start {program}")]
    Spawn {
        /// The namespace's name.
        name: String,
        /// The program.
        program: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// A network namespace that this value made, and removes when dropped.
///
/// Removing takes the name away; the namespace itself, with every interface in it, goes when the
/// last process in it has ended.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    handle: File,
    remove_on_drop: bool,
}

impl Namespace {
    /// Makes an empty namespace called `name`. Its loopback interface is still down.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] if the name is taken, [`Error::Step`] if the kernel refuses (most often:
    /// not root).
    pub fn create(name: &str) -> Result<Self, Error> {
        let step =
            |action| move |source: io::Error| Error::Step { name: name.to_owned(), action, source };
        prepare_directory().map_err(step("prepare /run/netns"))?;
        let path = path(name);
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Error::Exists(name.to_owned()));
            }
            Err(error) => return Err(step("create its file in /run/netns")(error)),
        }
        // From here on something exists that has to go if a later step fails.
        let made = in_own_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .map_err(|errno| step("unshare the network")(errno.into()))?;
            mount(
                Some("/proc/thread-self/ns/net"),
                &path,
                None::<&str>,
                MsFlags::MS_BIND,
                None::<&str>,
            )
            .map_err(|errno| step("mount it in /run/netns")(errno.into()))?;
            File::open(&path).map_err(step("open"))
        });
        match made {
            Ok(handle) => Ok(Self { name: name.to_owned(), handle, remove_on_drop: true }),
            Err(error) => {
                // The first error is the one to report.
                let _ = remove(name);
                Err(error)
            }
        }
    }

    /// Opens a namespace that exists, and leaves it when dropped: a second way into one that
    /// another value owns.
    ///
    /// # Errors
    ///
    /// [`Error::Step`] if there is none of that name.
    pub fn open(name: &str) -> Result<Self, Error> {
        let handle = File::open(path(name)).map_err(|source| Error::Step {
            name: name.to_owned(),
            action: "open it",
            source,
        })?;
        Ok(Self { name: name.to_owned(), handle, remove_on_drop: false })
    }

    /// The namespace's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The open namespace, for `IFLA_NET_NS_FD` and `setns`.
    #[must_use]
    pub fn handle(&self) -> &File {
        &self.handle
    }

    /// Runs `work` in a thread that has entered the namespace. A panic in it goes on in the caller.
    ///
    /// # Errors
    ///
    /// [`Error::Step`] if the namespace cannot be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        in_own_thread(|| {
            setns(&self.handle, CloneFlags::CLONE_NEWNET).map_err(|errno| Error::Step {
                name: self.name.clone(),
                action: "enter it",
                source: errno.into(),
            })?;
            Ok(work())
        })
    }

    /// Runs a future to its end on a single-threaded runtime in a thread that has entered the
    /// namespace.
    ///
    /// # Errors
    ///
    /// [`Error::Step`] if the namespace cannot be entered or the runtime not be made.
    pub fn run_async<T, F>(&self, work: impl FnOnce() -> F + Send) -> Result<T, Error>
    where
        T: Send,
        F: Future<Output = T>,
    {
        self.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|source| Error::Step {
                    name: self.name.clone(),
                    action: "make a runtime in it",
                    source,
                })?;
            Ok(runtime.block_on(work()))
        })?
    }

    /// Starts a process in the namespace.
    ///
    /// # Errors
    ///
    /// [`Error::Spawn`] if the program cannot be started.
    pub fn spawn(&self, command: &mut Command) -> Result<Child, Error> {
        // A child belongs to the namespace of the thread that forks it, so no code has to run
        // between fork and exec.
        self.run(|| {
            command.spawn().map_err(|source| Error::Spawn {
                name: self.name.clone(),
                program: command.get_program().to_string_lossy().into_owned(),
                source,
            })
        })?
    }

    /// Leaves the namespace behind when this value is dropped.
    pub fn keep(&mut self) {
        self.remove_on_drop = false;
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if self.remove_on_drop
            && let Err(error) = remove(&self.name)
        {
            tracing::error!(%error, "namespace left behind");
        }
    }
}

/// Whether a namespace of that name exists, or what a crash left of one.
#[must_use]
pub fn exists(name: &str) -> bool {
    path(name).exists()
}

/// Removes a namespace by name; one that does not exist is no error.
///
/// # Errors
///
/// [`Error::Step`] if the kernel refuses.
pub fn remove(name: &str) -> Result<(), Error> {
    let path = path(name);
    let step = |action, source| Error::Step { name: name.to_owned(), action, source };
    match umount2(&path, MntFlags::MNT_DETACH) {
        // EINVAL: a file without a mount, left by a crash between the two.
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(errno) => return Err(step("unmount it", errno.into())),
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(step("remove its file", error))
        }
        _ => Ok(()),
    }
}

/// The file of a namespace, which `nsenter --net=FILE` takes.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// Makes [`DIRECTORY`] and a shared mount of it, so that mounts in it reach processes with mount
/// namespaces of their own (and their removal too: else a namespace would live on in each of them).
fn prepare_directory() -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(DIRECTORY)?;
    // Two programs that come here at once would stack two mounts; iproute2 takes the same lock.
    let _lock =
        Flock::lock(File::open(DIRECTORY)?, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    let share = || {
        mount(
            None::<&str>,
            DIRECTORY,
            None::<&str>,
            MsFlags::MS_SHARED | MsFlags::MS_REC,
            None::<&str>,
        )
    };
    match share() {
        Ok(()) => Ok(()),
        // Not a mount point yet: bind it onto itself first.
        Err(Errno::EINVAL) => {
            mount(
                Some(DIRECTORY),
                DIRECTORY,
                None::<&str>,
                MsFlags::MS_BIND | MsFlags::MS_REC,
                None::<&str>,
            )?;
            Ok(share()?)
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Runs `work` in a thread of its own, since a thread that has changed namespace is of no use to
/// anything else.
fn in_own_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(value) => value,
        Err(payload) => panic::resume_unwind(payload),
    })
}
