//! The files of vectors: what they say, and where they are.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use lb_common::{Action, Reason};
use serde::{Deserialize, Deserializer, de::Error};

use super::{fixture::Fixture, frame::Frame};

/// One file: the vectors of one feature.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VectorFile {
    /// What the feature is.
    pub about: String,
    /// The vectors.
    #[serde(rename = "case")]
    pub cases: Vec<Case>,
}

/// Frames that go through fresh tables one after the other.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The rule that it shows.
    pub name: String,
    /// Where the expectation comes from.
    pub source: String,
    /// The name of the fixture to start with.
    pub fixture: String,
    /// Why it can run in memory only, if so.
    pub memory_only: Option<String>,
    /// The frames.
    #[serde(rename = "step")]
    pub steps: Vec<Step>,
}

/// One frame and what becomes of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What happens here.
    pub note: Option<String>,
    /// A fixture to change the tables to first; flows, positions and limits stay.
    pub apply: Option<String>,
    /// The clock from here on, in ticks. Cases that set it run in memory only.
    pub now: Option<u64>,
    /// The frame that comes in.
    pub frame: Frame,
    /// What becomes of it.
    #[serde(deserialize_with = "action")]
    pub action: Action,
    /// Why; this counter goes up by one, every other one stays.
    #[serde(deserialize_with = "reason")]
    pub reason: Reason,
    /// The frame that results; where there is none, the frame stays as it came (and of a dropped
    /// frame nothing is expected).
    pub out: Option<Frame>,
    /// Offsets in `out` of IPv4 headers whose identification is random.
    #[serde(default)]
    pub random_id: Vec<usize>,
    /// The index of the real server that counts the packet.
    pub server: Option<u32>,
    /// The bytes that it counts.
    pub bytes: Option<u64>,
}

fn reason<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Reason, D::Error> {
    let label = String::deserialize(deserializer)?;
    let reason = Reason::ALL.iter().find(|reason| reason.label() == label);
    reason.copied().ok_or_else(|| D::Error::custom(format!("no reason is called `{label}`")))
}

fn action<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Action, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(match text.as_str() {
        "pass" => Action::Pass,
        "drop" => Action::Drop,
        "tx" => Action::Transmit,
        _ => match text.strip_prefix("redirect:").map(str::parse) {
            Some(Ok(interface)) => Action::Redirect(interface),
            _ => return Err(D::Error::custom(format!("no action is called `{text}`"))),
        },
    })
}

/// The folder of the files.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

/// The name of the file that holds the fixtures instead of vectors.
const FIXTURES: &str = "fixtures";

/// The names of all files of vectors, sorted.
pub fn names() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory()).context("cannot list the vectors")? {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if path.extension().is_some_and(|extension| extension == "toml") && stem != FIXTURES {
            names.push(stem.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Reads a file of vectors and the fixtures.
pub fn load(name: &str) -> Result<(VectorFile, BTreeMap<String, Fixture>)> {
    let file: VectorFile = read(name)?;
    let fixtures: BTreeMap<String, Fixture> = read(FIXTURES)?;
    for case in &file.cases {
        let applied = case.steps.iter().filter_map(|step| step.apply.as_ref());
        for fixture in applied.chain([&case.fixture]) {
            if !fixtures.contains_key(fixture) {
                bail!("{name}: `{}` names the unknown fixture `{fixture}`", case.name);
            }
        }
        if case.steps.iter().any(|step| step.now.is_some()) && case.memory_only.is_none() {
            bail!("{name}: `{}` sets the clock, so it must say `memory_only`", case.name);
        }
    }
    Ok((file, fixtures))
}

fn read<T: for<'de> Deserialize<'de>>(name: &str) -> Result<T> {
    let path = directory().join(name).with_extension("toml");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path:?}"))?;
    toml::from_str(&text).with_context(|| format!("cannot parse {path:?}"))
}
