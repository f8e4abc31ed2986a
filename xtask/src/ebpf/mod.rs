//! `build-ebpf`: builds the committed BPF objects of lb-ebpf, records what built them, and checks them against their source.

mod build;
pub(crate) mod check;
mod elf;
mod record;
pub(crate) mod rustc_wrapper;
mod source;
pub(crate) mod toolchain;

use anyhow::Result;
use clap::ValueEnum;

use crate::repo::Repo;
use toolchain::Route;

/// Build the BPF objects that users load (lb-ebpf/object), or check that they are what the source gives.
#[derive(Debug, clap::Args)]
#[command(long_about = "\
Build every program of lb-ebpf for the kernel's BPF machine, take the DWARF out, keep BTF, and write lb-ebpf/object/<program>.o \
with BUILD.json, the record of what built them and of a hash of their source.

Without --toolchain the Debian packages are used where they are installed, else rustup's nightly with rust-src. \
`cargo xtask setup` installs one of them.")]
pub(crate) struct Args {
    /// Change nothing: fail unless the committed objects are what the source gives.
    ///
    /// The recorded hashes of the source and of the objects are always compared. With the recorded toolchain at hand the
    /// objects are also rebuilt and compared byte for byte; with another one they are only built; with none this is said.
    #[arg(long)]
    check: bool,

    /// The toolchain to build with.
    #[arg(long, value_enum)]
    toolchain: Option<RouteName>,
}

/// A [`Route`] as one types it.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum RouteName {
    /// rustc-web, rust-web-src and llvm-22 of Debian.
    Debian,
    /// rustup's nightly with its rust-src component.
    Nightly,
}

impl From<RouteName> for Route {
    fn from(name: RouteName) -> Self {
        match name {
            RouteName::Debian => Self::Debian,
            RouteName::Nightly => Self::Nightly,
        }
    }
}

pub(crate) fn run(repo: &Repo, args: &Args) -> Result<()> {
    let route = args.toolchain.map(Route::from);
    if !args.check {
        return build::build_and_record(repo, route);
    }
    if let check::Checked::HashesOnly(reason) = check::check(repo, route)? {
        println!("{reason}");
    }
    Ok(())
}
