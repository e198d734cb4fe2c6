//! Shell completions and manual pages, from the one definition of the command line.

use crate::cli::Cli;
use crate::failure::Failure;
use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::path::PathBuf;

/// For which shell.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Where to.
#[derive(Debug, Clone, Args)]
pub struct ManArgs {
    /// The folder, which must be there
    pub folder: PathBuf,
}

/// The shell's script.
pub fn completions(args: &CompletionsArgs) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "collectord", &mut script);
    script
}

/// Writes a page for the program and one for each command.
///
/// # Errors
/// If a file cannot be written.
pub fn man(args: &ManArgs) -> Result<(), Failure> {
    clap_mangen::generate_to(Cli::command(), &args.folder)
        .with_context(|| format!("failed to write manual pages into {}", args.folder.display()))
        .map_err(Failure::runtime)
}
