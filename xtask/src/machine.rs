//! What the machine must be able to do for the tests: who runs them, and what the kernel offers.

use std::{fs, os::unix::fs::MetadataExt as _, process::Command};

use crate::process;

/// A kernel that the tests can use.
const OLDEST_KERNEL: (u32, u32) = (5, 15);

/// What the tests do with each capability, by its bit (linux/capability.h).
const CAPABILITIES: [(u32, &str); 3] =
    [(12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN"), (39, "CAP_BPF")];

/// Whether this process runs as root.
pub(crate) fn is_root() -> bool {
    // The owner of our own entry in /proc is our effective user.
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Everything that the tests need and this machine lacks, each with its remedy; empty when they can run.
pub(crate) fn problems() -> Vec<String> {
    if !is_root() {
        // Nothing below can be found out without root.
        return vec![
            "not root: the tests make network namespaces and load XDP programs; run as root (sudo -E \
             env PATH=\"$PATH\" cargo xtask test)"
                .to_owned(),
        ];
    }
    let mut problems = Vec::new();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for name in missing_capabilities(&status) {
        problems.push(format!(
            "root lacks {name}: this container withholds it; start it with --privileged, or with --cap-add {name}"
        ));
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    if kernel_version(&release).is_some_and(|version| version < OLDEST_KERNEL) {
        let (major, minor) = OLDEST_KERNEL;
        problems.push(format!(
            "kernel {} is too old: {major}.{minor} or later is needed",
            release.trim()
        ));
    }
    if !fs::exists("/sys/kernel/btf/vmlinux").unwrap_or(false) {
        problems.push(
            "the kernel has no BTF (/sys/kernel/btf/vmlinux): it needs CONFIG_BPF_SYSCALL and CONFIG_DEBUG_INFO_BTF"
                .to_owned(),
        );
    }
    if let Err(error) = mount_bpffs() {
        problems.push(format!(
            "no BPF file system at /sys/fs/bpf, and mounting it failed ({error:#}): mount -t bpf bpf /sys/fs/bpf"
        ));
    }
    problems.extend(namespace_problem());
    problems
}

/// Mounts the BPF file system where it belongs, as systemd does at boot, unless it is there.
fn mount_bpffs() -> anyhow::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    if has_bpffs(&mounts) {
        return Ok(());
    }
    process::run(Command::new("mount").args(["-t", "bpf", "bpf", "/sys/fs/bpf"]))
}

/// Tries a network namespace and, where there is an `ip` to try it with, a veth pair inside it.
fn namespace_problem() -> Option<String> {
    let mut unshare = Command::new("unshare");
    unshare.arg("--net");
    if process::output(unshare.arg("true")).is_err() {
        return Some(
            "no network namespace can be made: the kernel needs CONFIG_NET_NS, the container CAP_SYS_ADMIN".to_owned(),
        );
    }
    process::find_program("ip")?;
    let veth = ["--net", "ip", "link", "add", "xtask0", "type", "veth", "peer", "name", "xtask1"];
    process::output(Command::new("unshare").args(veth)).err().map(|error| {
        format!(
            "no veth pair can be made: the kernel needs CONFIG_VETH (modprobe veth) ({error:#})"
        )
    })
}

fn has_bpffs(mounts: &str) -> bool {
    mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == Some("/sys/fs/bpf") && fields.next() == Some("bpf")
    })
}

/// The names of the capabilities that /proc/self/status does not show as effective.
fn missing_capabilities(status: &str) -> Vec<&'static str> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    CAPABILITIES
        .into_iter()
        .filter(|(bit, _)| effective & (1 << bit) == 0)
        .map(|(_, name)| name)
        .collect()
}

/// `6.1.0-25-amd64` -> (6, 1).
fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.trim().split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_the_effective_mask() {
        assert!(missing_capabilities("CapInh:\t0\nCapEff:\t000001fffeffffff\n").is_empty());
        // What docker gives root by default.
        assert_eq!(
            missing_capabilities("CapEff:\t00000000a80425fb\n"),
            ["CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_BPF"]
        );
        assert_eq!(missing_capabilities("").len(), CAPABILITIES.len());
    }

    #[test]
    fn kernel_versions_compare_as_numbers() {
        assert_eq!(kernel_version("6.1.0-25-amd64\n"), Some((6, 1)));
        assert_eq!(kernel_version("5.4-rc1"), Some((5, 4)));
        assert!(kernel_version("6.18.44") > Some(OLDEST_KERNEL));
        assert!(kernel_version("5.4.0") < Some(OLDEST_KERNEL));
        assert_eq!(kernel_version("unknown"), None);
    }

    #[test]
    fn a_bpffs_elsewhere_is_not_ours() {
        assert!(has_bpffs("proc /proc proc rw 0 0\nbpf /sys/fs/bpf bpf rw,nosuid 0 0\n"));
        assert!(!has_bpffs("bpf /run/bpf bpf rw 0 0\ntmpfs /sys/fs/bpf tmpfs rw 0 0\n"));
    }
}
