//! What is in the virtual machine: an initramfs of busybox, the programs under test, their libraries and an init.

use super::cpio::Archive;
use super::{modules, serial};
use crate::exec;
use crate::programs::Programs;
use crate::repo;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Programs that the tests start by these names, taken from this machine with their libraries.
const MACHINES_PROGRAMS: [&str; 3] = ["/usr/bin/true", "/usr/bin/sh", "/usr/bin/sleep"];
const BUSYBOX: &str = "/usr/bin/busybox";
/// Names of tests that have run in this machine before it died.
const DONE: &str = "/collector/done";

/// Builds the initramfs that runs the kernel tests with these arguments.
pub(crate) fn tests(programs: &Programs, arguments: &[String], scratch: &Path) -> Result<Vec<u8>> {
    let programs = [
        (programs.kernel_tests.as_path(), "/collector/kernel-tests"),
        (&programs.collectord, "/collector/collectord"),
        (&programs.actor, "/collector/actor"),
    ];
    initramfs(&programs, &tests_command(arguments), scratch)
}

/// Builds an initramfs with these programs at these paths, and a command of the shell that init runs.
pub(crate) fn initramfs(programs: &[(&Path, &str)], command: &str, scratch: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::new();
    for folder in ["/proc", "/sys", "/dev", "/tmp", "/run", "/root", "/etc", "/usr/sbin", "/var"] {
        archive.folder(folder)?;
    }
    // As on Debian: /bin and its like are links into /usr.
    for (link, to) in
        [("/bin", "usr/bin"), ("/sbin", "usr/sbin"), ("/lib", "usr/lib"), ("/lib64", "usr/lib64")]
    {
        archive.symlink(link, to)?;
    }
    // The kernel gives init its standard streams from here before anything is mounted.
    archive.character_device("/dev/console", (5, 1))?;
    archive.character_device("/dev/null", (1, 3))?;
    archive.file(
        "/etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    )?;
    archive.file("/etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n")?;
    archive.file(BUSYBOX, 0o755, &static_busybox()?)?;
    archive.file("/init", 0o755, init_script(command).as_bytes())?;

    let mut libraries = BTreeSet::new();
    for (source, path) in programs {
        archive.file(path, 0o755, &stripped(source, scratch)?)?;
        libraries.extend(libraries_of(source)?);
    }
    for path in MACHINES_PROGRAMS.map(Path::new) {
        archive.file(&text(path)?, 0o755, &read(path)?)?;
        libraries.extend(libraries_of(path)?);
    }
    for library in libraries {
        archive.file(&in_usr(&text(&library)?), 0o755, &read(&library)?)?;
    }
    archive.finish()
}

/// The tests that need not run, as an archive of their own.
pub(crate) fn done<'a>(names: impl Iterator<Item = &'a String>) -> Result<Vec<u8>> {
    let mut archive = Archive::new();
    let names: String = names.map(|name| format!("{name}\n")).collect();
    archive.file(DONE, 0o644, names.as_bytes())?;
    archive.finish()
}

fn static_busybox() -> Result<Vec<u8>> {
    let path = repo::find_program("busybox").context("busybox is missing: run `cargo xtask setup`")?;
    if !libraries_of(&path)?.is_empty() {
        bail!("{} is not static: run `cargo xtask setup`", path.display());
    }
    read(&path)
}

/// The program without debug information, which would be most of the archive.
fn stripped(program: &Path, scratch: &Path) -> Result<Vec<u8>> {
    let copy = scratch.join("stripped");
    exec::capture(Command::new("strip").arg("--strip-debug").arg("-o").arg(&copy).arg(program))?;
    read(&copy)
}

/// Shared libraries and the loader, by the paths a program asks for; none for a static one.
fn libraries_of(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("failed to start ldd")?;
    if !output.status.success() {
        let said =
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        if said.contains("not a dynamic executable") {
            return Ok(Vec::new());
        }
        bail!("ldd {} failed: {}", program.display(), said.trim());
    }
    parse_ldd(&String::from_utf8_lossy(&output.stdout))
        .with_context(|| format!("failed to find the libraries of {}", program.display()))
}

fn parse_ldd(text: &str) -> Result<Vec<PathBuf>> {
    let mut libraries = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.contains("not found") {
            bail!("{line}");
        }
        let path = line.split_once("=> ").map_or(line, |(_, path)| path);
        // `linux-vdso.so.1 (0x…)` and `statically linked` have no path.
        if path.starts_with('/') {
            libraries.push(PathBuf::from(path.split(" (").next().unwrap_or(path)));
        }
    }
    Ok(libraries)
}

/// /lib and /lib64 are links in the guest, whatever they are here.
fn in_usr(path: &str) -> String {
    if path.starts_with("/usr/") { path.to_owned() } else { format!("/usr{path}") }
}

fn tests_command(arguments: &[String]) -> String {
    let arguments: String =
        arguments.iter().map(|argument| format!(" '{}'", argument.replace('\'', r"'\''"))).collect();
    format!(
        "COLLECTORD_BIN=/collector/collectord ACTOR_BIN=/collector/actor TESTS_DONE={DONE} \
         /collector/kernel-tests --color never{arguments}"
    )
}

fn init_script(command: &str) -> String {
    format!(
        r#"#!{BUSYBOX} sh
export PATH=/usr/bin:/usr/sbin HOME=/root TERM=dumb RUST_BACKTRACE=1
{BUSYBOX} mount -t devtmpfs devtmpfs /dev
{BUSYBOX} mount -t proc proc /proc
echo "{boot} $({BUSYBOX} uname -r)"
{BUSYBOX} --install -s /usr/bin
mount -t sysfs sysfs /sys
mkdir -p /dev/shm /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
ln -sf /proc/self/fd /dev/fd
chmod 1777 /tmp
ip link set lo up
for module in {modules}/*.ko; do [ ! -f "$module" ] || insmod "$module" || echo "no $module"; done
{command} </dev/null
echo "{end} $?"
poweroff -f
"#,
        boot = serial::BOOT_MARK,
        end = serial::END_MARK,
        modules = modules::FOLDER,
    )
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("failed to read {}", path.display()))
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).with_context(|| format!("not UTF-8: {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ldd_gives_libraries_and_loader_and_no_vdso() {
        let text = "\tlinux-vdso.so.1 (0x00007ffe)\n\tlibgcc_s.so.1 => /lib/x86_64-linux-gnu/libgcc_s.so.1 (0x00)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let paths = ["/lib/x86_64-linux-gnu/libgcc_s.so.1", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(parse_ldd(text).unwrap(), paths);
        assert!(parse_ldd("\tlibx.so => not found\n").is_err());
    }

    #[test]
    fn test_arguments_reach_the_guest_as_they_are() {
        let script = init_script(&tests_command(&["it's $HOME".to_owned(), "--exact".to_owned()]));
        assert!(
            script.contains(r"kernel-tests --color never 'it'\''s $HOME' '--exact' </dev/null"),
            "{script}"
        );
    }
}
