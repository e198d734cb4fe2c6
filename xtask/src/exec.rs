//! Starting other programs: the command line is printed, a failure says what was attempted.

use anyhow::{Context, Result, bail};
use std::env;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

/// Runs a command with this process's own output; an exit status other than 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    println!("+ {}", shown(command));
    let status = command.status().with_context(|| format!("failed to start {}", shown(command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs a command quietly and gives its standard output; its standard error is part of the error.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&capture_bytes(command)?).into_owned())
}

/// The same for output that is no text.
pub(crate) fn capture_bytes(command: &mut Command) -> Result<Vec<u8>> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("failed to start {}", shown(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` ended with {}: {}", shown(command), output.status, stderr.trim());
    }
    Ok(output.stdout)
}

/// Runs a command and gives each line of its standard output as it comes.
pub(crate) fn each_line(command: &mut Command, mut on_line: impl FnMut(&str)) -> Result<ExitStatus> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start {}", shown(command)))?;
    let stdout = child.stdout.take().context("a piped command has no standard output")?;
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.with_context(|| format!("failed to read the output of {}", shown(command)))?;
        on_line(String::from_utf8_lossy(&line).trim_end_matches('\r'));
    }
    child.wait().with_context(|| format!("failed to wait for {}", shown(command)))
}

/// The first line of a program's `--version`.
pub(crate) fn version(command: &mut Command) -> Result<String> {
    let text = capture(command)?;
    Ok(text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned())
}

/// Program and arguments as one line, for messages only; of a rustup toolchain's program just the name.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let of_rustup = program.components().any(|part| part.as_os_str() == "toolchains");
    let name = program.file_name().filter(|_| of_rustup).unwrap_or(command.get_program());
    let mut line = name.to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

/// Takes away what the cargo and rustup that started us put into the environment: a nested cargo of another
/// toolchain would take `RUSTC`, `RUSTUP_TOOLCHAIN`, `CARGO_ENCODED_RUSTFLAGS` and the library path for its own.
pub(crate) fn without_cargo_environment(command: &mut Command) -> &mut Command {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_cargos) {
            command.env_remove(&name);
        }
    }
    command.env_remove("LD_LIBRARY_PATH")
}

fn is_cargos(name: &str) -> bool {
    const KEPT: [&str; 5] = ["CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR", "RUSTUP_HOME"];
    let cargos = name.starts_with("CARGO") || name.starts_with("RUST");
    cargos && !KEPT.iter().any(|kept| name.starts_with(kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_users_own_cargo_settings_reach_a_nested_cargo() {
        for gone in
            ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR"]
        {
            assert!(is_cargos(gone), "{gone}");
        }
        for kept in ["PATH", "CARGO_HOME", "RUSTUP_HOME", "CARGO_NET_OFFLINE", "HOME"] {
            assert!(!is_cargos(kept), "{kept}");
        }
    }
}
