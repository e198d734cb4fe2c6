use super::*;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};

fn limits() -> Limits {
    Limits {
        bytes_max: 16 << 20,
        until: Instant::now() + Duration::from_secs(20),
        timeout: Duration::from_secs(20),
        access: Access::Full,
        stop: CancellationToken::new(),
    }
}

/// A file of three chunks, so that something can happen in between.
fn file() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program").to_str().unwrap().to_owned();
    fs::write(&path, vec![7; CHUNK_BYTES * 3]).unwrap();
    (folder, path)
}

/// Hashes and lets this happen after the first chunk.
fn hashed_while(path: &str, happens: impl FnOnce()) -> Result<String, HashError> {
    let mut happens = Some(happens);
    hash_path(path, &limits(), || {
        if let Some(happens) = happens.take() {
            happens();
        }
    })
}

fn refused(path: &str) -> String {
    hash_path(path, &limits(), || {}).unwrap_err().to_string()
}

#[test]
fn the_hash_is_sha_256() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("abc");
    for (text, hash) in [
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ] {
        fs::write(&path, text).unwrap();
        assert_eq!(hash_path(path.to_str().unwrap(), &limits(), || {}).unwrap(), hash);
    }
}

#[test]
fn a_file_left_alone_has_the_same_hash_as_in_one_piece() {
    let (_folder, path) = file();
    let whole = Sha256::digest(fs::read(&path).unwrap());
    let whole: String = whole.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hashed_while(&path, || {}).unwrap(), whole);
}

#[test]
fn a_file_that_is_swapped_during_the_read_is_noticed() {
    let (folder, path) = file();
    let other = folder.path().join("other");
    fs::write(&other, vec![7; CHUNK_BYTES * 3]).unwrap();
    let error = hashed_while(&path, || fs::rename(&other, &path).unwrap()).unwrap_err();
    // The rename takes the last name of the file that is read, which is a change of it, too.
    assert!(matches!(error, HashError::Changed(_)), "{error}");
}

#[test]
fn a_file_that_is_swapped_and_lives_on_elsewhere_is_noticed() {
    let (folder, path) = file();
    fs::hard_link(&path, folder.path().join("kept")).unwrap();
    let link = folder.path().join("link");
    symlink(&path, &link).unwrap();
    let error = hashed_while(&path, || {
        fs::rename(&link, &path).unwrap();
    })
    .unwrap_err();
    assert!(matches!(error, HashError::Changed(_)), "{error}");
}

#[test]
fn a_folder_above_that_is_swapped_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("program"), vec![7; CHUNK_BYTES * 3]).unwrap();
    }
    let path = folder.path().join("a/program");
    // The file itself does not change by this: only its path tells.
    let error = hashed_while(path.to_str().unwrap(), || {
        fs::rename(folder.path().join("a"), folder.path().join("old")).unwrap();
        fs::rename(folder.path().join("b"), folder.path().join("a")).unwrap();
    })
    .unwrap_err();
    assert_eq!(error.to_string(), "another file has taken its place while it was read; no hash is told");
    let error = hashed_while(path.to_str().unwrap(), || {
        fs::rename(folder.path().join("a"), folder.path().join("gone")).unwrap();
    })
    .unwrap_err();
    assert_eq!(error.to_string(), "it was removed while it was read; no hash is told");
}

#[test]
fn a_file_that_is_changed_in_place_during_the_read_is_noticed() {
    let (_folder, path) = file();
    let write = || OpenOptions::new().write(true).open(&path).unwrap().write_all(b"other").unwrap();
    let error = hashed_while(&path, write).unwrap_err();
    assert_eq!(error.to_string(), "it was changed while it was read; no hash is told");
}

#[test]
fn a_file_that_shrinks_or_grows_during_the_read_is_noticed() {
    let (_folder, path) = file();
    let open = || OpenOptions::new().append(true).open(&path).unwrap();
    let error = hashed_while(&path, || open().write_all(b"more").unwrap()).unwrap_err();
    assert!(matches!(error, HashError::Changed(_)), "{error}");
    let error = hashed_while(&path, || open().set_len(5).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "it became shorter while it was read; no hash is told");
}

#[test]
fn what_is_no_regular_file_is_not_opened() {
    let (folder, path) = file();
    let link = folder.path().join("link");
    symlink(&path, &link).unwrap();
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(refused(link.to_str().unwrap()), "it is a symbolic link, not a regular file");
    assert_eq!(refused(pipe.to_str().unwrap()), "it is a pipe, not a regular file");
    assert_eq!(refused("/dev/null"), "it is a device, not a regular file");
    assert_eq!(refused("/"), "it is a folder, not a regular file");
    assert_eq!(refused("/proc/self/status"), "it is the kernel's, not a file of a disk");
    assert_eq!(refused("program"), "executable_path is not absolute");
    assert_eq!(refused(""), "executable_path is not absolute");
    assert!(refused("/no/such").starts_with("failed to read the file: No such file"));
    assert!(refused("/a\0b").starts_with("failed to read the file"));
    assert_eq!(refused(&"/".repeat(4097)), "executable_path has 4097 bytes, at most 4096 are allowed");
}

#[test]
fn size_and_time_are_bounded_and_a_stop_ends_it() {
    let (_folder, path) = file();
    let size = (CHUNK_BYTES * 3) as u64;
    hash_path(&path, &Limits { bytes_max: size, ..limits() }, || {}).unwrap();
    let error = hash_path(&path, &Limits { bytes_max: size - 1, ..limits() }, || {}).unwrap_err();
    assert!(matches!(error, HashError::TooLarge { .. }), "{error}");
    let error = hash_path(&path, &Limits { until: Instant::now(), ..limits() }, || {}).unwrap_err();
    assert!(matches!(error, HashError::TimedOut(_)), "{error}");
    let stopping = limits();
    stopping.stop.cancel();
    assert!(matches!(hash_path(&path, &stopping, || {}).unwrap_err(), HashError::Stopping));
}

#[test]
fn a_member_of_the_group_is_told_about_executables_that_all_can_read() {
    let (_folder, path) = file();
    let member = Limits { access: Access::Group, ..limits() };
    for (mode, allowed) in [(0o755, true), (0o644, false), (0o711, false), (0o750, false)] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        assert_eq!(hash_path(&path, &member, || {}).is_ok(), allowed, "{mode:o}");
        hash_path(&path, &limits(), || {}).unwrap();
    }
}
