//! KVM or emulation: found out by trying, because /dev/kvm may be there and a stock kernel hang on it all the same.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result};

/// With working KVM the trial takes some 3 seconds.
pub(crate) const TRIAL_LIMIT: Duration = Duration::from_secs(15);

/// What runs the machine's instructions.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Accel {
    /// The processor itself.
    Kvm,
    /// QEMU's emulation: 10 to 30 times slower, works everywhere.
    Tcg,
}

impl Accel {
    pub(crate) fn option(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg,thread=multi",
        }
    }

    pub(crate) fn cpu(self) -> &'static str {
        match self {
            Self::Kvm => "host",
            Self::Tcg => "max",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Kvm, Self::Tcg].into_iter().find(|accel| accel.name() == name)
    }
}

/// The one to use: what an earlier trial on this machine found, else a trial by `kvm_works`.
pub(crate) fn choose(cache: &Path, kvm_works: impl FnOnce() -> Result<bool>) -> Result<Accel> {
    let machine = machine();
    let remembered = fs::read_to_string(cache).unwrap_or_default();
    if let Some(accel) = recall(&remembered, &machine) {
        return Ok(accel);
    }
    let openable = fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    let accel = if openable && kvm_works()? { Accel::Kvm } else { Accel::Tcg };
    fs::write(cache, format!("{}\n{machine}\n", accel.name()))
        .with_context(|| format!("write {}", cache.display()))?;
    Ok(accel)
}

/// What is written for this machine, if it is for this one.
fn recall(remembered: &str, machine: &str) -> Option<Accel> {
    let (accel, of_machine) = remembered.split_once('\n')?;
    (of_machine.trim() == machine).then(|| Accel::parse(accel)).flatten()
}

/// The kernel and the processor: what KVM's usefulness depends on.
fn machine() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find(|line| line.starts_with("model name")).unwrap_or_default();
    let model = model.split_once(':').map_or("", |(_, name)| name.trim());
    let access = if Path::new("/dev/kvm").exists() { "with" } else { "without" };
    format!("{} on {model}, {access} /dev/kvm", release.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_is_remembered_for_the_machine_it_was_on() {
        assert_eq!(recall("kvm\n6.1 on X\n", "6.1 on X"), Some(Accel::Kvm));
        assert_eq!(recall("tcg\n6.1 on X\n", "6.1 on X"), Some(Accel::Tcg));
        assert_eq!(recall("kvm\n6.1 on X\n", "6.2 on X"), None);
        assert_eq!(recall("", ""), None);
        assert_eq!(recall("xen\nX", "X"), None);
    }

    #[test]
    fn a_second_choice_needs_no_trial() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = folder.path().join("accel");
        let first = choose(&cache, || Ok(false)).expect("chosen");
        assert_eq!(first, Accel::Tcg);
        let second = choose(&cache, || panic!("a second trial")).expect("remembered");
        assert_eq!(second, first);
    }
}
