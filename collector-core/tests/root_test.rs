//! What only root can try: other users and groups at the socket. Without root each test is ignored, with its reason, and
//! so counted as skipped.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, also in its helpers")]
#![allow(clippy::cast_possible_truncation, reason = "the client's numbers are small")]

#[path = "root/other_user.rs"]
mod other_user;
#[allow(dead_code, reason = "the IPC test uses all of it")]
#[path = "ipc/rig.rs"]
mod rig;
#[path = "root/socket.rs"]
mod socket;
#[allow(dead_code, unused_imports, reason = "the integration test uses all of it")]
mod support;
#[allow(dead_code, reason = "the IPC test uses all of it")]
#[path = "ipc/wire.rs"]
mod wire;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;

/// Why a test cannot run here.
pub(crate) struct Skip(pub(crate) String);

/// Each as a trial of its own.
macro_rules! trials {
    ($($module:ident::$test:ident),* $(,)?) => {
        vec![$(Trial::ignorable_test(concat!(stringify!($module), "::", stringify!($test)), || {
            run($module::$test())
        })),*]
    };
}

fn run(test: impl Future<Output = Result<(), Skip>>) -> Result<Completion, Failed> {
    if std::fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(Completion::ignored_with("only root can"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    Ok(match runtime.block_on(test) {
        Ok(()) => Completion::Completed,
        Err(Skip(why)) => Completion::ignored_with(why),
    })
}

fn main() -> ExitCode {
    other_user::ask_if_child();
    let trials = trials![
        other_user::another_user_is_refused_also_where_the_files_would_let_it_in,
        other_user::a_member_of_the_group_is_served_and_others_are_not,
        socket::with_a_group_socket_and_folder_are_for_it_too,
        socket::a_group_that_cannot_reach_the_socket_is_refused,
        socket::a_socket_of_another_user_is_left_as_it_is,
        socket::a_folder_of_another_user_is_refused_also_above_a_missing_one,
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
