//! Where the checkout is, and where things are inside it.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// A checkout of tunlb, by the absolute path of its root without symbolic links.
#[derive(Clone, Debug)]
pub(crate) struct Repo {
    root: PathBuf,
}

impl Repo {
    /// The checkout that this xtask belongs to.
    pub(crate) fn find() -> Result<Self> {
        // cargo sets the variable when it runs us and names the folder as it is now; the compiled-in value is for a direct call.
        let manifest = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.join("..");
        let root = fs::canonicalize(&root)
            .with_context(|| format!("cannot find the checkout at {}", root.display()))?;
        Ok(Self { root })
    }

    /// A checkout at a path of the caller's choice, for tests.
    #[cfg(test)]
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The cargo workspace of the BPF programs.
    pub(crate) fn ebpf(&self) -> PathBuf {
        self.root.join("lb-ebpf")
    }

    /// The folder of the committed objects and their record.
    pub(crate) fn objects(&self) -> PathBuf {
        self.ebpf().join("object")
    }
}
