//! The socket's place in the file system.

use crate::rig::{Client, Rig, Setting};
use crate::support::DEADLINE;
use crate::wire::Message;
use collector_core::{Collector, CollectorConfig, IpcError, IpcOptions};
use std::fs::{self, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

fn serve(socket: &Path) -> Result<Collector, IpcError> {
    serve_with(IpcOptions::new(socket))
}

fn serve_with(options: IpcOptions) -> Result<Collector, IpcError> {
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

#[test]
fn socket_and_folder_are_for_the_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("own/collector.sock");
    let collector = serve(&socket).unwrap();
    assert_eq!((mode(socket.parent().unwrap()), mode(&socket)), (0o700, 0o600));
    assert_eq!(fs::read_dir(socket.parent().unwrap()).unwrap().count(), 1, "nothing stands beside it");
    drop(collector);
    assert!(!socket.exists());
}

#[test]
fn a_group_that_is_not_there_is_refused() {
    let (_folder, socket) = place();
    let error = serve_with(IpcOptions::new(&socket).with_group("no-such-group")).unwrap_err();
    assert_eq!(error.to_string(), "there is no group \"no-such-group\"");
}

#[test]
fn what_is_no_socket_of_ours_is_left_as_it_is() {
    let (folder, socket) = place();
    fs::write(&socket, "precious").unwrap();
    let error = serve(&socket).unwrap_err();
    assert!(error.to_string().ends_with("is left as it is: it is no socket"), "{error}");
    assert_eq!(fs::read_to_string(&socket).unwrap(), "precious");
    fs::remove_file(&socket).unwrap();

    let target = folder.path().join("target");
    for (exists, target) in [(false, &target), (true, &target)] {
        if exists {
            drop(UnixListener::bind(target).unwrap());
        }
        symlink(target, &socket).unwrap();
        let error = serve(&socket).unwrap_err();
        assert!(error.to_string().ends_with("is left as it is: it is a symbolic link"), "{error}");
        assert!(fs::symlink_metadata(&socket).unwrap().is_symlink());
        fs::remove_file(&socket).unwrap();
    }
    fs::create_dir(&socket).unwrap();
    assert!(matches!(serve(&socket).unwrap_err(), IpcError::Foreign { .. }));
}

#[test]
fn a_dead_socket_of_our_own_is_replaced_and_a_live_one_is_not() {
    let (folder, socket) = place();
    drop(UnixListener::bind(&socket).unwrap());
    let dead = fs::metadata(&socket).unwrap().ino();
    let leftover = folder.path().join(".collector.sock.new");
    drop(UnixListener::bind(&leftover).unwrap());
    let collector = serve(&socket).unwrap();
    let live = fs::metadata(&socket).unwrap();
    assert!(live.file_type().is_socket() && live.ino() != dead && !leftover.exists());
    let error = serve(&socket).unwrap_err();
    assert!(matches!(error, IpcError::InUse { .. }), "{error}");
    assert_eq!(fs::metadata(&socket).unwrap().ino(), live.ino());
    drop(collector);
    drop(serve(&socket).unwrap());
}

#[test]
fn a_folder_that_others_can_change_or_that_is_a_link_is_refused() {
    let (folder, socket) = place();
    for others in [0o720, 0o702, 0o1777] {
        fs::set_permissions(folder.path(), Permissions::from_mode(others)).unwrap();
        let error = serve(&socket).unwrap_err();
        assert!(error.to_string().ends_with("others can write to it"), "{error}");
        assert!(!socket.exists());
    }
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    drop(serve(&socket).unwrap());
    let link = folder.path().join("link");
    let target = folder.path().join("target");
    fs::create_dir(&target).unwrap();
    symlink(&target, &link).unwrap();
    let error = serve(&link.join("collector.sock")).unwrap_err();
    assert!(matches!(error, IpcError::System { .. }), "{error}");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
}

/// As /run/collectord is missing after a boot.
#[test]
fn a_missing_folder_above_is_made_and_one_more_is_not() {
    let (folder, _) = place();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let above = folder.path().join("collectord");
    let socket = above.join("ipc/collector.sock");
    let _collector = serve(&socket).unwrap();
    assert_eq!((mode(&above), mode(&above.join("ipc"))), (0o755, 0o700));
    let error = serve(&folder.path().join("a/b/c/collector.sock")).unwrap_err();
    assert!(matches!(error, IpcError::System { .. }), "{error}");
    assert!(!folder.path().join("a").exists());
}

#[test]
fn no_folder_is_made_where_another_could_replace_it_nor_through_a_link() {
    let (folder, _) = place();
    let above = folder.path().join("above");
    let target = folder.path().join("target");
    symlink(&target, &above).unwrap();
    let error = serve(&above.join("ipc/collector.sock")).unwrap_err();
    assert!(matches!(error, IpcError::System { .. }), "{error}");
    assert!(!target.exists());
    fs::remove_file(&above).unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    let error = serve(&above.join("ipc/collector.sock")).unwrap_err();
    assert!(error.to_string().contains("no folder is made in it"), "{error}");
    assert!(!above.exists());
}

#[test]
fn two_that_begin_at_once_do_not_both_serve() {
    for _ in 0..50 {
        let (_folder, socket) = place();
        drop(UnixListener::bind(&socket).unwrap());
        let begun: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| serve(&socket))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(begun.iter().filter(|result| result.is_ok()).count(), 1);
    }
}

/// Whoever can open the folder can lock it, also for ever: a group's members can.
#[test]
fn a_lock_on_the_folder_holds_up_neither_the_start_nor_the_end() {
    let (folder, socket) = place();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let held = fs::File::open(folder.path()).unwrap();
    held.lock().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let server = socket.clone();
    std::thread::spawn(move || {
        let begun = serve(&server);
        let is_there = server.exists();
        drop(begun.unwrap());
        tell.send((is_there, server.exists())).unwrap();
    });
    assert_eq!(told.recv_timeout(DEADLINE), Ok((true, false)));
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Only the owner can open that file, so this is another collector of the same user that hangs.
#[test]
fn a_lock_that_is_held_for_ever_is_an_error_in_the_end() {
    let (folder, socket) = place();
    let lock = folder.path().join(".collector.sock.lock");
    let held = fs::File::create(&lock).unwrap();
    held.lock().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || tell.send(serve(&socket).map(drop)));
    let error = told.recv_timeout(DEADLINE).unwrap().unwrap_err();
    assert!(error.to_string().starts_with("failed to lock "), "{error}");
    drop(held);
}

#[test]
fn a_collector_serves_once_and_with_valid_options() {
    let (_folder, socket) = place();
    let mut collector = serve(&socket).unwrap();
    assert!(matches!(collector.serve_ipc(IpcOptions::new(&socket)), Err(IpcError::Twice)));
    let error = serve(Path::new("relative.sock")).unwrap_err();
    assert!(matches!(error, IpcError::Options(_)), "{error}");
}

#[tokio::test]
async fn what_took_the_sockets_place_is_not_removed_and_its_loss_is_not_the_collectors() {
    let rig = Rig::new(Setting::default()).await;
    let mut client = rig.client().await;
    fs::remove_file(&rig.socket).unwrap();
    fs::write(&rig.socket, "precious").unwrap();
    assert!(client.task(4, Message::new()).await.succeeded());
    let socket = rig.socket.clone();
    let (report, _folder) = rig.stop_and_keep_folder().await;
    assert_eq!(fs::read_to_string(&socket).unwrap(), "precious");
    assert!(!report.ipc.unwrap().failed);
}

#[tokio::test]
async fn the_path_may_be_longer_than_an_address() {
    let folder = tempfile::tempdir().unwrap();
    let deep = (0..3).fold(folder.path().to_owned(), |path, _| path.join("d".repeat(60)));
    fs::create_dir_all(&deep).unwrap();
    let socket = deep.join("ipc/collector.sock");
    assert!(socket.as_os_str().len() > 108);
    let _collector = serve(&socket).unwrap();
    // A client has to shorten it in its own way.
    let opened = fs::File::open(socket.parent().unwrap()).unwrap();
    let short = format!("/proc/self/fd/{}/collector.sock", opened.as_raw_fd());
    Client::connect(Path::new(&short)).await;
}
