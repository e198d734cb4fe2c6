//! What is not seen where a hook is refused.

use collector_common::Hook;

/// What a class is blind to without this hook; `None` if the class cannot be served without it.
pub fn blind_without(hook: Hook) -> Option<&'static str> {
    match hook {
        Hook::Exec | Hook::Fork | Hook::Exit | Hook::TcpBegin | Hook::TcpEnd | Hook::Openat => None,
        Hook::TcpDestroy => Some("tcp-end-skipped"),
        Hook::ConnectExit => Some("connect-other-than-tcp"),
        Hook::Execve | Hook::Execveat => Some("exec-failed"),
        Hook::Open => Some("open"),
        Hook::Openat2 => Some("openat2"),
        Hook::Creat => Some("creat"),
        Hook::OpenByHandle => Some("open-by-handle"),
        Hook::UringOpen => Some("io-uring-open"),
        Hook::UringSubmit | Hook::UringSubmitSqe => Some("io-uring-open-requested"),
        Hook::Connect4 | Hook::Connect6 => Some("udp-connect-other-abi"),
        Hook::CgroupMade => Some("cgroup-short-lived"),
        Hook::SendMsg4 | Hook::SendMsg6 => Some("udp-sendmsg"),
        Hook::Ia32Open | Hook::Ia32Openat | Hook::Ia32Openat2 | Hook::Ia32Creat | Hook::Ia32OpenByHandle => {
            Some("ia32-open")
        }
        Hook::Ia32Execve | Hook::Ia32Execveat => Some("ia32-exec-failed"),
        Hook::Ia32Connect | Hook::Ia32Socketcall => Some("ia32-connect"),
    }
}
