//! `check-stream FILE|-`: whether a stream of native events holds. Prints the faults; exit 0 if there are none.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool; faults are printed escaped"
)]

use collector_tests::stream::{Ending, check};
use std::io::Read as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(file) = std::env::args_os().nth(1) else {
        eprintln!("usage: check-stream FILE|-");
        return ExitCode::from(2);
    };
    let mut stream = Vec::new();
    let read = if file == "-" {
        std::io::stdin().lock().read_to_end(&mut stream).map(|_| ())
    } else {
        std::fs::read(&file).map(|bytes| stream = bytes)
    };
    if let Err(error) = read {
        eprintln!("cannot read {}: {error}", file.display());
        return ExitCode::from(2);
    }
    let report = check(&stream, Ending::Summary);
    println!("{report}");
    if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
