//! Where a benchmark leaves what it has measured: JSON and a chart in target/bench.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::repo::Repo;

/// The folder, which is made if it is not there.
pub(super) fn folder(repo: &Repo) -> Result<PathBuf> {
    let folder = repo.root().join("target/bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// Writes `NAME.json`, has `draw` write `NAME.svg`, and says where they are.
pub(super) fn write(
    repo: &Repo,
    name: &str,
    report: &impl Serialize,
    draw: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let folder = folder(repo)?;
    let json = folder.join(format!("{name}.json"));
    fs::write(&json, serde_json::to_string_pretty(report)? + "\n")
        .with_context(|| format!("cannot write {}", json.display()))?;
    let svg = folder.join(format!("{name}.svg"));
    draw(&svg).with_context(|| format!("cannot write {}", svg.display()))?;
    println!("written: {}, {}", json.display(), svg.display());
    Ok(())
}
