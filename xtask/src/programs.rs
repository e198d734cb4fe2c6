//! The programs that the kernel tests consist of, built and found.

use crate::exec;
use crate::repo::Repo;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The test target that needs a kernel, in package collector-tests.
pub(crate) const KERNEL_TARGET: &str = "kernel";
const DAEMON: &str = "collectord";

#[derive(Debug)]
pub(crate) struct Programs {
    /// The kernel tests, a libtest-mimic program.
    pub(crate) kernel_tests: PathBuf,
    pub(crate) collectord: PathBuf,
    /// The static program whose deeds the tests watch.
    pub(crate) actor: PathBuf,
}

impl Programs {
    pub(crate) fn build(repo: &Repo) -> Result<Self> {
        let built = |arguments: &[&str], name: &str| -> Result<PathBuf> {
            let mut cargo = cargo();
            cargo
                .current_dir(&repo.root)
                .args(arguments)
                .args(["--locked", "--message-format=json-render-diagnostics"]);
            println!("+ {}", exec::shown(&cargo));
            let output = cargo.stderr(Stdio::inherit()).output().context("failed to start cargo")?;
            if !output.status.success() {
                bail!("`{}` ended with {}", exec::shown(&cargo), output.status);
            }
            executable(&String::from_utf8_lossy(&output.stdout), name)
                .with_context(|| format!("`{}` gave no executable {name}", exec::shown(&cargo)))
        };
        // For the whole workspace: one package alone would be built with other features, everything below it again.
        let kernel_tests =
            built(&["test", "--workspace", "--test", KERNEL_TARGET, "--no-run"], KERNEL_TARGET)?;
        // What is shipped is what is tested, and an emulated machine reads its kernel's BTF twice as fast with it.
        let collectord = built(&["build", "--release", "--package", DAEMON], DAEMON)?;
        let actor = exec::capture(Command::new(&kernel_tests).arg("--print-actor"))?;
        let actor = PathBuf::from(actor.trim());
        if !actor.is_file() {
            bail!("{} --print-actor names {}, which is not there", kernel_tests.display(), actor.display());
        }
        Ok(Self { kernel_tests, collectord, actor })
    }
}

/// The cargo that started us, else the one in `PATH`.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The executable of a target, in cargo's JSON messages.
fn executable(messages: &str, target: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact" && message["target"]["name"] == target)
        .find_map(|message| message["executable"].as_str().map(|path| Path::new(path).to_path_buf()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_found_among_other_messages() {
        let messages = "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"kernel\"},\"executable\":null}\n\
                        not json\n\
                        {\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"other\"},\"executable\":\"/o\"}\n\
                        {\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"kernel\"},\"executable\":\"/k\"}\n";
        assert_eq!(executable(messages, "kernel"), Some(PathBuf::from("/k")));
        assert_eq!(executable(messages, "none"), None);
    }
}
