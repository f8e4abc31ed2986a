//! Where maps and links are pinned: a directory on a BPF file system.

use std::{
    fs, io, iter,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process,
};

use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::BpfError;

/// Where bpffs belongs.
const BPF_FS: &str = "/sys/fs/bpf";

/// A pin directory as this thread sees it. `ip netns exec` gives its command a /sys of its own, in
/// which the BPF file system is not there; pins must go to the host's all the same, since a new one
/// would end with the command, and the programs with it. The processes that this one descends from
/// see the host's.
pub(super) fn visible(directory: &Path) -> PathBuf {
    let Ok(inside) = directory.strip_prefix(BPF_FS) else {
        return directory.into();
    };
    let is_there = |path: &Path| is_bpf_fs(path).unwrap_or(false);
    if is_there(Path::new(BPF_FS)) {
        return directory.into();
    }
    let mut elsewhere = lineage().map(|pid| PathBuf::from(format!("/proc/{pid}/root{BPF_FS}")));
    elsewhere.find(|path| is_there(path)).map_or(directory.into(), |path| path.join(inside))
}

/// This process, its parent, and so on.
fn lineage() -> impl Iterator<Item = u32> {
    iter::successors(Some(process::id()), |pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        parent.trim().parse().ok().filter(|parent| *parent != 0)
    })
}

/// Makes a pin directory, mounting the BPF file system at its usual place if nobody has.
pub(super) fn prepare(directory: &Path) -> Result<(), BpfError> {
    let failed = |source| BpfError::PinDirectory { path: directory.into(), source };
    if directory.starts_with(BPF_FS) && !is_bpf_fs(Path::new(BPF_FS)).map_err(failed)? {
        if !mounts_are_the_hosts() {
            return Err(failed(io::Error::other(
                "nothing mounted from here would outlast this command, as with `ip netns exec`; mount it \
                 on the host (mount -t bpf bpf /sys/fs/bpf), or enter by `nsenter --net=/run/netns/NAME`",
            )));
        }
        mount(Some("bpf"), BPF_FS, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
            .map_err(|errno| failed(errno.into()))?;
    }
    fs::create_dir_all(directory).map_err(failed)?;
    if is_bpf_fs(directory).map_err(failed)? {
        Ok(())
    } else {
        Err(failed(io::Error::other("not on a BPF file system")))
    }
}

/// Whether this thread is in the mount namespace of all processes that it descends from, as far as
/// one can see.
fn mounts_are_the_hosts() -> bool {
    let namespace = |of: &str| fs::metadata(format!("/proc/{of}/ns/mnt")).map(|meta| meta.ino());
    let Ok(own) = namespace("thread-self") else { return true };
    lineage().filter_map(|pid| namespace(&pid.to_string()).ok()).all(|theirs| theirs == own)
}

fn is_bpf_fs(path: &Path) -> io::Result<bool> {
    Ok(statfs(path)?.filesystem_type() == BPF_FS_MAGIC)
}

/// The names in a pin directory, sorted; none when it does not exist.
pub(super) fn names(directory: &Path) -> Result<Vec<String>, BpfError> {
    let failed = |source| BpfError::Io { path: directory.into(), source };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Removes one pin; it is no error if it is gone.
pub(super) fn remove(path: &Path) -> Result<(), BpfError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(BpfError::Io { path: path.into(), source })
        }
        _ => Ok(()),
    }
}

/// Removes a pin directory, which must be empty by now; it is no error if it is gone.
pub(super) fn remove_directory(directory: &Path) -> Result<(), BpfError> {
    match fs::remove_dir(directory) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(BpfError::Io { path: PathBuf::from(directory), source })
        }
        _ => Ok(()),
    }
}
