//! What every test has at hand: the daemon's binary, an actor that every user can run, and a folder of its own.

use crate::event::Child;
use crate::limits;
use crate::process::Process;
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The actor's exit code when the kernel refused what it tried.
const ACTOR_REFUSED: i32 = 3;

/// Why a test cannot run here. As an error, so that `?` carries it to the runner, which counts the test as ignored.
#[derive(Debug)]
pub(crate) struct Skip(pub(crate) String);

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skip {}

/// What the tests run; found once.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    collectord: PathBuf,
    actor: PathBuf,
}

impl Tools {
    /// Finds the binaries and tries, with the actor's own bare program, whether BPF works here at all.
    pub(crate) fn find() -> Result<Self> {
        let tools = Self { collectord: collectord()?, actor: actor_path() };
        if !nix::unistd::geteuid().is_root() {
            bail!(Skip("not root".to_owned()));
        }
        Rig::new(&tools)?.act(["probe-bpf", "attach"]).context("BPF does not work here")?;
        Ok(tools)
    }
}

/// `COLLECTORD_BIN`, or what cargo built beside this test.
fn collectord() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("COLLECTORD_BIN") {
        let named = PathBuf::from(named);
        ensure!(named.is_file(), "COLLECTORD_BIN names no file: {}", named.display());
        return Ok(named);
    }
    let this = std::env::current_exe().context("this executable has a path")?;
    let beside = this.parent().and_then(Path::parent).map(|target| target.join("collectord"));
    match beside {
        Some(path) if path.is_file() => Ok(path),
        _ => bail!(Skip("no collectord beside the tests: build it (cargo build -p collectord)".to_owned())),
    }
}

/// `ACTOR_BIN`, or the one that was built with this test.
pub(crate) fn actor_path() -> PathBuf {
    std::env::var_os("ACTOR_BIN").map_or_else(|| PathBuf::from(env!("ACTOR_BIN")), PathBuf::from)
}

/// One test's surroundings.
pub(crate) struct Rig {
    tools: Tools,
    folder: TempDir,
}

impl Rig {
    pub(crate) fn new(tools: &Tools) -> Result<Self> {
        std::fs::create_dir_all(std::env::temp_dir())?;
        let folder = tempfile::Builder::new().prefix("collector-test-").tempdir()?;
        // Other users run programs here.
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755))?;
        let rig = Self { tools: tools.clone(), folder };
        rig.copy(&tools.actor, "actor")?;
        Ok(rig)
    }

    pub(crate) fn collectord(&self) -> Command {
        let mut command = Command::new(&self.tools.collectord);
        command.current_dir("/");
        command
    }

    pub(crate) fn collectord_path(&self) -> &Path {
        &self.tools.collectord
    }

    /// The test's folder, without links.
    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap_or_else(|_| self.folder.path().to_owned())
    }

    pub(crate) fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.folder().join(name.as_ref())
    }

    /// The actor, where every user can run it.
    pub(crate) fn actor(&self) -> PathBuf {
        self.path("actor")
    }

    /// A copy of a program in the test's folder.
    pub(crate) fn copy(&self, program: &Path, name: impl AsRef<OsStr>) -> Result<PathBuf> {
        let path = self.path(name);
        std::fs::copy(program, &path).with_context(|| format!("cannot copy {}", program.display()))?;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755))?;
        Ok(path)
    }

    /// An executable text file.
    pub(crate) fn script(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755))?;
        Ok(path)
    }

    /// Starts the actor in the test's folder.
    pub(crate) fn actor_command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(self.actor());
        command.args(args).current_dir(self.folder());
        command
    }

    /// Lets the actor do something, to its end.
    pub(crate) fn act<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<Act> {
        Act::finish(Process::start(&mut self.actor_command(args), None)?)
    }

    /// `act` for arguments of several types.
    pub(crate) fn act_os(&self, args: &[&dyn AsRef<OsStr>]) -> Result<Act> {
        self.act(args.iter().map(|arg| arg.as_ref().to_owned()).collect::<Vec<OsString>>())
    }
}

/// What the actor said it did.
#[derive(Debug)]
pub(crate) struct Act {
    pub(crate) words: Vec<Value>,
}

impl Act {
    /// Waits for the actor's end. What the kernel refused it is a reason to skip.
    pub(crate) fn finish(mut process: Process) -> Result<Self> {
        let lines = process.rest(limits::act())?;
        let code = process.wait(limits::act())?.code();
        let words = lines
            .iter()
            .map(|line| serde_json::from_slice(line).context("the actor speaks JSON"))
            .collect::<Result<Vec<Value>>>()?;
        let refused = words.iter().find(|word| word["act"] == "refused");
        if let Some(refused) = refused.filter(|_| code == Some(ACTOR_REFUSED)) {
            bail!(Skip(format!("{}: {}", refused["call"], refused["text"]).replace('"', "")));
        }
        ensure!(code == Some(0), process.failure(&format!("ended with {code:?}")));
        Ok(Self { words })
    }

    fn of(&self, act: &str) -> impl Iterator<Item = &Value> {
        self.words.iter().filter(move |word| word["act"] == act)
    }

    pub(crate) fn word(&self, act: &str) -> Result<&Value> {
        self.of(act).next().with_context(|| format!("the actor told no {act:?}: {:?}", self.words))
    }

    pub(crate) fn children(&self) -> Result<Vec<Child>> {
        self.of("child").map(Child::new).collect()
    }

    pub(crate) fn child(&self) -> Result<Child> {
        Child::new(self.word("child")?)
    }

    /// Device and inode of the file that was to run.
    pub(crate) fn file(&self) -> Result<(String, u64)> {
        let file = self.word("file")?;
        Ok((file["dev"].as_str().context("a device")?.to_owned(), file["ino"].as_u64().context("an inode")?))
    }
}
