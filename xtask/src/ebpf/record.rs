//! BUILD.json, which lies beside the objects and says what built them, from which source, and what came out.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::{elf, source};
use crate::repo::Repo;

/// The record's file name, in the folder of the objects.
const FILE: &str = "BUILD.json";

/// What built the objects.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// For a reader who opens the file.
    pub note: String,
    /// [`source::hash`] at the time of the build.
    pub source_sha256: String,
    pub toolchain: Identity,
    /// rustc's flags, without those that hide this machine's paths.
    pub flags: Vec<String>,
    /// By file name.
    pub objects: BTreeMap<String, ObjectRecord>,
}

/// Every program whose version decides what bytes come out.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    pub rustc: String,
    pub rustc_llvm: String,
    pub bpf_linker: String,
    /// The LLVM library that bpf-linker is linked with, or `built in`.
    pub bpf_linker_llvm: String,
    pub strip: String,
}

/// One object.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ObjectRecord {
    pub sha256: String,
    pub bytes: u64,
    /// Instruction slots by code section.
    pub instructions: BTreeMap<String, u64>,
}

impl Record {
    pub(crate) fn new(
        repo: &Repo,
        toolchain: Identity,
        flags: &[&str],
        objects: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Self> {
        let objects = objects
            .iter()
            .map(|(name, bytes)| Ok((name.clone(), ObjectRecord::new(name, bytes)?)))
            .collect::<Result<_>>()?;
        Ok(Self {
            note: "written by `cargo xtask build-ebpf`; do not edit".to_owned(),
            source_sha256: source::hash(repo)?,
            toolchain,
            flags: flags.iter().map(ToString::to_string).collect(),
            objects,
        })
    }

    /// Reads the committed record.
    pub(crate) fn read(repo: &Repo) -> Result<Self> {
        let file = path(repo);
        let bytes = source::read(&file)
            .context("run `cargo xtask build-ebpf` and commit lb-ebpf/object")?;
        serde_json::from_slice(&bytes).with_context(|| {
            format!(
                "{} is not as this xtask writes it; run `cargo xtask build-ebpf` again",
                file.display()
            )
        })
    }

    /// Writes the record beside the objects.
    pub(crate) fn write(&self, repo: &Repo) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        let file = path(repo);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Every way in which the committed sources and objects differ from this record; empty when all is as recorded.
    pub(crate) fn drift(&self, repo: &Repo) -> Result<Vec<String>> {
        let mut found = Vec::new();
        if source::hash(repo)? != self.source_sha256 {
            found.push(
                "the source of lb-ebpf or lb-common has changed since the objects were built"
                    .to_owned(),
            );
        }
        let committed = read_objects(repo)?;
        for (name, recorded) in &self.objects {
            match committed.get(name) {
                None => found.push(format!("{name} is recorded, but is not in lb-ebpf/object")),
                Some(bytes) if source::hash_bytes(bytes) != recorded.sha256 => {
                    found.push(format!("{name} is not the file that was recorded"));
                }
                Some(_) => {}
            }
        }
        for name in committed.keys() {
            if !self.objects.contains_key(name) {
                found.push(format!("{name} is in lb-ebpf/object, but not in its record"));
            }
        }
        Ok(found)
    }
}

impl ObjectRecord {
    fn new(name: &str, bytes: &[u8]) -> Result<Self> {
        Ok(Self {
            sha256: source::hash_bytes(bytes),
            bytes: bytes.len() as u64,
            instructions: elf::instructions(name, bytes)?,
        })
    }
}

/// The committed objects by file name.
pub(crate) fn read_objects(repo: &Repo) -> Result<BTreeMap<String, Vec<u8>>> {
    let folder = repo.objects();
    let mut objects = BTreeMap::new();
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(objects),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot list {}", folder.display()));
        }
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "o")
            && let Some(name) = path.file_name()
        {
            objects.insert(name.to_string_lossy().into_owned(), source::read(&path)?);
        }
    }
    Ok(objects)
}

fn path(repo: &Repo) -> PathBuf {
    repo.objects().join(FILE)
}

#[cfg(test)]
mod tests {
    use super::{
        super::source::tests::{sample_repo, write},
        *,
    };

    fn recorded(repo: &Repo) -> Record {
        write(repo.root(), "lb-ebpf/object/director.o", "object");
        let record = Record {
            note: String::new(),
            source_sha256: source::hash(repo).expect("hash"),
            toolchain: Identity {
                rustc: "rustc 1".to_owned(),
                rustc_llvm: "22".to_owned(),
                bpf_linker: "0".to_owned(),
                bpf_linker_llvm: "22".to_owned(),
                strip: "22".to_owned(),
            },
            flags: vec!["-C debuginfo=2".to_owned()],
            objects: BTreeMap::from([(
                "director.o".to_owned(),
                ObjectRecord {
                    sha256: source::hash_bytes(b"object"),
                    bytes: 6,
                    instructions: BTreeMap::from([("xdp".to_owned(), 2)]),
                },
            )]),
        };
        record.write(repo).expect("write");
        record
    }

    #[test]
    fn a_record_reads_back_as_written_and_has_no_drift() {
        let (_folder, repo) = sample_repo();
        let record = recorded(&repo);
        assert_eq!(Record::read(&repo).expect("read"), record);
        assert_eq!(record.drift(&repo).expect("drift"), Vec::<String>::new());
    }

    #[test]
    fn a_changed_source_is_drift() {
        let (_folder, repo) = sample_repo();
        let record = recorded(&repo);
        write(repo.root(), "lb-common/src/lib.rs", "#![no_std] // touched");
        let drift = record.drift(&repo).expect("drift");
        assert_eq!(drift.len(), 1, "{drift:?}");
        assert!(drift[0].contains("source"), "{drift:?}");
    }

    #[test]
    fn changed_missing_and_extra_objects_are_drift() {
        let (_folder, repo) = sample_repo();
        let record = recorded(&repo);
        write(repo.root(), "lb-ebpf/object/director.o", "other");
        write(repo.root(), "lb-ebpf/object/old.o", "object");
        let drift = record.drift(&repo).expect("drift");
        assert_eq!(drift.len(), 2, "{drift:?}");
        fs::remove_file(repo.objects().join("director.o")).expect("remove");
        let drift = record.drift(&repo).expect("drift");
        assert!(drift[0].contains("director.o is recorded, but"), "{drift:?}");
        assert!(drift[1].contains("old.o is in"), "{drift:?}");
    }

    #[test]
    fn no_record_says_what_to_run() {
        let (_folder, repo) = sample_repo();
        let error = format!("{:#}", Record::read(&repo).expect_err("must fail"));
        assert!(error.contains("cargo xtask build-ebpf"), "{error}");
    }

    #[test]
    fn an_unknown_field_in_a_record_is_an_error() {
        let (_folder, repo) = sample_repo();
        recorded(&repo);
        let text = fs::read_to_string(path(&repo)).expect("read");
        write(repo.root(), "lb-ebpf/object/BUILD.json", &text.replacen("{", "{\"more\": 1,", 1));
        let error = format!("{:#}", Record::read(&repo).expect_err("must fail"));
        assert!(error.contains("BUILD.json"), "{error}");
    }
}
