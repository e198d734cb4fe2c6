//! What criterion has measured, from the files that it keeps.

use anyhow::{Context, Result};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// The mean of each bench below `dir`, by group and name.
pub(super) fn estimates(dir: &Path) -> Result<Vec<(String, f64)>> {
    let mut found = Vec::new();
    collect(dir, "", &mut found).with_context(|| format!("failed to read {}", dir.display()))?;
    found.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(found)
}

fn collect(dir: &Path, name: &str, found: &mut Vec<(String, f64)>) -> Result<()> {
    let estimates = dir.join("new/estimates.json");
    if estimates.exists() {
        let parsed: Value = serde_json::from_str(&fs::read_to_string(&estimates)?)?;
        let ns = parsed["mean"]["point_estimate"].as_f64().context("estimates without a mean")?;
        found.push((format!("{name}_ns"), ns));
        return Ok(());
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let below = entry.file_name();
        let (Some(below), true) = (below.to_str(), entry.file_type()?.is_dir()) else { continue };
        if below != "report" {
            collect(
                &entry.path(),
                &if name.is_empty() { below.to_owned() } else { format!("{name}/{below}") },
                found,
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bench_has_its_mean_under_its_group() {
        let dir = tempfile::tempdir().unwrap();
        for (bench, mean) in [("convert/open", 150.5), ("encode/open", 300.0)] {
            let new = dir.path().join(bench).join("new");
            fs::create_dir_all(&new).unwrap();
            fs::create_dir_all(dir.path().join(bench).join("report")).unwrap();
            let text = format!(r#"{{"mean":{{"point_estimate":{mean}}}}}"#);
            fs::write(new.join("estimates.json"), text).unwrap();
        }
        let found = estimates(dir.path()).unwrap();
        assert_eq!(found, [("convert/open_ns".to_owned(), 150.5), ("encode/open_ns".to_owned(), 300.0)]);
    }
}
