//! What the machine is to run: the command, its environment and the settings of the start scripts, as text for a shell.

use std::{path::Path, time::Duration};

use anyhow::{Result, bail};

use crate::{
    repo::Repo,
    vm::{initramfs::Archive, kernel::Kernel},
};

const FIRST: &[u8] = include_bytes!("init.sh");
const SECOND: &[u8] = include_bytes!("second.sh");

/// What the first script needs; all else is loaded from the shared root, by modprobe.
const MODULES: [&str; 5] = ["virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_console"];

/// Variables of the caller that the command gets: by name, or by the beginning of the name.
const VARIABLES: [&str; 7] = ["HOME", "LANG", "PATH", "TERM", "USER", "CARGO_HOME", "RUSTUP_HOME"];
const PREFIXES: [&str; 3] = ["RUST_", "TUNLB_", "INSTA_"];

/// One run of the machine.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// The words of the command; none asks for a shell on the serial console.
    pub command: Vec<String>,
    /// Variables beside those of the caller.
    pub environment: Vec<(String, String)>,
    /// How long the command may take.
    pub limit: Duration,
}

impl Job {
    pub(crate) fn is_shell(&self) -> bool {
        self.command.is_empty()
    }

    /// The archive that the kernel starts from.
    pub(crate) fn initramfs(
        &self,
        repo: &Repo,
        kernel: &Kernel,
        busybox: &Path,
        terminal: (u16, u16),
    ) -> Result<Vec<u8>> {
        let mut archive = Archive::new();
        for folder in ["bin", "dev", "modules", "newroot", "proc", "ro", "rw", "sys"] {
            archive.folder(folder);
        }
        archive.file("init", FIRST);
        archive.file("second.sh", SECOND);
        archive.file("bin/busybox", &read(busybox)?);
        for (index, module) in kernel.load_order(&MODULES)?.iter().enumerate() {
            archive.file(&format!("modules/{index:02}.ko"), &read(module)?);
        }
        archive.file("settings", self.settings(repo, kernel, terminal)?.as_bytes());
        archive.file("environment", self.variables(std::env::vars()).as_bytes());
        archive.file("command", self.script(repo.root()).as_bytes());
        Ok(archive.finish())
    }

    fn settings(
        &self,
        repo: &Repo,
        kernel: &Kernel,
        (rows, columns): (u16, u16),
    ) -> Result<String> {
        let tree = repo.root().to_string_lossy();
        if tree.contains([':', ',', '\\', '\'']) {
            bail!("{tree}: the virtual machine cannot share a path with any of : , \\ ' in it");
        }
        Ok(assignments([
            ("TREE", &*tree),
            ("RELEASE", &kernel.release),
            ("MODULES", &kernel.modules().to_string_lossy()),
            ("LIMIT", &self.limit.as_secs().to_string()),
            ("SHELL_WANTED", if self.is_shell() { "yes" } else { "" }),
            ("ROWS", &rows.to_string()),
            ("COLUMNS", &columns.to_string()),
        ]))
    }

    /// Those of the caller's variables that mean the same inside, and our own.
    fn variables(&self, of_caller: impl Iterator<Item = (String, String)>) -> String {
        let passed = of_caller.filter(|(name, _)| {
            VARIABLES.contains(&name.as_str())
                || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        });
        let mut text = assignments([("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")]);
        text.push_str("export PATH\n");
        for (name, value) in passed.chain(self.environment.iter().cloned()) {
            text.push_str(&format!("export {name}={}\n", quote(&value)));
        }
        text
    }

    fn script(&self, tree: &Path) -> String {
        let words = if self.is_shell() {
            "bash -i".to_owned()
        } else {
            self.command.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
        };
        let tree = quote(&tree.to_string_lossy());
        format!(". /run/vm/environment\ncd {tree} || exit\nexec {words}\n")
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    anyhow::Context::with_context(std::fs::read(path), || format!("read {}", path.display()))
}

fn assignments<const N: usize>(pairs: [(&str, &str); N]) -> String {
    pairs.map(|(name, value)| format!("{name}={}\n", quote(value))).concat()
}

/// One word for a POSIX shell, whatever is in it.
pub(crate) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) && !word.contains('=') {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(command: &[&str]) -> Job {
        Job {
            command: command.iter().map(|&word| word.to_owned()).collect(),
            environment: vec![("TUNLB_REQUIRE_IPIP".to_owned(), "1".to_owned())],
            limit: Duration::from_secs(60),
        }
    }

    #[test]
    fn words_reach_the_command_as_they_are() {
        for word in ["", "a b", "it's", "$HOME", "a;b", "A=1", "\n", "*"] {
            let echoed = crate::process::output(
                std::process::Command::new("sh")
                    .arg("-c")
                    .arg(format!("printf '[%s]' {}", quote(word))),
            );
            assert_eq!(echoed.expect("a shell"), format!("[{word}]"));
        }
        let script = job(&["sh", "-c", "exit 3"]).script(Path::new("/a tree"));
        assert_eq!(script, ". /run/vm/environment\ncd '/a tree' || exit\nexec sh -c 'exit 3'\n");
    }

    #[test]
    fn no_command_is_a_shell() {
        assert!(job(&[]).is_shell());
        assert!(job(&[]).script(Path::new("/")).ends_with("exec bash -i\n"));
    }

    #[test]
    fn only_variables_that_mean_something_inside_are_passed() {
        let of_caller = [("RUST_LOG", "debug"), ("SSH_AUTH_SOCK", "/tmp/x"), ("HOME", "/root")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(
            job(&["true"]).variables(of_caller.into_iter()),
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin\nexport PATH\nexport RUST_LOG=debug\nexport HOME=/root\n\
             export TUNLB_REQUIRE_IPIP=1\n"
        );
    }
}
