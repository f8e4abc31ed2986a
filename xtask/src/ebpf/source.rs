//! The hash of everything that a BPF object is made from.
//!
//! Not in it: the root `Cargo.toml`, which changes for many other reasons. It can change an object only through the features
//! of lb-common's dependencies, and a rebuild finds that.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::repo::Repo;

/// What the objects are made from, relative to the root of the checkout. Folders are taken whole.
const SOURCES: [&str; 5] = [
    "lb-common/Cargo.toml",
    "lb-common/src",
    "lb-ebpf/Cargo.lock",
    "lb-ebpf/Cargo.toml",
    "lb-ebpf/src",
];

/// SHA-256 over the names and contents of all sources, in hexadecimal.
pub(crate) fn hash(repo: &Repo) -> Result<String> {
    let mut files = Vec::new();
    for source in SOURCES {
        collect(&repo.root().join(source), &mut files)?;
    }
    // The order of a folder's entries differs between file systems.
    files.sort();
    let mut hasher = Sha256::new();
    for file in &files {
        let name = file.strip_prefix(repo.root()).unwrap_or(file);
        let content = read(file)?;
        // Each part is preceded by its length, so that no two different trees give the same bytes.
        for part in [name.as_os_str().as_encoded_bytes(), &content] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    Ok(hex(&hasher.finalize()))
}

/// SHA-256 of one file's bytes, in hexadecimal.
pub(crate) fn hash_bytes(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Reads a file; the error names it.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let kind =
        fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.file_type();
    if kind.is_file() {
        files.push(path.to_owned());
    } else if kind.is_dir() {
        for entry in
            fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))?
        {
            collect(&entry?.path(), files)?;
        }
    } else {
        bail!("{} is neither a file nor a folder", path.display());
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The smallest tree that has every source.
    pub(crate) fn sample_repo() -> (tempfile::TempDir, Repo) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, content) in [
            ("lb-common/Cargo.toml", "[package]"),
            ("lb-common/src/lib.rs", "#![no_std]"),
            ("lb-common/src/ip/v4.rs", "pub struct V4;"),
            ("lb-ebpf/Cargo.toml", "[package]"),
            ("lb-ebpf/Cargo.lock", "version = 4"),
            ("lb-ebpf/src/director.rs", "#![no_main]"),
        ] {
            write(folder.path(), name, content);
        }
        let repo = Repo::at(folder.path());
        (folder, repo)
    }

    pub(crate) fn write(root: &Path, name: &str, content: &str) {
        let file = root.join(name);
        fs::create_dir_all(file.parent().expect("has a folder")).expect("create folder");
        fs::write(file, content).expect("write file");
    }

    #[test]
    fn sha256_is_the_standard_one() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(
            hash_bytes(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn the_same_tree_in_another_folder_has_the_same_hash() {
        let ((_one, first), (_two, second)) = (sample_repo(), sample_repo());
        assert_eq!(hash(&first).expect("hash"), hash(&second).expect("hash"));
    }

    #[test]
    fn every_source_counts_and_nothing_else_does() {
        let (folder, repo) = sample_repo();
        let before = hash(&repo).expect("hash");
        for name in [
            "lb-common/Cargo.toml",
            "lb-common/src/ip/v4.rs",
            "lb-ebpf/Cargo.lock",
            "lb-ebpf/src/director.rs",
        ] {
            let old = fs::read_to_string(folder.path().join(name)).expect("read");
            write(folder.path(), name, "changed");
            assert_ne!(hash(&repo).expect("hash"), before, "{name}");
            write(folder.path(), name, &old);
        }
        for name in ["lb-ebpf/object/director.o", "lb-ebpf/target/x", "README.md"] {
            write(folder.path(), name, "anything");
        }
        assert_eq!(hash(&repo).expect("hash"), before);
        write(folder.path(), "lb-common/src/new.rs", "");
        assert_ne!(hash(&repo).expect("hash"), before, "an added empty file");
    }

    #[test]
    fn renaming_a_source_changes_the_hash() {
        let (folder, repo) = sample_repo();
        let before = hash(&repo).expect("hash");
        let source = folder.path().join("lb-ebpf/src");
        fs::rename(source.join("director.rs"), source.join("pass.rs")).expect("rename");
        assert_ne!(hash(&repo).expect("hash"), before);
    }

    #[test]
    fn a_missing_source_is_named() {
        let (folder, repo) = sample_repo();
        fs::remove_file(folder.path().join("lb-ebpf/Cargo.lock")).expect("remove");
        let error = format!("{:#}", hash(&repo).expect_err("must fail"));
        assert!(error.contains("lb-ebpf/Cargo.lock"), "{error}");
    }
}
