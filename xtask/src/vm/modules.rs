//! Kernel modules that the tests need and Debian's cloud kernels do not hold built in, as an archive of their own: each
//! kernel has its own modules, and the rest of the guest is the same for all.

use super::cpio::Archive;
use super::image::Image;
use crate::exec;
use crate::repo;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Where init finds them.
pub(crate) const FOLDER: &str = "/modules";
/// Network devices for namespaces, and sockets to a virtual machine's host. None needs another module.
const MODULES: [&str; 4] = [
    "kernel/drivers/net/dummy.ko",
    "kernel/drivers/net/veth.ko",
    "kernel/fs/overlayfs/overlay.ko",
    "kernel/net/vmw_vsock/vsock.ko",
];

/// The archive of an image's modules; a package without modules gives an empty one, and tests find out by trying.
pub(crate) fn archive(image: &Image) -> Result<Vec<u8>> {
    let mut archive = Archive::new();
    archive.folder(FOLDER)?;
    for module in MODULES {
        let path = image.modules.join(module);
        let name = path.file_name().and_then(|name| name.to_str()).context("a module has a name")?;
        let packed = path.with_extension("ko.xz");
        let content = if path.is_file() {
            fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?
        } else if packed.is_file() {
            unpacked(&packed)?
        } else {
            println!("no module {name} for {}", image.release);
            continue;
        };
        archive.file(&format!("{FOLDER}/{name}"), 0o644, &content)?;
    }
    archive.finish()
}

fn unpacked(path: &Path) -> Result<Vec<u8>> {
    let xz = repo::find_program("xz").context("xz is missing: run `cargo xtask setup`")?;
    let mut command = Command::new(xz);
    exec::capture_bytes(command.args(["--decompress", "--stdout"]).arg(path))
}
