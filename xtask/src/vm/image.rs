//! Debian's newest cloud kernel of a suite, fetched with a private apt configuration and cached.

use super::sources::Mirrors;
use crate::exec;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const PREFIX: &str = "linux-image-";
const SUFFIX: &str = "-cloud-amd64";

/// A kernel that can be booted.
pub(crate) struct Image {
    pub(crate) vmlinuz: PathBuf,
    /// Its modules' folder, which may not be there.
    pub(crate) modules: PathBuf,
    /// `uname -r` of it.
    pub(crate) release: String,
}

/// Gives the suite's kernel from `folder`, after fetching it into there if it is not.
pub(crate) fn of_suite(suite: &str, folder: &Path) -> Result<Image> {
    let unpacked = folder.join("kernel");
    if !unpacked.is_dir() {
        println!("fetching the newest cloud kernel of Debian {suite} (once; cached in {})", folder.display());
        fetch(suite, folder, &unpacked).with_context(|| {
            format!("no kernel of {suite} in {} and none could be fetched", folder.display())
        })?;
    }
    find_vmlinuz(&unpacked)?.with_context(|| format!("no vmlinuz in {}: remove it", unpacked.display()))
}

fn fetch(suite: &str, folder: &Path, unpacked: &Path) -> Result<()> {
    let apt = Apt::new(suite, &folder.join("apt"))?;
    apt.update()
        .with_context(|| format!("is the network there? failed to read the package lists of {suite}"))?;
    let package = apt.newest_kernel()?;
    let partial = folder.join("kernel.partial");
    remove_if_there(&partial)?;
    apt.unpack(&package, &partial)?;
    if find_vmlinuz(&partial)?.is_none() {
        // Since 7.x the image package holds no kernel: another one does.
        apt.unpack(&package.replacen("linux-image-", "linux-binary-", 1), &partial)?;
    }
    if find_vmlinuz(&partial)?.is_none() {
        bail!("{package} holds no vmlinuz");
    }
    fs::rename(&partial, unpacked).with_context(|| format!("failed to make {}", unpacked.display()))?;
    remove_if_there(&folder.join("apt"))
}

/// An apt that reads and writes nothing of the system's but its settings (proxy and the like).
struct Apt {
    options: Vec<String>,
    folder: PathBuf,
}

impl Apt {
    fn new(suite: &str, folder: &Path) -> Result<Self> {
        for part in ["lists/partial", "cache/archives/partial", "debs"] {
            let path = folder.join(part);
            fs::create_dir_all(&path).with_context(|| format!("failed to make {}", path.display()))?;
        }
        let signed_by =
            if Path::new(KEYRING).is_file() { format!("[signed-by={KEYRING}] ") } else { String::new() };
        let mirrors = Mirrors::of_this_machine()?;
        let list = format!("deb {signed_by}{} {suite} main\n", mirrors.for_suite(suite));
        for (file, content) in [("sources.list", list.as_str()), ("status", "")] {
            let path = folder.join(file);
            fs::write(&path, content).with_context(|| format!("failed to write {}", path.display()))?;
        }
        let inside = |key: &str, file: &str| format!("{key}={}", folder.join(file).display());
        let options = vec![
            inside("Dir::Etc::SourceList", "sources.list"),
            inside("Dir::Etc::SourceParts", "no-parts"),
            inside("Dir::State", ""),
            inside("Dir::State::Lists", "lists"),
            inside("Dir::State::Status", "status"),
            inside("Dir::Cache", "cache"),
            // Its own user may not be able to reach the target directory.
            "APT::Sandbox::User=root".to_owned(),
            "APT::Architecture=amd64".to_owned(),
            "APT::Architectures=amd64".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=3".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
        ];
        Ok(Self { options, folder: folder.to_path_buf() })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for option in &self.options {
            command.args(["-o", option]);
        }
        command
    }

    fn update(&self) -> Result<()> {
        exec::capture(self.command("apt-get").args(["update", "--error-on=any"])).map(|_| ())
    }

    fn newest_kernel(&self) -> Result<String> {
        let names = exec::capture(self.command("apt-cache").args(["pkgnames", PREFIX]))?;
        // A name may only be mentioned by other packages: such a one has no record to show.
        newest_first(&names)
            .into_iter()
            .find(|name| exec::capture(self.command("apt-cache").args(["show", name])).is_ok())
            .with_context(|| format!("no package {PREFIX}VERSION{SUFFIX} in its lists"))
    }

    /// Downloads a package and unpacks it into a folder.
    fn unpack(&self, package: &str, into: &Path) -> Result<()> {
        let debs = self.folder.join("debs");
        println!("  {package}");
        exec::capture(self.command("apt-get").args(["download", package]).current_dir(&debs))?;
        for entry in fs::read_dir(&debs).with_context(|| format!("failed to list {}", debs.display()))? {
            let deb = entry.with_context(|| format!("failed to list {}", debs.display()))?.path();
            exec::capture(Command::new("dpkg").arg("-x").arg(&deb).arg(into))?;
            fs::remove_file(&deb).with_context(|| format!("failed to remove {}", deb.display()))?;
        }
        Ok(())
    }
}

/// Names of versioned cloud kernels, the newest first; metapackages, debug and unsigned ones are left out.
fn newest_first(names: &str) -> Vec<String> {
    let mut found: Vec<(Vec<u64>, &str)> = names
        .lines()
        .filter_map(|name| {
            let version = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
            let numbers: Vec<u64> = version
                .split(|c: char| !c.is_ascii_digit())
                .filter_map(|digits| digits.parse().ok())
                .collect();
            (numbers.len() >= 3).then_some((numbers, name))
        })
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, name)| name.to_owned()).collect()
}

/// Up to 6.x the kernel is boot/vmlinuz-RELEASE, since 7.x usr/lib/modules/RELEASE/vmlinuz.
fn find_vmlinuz(unpacked: &Path) -> Result<Option<Image>> {
    for name in names_in(&unpacked.join("boot"))? {
        if let Some(release) = name.strip_prefix("vmlinuz-") {
            return Ok(Some(Image {
                vmlinuz: unpacked.join("boot").join(&name),
                modules: unpacked.join("lib/modules").join(release),
                release: release.to_owned(),
            }));
        }
    }
    for release in names_in(&unpacked.join("usr/lib/modules"))? {
        let modules = unpacked.join("usr/lib/modules").join(&release);
        let vmlinuz = modules.join("vmlinuz");
        if vmlinuz.is_file() {
            return Ok(Some(Image { vmlinuz, modules, release }));
        }
    }
    Ok(None)
}

/// Names in a folder; none if it is not there.
fn names_in(folder: &Path) -> Result<Vec<String>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))?;
    entries
        .map(|entry| {
            let entry = entry.with_context(|| format!("failed to list {}", folder.display()))?;
            Ok(entry.file_name().to_string_lossy().into_owned())
        })
        .collect()
}

fn remove_if_there(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        fs::remove_dir_all(folder).with_context(|| format!("failed to remove {}", folder.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_is_by_number_not_by_letter() {
        let names = "linux-image-6.12.99+deb12-cloud-amd64\nlinux-image-6.12.117+deb12-cloud-amd64\n\
                     linux-image-6.12-cloud-amd64\nlinux-image-cloud-amd64\n\
                     linux-image-6.12.118+deb12-cloud-amd64-unsigned\nlinux-image-6.12.117+deb12-cloud-amd64-dbg\n\
                     linux-image-6.1.0-56-cloud-amd64\n";
        assert_eq!(
            newest_first(names),
            [
                "linux-image-6.12.117+deb12-cloud-amd64",
                "linux-image-6.12.99+deb12-cloud-amd64",
                "linux-image-6.1.0-56-cloud-amd64"
            ]
        );
    }
}
