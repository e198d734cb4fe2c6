//! Crate ids that do not depend on where the checkout lies.
//!
//! Cargo hashes the full path of a dependency outside the workspace's own folder into `-C metadata`, and rustc puts
//! that hash into symbol names: `collector-common` beside `collector-ebpf` would give each checkout another object.
//! So xtask stands in as `RUSTC_WRAPPER` and gives this project's crates their name as metadata.

use anyhow::{Context, Result};
use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

const MARK: &str = "XTASK_AS_RUSTC_WRAPPER";

/// Makes a cargo command start this program in rustc's place.
pub(crate) fn wrap(cargo: &mut Command) -> Result<()> {
    let this = env::current_exe().context("failed to find xtask's own executable")?;
    cargo.env("RUSTC_WRAPPER", this).env(MARK, "1");
    Ok(())
}

/// Started in rustc's place by [`wrap`]?
pub(crate) fn is_wrapper() -> bool {
    env::var_os(MARK).is_some()
}

/// Becomes rustc, which the first argument names. Returns only if that fails.
pub(crate) fn become_rustc() -> Result<()> {
    let mut arguments = env::args_os().skip(1);
    let rustc = arguments.next().context("no compiler named after RUSTC_WRAPPER")?;
    let error = Command::new(&rustc).args(with_fixed_ids(arguments.collect())).env_remove(MARK).exec();
    Err(error).with_context(|| format!("failed to start {}", rustc.display()))
}

fn with_fixed_ids(arguments: Vec<OsString>) -> Vec<OsString> {
    let names_crate = arguments.iter().position(|argument| argument == "--crate-name");
    let name = names_crate.and_then(|at| arguments.get(at + 1)).and_then(|name| name.to_str());
    let Some(metadata) =
        name.filter(|name| name.starts_with("collector_")).map(|name| format!("metadata={name}"))
    else {
        return arguments;
    };
    let is_metadata = |argument: &OsStr| argument.to_str().is_some_and(|text| text.starts_with("metadata="));
    arguments
        .into_iter()
        .map(|argument| if is_metadata(&argument) { OsString::from(&metadata) } else { argument })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(line: &str) -> String {
        let arguments = with_fixed_ids(line.split(' ').map(OsString::from).collect());
        arguments.iter().filter_map(|argument| argument.to_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn only_this_projects_crates_get_their_name_as_metadata() {
        let own = "--crate-name collector_common -C metadata=0123 -C extra-filename=-45";
        assert_eq!(
            fixed(own),
            "--crate-name collector_common -C metadata=collector_common -C extra-filename=-45"
        );
        let other = "--crate-name aya_ebpf -C metadata=0123 -C extra-filename=-45";
        assert_eq!(fixed(other), other);
        assert_eq!(fixed("-vV"), "-vV");
    }
}
