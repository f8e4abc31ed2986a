//! The two toolchains that can build for BPF, found on this machine or described by what is missing.

use std::{
    fmt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::record::Identity;
use crate::process;

/// The file of Rust's own library that shows that its source is installed.
const LIBRARY_SOURCE: &str = "lib/rustlib/src/rust/library/core/src/lib.rs";

/// Where a toolchain comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Route {
    /// Debian's rustc-web, rust-web-src and llvm-22; needs no rustup and no nightly.
    Debian,
    /// rustup's nightly with its rust-src component.
    Nightly,
}

impl Route {
    /// In the order of preference.
    pub(crate) const ALL: [Self; 2] = [Self::Debian, Self::Nightly];

    /// What of this route is not installed; empty when it can build.
    pub(crate) fn missing(self) -> Vec<String> {
        let mut missing = Vec::new();
        match self.rustc() {
            None => missing.push(match self {
                Self::Debian => {
                    "Debian package rustc-web (/usr/bin/rustc 1.96 or later)".to_owned()
                }
                Self::Nightly => "rustup toolchain nightly".to_owned(),
            }),
            Some(rustc) => {
                if !sysroot(&rustc).is_ok_and(|root| root.join(LIBRARY_SOURCE).is_file()) {
                    missing.push(match self {
                        Self::Debian => "Debian package rust-web-src".to_owned(),
                        Self::Nightly => "rust-src component of rustup's nightly".to_owned(),
                    });
                }
            }
        }
        if strip().is_none() {
            missing.push("llvm-strip (Debian package llvm-22)".to_owned());
        }
        if process::find_program("bpf-linker").is_none() {
            missing.push("bpf-linker".to_owned());
        }
        missing
    }

    fn rustc(self) -> Option<PathBuf> {
        match self {
            Self::Debian => {
                let rustc = PathBuf::from("/usr/bin/rustc");
                // Debian 12's own rustc package is 1.63, which knows neither edition 2024 nor half of what is used.
                let is_web = process::output(Command::new(&rustc).arg("--version"))
                    .ok()
                    .and_then(|text| minor_version(&text))
                    .is_some_and(|minor| minor >= 96);
                is_web.then_some(rustc)
            }
            Self::Nightly => {
                process::find_program("rustup")?;
                process::output(Command::new("rustup").args([
                    "which",
                    "rustc",
                    "--toolchain",
                    "nightly",
                ]))
                .ok()
                .map(PathBuf::from)
            }
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Debian => "Debian packages",
            Self::Nightly => "rustup nightly",
        })
    }
}

/// A toolchain that is there.
#[derive(Debug)]
pub(crate) struct Toolchain {
    pub route: Route,
    pub rustc: PathBuf,
    pub sysroot: PathBuf,
    pub strip: PathBuf,
    pub identity: Identity,
}

impl Toolchain {
    /// The toolchain of a route; fails with all that it lacks.
    pub(crate) fn of(route: Route) -> Result<Self> {
        let missing = route.missing();
        let (Some(rustc), Some(strip), []) = (route.rustc(), strip(), missing.as_slice()) else {
            bail!(
                "the BPF toolchain from {route} lacks: {}; `cargo xtask setup` installs it",
                missing.join(", ")
            );
        };
        let linker = process::find_program("bpf-linker").context("bpf-linker is gone")?;
        let identity = Identity {
            rustc: process::output(Command::new(&rustc).arg("--version"))?,
            rustc_llvm: rustc_llvm(&rustc)?,
            bpf_linker: process::output(Command::new(&linker).arg("--version"))?,
            bpf_linker_llvm: shared_llvm(&linker)?,
            strip: llvm_version(&process::output(Command::new(&strip).arg("--version"))?),
        };
        Ok(Self { route, sysroot: sysroot(&rustc)?, rustc, strip, identity })
    }

    /// The first complete toolchain, or what each route lacks.
    pub(crate) fn find(route: Option<Route>) -> Result<Self> {
        if let Some(route) = route {
            return Self::of(route);
        }
        if let Some(route) = Route::ALL.into_iter().find(|route| route.missing().is_empty()) {
            return Self::of(route);
        }
        let mut text = String::from("no toolchain here can build for BPF");
        for route in Route::ALL {
            text.push_str(&format!("\n  {route}: missing {}", route.missing().join(", ")));
        }
        bail!("{text}\n`cargo xtask setup` installs one");
    }

    /// The complete toolchain that a record names, else the first complete one.
    pub(crate) fn find_for(recorded: &Identity, route: Option<Route>) -> Result<Self> {
        if route.is_none() {
            for candidate in Route::ALL {
                if let Ok(toolchain) = Self::of(candidate)
                    && toolchain.identity == *recorded
                {
                    return Ok(toolchain);
                }
            }
        }
        Self::find(route)
    }
}

/// LLVM's strip: the newest known version first, since Debian installs several side by side.
fn strip() -> Option<PathBuf> {
    ["llvm-strip-22", "llvm-strip-23", "llvm-strip"].into_iter().find_map(process::find_program)
}

fn sysroot(rustc: &Path) -> Result<PathBuf> {
    process::output(Command::new(rustc).args(["--print", "sysroot"])).map(PathBuf::from)
}

fn rustc_llvm(rustc: &Path) -> Result<String> {
    let verbose = process::output(Command::new(rustc).arg("-vV"))?;
    verbose
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))
        .map(ToOwned::to_owned)
        .with_context(|| format!("`{} -vV` names no LLVM", rustc.display()))
}

/// The LLVM library that a program loads, or `built in`.
fn shared_llvm(program: &Path) -> Result<String> {
    let libraries = process::output(Command::new("ldd").arg(program))?;
    let name =
        libraries.split_whitespace().find(|word| word.starts_with("libLLVM")).unwrap_or("built in");
    Ok(name.to_owned())
}

/// `… LLVM version 22.1.8 …` -> `LLVM 22.1.8`.
fn llvm_version(text: &str) -> String {
    let version =
        text.split_once("LLVM version ").and_then(|(_, rest)| rest.split_whitespace().next());
    version.map_or_else(|| text.to_owned(), |version| format!("LLVM {version}"))
}

/// `rustc 1.96.0 (…)` -> 96.
fn minor_version(text: &str) -> Option<u32> {
    text.strip_prefix("rustc 1.")?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_the_programs_print() {
        assert_eq!(minor_version("rustc 1.96.0 (ac68faa20 2026-05-25)"), Some(96));
        assert_eq!(minor_version("gcc 12"), None);
        let strip =
            "llvm-strip, compatible with GNU strip\nDebian LLVM version 22.1.8\n  Optimized build.";
        assert_eq!(llvm_version(strip), "LLVM 22.1.8");
    }
}
