//! The thin binary.
#![forbid(unsafe_code)]

use clap::Parser;
use collectord::cli::Cli;
use collectord::failure::exit_code;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            let hint = match failure.code {
                exit_code::UNAVAILABLE | exit_code::NO_PERMISSION => {
                    "; `collectord doctor` says what would help"
                }
                _ => "",
            };
            // Where stderr is closed there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "collectord: {failure}{hint}");
            ExitCode::from(failure.code)
        }
    }
}
