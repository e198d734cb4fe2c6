//! The processes that run, from the kernel's task iterator.

use super::layout::TASK_ITERATOR;
use super::object::KernelObject;
use super::readers::{Readers, ReadersChoice};
use super::refusal::Refusal;
use super::wrappers::naming;
use aya::Btf;
use aya::programs::{Iter, ProgramError};
use collector_common::{PATH_BYTES_MAX, PATH_TRUNCATED, RunningRecord};
use collector_core::process_table::PROCESS_TABLE_CAPACITY;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use zerocopy::{FromZeros, IntoBytes};

/// What the kernel hands out at once.
const CHUNK_BYTES: usize = 32 * 1024;

/// One process.
#[derive(Debug, Clone)]
pub struct Running {
    /// What the program read of it.
    pub record: RunningRecord,
    /// The names of its path, leaf first, each ended by NUL; `None` if it is not whole.
    pub names: Option<Vec<u8>>,
}

impl KernelObject {
    /// The processes that run, as many as a process table holds, and the family of readers that served.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn running(&mut self, choice: ReadersChoice) -> Result<(Vec<Running>, Readers), Refusal> {
        let id = self.layout.task_iterator;
        let id = id.ok_or_else(|| Refusal::other("this kernel has no task iterator".to_owned()))?;
        let btf = naming(&[(TASK_ITERATOR, id)]);
        let mut last = None;
        for &readers in choice.candidates() {
            match self.run_iterator(readers, &btf) {
                Ok(running) => return Ok((running, readers)),
                Err(refusal) => {
                    tracing::debug!(readers = readers.name(), %refusal, "the task iterator is refused");
                    last = Some(refusal);
                }
            }
        }
        Err(last.expect("every choice has a candidate"))
    }

    fn run_iterator(&mut self, readers: Readers, btf: &Btf) -> Result<Vec<Running>, Refusal> {
        let refused = |error: ProgramError| Refusal::of_program(&error);
        let name = format!("running_{}", readers.name());
        let program = self.ebpf.program_mut(&name);
        let program =
            program.ok_or_else(|| Refusal::other(format!("the kernel object has no program {name}")))?;
        let program: &mut Iter = program.try_into().map_err(refused)?;
        program.load("task", btf).map_err(refused)?;
        let link = program.attach().and_then(|link| program.take_link(link));
        let running = link.map_err(refused).and_then(|link| {
            let file = link.into_file().map_err(|error| Refusal::of_error(&error))?;
            read(file).map_err(|error| Refusal::of_error(&error))
        });
        program.unload().map_err(refused)?;
        running
    }
}

fn read(file: File) -> io::Result<Vec<Running>> {
    let mut records = BufReader::with_capacity(CHUNK_BYTES, file);
    let mut all = Vec::new();
    while all.len() < PROCESS_TABLE_CAPACITY && !records.fill_buf()?.is_empty() {
        let mut record = RunningRecord::new_zeroed();
        records.read_exact(record.as_mut_bytes())?;
        let len = record.path.len;
        if len > PATH_BYTES_MAX {
            return Err(io::Error::other(format!("a record of the task iterator has a path of {len} bytes")));
        }
        let mut names = vec![0; len as usize];
        records.read_exact(&mut names)?;
        let whole = len > 0 && record.path.flags & PATH_TRUNCATED == 0;
        all.push(Running { record, names: whole.then_some(names) });
    }
    Ok(all)
}
