//! The one table of what must be installed beside Rust: what it is for, how to see that it is there, where it comes from.

use std::{path::PathBuf, process::Command};

use crate::{ebpf::toolchain::Route, process};

/// Something that a task needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    /// The program, or the Debian package where there is no program to look for.
    pub name: &'static str,
    /// What for.
    pub why: &'static str,
    pub source: Source,
}

/// Where a tool comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    /// Debian packages that belong to the Debian route of the BPF toolchain.
    Debian(&'static [&'static str]),
    /// Debian packages that are needed whatever builds for BPF.
    System(&'static [&'static str]),
    /// A component of rustup's nightly, for the nightly route of the BPF toolchain.
    Nightly(&'static str),
    /// A component of the Rust that builds the host side.
    Component(&'static str),
    /// A crate, in the one version that was tried, with features in cargo's words.
    Crate { krate: &'static str, version: &'static str, arguments: &'static [&'static str] },
}

/// Everything, in the order of installation: bpf-linker is built against the LLVM before it.
pub(crate) const TOOLS: [Tool; 11] = [
    Tool { name: "cargo-fmt", why: "ci: formatting", source: Source::Component("rustfmt") },
    Tool {
        name: "cargo-clippy",
        why: "ci: lints of the host side",
        source: Source::Component("clippy"),
    },
    Tool {
        name: "rustc-web",
        why: "build-ebpf: rustc 1.96 with LLVM 22, its library's source, clippy for the BPF side",
        source: Source::Debian(&["rustc-web", "rust-web-src", "rust-web-clippy"]),
    },
    Tool {
        name: "llvm-22",
        why: "build-ebpf: llvm-strip, and the library that bpf-linker is built against",
        source: Source::Debian(&[
            "llvm-22",
            "llvm-22-dev",
            "libpolly-22-dev",
            "libzstd-dev",
            "zlib1g-dev",
        ]),
    },
    Tool {
        name: "rust-src",
        why: "build-ebpf: nightly's library source",
        source: Source::Nightly("rust-src"),
    },
    Tool { name: "clippy", why: "ci: lints of the BPF side", source: Source::Nightly("clippy") },
    Tool {
        name: "bpf-linker",
        why: "build-ebpf: links BPF objects",
        source: Source::Crate {
            krate: "bpf-linker",
            version: "0.13.0",
            // The default is LLVM 23; this is the LLVM of both routes' rustc.
            arguments: &["--no-default-features", "--features", "llvm-22"],
        },
    },
    Tool {
        name: "typos",
        why: "ci: spelling",
        source: Source::Crate { krate: "typos-cli", version: "1.52.0", arguments: &["--debug"] },
    },
    Tool {
        name: "cargo-deny",
        why: "ci: licences and sources of dependencies",
        // A debug build takes a third of the time to build and a second to run.
        source: Source::Crate { krate: "cargo-deny", version: "0.20.2", arguments: &["--debug"] },
    },
    Tool {
        name: "ipvsadm",
        why: "conformance, bench: IPVS's own command, in the virtual machine",
        source: Source::System(&["ipvsadm"]),
    },
    Tool {
        name: "qemu",
        why: "vm: a stock kernel in a virtual machine",
        source: Source::System(&["qemu-system-x86", "busybox-static", "kmod"]),
    },
];

/// The folder of the Debian packages' LLVM.
pub(crate) const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

impl Tool {
    /// Whether a machine that builds for BPF by `route` needs this.
    pub(crate) fn is_for(&self, route: Route) -> bool {
        match self.source {
            Source::Debian(_) => route == Route::Debian,
            Source::Nightly(_) => route == Route::Nightly,
            Source::System(_) | Source::Component(_) | Source::Crate { .. } => true,
        }
    }

    /// Whether this is installed, in any version.
    pub(crate) fn is_there(&self) -> bool {
        match self.source {
            Source::Debian(packages) | Source::System(packages) => {
                missing_packages(packages).is_empty()
            }
            Source::Nightly(component) => nightly_has(component),
            Source::Component(_) => {
                // rustup puts a proxy in PATH for components that are not installed: only running it tells.
                process::output(Command::new(self.name).arg("--version")).is_ok()
            }
            Source::Crate { .. } => process::find_program(self.name).is_some(),
        }
    }

    /// What a person types to install this.
    pub(crate) fn command(&self) -> String {
        match self.source {
            Source::Debian(packages) | Source::System(packages) => {
                format!("apt-get install --no-install-recommends {}", packages.join(" "))
            }
            Source::Nightly(component) => {
                format!("rustup toolchain install nightly --component {component}")
            }
            Source::Component(component) => format!("rustup component add {component}"),
            Source::Crate { krate, version, arguments } => {
                format!("cargo install {krate}@{version} --locked {}", arguments.join(" "))
                    .trim_end()
                    .to_owned()
            }
        }
    }
}

/// Those of some Debian packages that are not installed.
pub(crate) fn missing_packages(packages: &[&'static str]) -> Vec<&'static str> {
    let installed = |package: &str| {
        process::output(Command::new("dpkg-query").args([
            "-W",
            "-f",
            "${db:Status-Status}",
            package,
        ]))
        .is_ok_and(|status| status == "installed")
    };
    packages.iter().copied().filter(|package| !installed(package)).collect()
}

/// Whether rustup's nightly is there with a component.
pub(crate) fn nightly_has(component: &str) -> bool {
    let list = Command::new("rustup")
        .args(["component", "list", "--toolchain", "nightly", "--installed"])
        .env_remove("RUSTUP_TOOLCHAIN")
        .stdin(std::process::Stdio::null())
        .output();
    list.is_ok_and(|output| {
        output.status.success()
            && String::from_utf8_lossy(&output.stdout)
                .lines()
                .any(|line| line.starts_with(component))
    })
}

/// The program of a tool of the table; the error names what installs it.
pub(crate) fn program(name: &str) -> anyhow::Result<PathBuf> {
    process::find_program(name).ok_or_else(|| {
        let remedy = TOOLS.iter().find(|tool| tool.name == name).map_or_else(String::new, |tool| {
            format!("; `cargo xtask setup` installs it, or `{}`", tool.command())
        });
        anyhow::anyhow!("{name} is not installed{remedy}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_is_pinned_to_one_version() {
        for tool in TOOLS {
            if let Source::Crate { version, .. } = tool.source {
                assert_eq!(version.split('.').count(), 3, "{}", tool.name);
                assert!(tool.command().contains(&format!("@{version} --locked")), "{tool:?}");
            }
        }
    }

    #[test]
    fn each_route_needs_its_own_tools_and_the_common_ones() {
        let names = |route| -> Vec<_> {
            TOOLS.iter().filter(|tool| tool.is_for(route)).map(|tool| tool.name).collect()
        };
        assert!(names(Route::Debian).contains(&"llvm-22"));
        assert!(!names(Route::Debian).contains(&"rust-src"));
        assert!(!names(Route::Nightly).contains(&"rustc-web"));
        for route in Route::ALL {
            assert!(names(route).contains(&"bpf-linker"));
        }
    }

    #[test]
    fn a_missing_program_names_its_remedy() {
        let error = program("no-such-tool").expect_err("not there").to_string();
        assert_eq!(error, "no-such-tool is not installed");
        assert!(TOOLS.iter().any(|tool| tool.name == "typos"));
    }
}
