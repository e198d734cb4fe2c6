//! Another user's process at the socket, which file permissions would keep away: they are opened first, so that only the
//! server's own look at who it is stands in the way.

use crate::Skip;
use crate::rig::{Rig, Setting};
use crate::wire::{Message, frame};
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Set for the child, which is this test program again.
const SOCKET: &str = "COLLECTOR_TEST_SOCKET";
const NOBODY: u32 = 65_534;
/// What the child ends with.
const ANSWERED: i32 = 40;
const CLOSED: i32 = 41;

/// The child's part, if this is the child: asks and tells what came of it.
pub(crate) fn ask_if_child() {
    let Ok(socket) = std::env::var(SOCKET) else { return };
    let mut stream = UnixStream::connect(socket).unwrap();
    // The server may have closed it by now; then reading says so.
    let _ = stream.write_all(&frame(&Message::new().text(1, "a").varint(2, 4).0));
    let answered = stream.read(&mut [0; 64]).is_ok_and(|bytes| bytes > 0);
    std::process::exit(if answered { ANSWERED } else { CLOSED });
}

/// Runs the child as this user and group.
async fn asked_as(socket: &Path, uid: u32, gid: u32) -> Result<i32, Skip> {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(&program);
    command.env(SOCKET, socket).uid(uid).gid(gid);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    let output =
        output.map_err(|error| Skip(format!("{} cannot be run by uid {uid}: {error}", program.display())))?;
    Ok(output.status.code().unwrap())
}

/// Lets every user reach the socket.
fn open_to_all(rig: &Rig) {
    for (path, mode) in
        [(rig.folder.path(), 0o755), (rig.socket.parent().unwrap(), 0o755), (&rig.socket, 0o666)]
    {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
}

pub(crate) async fn another_user_is_refused_also_where_the_files_would_let_it_in() -> Result<(), Skip> {
    let rig = Rig::new(Setting::default()).await;
    open_to_all(&rig);
    assert_eq!(asked_as(&rig.socket, NOBODY, NOBODY).await?, CLOSED, "another user was answered");
    assert_eq!(asked_as(&rig.socket, 0, 0).await?, ANSWERED, "root is answered");
    let report = rig.stop().await.ipc.unwrap();
    assert_eq!((report.refused, report.served, report.tasks), (1, 1, 1));
    Ok(())
}

pub(crate) async fn a_member_of_the_group_is_served_and_others_are_not() -> Result<(), Skip> {
    let groups = fs::read_to_string("/etc/group").unwrap();
    let daemon =
        groups.lines().find_map(|line| line.strip_prefix("daemon:")?.split(':').nth(1)?.parse().ok());
    let gid = daemon.ok_or_else(|| Skip("this machine has no group daemon".to_owned()))?;
    let rig =
        Rig::new(Setting { options: |options| options.with_group("daemon"), ..Setting::default() }).await;
    fs::set_permissions(rig.folder.path(), Permissions::from_mode(0o755)).unwrap();
    assert_eq!(asked_as(&rig.socket, NOBODY, gid).await?, ANSWERED, "a member was refused");
    open_to_all(&rig);
    assert_eq!(asked_as(&rig.socket, NOBODY, NOBODY).await?, CLOSED, "no member, but answered");
    let report = rig.stop().await.ipc.unwrap();
    assert_eq!((report.refused, report.served), (1, 1));
    Ok(())
}
