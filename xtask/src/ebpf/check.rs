//! `build-ebpf --check`: fails when the committed objects are not what the source gives.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};

use super::{
    build::{self, Lock},
    record::{self, Record},
    toolchain::{Route, Toolchain},
};
use crate::repo::Repo;

/// What to do about any drift.
const REMEDY: &str = "run `cargo xtask build-ebpf` and commit lb-ebpf/object";

/// How much of the check could be done on this machine.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Checked {
    /// A rebuild gave the same bytes.
    Identical,
    /// The hashes are as recorded; why no more is known.
    HashesOnly(String),
}

/// Compares the committed objects with their record, and with a rebuild where the toolchain allows.
pub(crate) fn check(repo: &Repo, route: Option<Route>) -> Result<Checked> {
    let record = Record::read(repo)?;
    let mut drift = record.drift(repo)?;
    if record.flags != build::FLAGS {
        drift.push("the flags for rustc have changed since the objects were built".to_owned());
    }
    if !drift.is_empty() {
        bail!("the committed BPF objects have drifted; {REMEDY}\n  {}", drift.join("\n  "));
    }
    println!("lb-ebpf/object: source and objects are as recorded");

    let toolchain = match Toolchain::find_for(&record.toolchain, route) {
        Ok(toolchain) => toolchain,
        Err(error) => return Ok(Checked::HashesOnly(format!("not rebuilt: {error:#}"))),
    };
    // Fresh, so that nothing left over from an earlier build can hide a difference.
    let target = tempfile::tempdir().context("cannot create a temporary folder")?;
    let rebuilt = build::build(repo, &toolchain, target.path(), Lock::Fixed)?;
    if toolchain.identity != record.toolchain {
        println!("recorded: {:?}\nhere:     {:?}", record.toolchain, toolchain.identity);
        return Ok(Checked::HashesOnly(
            "rebuilt, but not compared: the record is of another toolchain".to_owned(),
        ));
    }
    let differing = differing(&record::read_objects(repo)?, &rebuilt);
    if !differing.is_empty() {
        bail!("a rebuild gives other bytes for {}; {REMEDY}", differing.join(", "));
    }
    println!("rebuilt with the recorded toolchain: byte-identical");
    Ok(Checked::Identical)
}

/// The names of all objects that are not the same, or not there, on both sides.
fn differing(
    committed: &BTreeMap<String, Vec<u8>>,
    rebuilt: &BTreeMap<String, Vec<u8>>,
) -> Vec<String> {
    let mut names: Vec<_> = committed.keys().chain(rebuilt.keys()).collect();
    names.sort();
    names.dedup();
    names.into_iter().filter(|name| committed.get(*name) != rebuilt.get(*name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_added_and_removed_objects_differ() {
        let committed = BTreeMap::from(
            [("a.o", "1"), ("b.o", "1"), ("c.o", "1")]
                .map(|(name, bytes)| (name.to_owned(), bytes.into())),
        );
        let rebuilt = BTreeMap::from(
            [("a.o", "1"), ("b.o", "2"), ("d.o", "1")]
                .map(|(name, bytes)| (name.to_owned(), bytes.into())),
        );
        assert_eq!(differing(&committed, &rebuilt), ["b.o", "c.o", "d.o"]);
        assert!(differing(&committed, &committed).is_empty());
    }
}
