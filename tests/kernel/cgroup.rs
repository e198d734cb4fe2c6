//! Cgroups of the unified hierarchy, for the tests about them.

use crate::process::Process;
use crate::rig::{Act, Rig, Skip};
use anyhow::{Context as _, Result, bail};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A cgroup of the unified hierarchy; removed when dropped.
pub(crate) struct Group {
    folder: PathBuf,
    path: String,
}

impl Group {
    pub(crate) fn new(path: &str) -> Result<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mounts")?;
        let point = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let point = fields.next()?;
            (fields.next()? == "cgroup2").then_some(point)
        });
        let Some(point) = point else {
            bail!(Skip("no unified cgroup hierarchy is mounted".to_owned()));
        };
        let folder = Path::new(point).join(path.trim_start_matches('/'));
        std::fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { folder, path: path.to_owned() })
    }

    /// The kernel's number of it.
    pub(crate) fn id(&self) -> Result<u64> {
        Ok(std::fs::metadata(&self.folder)?.ino())
    }

    pub(crate) fn take_in(&self, pid: u32) -> Result<()> {
        std::fs::write(self.folder.join("cgroup.procs"), pid.to_string())
            .with_context(|| format!("cannot move {pid} into {}", self.path))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.folder);
    }
}

/// Lets the actor spawn a child in a cgroup.
pub(crate) fn spawned_in(rig: &Rig, group: &Group) -> Result<Act> {
    let actor = rig.actor().to_string_lossy().into_owned();
    let args = ["gate", "--", &actor, "spawn", "1", &actor, "exit", "0"];
    let mut process = Process::start(&mut rig.actor_command(args), None)?;
    group.take_in(process.pid())?;
    process.tell(b"x")?;
    Act::finish(process)
}
