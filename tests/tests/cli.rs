//! The command line's texts, and that the documents' commands are such. No privileges needed.

use std::{fs, path::Path};

use clap::Parser as _;
use lb_userspace::cli::Cli;
use tests::lab::program;

#[test]
fn texts_are_as_in_the_cases() {
    trycmd::TestCases::new()
        .register_bin("tunlb", program())
        .env("COLUMNS", "100")
        .case("tests/cli/*.md");
}

/// The commands of a document's console blocks: `tunlb ...` after a prompt.
fn commands(document: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(document);
    let text = fs::read_to_string(&path).expect("the document");
    let blocks = text.split("```").skip(1).step_by(2);
    blocks
        .filter(|block| block.starts_with("console") || block.starts_with("sh"))
        .flat_map(str::lines)
        .map(|line| line.split_once("# ").map_or(line, |(_, command)| command))
        .flat_map(|line| line.split("&&"))
        .map(|command| command.split(" #").next().unwrap_or_default().trim())
        .map(|command| command.replace("cargo run --release --bin tunlb -- ", "tunlb "))
        .map(|command| command.trim_end_matches('&').trim().to_owned())
        .filter(|command| command.starts_with("tunlb "))
        .collect()
}

#[test]
fn commands_in_the_documents_are_understood() {
    let mut number = 0;
    for document in ["README.md", "docs/director.md", "docs/realserver.md"] {
        for command in commands(document) {
            number += 1;
            if let Err(error) = Cli::try_parse_from(command.split_whitespace()) {
                panic!("{document}: `{command}`: {error}");
            }
        }
    }
    assert!(number >= 8, "only {number} commands found");
}
