//! The CPUs that readers stay on.

use nix::sched::CpuSet;
use std::fmt;

/// CPUs by number, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cpus(Vec<u32>);

impl Cpus {
    /// As the kernel takes them.
    pub(super) fn set(&self) -> nix::Result<CpuSet> {
        let mut set = CpuSet::new();
        for &cpu in &self.0 {
            set.set(cpu as usize)?;
        }
        Ok(set)
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&numbers.join(","))
    }
}

/// A list such as `0`, `0,2` or `0-3,8`, of CPUs that this machine has and that run.
///
/// # Errors
/// If it is no such list, or names a CPU that does not run.
pub(super) fn parse_cpus(text: &str) -> Result<Cpus, String> {
    let mut online =
        aya::util::online_cpus().map_err(|(path, error)| format!("failed to read {path}: {error}"))?;
    online.sort_unstable();
    among(text, &online)
}

fn among(text: &str, online: &[u32]) -> Result<Cpus, String> {
    let wrong = || format!("{text:?} is no list of CPUs; write 0, 0,2 or 0-3,8");
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: u32 = first.trim().parse().map_err(|_| wrong())?;
        let last: u32 = last.trim().parse().map_err(|_| wrong())?;
        if first > last {
            return Err(wrong());
        }
        for cpu in first..=last {
            if online.binary_search(&cpu).is_err() {
                let running = Cpus(online.to_vec());
                return Err(format!("there is no CPU {cpu} that runs; these do: {running}"));
            }
            cpus.push(cpu);
        }
    }
    cpus.sort_unstable();
    cpus.dedup();
    Ok(Cpus(cpus))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONLINE: [u32; 5] = [0, 1, 2, 3, 8];

    #[test]
    fn a_list_has_numbers_and_ranges() {
        for (text, cpus) in [("0", vec![0]), ("2,0,2", vec![0, 2]), ("0-3,8", vec![0, 1, 2, 3, 8])] {
            assert_eq!(among(text, &ONLINE), Ok(Cpus(cpus)), "{text}");
        }
        for wrong in ["", ",", "a", "1-", "-1", "3-1", "0;1", "4294967296"] {
            assert!(among(wrong, &ONLINE).unwrap_err().contains("no list of CPUs"), "{wrong}");
        }
    }

    #[test]
    fn a_cpu_that_does_not_run_is_refused_by_name() {
        for (text, missing) in [("4", "CPU 4"), ("3-8", "CPU 4"), ("0,4294967295", "CPU 4294967295")] {
            let refused = among(text, &ONLINE).unwrap_err();
            assert!(refused.contains(missing) && refused.contains("0,1,2,3,8"), "{refused}");
        }
        // A range is looked at as far as it goes well, however far it reaches.
        assert!(among("0-4294967295", &ONLINE).unwrap_err().contains("CPU 4"));
    }

    #[test]
    fn cpus_that_run_can_be_asked_for() {
        let cpus = parse_cpus("0").unwrap();
        assert!(cpus.set().unwrap().is_set(0).unwrap());
    }
}
