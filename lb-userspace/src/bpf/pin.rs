//! Where maps and links are pinned: a directory on a BPF file system.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::BpfError;

/// Where bpffs belongs.
const BPF_FS: &str = "/sys/fs/bpf";

/// Makes a pin directory, mounting the BPF file system at its usual place if nobody has.
pub(super) fn prepare(directory: &Path) -> Result<(), BpfError> {
    let failed = |source| BpfError::PinDirectory { path: directory.into(), source };
    if directory.starts_with(BPF_FS) && !is_bpf_fs(Path::new(BPF_FS)).map_err(failed)? {
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
