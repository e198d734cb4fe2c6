//! The command line as far as it needs neither root nor a kernel: usage is judged before anything is loaded.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::process::Command;

/// Exit code, stdout, stderr.
fn collectord(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_collectord"))
        .args(args)
        .env_remove("COLLECTORD_LOG")
        // Where the help is wrapped.
        .env("COLUMNS", "100")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// What it says on stderr of this wrong usage.
fn refused(args: &[&str]) -> String {
    let (code, out, err) = collectord(args);
    assert_eq!((code, out.as_str()), (Some(2), ""), "{args:?}: {err}");
    err
}

#[test]
fn help_goes_to_stdout_and_names_each_command_and_the_exit_codes() {
    let (code, out, err) = collectord(&["--help"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    for named in ["watch", "programs", "Exit codes", "69", "77"] {
        assert!(out.contains(named), "no {named} in:\n{out}");
    }
}

#[test]
fn help_of_watch_shows_bounds_and_defaults() {
    let (code, out, _) = collectord(&["watch", "--help"]);
    assert_eq!(code, Some(0));
    for named in ["--events", "- fork", "--count", "32KiB", "256MiB", "[default: 32MiB]", "up to 8 times"] {
        assert!(out.contains(named), "no {named} in:\n{out}");
    }
}

#[test]
fn version_is_the_packages() {
    let (code, out, err) = collectord(&["--version"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(out, format!("collectord {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn no_command_is_wrong_usage_and_shows_the_help() {
    assert!(refused(&[]).contains("Usage: collectord"));
}

#[test]
fn unknown_flags_and_commands_are_named() {
    assert!(refused(&["watch", "--colour"]).contains("--colour"));
    assert!(refused(&["wacth"]).contains("wacth"));
    assert!(refused(&["watch", "stray"]).contains("stray"));
}

#[test]
fn a_wrong_value_names_the_valid_ones() {
    let wrong: [(&[&str], &[&str]); 5] = [
        (&["watch", "--events", "exec,opne"], &["opne", "exec", "exit", "fork"]),
        (&["watch", "--format", "xml"], &["compact", "json"]),
        (&["watch", "--readers", "fast"], &["auto", "direct", "portable"]),
        (&["watch", "--ring-size", "disk=1MiB"], &["disk", "process"]),
        (&["programs", "--format", "xml"], &["table", "json"]),
    ];
    for (args, names) in wrong {
        let err = refused(args);
        for name in names {
            assert!(err.contains(name), "{args:?} does not name {name}: {err}");
        }
    }
}

#[test]
fn a_ring_size_that_cannot_be_had_names_the_bounds() {
    for size in ["process=4KiB", "process=3MiB", "process=512MiB", "process=0"] {
        let err = refused(&["watch", "--ring-size", size]);
        assert!(err.contains("32KiB") && err.contains("256MiB"), "{size}: {err}");
    }
    for size in ["1MiB", "process=", "process=much", "process=-1"] {
        let err = refused(&["watch", &format!("--ring-size={size}")]);
        assert!(err.contains("--ring-size"), "{size}: {err}");
    }
    assert!(refused(&["watch", "--ring-memory", "99999999999GiB"]).contains("64 bits"));
}

#[test]
fn counts_and_pids_begin_at_1() {
    for flag in ["--count", "--pid"] {
        for value in ["0", "-1", "many"] {
            assert!(refused(&["watch", &format!("{flag}={value}")]).contains(flag), "{flag} {value}");
        }
    }
}

#[test]
fn a_ninth_value_of_a_filter_says_how_many_there_may_be() {
    for (flag, value) in [("--pid", "1"), ("--uid", "1"), ("--comm", "sh")] {
        let args: Vec<&str> = ["watch"].into_iter().chain([flag, value].repeat(9)).collect();
        let err = refused(&args);
        assert!(err.contains(flag) && err.contains('9') && err.contains('8'), "{err}");
    }
}

#[test]
fn a_comm_longer_than_the_kernels_says_how_long_it_may_be() {
    assert!(refused(&["watch", "--comm", "sixteen-bytes-xx"]).contains("15"));
    assert!(refused(&["watch", "--comm", ""]).contains("--comm"));
}

#[test]
fn completions_and_manual_pages_know_each_command() {
    for shell in ["bash", "fish", "zsh"] {
        let (code, out, err) = collectord(&["completions", shell]);
        assert_eq!((code, err.as_str()), (Some(0), ""));
        assert!(out.contains("watch") && out.contains("doctor"), "{out}");
    }
    let folder = std::env::temp_dir().join(format!("collectord-man-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (code, _, err) = collectord(&["man", folder.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{err}");
    let page = std::fs::read_to_string(folder.join("collectord-watch.1")).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(page.contains("events"), "{page}");
    let (code, _, err) = collectord(&["man", "/no/such/folder"]);
    assert!(code == Some(1) && err.contains("/no/such/folder"), "{err}");
}
