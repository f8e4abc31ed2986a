//! Debian's stock kernel: its package is downloaded and unpacked into target/vm, never installed.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{machine, process};

/// The package that depends on the newest stock kernel of the release.
const META_PACKAGE: &str = "linux-image-amd64";

/// A kernel that is unpacked and whose modules are indexed.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// The Debian package, for example `linux-image-6.1.0-56-amd64`.
    pub package: String,
    /// What `uname -r` says, for example `6.1.0-56-amd64`.
    pub release: String,
    root: PathBuf,
}

impl Kernel {
    /// The one that is unpacked in `folder`, else the one of the Debian release that this machine runs.
    pub(crate) fn find_or_fetch(folder: &Path) -> Result<Self> {
        if let Some(kernel) = Self::unpacked(folder) {
            return Ok(kernel);
        }
        let package = stock_package()?;
        eprintln!("vm: fetching {package}");
        let kernel = Self::new(folder, package)?;
        // Unpacked beside and renamed, so that an interrupted one is not taken for a whole one.
        let partial = folder.join("partial");
        if partial.exists() {
            fs::remove_dir_all(&partial).context("remove an interrupted download")?;
        }
        fs::create_dir_all(&partial).with_context(|| format!("make {}", partial.display()))?;
        process::run(
            Command::new("apt-get")
                .current_dir(&partial)
                // As root apt would change to a user that may not be able to write here.
                .args(["-q", "-o", "APT::Sandbox::User=root", "download", &kernel.package]),
        )?;
        let archive = fs::read_dir(&partial)?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .context("apt-get downloaded nothing")?;
        process::run(Command::new("dpkg").current_dir(&partial).arg("-x").arg(&archive).arg("."))?;
        fs::remove_file(&archive).context("remove the package")?;
        process::run(
            Command::new(program("depmod", "kmod")?).arg("-b").arg(&partial).arg(&kernel.release),
        )?;
        fs::rename(&partial, &kernel.root).context("keep the unpacked kernel")?;
        Ok(kernel)
    }

    /// The highest version that is in `folder`.
    fn unpacked(folder: &Path) -> Option<Self> {
        let entries = fs::read_dir(folder).ok()?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let newest = names
            .filter(|name| name.starts_with("linux-image-"))
            .max_by_key(|name| version_numbers(name))?;
        Self::new(folder, newest).ok()
    }

    fn new(folder: &Path, package: String) -> Result<Self> {
        let release = package
            .strip_prefix("linux-image-")
            .with_context(|| format!("{package} is no kernel package"))?
            .to_owned();
        Ok(Self { root: folder.join(&package), package, release })
    }

    /// What QEMU boots.
    pub(crate) fn image(&self) -> PathBuf {
        self.root.join("boot").join(format!("vmlinuz-{}", self.release))
    }

    /// The folder with `modules.dep` in it.
    pub(crate) fn modules(&self) -> PathBuf {
        self.root.join("lib/modules").join(&self.release)
    }

    /// The files of some modules and of all that they need, in the order of loading.
    pub(crate) fn load_order(&self, wanted: &[&str]) -> Result<Vec<PathBuf>> {
        let path = self.modules().join("modules.dep");
        let index = fs::read_to_string(&path)
            .with_context(|| format!("read {}; remove target/vm and try again", path.display()))?;
        Ok(load_order(&index, wanted)?.into_iter().map(|file| self.modules().join(file)).collect())
    }
}

/// A program that a Debian package brings, in PATH or where only root looks.
pub(crate) fn program(name: &str, package: &str) -> Result<PathBuf> {
    process::find_program(name)
        .or_else(|| {
            let path = Path::new("/usr/sbin").join(name);
            path.is_file().then_some(path)
        })
        .with_context(|| {
            format!(
                "{name} is not installed; `cargo xtask setup` installs it, or `apt-get install \
                 --no-install-recommends {package}`"
            )
        })
}

/// The kernel package that the Debian release's meta package depends on.
fn stock_package() -> Result<String> {
    let ask = || process::output(Command::new("apt-cache").args(["depends", META_PACKAGE]));
    let mut answer = ask();
    if answer.as_deref().ok().and_then(dependency).is_none() && machine::is_root() {
        // Fresh containers have no package lists.
        process::run(Command::new("apt-get").args(["update", "-qq"]))?;
        answer = ask();
    }
    let Some(package) = dependency(&answer?) else {
        bail!(
            "apt-cache knows no {META_PACKAGE}: the virtual machine needs Debian's package lists (apt-get update)"
        );
    };
    Ok(package)
}

/// The kernel that the answer of `apt-cache depends` names.
fn dependency(answer: &str) -> Option<String> {
    answer
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|package| package.starts_with("linux-image-"))
        .map(str::to_owned)
}

/// `linux-image-6.1.0-56-amd64` -> [6, 1, 0, 56, 64]: compares as versions do.
fn version_numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

/// From the text of `modules.dep`: a line per module, `file: what it needs, the last first`.
fn load_order<'a>(index: &'a str, wanted: &[&str]) -> Result<Vec<&'a str>> {
    let lines: HashMap<&str, (&str, &str)> = index
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(file, needs)| (module_name(file), (file, needs)))
        .collect();
    let mut order = Vec::new();
    for name in wanted {
        let Some((file, needs)) = lines.get(name) else {
            bail!("the kernel's package has no module {name}");
        };
        for file in needs.split_whitespace().rev().chain([*file]) {
            if !order.contains(&file) {
                order.push(file);
            }
        }
    }
    Ok(order)
}

/// `kernel/fs/9p/9p.ko` -> `9p`.
fn module_name(file: &str) -> &str {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.split('.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meta_package_leads_to_the_kernel() {
        let answer = "linux-image-amd64\n  Depends: linux-image-6.1.0-56-amd64\n";
        assert_eq!(dependency(answer).as_deref(), Some("linux-image-6.1.0-56-amd64"));
        assert_eq!(dependency("linux-image-amd64\n"), None);
    }

    #[test]
    fn a_later_kernel_is_preferred() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(Kernel::unpacked(folder.path()).is_none());
        for name in ["linux-image-6.1.0-9-amd64", "linux-image-6.1.0-56-amd64", "partial", "log"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        let kernel = Kernel::unpacked(folder.path()).expect("a kernel");
        assert_eq!(kernel.release, "6.1.0-56-amd64");
        assert!(kernel.image().ends_with("linux-image-6.1.0-56-amd64/boot/vmlinuz-6.1.0-56-amd64"));
    }

    #[test]
    fn modules_are_loaded_after_what_they_need() {
        let index = "kernel/fs/9p/9p.ko: kernel/net/9p/9pnet.ko kernel/fs/fscache/fscache.ko kernel/fs/netfs/netfs.ko\n\
                     kernel/net/9p/9pnet_virtio.ko: kernel/net/9p/9pnet.ko\n\
                     kernel/net/9p/9pnet.ko:\n";
        let order = load_order(index, &["9pnet_virtio", "9p"]).expect("known");
        let names: Vec<_> = order.into_iter().map(module_name).collect();
        assert_eq!(names, ["9pnet", "9pnet_virtio", "netfs", "fscache", "9p"]);
        let error = load_order(index, &["overlay"]).expect_err("not there").to_string();
        assert!(error.contains("overlay"), "{error}");
    }
}
