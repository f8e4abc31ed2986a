//! One daemon per socket and per pin directory; a socket that only its owner can connect to.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::{
        fs::{OpenOptionsExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};

use super::DaemonError;

/// What this process alone may do, until it ends, however it ends.
#[derive(Debug)]
pub struct Claim {
    _socket: Flock<File>,
    _pin: Flock<File>,
}

impl Claim {
    /// Claims a socket and a pin directory. The lock files stay beside the socket.
    pub fn take(socket: &Path, pin: &Path) -> Result<Self, DaemonError> {
        let folder = socket.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder).map_err(|source| failed(folder, source))?;
        Ok(Self {
            _socket: lock(&suffixed(socket, ".lock"), socket)?,
            _pin: lock_pin(socket, pin)?,
        })
    }
}

/// Claims a pin directory alone.
pub fn lock_pin(socket: &Path, pin: &Path) -> Result<Flock<File>, DaemonError> {
    let folder = socket.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).map_err(|source| failed(folder, source))?;
    let name = pin.to_string_lossy().trim_matches('/').replace('/', "-");
    lock(&folder.join(format!("{name}.pin.lock")), pin)
}

fn lock(path: &Path, object: &Path) -> Result<Flock<File>, DaemonError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|source| failed(path, source))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            // For the message of who comes second; nothing depends on it.
            let _ = lock.set_len(0).and_then(|()| write!(lock, "{}", std::process::id()));
            Ok(lock)
        }
        Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            let holder = if pid.is_empty() { "pid unknown".into() } else { format!("pid {pid}") };
            Err(DaemonError::Running { object: object.into(), holder })
        }
        Err((_, errno)) => Err(failed(path, errno.into())),
    }
}

/// Listens on a socket that its owner alone can connect to; whoever is not root is turned away by
/// the kernel. A socket that a killed daemon left is replaced; one that somebody listens on is not.
pub fn listen(socket: &Path) -> Result<UnixListener, DaemonError> {
    let bind = || -> io::Result<UnixListener> {
        // Bound and closed to others under another name first: at no time is it open to them.
        let hidden = suffixed(socket, &format!(".{}", std::process::id()));
        let _ = fs::remove_file(&hidden);
        let listener = UnixListener::bind(&hidden)?;
        listener.set_nonblocking(true)?;
        fs::set_permissions(&hidden, fs::Permissions::from_mode(0o600))?;
        fs::rename(&hidden, socket)?;
        Ok(listener)
    };
    if UnixStream::connect(socket).is_ok() {
        let holder = "pid unknown".into();
        return Err(DaemonError::Running { object: socket.into(), holder });
    }
    bind().map_err(|source| failed(socket, source))
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn failed(path: &Path, source: io::Error) -> DaemonError {
    DaemonError::Socket { path: path.into(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_daemon_is_told_who_is_first() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (socket, pin) = (folder.path().join("s"), Path::new("/sys/fs/bpf/x"));
        let claim = Claim::take(&socket, pin).expect("first");
        let error = Claim::take(&socket, pin).expect_err("second").to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        let other = Claim::take(&folder.path().join("t"), pin).expect_err("same pins").to_string();
        assert!(other.contains("/sys/fs/bpf/x"), "{other}");
        drop(claim);
        Claim::take(&socket, pin).expect("free again");
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let socket = folder.path().join("s");
        drop(listen(&socket).expect("free"));
        let live = listen(&socket).expect("dead");
        assert_eq!(fs::metadata(&socket).expect("there").permissions().mode() & 0o777, 0o600);
        assert!(listen(&socket).is_err());
        drop(live);
    }
}
