//! Builds the BPF objects so that the same sources and toolchain give the same bytes in any folder of any machine.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::{
    record::{self, Record},
    rustc_wrapper, source,
    toolchain::{Route, Toolchain},
};
use crate::{process, repo::Repo};

/// rustc's flags. v3 is the instruction set of kernel 5.1; a multi-byte load of an align-1 type is one instruction only with
/// misaligned access allowed (the kernels of x86-64 and arm64 allow it); debuginfo is what BTF is made from.
pub(crate) const FLAGS: [&str; 4] = [
    "-Cdebuginfo=2",
    "-Clink-arg=--btf",
    "-Ctarget-cpu=v3",
    "-Ctarget-feature=+allows-misaligned-mem-access",
];

/// Whether a build may write lb-ebpf/Cargo.lock.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lock {
    /// The lock is a source: a manifest that does not fit it is an error.
    Fixed,
    /// A changed manifest updates the lock, as in any cargo build.
    MayChange,
}

impl Lock {
    fn flag(self) -> Option<&'static str> {
        (self == Self::Fixed).then_some("--locked")
    }
}

/// Builds all programs and replaces lb-ebpf/object by them and their record.
pub(crate) fn build_and_record(repo: &Repo, route: Option<Route>) -> Result<()> {
    let toolchain = Toolchain::find(route)?;
    // A folder of its own, apart from the one an editor's cargo check uses; kept, so that the next build is quick.
    let target = repo.root().join("target/bpf");
    let objects = build(repo, &toolchain, &target, Lock::MayChange)?;
    let record = Record::new(repo, toolchain.identity, &FLAGS, &objects)?;

    let folder = repo.objects();
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for name in record::read_objects(repo)?.keys() {
        if !objects.contains_key(name) {
            fs::remove_file(folder.join(name)).with_context(|| format!("cannot remove {name}"))?;
        }
    }
    for (name, bytes) in &objects {
        fs::write(folder.join(name), bytes).with_context(|| format!("cannot write {name}"))?;
    }
    record.write(repo)?;
    for (name, object) in &record.objects {
        let sections: Vec<_> = object
            .instructions
            .iter()
            .map(|(section, count)| format!("{section} {count}"))
            .collect();
        println!(
            "lb-ebpf/object/{name}: {} bytes, instructions: {}",
            object.bytes,
            sections.join(", ")
        );
    }
    Ok(())
}

/// Builds all programs into `target` and gives the stripped objects by file name.
pub(crate) fn build(
    repo: &Repo,
    toolchain: &Toolchain,
    target: &Path,
    lock: Lock,
) -> Result<BTreeMap<String, Vec<u8>>> {
    let folder = repo.ebpf();
    let programs = programs(repo)?;
    if programs.is_empty() {
        bail!("lb-ebpf has no program: it needs a [[bin]] or a file in src/bin");
    }
    // The dependencies' folders must be there before their names are written into the flags.
    process::run(process::cargo(&folder).arg("fetch").args(lock.flag()))?;

    let temporary = tempfile::tempdir().context("cannot create a temporary folder")?;
    let wrapper = copy_of_this_program(temporary.path())?;

    let mut cargo = process::cargo(&folder);
    process::clear_build_variables(&mut cargo);
    cargo
        .args(["build", "--release", "--bins"])
        .args(lock.flag())
        .args(["--target", rustc_wrapper::TARGET, "-Zbuild-std=core"])
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_ENCODED_RUSTFLAGS", encoded_flags(repo, toolchain)?)
        .env("PATH", process::path_with_cargo_bin())
        .env("RUSTC", &toolchain.rustc)
        .env("RUSTC_WRAPPER", &wrapper)
        .env(rustc_wrapper::VARIABLE, "1")
        // Lets a released rustc use the unstable parts that BPF needs.
        .env("RUSTC_BOOTSTRAP", "1");
    eprintln!("building for BPF with {} ({})", toolchain.identity.rustc, toolchain.route);
    process::run(&mut cargo)?;

    let built = target.join(rustc_wrapper::TARGET).join("release");
    let mut objects = BTreeMap::new();
    for program in programs {
        let stripped = temporary.path().join(&program);
        process::output(
            std::process::Command::new(&toolchain.strip)
                .arg("--strip-debug")
                .arg(built.join(&program))
                .arg("-o")
                .arg(&stripped),
        )?;
        objects.insert(format!("{program}.o"), source::read(&stripped)?);
    }
    Ok(objects)
}

/// The names of lb-ebpf's programs, from its manifest.
fn programs(repo: &Repo) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        targets: Vec<Target>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
        kind: Vec<String>,
    }

    let text = process::output(process::cargo(&repo.ebpf()).args([
        "metadata",
        "--format-version=1",
        "--no-deps",
    ]))?;
    let metadata: Metadata =
        serde_json::from_str(&text).context("cannot read `cargo metadata` of lb-ebpf")?;
    Ok(metadata
        .packages
        .into_iter()
        .flat_map(|package| package.targets)
        .filter(|target| target.kind.iter().any(|kind| kind == "bin"))
        .map(|target| target.name)
        .collect())
}

/// The flags, and those that write the same paths into the object on every machine, in cargo's encoding.
///
/// Our own files are named relative to lb-ebpf, where the linker runs: so it finds them, and BTF gets their source lines, which
/// the verifier prints when it rejects a program.
fn encoded_flags(repo: &Repo, toolchain: &Toolchain) -> Result<OsString> {
    // The last match wins: the inner folder comes after the outer one.
    let mut prefixes = vec![
        (repo.root().to_owned(), ".."),
        (repo.ebpf(), "."),
        (toolchain.sysroot.join("lib/rustlib/src/rust"), "/rust"),
    ];
    if let Some(home) = process::cargo_home() {
        // One folder per registry, named after a hash of its address: a mirror has another.
        let registries = home.join("registry/src");
        for registry in fs::read_dir(&registries).into_iter().flatten() {
            prefixes.push((registry?.path(), "/cargo"));
        }
    }
    let mut flags = FLAGS.map(OsString::from).to_vec();
    for (from, to) in prefixes {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push("=");
        flag.push(to);
        flags.push(flag);
    }
    Ok(flags.join(&OsString::from("\x1f")))
}

/// This program under a path that stays: a cargo that builds the xtask anew would take away the one it runs from.
fn copy_of_this_program(folder: &Path) -> Result<PathBuf> {
    let copy = folder.join("rustc-wrapper");
    fs::copy("/proc/self/exe", &copy)
        .and_then(|_| fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot copy {:?} to {}", env::current_exe(), copy.display()))?;
    Ok(copy)
}
