//! The processes that are followed when the programs are attached. From then on fork and exit keep the list.

use super::object::{LoadError, absent, refused};
use aya::Ebpf;
use aya::maps::{HashMap, MapData};
use collector_common::Filters;
use std::collections::BTreeSet;

/// Looks for descendants until there is none that is new, or so often.
const LOOKS_MAX: usize = 16;

/// Puts in the processes that were named, before anything is attached.
pub(super) fn put_first(ebpf: &mut Ebpf, filters: &Filters) -> Result<(), LoadError> {
    let mut map = map(ebpf)?;
    for pid in named(filters) {
        map.insert(pid, 1, 0).map_err(refused("following a process"))?;
    }
    Ok(())
}

/// Puts in what the named processes have started before the programs were attached.
pub(super) fn put_descendants(ebpf: &mut Ebpf, filters: &Filters) -> Result<(), LoadError> {
    let mut map = map(ebpf)?;
    let mut followed: BTreeSet<u32> = named(filters).collect();
    for _ in 0..LOOKS_MAX {
        let parents = parents();
        let new: Vec<u32> = parents
            .iter()
            .filter(|(pid, parent)| followed.contains(parent) && !followed.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        for pid in new {
            followed.insert(pid);
            map.insert(pid, 1, 0).map_err(refused("following a process"))?;
        }
    }
    tracing::warn!("the followed processes start others faster than they can be listed; some may be missed");
    Ok(())
}

fn named(filters: &Filters) -> impl Iterator<Item = u32> {
    filters.pids.into_iter().take(filters.pids_len as usize)
}

/// Every process and its parent.
fn parents() -> Vec<(u32, u32)> {
    let processes = procfs::process::all_processes().into_iter().flatten().flatten();
    processes
        .filter_map(|process| process.stat().ok())
        .filter_map(|stat| Some((u32::try_from(stat.pid).ok()?, u32::try_from(stat.ppid).ok()?)))
        .collect()
}

fn map(ebpf: &mut Ebpf) -> Result<HashMap<&mut MapData, u32, u32>, LoadError> {
    let map = ebpf.map_mut("FOLLOWED").ok_or_else(|| absent("FOLLOWED"))?;
    HashMap::try_from(map).map_err(refused("FOLLOWED"))
}
