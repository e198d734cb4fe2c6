//! `collectord programs`: what the verifier says of each kernel program on this kernel.

use crate::failure::Failure;
use crate::kernel::{KernelObject, LoadOptions, ProgramReport, via};
use clap::{Args, ValueEnum};
use std::fmt::Write;
use std::path::PathBuf;

/// How to show the programs.
#[derive(Debug, Clone, Args)]
pub struct ProgramsArgs {
    /// How to write them
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,

    /// BTF of the running kernel, if it exports none in /sys/kernel/btf/vmlinux
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,
}

/// How the list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns
    Table,
    /// One JSON array
    Json,
}

/// Loads every program, attaches none, and gives the list as text.
///
/// # Errors
/// If the kernel object cannot be loaded at all. A single program that is refused is a line of the list.
pub fn list(args: &ProgramsArgs, whole_verifier_log: bool) -> Result<String, Failure> {
    crate::memlock::raise();
    let options = LoadOptions { btf: args.btf.clone(), whole_verifier_log, ..LoadOptions::default() };
    let reports = KernelObject::report(&options)?;
    match args.format {
        Format::Table => Ok(table(&reports)),
        Format::Json => json(&reports),
    }
}

fn table(reports: &[ProgramReport]) -> String {
    let mut text =
        format!("{:<30} {:<28} {:<9} {:>9} {:>7}\n", "PROGRAM", "HOOK", "READERS", "VERIFIED", "CODE");
    for report in reports {
        let hook = via(report.hook);
        let _ = write!(text, "{:<30} {hook:<28} {:<9} ", report.name, report.readers.name());
        let _ = match &report.verified {
            Ok(Some(count)) => writeln!(text, "{count:>9} {:>7}", report.jited_bytes),
            Ok(None) => writeln!(text, "{:>9} {:>7}", "untold", report.jited_bytes),
            Err(refusal) => writeln!(text, "refused: {refusal}"),
        };
    }
    text.push_str("VERIFIED: instructions the verifier walked (told by Linux 5.16 and newer). CODE: bytes of machine code.\n");
    text
}

fn json(reports: &[ProgramReport]) -> Result<String, Failure> {
    let rows: Vec<_> = reports
        .iter()
        .map(|report| {
            serde_json::json!({
                "program": report.name,
                "hook": via(report.hook),
                "readers": report.readers.name(),
                "loaded": report.verified.is_ok(),
                "verified_instructions": report.verified.as_ref().ok().copied().flatten(),
                "refused": report.verified.as_ref().err().map(|refusal| refusal.reason.clone()),
                "jited_bytes": report.jited_bytes,
            })
        })
        .collect();
    serde_json::to_string_pretty(&rows).map(|text| text + "\n").map_err(Failure::runtime)
}
