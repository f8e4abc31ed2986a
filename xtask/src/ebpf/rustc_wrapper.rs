//! The xtask as cargo's `RUSTC_WRAPPER`, so that an object does not depend on where its checkout is.
//!
//! cargo gives each crate a `-C metadata` hash that ends up in the names of symbols. For lb-common, which is outside lb-ebpf's
//! workspace, it is made from the absolute path of the folder. Here it is replaced by the package's name and version.

use std::{
    env,
    ffi::OsString,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

/// Set in the environment of cargo to make this program behave as a wrapper.
pub(crate) const VARIABLE: &str = "TUNLB_XTASK_RUSTC_WRAPPER";

/// The target of the crates whose metadata is replaced: host crates (build scripts, macros) end in no object.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// Does the wrapper's work when the environment asks for it; `None` in an ordinary run.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    env::var_os(VARIABLE)?;
    let mut arguments = env::args_os().skip(1);
    let Some(rustc) = arguments.next() else {
        eprintln!("error: {VARIABLE} is set, but cargo did not name a rustc; unset it");
        return Some(ExitCode::FAILURE);
    };
    let identity = format!(
        "{}-{}",
        env::var("CARGO_PKG_NAME").unwrap_or_default(),
        env::var("CARGO_PKG_VERSION").unwrap_or_default()
    );
    let error = Command::new(&rustc).args(rewrite(arguments.collect(), &identity)).exec();
    eprintln!("error: cannot start {}: {error}", rustc.display());
    Some(ExitCode::FAILURE)
}

/// Replaces the value of `-C metadata=…` in a call of rustc for the BPF target.
fn rewrite(arguments: Vec<OsString>, identity: &str) -> Vec<OsString> {
    let for_bpf = arguments.windows(2).any(|pair| pair[0] == "--target" && pair[1] == TARGET);
    if !for_bpf {
        return arguments;
    }
    arguments
        .into_iter()
        .map(|argument| {
            let is_metadata = argument.to_str().is_some_and(|text| text.starts_with("metadata="));
            if is_metadata { OsString::from(format!("metadata={identity}")) } else { argument }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn metadata_of_a_bpf_crate_becomes_name_and_version() {
        let call = "--crate-name lb_common -C metadata=1f -C extra-filename=-1f --target bpfel-unknown-none";
        assert_eq!(
            rewrite(words(call), "lb-common-0.1.0"),
            words(
                "--crate-name lb_common -C metadata=lb-common-0.1.0 -C extra-filename=-1f --target bpfel-unknown-none"
            )
        );
    }

    #[test]
    fn a_host_crate_is_left_alone() {
        let call = words("--crate-name build_script_build -C metadata=1f");
        assert_eq!(rewrite(call.clone(), "x-1"), call);
    }
}
