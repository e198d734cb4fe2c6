//! The thin binary.
#![forbid(unsafe_code)]

use clap::Parser;
use collectord::cli::Cli;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            // Where stderr is closed there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "collectord: {failure}");
            ExitCode::from(failure.code)
        }
    }
}
