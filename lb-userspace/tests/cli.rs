//! The binary's exit codes and messages, without privileges.

use std::{
    io::Read as _,
    process::{Command, Output, Stdio},
};

fn tunlb(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tunlb"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = tunlb(arguments).output().expect("runs");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn without_a_director_every_request_says_how_to_start_one() {
    for command in [
        &["list"][..],
        &["stats", "--json"],
        &["plan"],
        &["apply"],
        &["service", "add", "tcp:10.0.0.9:80"],
        &["server", "delete", "tcp:10.0.0.9:80", "10.1.0.1"],
    ] {
        let arguments = [command, &["--socket", "/nonexistent/tunlb.sock"]].concat();
        let expected = "tunlb: no director listens on /nonexistent/tunlb.sock; start it with `tunlb director`\n";
        assert_eq!(run(&arguments), (Some(1), expected.into()));
    }
}

#[test]
fn what_is_not_understood_exits_with_2() {
    for arguments in [
        &["frobnicate"][..],
        &[],
        &["service", "add"],
        &["service", "add", "10.0.0.9:80"],
        &["server", "edit", "tcp:10.0.0.9:80", "10.1.0.1", "--weight", "-1"],
    ] {
        assert_eq!(run(arguments).0, Some(2), "{arguments:?}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let (code, error) = run(&["plan", "/nonexistent/tunlb.toml"]);
    assert_eq!(code, Some(1));
    assert!(
        error.starts_with("tunlb: cannot read /nonexistent/tunlb.toml: No such file"),
        "{error}"
    );
}

#[test]
fn a_reader_that_goes_is_no_failure() {
    let mut child =
        tunlb(&["--help"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    drop(child.stdout.take());
    let mut error = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut error).expect("readable");
    assert_eq!((child.wait().expect("ends").code(), error), (Some(0), String::new()));
}
