//! The socket's place in the file system, where other users and groups come into it.

use crate::Skip;
use collector_core::{Collector, CollectorConfig, IpcError, IpcOptions};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

const NOBODY: u32 = 65_534;

fn serve(options: IpcOptions) -> Result<Collector, IpcError> {
    let mut collector = Collector::new(CollectorConfig::new());
    collector.serve_ipc(options).map(|()| collector)
}

/// A folder of one's own with a place for a socket.
fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
    let socket = folder.path().join("collector.sock");
    (folder, socket)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// Another group than the own one.
fn a_group() -> Result<(String, u32), Skip> {
    let own = fs::metadata("/proc/self").unwrap().gid();
    let groups = fs::read_to_string("/etc/group").unwrap();
    let found = groups.lines().find_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?.to_owned();
        let gid = parts.nth(1)?.parse().ok()?;
        (gid != own).then_some((name, gid))
    });
    found.ok_or_else(|| Skip("this machine has one group".to_owned()))
}

pub(crate) async fn with_a_group_socket_and_folder_are_for_it_too() -> Result<(), Skip> {
    let group = a_group()?;
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("own/collector.sock");
    let _collector = serve(IpcOptions::new(&socket).with_group(&group.0)).unwrap();
    assert_eq!((mode(socket.parent().unwrap()), mode(&socket)), (0o750, 0o660));
    let gids = [socket.parent().unwrap(), &socket].map(|path| fs::symlink_metadata(path).unwrap().gid());
    assert_eq!(gids, [group.1; 2]);
    Ok(())
}

pub(crate) async fn a_group_that_cannot_reach_the_socket_is_refused() -> Result<(), Skip> {
    let (folder, socket) = place();
    let group = a_group()?;
    let error = serve(IpcOptions::new(&socket).with_group(&group.0)).unwrap_err();
    assert!(error.to_string().ends_with("cannot reach what is in it"), "{error}");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).unwrap();
    serve(IpcOptions::new(&socket).with_group(&group.0)).unwrap();
    Ok(())
}

pub(crate) async fn a_socket_of_another_user_is_left_as_it_is() -> Result<(), Skip> {
    let (_folder, socket) = place();
    drop(UnixListener::bind(&socket).unwrap());
    chown(&socket, Some(NOBODY), None).unwrap();
    let error = serve(IpcOptions::new(&socket)).unwrap_err();
    assert!(error.to_string().ends_with("is left as it is: it belongs to uid 65534"), "{error}");
    assert_eq!(fs::metadata(&socket).unwrap().uid(), NOBODY);
    Ok(())
}

pub(crate) async fn a_folder_of_another_user_is_refused_also_above_a_missing_one() -> Result<(), Skip> {
    let (folder, socket) = place();
    chown(folder.path(), Some(NOBODY), None).unwrap();
    let error = serve(IpcOptions::new(&socket)).unwrap_err();
    assert!(error.to_string().contains("belongs to uid 65534"), "{error}");
    let error = serve(IpcOptions::new(folder.path().join("above/ipc/collector.sock"))).unwrap_err();
    assert!(matches!(error, IpcError::Folder { .. }), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    Ok(())
}
