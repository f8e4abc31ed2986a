//! Running other programs: what is run is printed, and a failure says which program and how it ended.

use std::{
    env,
    ffi::{OsStr, OsString},
    fmt::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// Variables that `cargo run` or the caller's shell may have set and that would change what a child cargo builds.
const BUILD_VARIABLES: [&str; 11] = [
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "CARGO_TARGET_DIR",
    "LD_LIBRARY_PATH",
    "RUSTC",
    "RUSTC_BOOTSTRAP",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTFLAGS",
];

/// The cargo that runs this xtask, or the one in PATH, started from `dir` with no input.
pub(crate) fn cargo(dir: &Path) -> Command {
    let program = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.current_dir(dir).stdin(Stdio::null());
    command.env_remove("LD_LIBRARY_PATH");
    command
}

/// Takes everything out of a command's environment that would change what cargo builds.
pub(crate) fn clear_build_variables(command: &mut Command) {
    for name in BUILD_VARIABLES {
        command.env_remove(name);
    }
}

/// Prints the command, runs it with its output going to ours, and fails unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    command.stdin(Stdio::null());
    let shown = show(command);
    eprintln!("+ {shown}");
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// As [`run`], but ends the command when it takes longer than `patience`.
pub(crate) fn run_for(command: &mut Command, patience: Duration) -> Result<()> {
    command.stdin(Stdio::null());
    let shown = show(command);
    eprintln!("+ {shown}");
    let mut child = command.spawn().with_context(|| format!("cannot start `{shown}`"))?;
    let deadline = Instant::now() + patience;
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => bail!("`{shown}` failed ({status})"),
            None if Instant::now() > deadline => {
                child.kill()?;
                child.wait()?;
                bail!("`{shown}` took longer than {} s", patience.as_secs());
            }
            None => thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// Runs a command and gives its standard output, trimmed; fails with its standard error unless it succeeds.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    command.stdin(Stdio::null());
    let shown = show(command);
    let output = command.output().with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("`{shown}` failed ({}): {}", output.status, errors.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The full path of a program: in PATH, else where `cargo install` puts programs.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(cargo_bin())
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// PATH with the folder of `cargo install` at its end: under sudo it is often missing.
pub(crate) fn path_with_cargo_bin() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(env::split_paths(&path).chain(cargo_bin())).unwrap_or(path)
}

/// `$CARGO_HOME`, by default `~/.cargo`.
pub(crate) fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")))
}

fn cargo_bin() -> Option<PathBuf> {
    cargo_home().map(|home| home.join("bin"))
}

/// The command as one could type it: the variables it sets, the program's own name, its arguments.
fn show(command: &Command) -> String {
    let mut text = String::new();
    for (name, value) in command.get_envs() {
        let (name, Some(value)) = (name.to_string_lossy(), value) else {
            continue;
        };
        if name != "PATH" {
            // Writing to a String cannot fail.
            let _ = write!(text, "{name}={} ", quote(value));
        }
    }
    let program = Path::new(command.get_program());
    text.push_str(&quote(program.file_name().unwrap_or(program.as_os_str())));
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&quote(argument));
    }
    text
}

fn quote(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    if word.is_empty() || word.contains([' ', '"', '\'', '$', '\x1f']) {
        format!("'{}'", word.replace('\x1f', " "))
    } else {
        word.into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_command_has_its_variables_and_quotes() {
        let mut command = Command::new("/usr/bin/cargo");
        command.env("RUSTFLAGS", "-C a").args(["build", "--release"]);
        assert_eq!(show(&command), "RUSTFLAGS='-C a' cargo build --release");
    }

    #[test]
    fn a_failing_program_is_named() {
        let error = run(&mut Command::new("false")).expect_err("false fails");
        assert!(error.to_string().contains("`false` failed"), "{error}");
        let error = output(&mut Command::new("/no/such-program")).expect_err("not there");
        assert!(error.to_string().contains("such-program"), "{error}");
    }
}
