//! Opens, against what fanotify says: the kernel's own listener on files, which shares nothing with the collector.

use crate::limits;
use crate::rig::{Rig, Skip};
use crate::watch::watched;
use anyhow::{Context as _, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};
use nix::sys::stat::{fstat, major, minor};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

crate::tests![each_open_that_fanotify_sees_is_told_and_no_other];

/// A tmpfs of the test's own; taken away when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn new(folder: PathBuf) -> Result<Self> {
        std::fs::create_dir(&folder)?;
        mount(Some("none"), &folder, Some("tmpfs"), MsFlags::empty(), None::<&Path>)
            .context("cannot mount a tmpfs")?;
        Ok(Self(folder))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// Process, device and inode.
type Opened = (u64, String, u64);

/// What the listener has, and of that what was opened to be executed.
fn heard(listener: &Fanotify) -> Result<(BTreeSet<Opened>, BTreeSet<Opened>)> {
    let (mut opened, mut executed) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let events = match listener.read_events() {
            Ok(events) => events,
            Err(Errno::EAGAIN) => return Ok((opened, executed)),
            Err(error) => bail!("cannot read the listener: {error}"),
        };
        for event in events {
            ensure!(!event.mask().contains(MaskFlags::FAN_Q_OVERFLOW), "the listener's queue was full");
            let file = fstat(event.fd().context("an event has its file")?)?;
            let dev = format!("{}:{}", major(file.st_dev), minor(file.st_dev));
            let what = (u64::try_from(event.pid())?, dev, file.st_ino);
            if event.mask().contains(MaskFlags::FAN_OPEN_EXEC) {
                executed.insert(what);
            } else {
                opened.insert(what);
            }
        }
    }
}

/// A mix of every way to open by 8 processes of 3 threads, each open of a file of its own. fanotify says nothing of opens
/// with O_PATH, so they are left aside, and so are the ways to which the coverage is blind; the kernel's own opens of what
/// is executed are no events.
fn each_open_that_fanotify_sees_is_told_and_no_other(rig: &Rig) -> Result<()> {
    let each = 400 / *limits::SLACK;
    let place = Mounted::new(rig.path("mnt"))?;
    rig.copy(&rig.actor(), "mnt/actor")?;
    let listener = listener(&place.0)?;
    let (act, stream) = watched(rig, &["--events", "open"], || {
        rig.act_os(&[&"mixed-opens", &place.0, &"8", &each.to_string()])
    })?;
    let losses: Vec<_> = stream.lines.iter().filter(|line| line.kind() == "loss").collect();
    ensure!(stream.lost == 0, "{} events were lost: {losses:?}", stream.lost);
    let (heard, executed) = heard(&listener)?;
    let dev = heard.first().context("the listener heard nothing")?.1.clone();
    let made = act.words.iter().filter(|word| word["act"] == "mixed-open");
    let made: Vec<(Opened, &str)> = made
        .map(|word| {
            let number = |key: &str| word[key].as_u64().context("a number");
            Ok(((number("pid")?, dev.clone(), number("ino")?), word["way"].as_str().context("a way")?))
        })
        .collect::<Result<_>>()?;
    ensure!(made.len() as u64 == u64::from(each) * 24, "the actor tells {} opens", made.len());
    let unheard: Vec<_> = made.iter().filter(|(what, _)| !heard.contains(what)).collect();
    ensure!(unheard.is_empty(), "made, and fanotify did not hear it: {unheard:?}");
    let blind = stream.lines[0].find("classes.file.blind").context("what is blind")?;
    let is_blind = |way: &str| match way {
        "uring" => blind.as_array().is_some_and(|blind| blind.contains(&"io-uring-open".into())),
        "int80" => blind.as_array().is_some_and(|blind| blind.contains(&"ia32-open".into())),
        _ => false,
    };
    let unseen: BTreeSet<&Opened> =
        made.iter().filter(|(_, way)| is_blind(way)).map(|(what, _)| what).collect();
    let opened: BTreeSet<Opened> = heard.iter().filter(|what| !unseen.contains(what)).cloned().collect();
    let mut told: BTreeMap<Opened, usize> = BTreeMap::new();
    for event in stream.of_kind("open").filter(|event| event.text("open.dev").is_ok_and(|of| of == dev)) {
        let flags = event.find("open.flags").and_then(serde_json::Value::as_array).context("flags")?;
        if !flags.contains(&"O_PATH".into()) {
            *told.entry((event.pid(), dev.clone(), event.number("open.ino")?)).or_default() += 1;
        }
    }
    let missed: Vec<_> = opened.iter().filter(|what| !told.contains_key(*what)).collect();
    let invented: Vec<_> = told.keys().filter(|what| !opened.contains(*what)).take(5).collect();
    // A kernel that preempts the hooks' programs may skip as many as it says.
    ensure!(missed.len() as u64 <= stream.may_miss("file")?, "fanotify heard what is not told: {missed:?}");
    ensure!(invented.is_empty(), "told, and fanotify did not hear it or coverage says blind: {invented:?}");
    let twice: Vec<_> =
        made.iter().filter(|(what, _)| told.get(what).is_some_and(|times| *times > 1)).collect();
    ensure!(twice.is_empty(), "told twice: {twice:?}");
    let program = act.word("mixed")?["program"].as_u64();
    ensure!(executed.len() == 8 && executed.iter().all(|(_, _, ino)| Some(*ino) == program), "{executed:?}");
    Ok(())
}

fn listener(place: &Path) -> Result<Fanotify> {
    let flags = InitFlags::FAN_CLASS_NOTIF
        | InitFlags::FAN_CLOEXEC
        | InitFlags::FAN_NONBLOCK
        | InitFlags::FAN_UNLIMITED_QUEUE;
    let listener = Fanotify::init(flags, EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC)
        .map_err(|error| Skip(format!("no fanotify: {error}")))?;
    let mask = MaskFlags::FAN_OPEN | MaskFlags::FAN_OPEN_EXEC | MaskFlags::FAN_ONDIR;
    listener.mark(MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM, mask, AT_FDCWD, Some(place))?;
    Ok(listener)
}
