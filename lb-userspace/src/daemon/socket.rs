//! The daemon's socket: one daemon listens on it, and only its owner can connect to it.

use std::{
    fs, io,
    os::unix::fs::FileTypeExt as _,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, RenameFlags, renameat2},
    sys::socket::{getsockopt, sockopt::PeerCredentials},
    sys::stat::{Mode, umask},
};

use super::DaemonError;

/// A socket's name in the file system, removed when this is dropped.
#[derive(Debug)]
pub struct SocketName {
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for SocketName {
    fn drop(&mut self) {
        // Somebody may have put another there.
        if inode(&self.path).ok() == Some(self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens on a socket that its owner alone can connect to; whoever is not root is turned away by
/// the kernel. A socket that a killed daemon left is replaced; one that somebody listens on is not.
pub fn listen(path: &Path) -> Result<(UnixListener, SocketName), DaemonError> {
    let failed = |source| DaemonError::Socket { path: path.into(), source };
    fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).map_err(failed)?;
    // Bound and closed to others under another name first: at no time is it open to them.
    let mut hidden = path.as_os_str().to_owned();
    hidden.push(format!(".{}", std::process::id()));
    let hidden = PathBuf::from(hidden);
    let _ = fs::remove_file(&hidden);
    // Nothing else makes files while the daemon starts.
    let before = umask(Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(&hidden);
    umask(before);
    let listener = listener.map_err(failed)?;
    let bound = || -> io::Result<(u64, u64)> {
        listener.set_nonblocking(true)?;
        fs::set_permissions(&hidden, fs::Permissions::from_mode(0o600))?;
        inode(&hidden)
    };
    let named = bound().map_err(failed).and_then(|inode| {
        put(&hidden, path)?;
        Ok(SocketName { path: path.into(), inode })
    });
    if named.is_err() {
        let _ = fs::remove_file(&hidden);
    }
    Ok((listener, named?))
}

/// Gives a bound socket its name, unless somebody listens there.
fn put(hidden: &Path, path: &Path) -> Result<(), DaemonError> {
    let failed = |source| DaemonError::Socket { path: path.into(), source };
    match renameat2(AT_FDCWD, hidden, AT_FDCWD, path, RenameFlags::RENAME_NOREPLACE) {
        Ok(()) => return Ok(()),
        // EINVAL: a file system that cannot do that; the look that follows has to do.
        Err(Errno::EEXIST | Errno::EINVAL) => {}
        Err(errno) => return Err(failed(errno.into())),
    }
    match UnixStream::connect(path) {
        Ok(stream) => {
            let holder = getsockopt(&stream, PeerCredentials)
                .map_or_else(|_| "pid unknown".into(), |peer| format!("pid {}", peer.pid()));
            Err(DaemonError::Running { socket: path.into(), holder })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::rename(hidden, path).map_err(failed)
        }
        // A socket that nobody listens on. Anything else there is not ours to replace.
        Err(error)
            if error.kind() == io::ErrorKind::ConnectionRefused
                && fs::symlink_metadata(path).is_ok_and(|there| there.file_type().is_socket()) =>
        {
            fs::rename(hidden, path).map_err(failed)
        }
        Err(_) => Err(failed(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "something that is no dead socket is there; remove it, or name another path",
        ))),
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("run/s");
        let (dead, name) = listen(&path).expect("free");
        drop(dead);
        // As kill -9 leaves it.
        std::mem::forget(name);
        let live = listen(&path).expect("dead");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let error = listen(&path).expect_err("live").to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        UnixStream::connect(&path).expect("undisturbed");
        drop(live);
        let left = fs::read_dir(path.parent().expect("a folder")).expect("readable").count();
        assert_eq!(left, 0);
    }

    #[test]
    fn what_is_no_socket_is_not_replaced() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("tunlb.toml");
        fs::write(&path, "interfaces = [\"eth0\"]").expect("written");
        listen(&path).expect_err("a file is there");
        assert_eq!(fs::read_to_string(&path).expect("there"), "interfaces = [\"eth0\"]");
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1);
    }

    #[test]
    fn only_the_own_name_is_removed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("s");
        let (_listener, name) = listen(&path).expect("free");
        fs::remove_file(&path).expect("removed");
        fs::write(&path, "another's").expect("written");
        drop(name);
        assert!(path.exists());
    }
}
