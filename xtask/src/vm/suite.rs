//! The tests that mean something on another kernel, run in the virtual machine: built outside, run inside.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::{
    process,
    repo::Repo,
    vm::{
        Machine,
        job::{Job, quote},
    },
};

/// The packages whose integration tests talk to the kernel.
const PACKAGES: [&str; 2] = ["lb-userspace", "tests"];

/// Under emulation all of it takes some 5 minutes on an idle machine.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// What the tests are told.
const VARIABLES: [(&str, &str); 3] = [
    // The stock kernel has these for certain: a test that misses one fails instead of being left out.
    ("TUNLB_REQUIRE_IPIP", "1"),
    ("TUNLB_REQUIRE_IPVS", "1"),
    // An emulated processor takes that many times as long, or longer where the real ones have other work.
    ("TUNLB_PATIENCE", "8"),
];

/// A test program, and the folder that cargo would start it in.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Program {
    name: String,
    folder: PathBuf,
    executable: PathBuf,
}

/// Runs them all, and the demo; fails if any fails, after the last.
pub(crate) fn run(repo: &Repo) -> Result<()> {
    let machine = Machine::prepare(repo, None, 2, 4096)?;
    let packages = PACKAGES.map(|package| format!("--package={package}"));
    let mut selection = vec!["--test=*"];
    selection.extend(packages.iter().map(String::as_str));
    let programs = build(repo, &selection)?;
    let tunlb = quote(&repo.root().join("target/debug/tunlb").to_string_lossy());
    let demo = ("tunlb demo".to_owned(), format!("{tunlb} demo"));
    let job = Job {
        command: vec!["sh".to_owned(), "-c".to_owned(), script(&programs, &[demo])],
        environment: variables(),
        limit: LIMIT,
    };
    match machine.run(&job)? {
        0 => Ok(()),
        _ => bail!("tests failed on the stock kernel; their names are in the last line above"),
    }
}

/// What the tests in the virtual machine are told.
pub(crate) fn variables() -> Vec<(String, String)> {
    VARIABLES.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// Builds integration tests, by cargo's options that select some.
pub(crate) fn build(repo: &Repo, selection: &[&str]) -> Result<Vec<Program>> {
    let mut cargo = process::cargo(repo.root());
    cargo.args(["test", "--locked", "--no-run", "--message-format=json-render-diagnostics"]);
    let programs = programs(&process::output(cargo.args(selection))?)?;
    if programs.is_empty() {
        bail!("cargo built no test programs");
    }
    Ok(programs)
}

/// Integration tests, from cargo's messages (a JSON object per line).
fn programs(messages: &str) -> Result<Vec<Program>> {
    #[derive(Deserialize)]
    struct Message {
        target: Option<Target>,
        manifest_path: Option<PathBuf>,
        executable: Option<PathBuf>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
        kind: Vec<String>,
    }
    let mut programs = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message = serde_json::from_str(line).context("read cargo's messages")?;
        let Message {
            target: Some(target),
            manifest_path: Some(manifest),
            executable: Some(executable),
        } = message
        else {
            continue;
        };
        if target.kind == ["test"] {
            let folder = manifest.parent().context("a manifest is in a folder")?.to_owned();
            programs.push(Program { name: target.name, folder, executable });
        }
    }
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(programs)
}

/// The tests and other commands. One test at a time, because some have limits of time. A failing one does not keep the others from running;
/// the last line names those that failed.
pub(crate) fn script(programs: &[Program], others: &[(String, String)]) -> String {
    let mut text = "failed=\n".to_owned();
    for Program { name, folder, executable } in programs {
        let [folder, executable] = [folder, executable].map(|path| quote(&path.to_string_lossy()));
        text.push_str(&format!(
            "echo '=== {name} (stock kernel)'\n\
             (cd {folder} && CARGO_MANIFEST_DIR={folder} {executable} --include-ignored --test-threads 1) || failed=\"$failed {name}\"\n"
        ));
    }
    for (name, command) in others {
        text.push_str(&format!(
            "echo '=== {name} (stock kernel)'\n{command} || failed=\"$failed {name}\"\n"
        ));
    }
    text + "[ -z \"$failed\" ] || { echo \"failed on the stock kernel:$failed\"; exit 1; }\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integration_tests_are_found_in_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","manifest_path":"/r/tests/Cargo.toml","target":{"kind":["test"],"name":"vectors"},"executable":"/r/target/debug/deps/vectors-1"}
{"reason":"compiler-artifact","manifest_path":"/r/tests/Cargo.toml","target":{"kind":["lib"],"name":"tests"},"executable":"/r/target/debug/deps/tests-1"}
{"reason":"compiler-artifact","manifest_path":"/c/Cargo.toml","target":{"kind":["lib"],"name":"serde"},"executable":null}
{"reason":"build-finished","success":true}
"#;
        let found = programs(messages).expect("messages");
        assert_eq!(
            found,
            [Program {
                name: "vectors".to_owned(),
                folder: "/r/tests".into(),
                executable: "/r/target/debug/deps/vectors-1".into(),
            }]
        );
    }

    #[test]
    fn a_failing_program_is_named_after_all_have_run() {
        let program = |name: &str, executable: &str| Program {
            name: name.to_owned(),
            folder: "/".into(),
            executable: executable.into(),
        };
        let both = [program("first", "false"), program("second", "true")];
        let output = std::process::Command::new("sh")
            .args(["-c", &script(&both, &[("third".to_owned(), "true".to_owned())])])
            .output()
            .expect("a shell");
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("=== second"), "{text}");
        assert!(text.ends_with("failed on the stock kernel: first\n"), "{text}");
    }
}
