//! The configuration file on disk: read, and replaced whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use super::ConfigError;

/// A configuration file and the text that was last read from or written to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    path: PathBuf,
    text: String,
}

impl ConfigFile {
    /// Reads a file. Symbolic links are followed once, here, so that a later replacement keeps them.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let read = || -> io::Result<Self> {
            let path = fs::canonicalize(path)?;
            let text = fs::read_to_string(&path)?;
            Ok(Self { path, text })
        };
        read().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => ConfigError::Missing { path: path.into() },
            _ => ConfigError::Read { path: path.into(), source },
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text that was last read or written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Refuses when the file on disk is not what was last read or written.
    pub fn require_unchanged(&self) -> Result<(), ConfigError> {
        let path = || self.path.clone();
        match fs::read(&self.path) {
            Ok(bytes) if bytes == self.text.as_bytes() => Ok(()),
            Ok(_) => Err(ConfigError::Edited { path: path() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(ConfigError::Missing { path: path() })
            }
            Err(source) => Err(ConfigError::Read { path: path(), source }),
        }
    }

    /// Takes over the text that stands on disk already.
    pub fn accept(&mut self, text: String) {
        self.text = text;
    }

    /// Sees to it that what others wrote is on the disk.
    pub fn sync(&self) -> Result<(), ConfigError> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        File::open(&self.path)
            .and_then(|file| file.sync_all())
            .and_then(|()| File::open(folder)?.sync_all())
            .map_err(|source| ConfigError::Write { path: self.path.clone(), source })
    }

    /// Replaces the file by one with this text, same mode and owner; on return it is on the disk.
    /// Readers see the old text or the new one, never a part.
    pub fn write(&mut self, text: String) -> Result<(), ConfigError> {
        replace(&self.path, text.as_bytes())
            .map_err(|source| ConfigError::Write { path: self.path.clone(), source })?;
        self.text = text;
        Ok(())
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.{}", std::process::id()));
    let written = write_beside(path, &temporary, bytes);
    if written.is_err() {
        // Best effort: what counts is the error above.
        let _ = fs::remove_file(&temporary);
        return written;
    }
    // The rename itself lives in the folder.
    File::open(folder)?.sync_all()
}

fn write_beside(path: &Path, temporary: &Path, bytes: &[u8]) -> io::Result<()> {
    let old = fs::metadata(path)?;
    // A file of that name can only be left over from a daemon that was killed.
    let _ = fs::remove_file(temporary);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        fchown(&file, Some(old.uid()), Some(old.gid()))?;
    }
    file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder")
    }

    #[test]
    fn a_write_keeps_the_mode_and_leaves_one_file() {
        let folder = folder();
        let path = folder.path().join("t.toml");
        fs::write(&path, "a = 1\n").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("changed");
        let mut file = ConfigFile::read(&path).expect("read");
        file.write("a = 2\n".into()).expect("written");
        assert_eq!(fs::read_to_string(&path).expect("read"), "a = 2\n");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o7777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).expect("read").count(), 1);
        file.require_unchanged().expect("unchanged");
    }

    #[test]
    fn a_link_to_the_file_stays_a_link() {
        let folder = folder();
        let (path, link) = (folder.path().join("t.toml"), folder.path().join("link.toml"));
        fs::write(&path, "a = 1\n").expect("written");
        std::os::unix::fs::symlink(&path, &link).expect("linked");
        ConfigFile::read(&link).expect("read").write("a = 2\n".into()).expect("written");
        assert_eq!(fs::read_to_string(&path).expect("read"), "a = 2\n");
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
    }

    #[test]
    fn an_edit_under_the_daemon_is_noticed() {
        let folder = folder();
        let path = folder.path().join("t.toml");
        fs::write(&path, "a = 1\n").expect("written");
        let file = ConfigFile::read(&path).expect("read");
        fs::write(&path, "a = 3\n").expect("written");
        let error = file.require_unchanged().expect_err("edited").to_string();
        assert!(error.contains("was edited since it was read; run `tunlb apply` first"));
    }

    #[test]
    fn a_missing_file_is_shown_how_to_be() {
        let error = ConfigFile::read(Path::new("/nonexistent/t.toml")).expect_err("missing");
        assert!(error.to_string().contains("at least with: interfaces = [\"eth0\"]"));
    }
}
