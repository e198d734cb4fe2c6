//! What has to be put right however this program ends, also when it is interrupted or killed: a shell waits for the end
//! of a pipe that this program alone holds, and does it then. It is in a process group of its own, so that a Ctrl-C does
//! not reach it.

use anyhow::{Context, Result};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

/// Something that is done when this is dropped or this program has ended.
pub(crate) struct Afterwards {
    shell: Child,
}

impl Afterwards {
    /// Takes a script for `sh`, and its `$1`, `$2` and so on.
    pub(crate) fn run(script: &str, arguments: &[&str]) -> Result<Self> {
        let shell = Command::new("sh")
            .args(["-c", &format!("read -r _; {script}"), "sh"])
            .args(arguments)
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("failed to start sh")?;
        Ok(Self { shell })
    }
}

impl Drop for Afterwards {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        match self.shell.wait() {
            Ok(status) if status.success() => {}
            Ok(status) => eprintln!("what had to be done afterwards ended with {status}"),
            Err(error) => eprintln!("failed to wait for what had to be done afterwards: {error}"),
        }
    }
}

/// A file of /proc/sys that has another value as long as this lives.
pub(crate) struct Setting {
    _restore: Afterwards,
}

impl Setting {
    pub(crate) fn to(path: &str, value: &str) -> Result<Self> {
        let before = fs::read_to_string(path).with_context(|| format!("failed to read {path}"))?;
        let restore = Afterwards::run("printf '%s\\n' \"$2\" >\"$1\"", &[path, before.trim()])?;
        fs::write(path, value).with_context(|| format!("failed to write {path}"))?;
        Ok(Self { _restore: restore })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_has_its_old_value_again_when_it_is_dropped() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "32768\n").unwrap();
        let setting = Setting::to(file.path().to_str().unwrap(), "200000").unwrap();
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "200000");
        drop(setting);
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "32768\n");
    }

    #[test]
    fn a_script_gets_its_arguments_as_they_are_and_no_sooner_than_it_should() {
        let folder = tempfile::tempdir().unwrap();
        let told = folder.path().join("it's $1");
        let afterwards =
            Afterwards::run("printf %s \"$2\" >\"$1\"", &[told.to_str().unwrap(), "a b"]).unwrap();
        assert!(!told.exists());
        drop(afterwards);
        assert_eq!(fs::read_to_string(&told).unwrap(), "a b");
    }
}
