//! The drain loop: a thread of its own per source. It reads rings, converts and sends; it does no I/O and takes no
//! lock that a consumer can hold. While its queue is full it waits, and the rings hold what comes.

use super::canary::Canary;
use super::clock::{boot_ns, wall_offset_ns};
use super::convert::Converter;
use super::event_class;
use super::horizon::Horizon;
use super::nap::{NAP_MS_MIN, Naps, Rest};
use super::numbering::{Gap, Numbering, UNEXPLAINED, WrongNumber};
use super::order::{InOrder, Waiting};
use crate::kernel::mapped::{MappedWords, Slots};
use aya::maps::{MapData, RingBuf};
use collector_common::{Class, DecodeError, Hook, RECORD_OWN, Record};
use collector_core::CollectionEvent;
use collector_core::event::{ErrorCode, ErrorEvent, KernelEvent, LossEvent, LossGap};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::eventfd::EventFd;
use nix::unistd::Pid;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// Most records read from one ring before the next ring has its turn.
pub(super) const RECORDS_PER_TURN_MAX: usize = 128;
/// Longest sleep. An event that comes while the reader lies down may find no flag that asks for a wakeup.
const SLEEP_MS_MAX: u16 = 100;
/// How often the counters are compared with what was read.
const HEARTBEAT_NS: u64 = 1_000_000_000;
/// How often the wall clock is compared with the kernel's.
const WALL_CLOCK_NS: u64 = 10_000_000_000;
/// How long programs that were running when their hook was detached may take to finish.
const SETTLE_NS: u64 = 100_000_000;
/// How long a reader that ends waits for that of the process class, which ends too.
const LAST_WAIT_NS: u64 = 1_000_000_000;

/// What the reader counted; written by its thread only.
#[derive(Debug, Default)]
pub(crate) struct ReaderCounters {
    pub(crate) read: AtomicU64,
    pub(crate) decoded: AtomicU64,
    pub(crate) malformed: AtomicU64,
    /// Decoded, and given to the queue.
    pub(crate) sent: AtomicU64,
    /// The rings are empty and nothing can be written to them any more.
    pub(crate) drained: AtomicBool,
    /// Runs of the class's programs that the kernel had skipped when the books were looked at last.
    pub(crate) missed: AtomicU64,
    /// What is wrong with the canary at present.
    pub(crate) canary: Mutex<Option<String>>,
}

/// Adds to a counter of which this thread is the only writer; cheaper than an atomic addition.
fn add(counter: &AtomicU64, events: u64) {
    counter.store(counter.load(Ordering::Relaxed) + events, Ordering::Release);
}

/// How the reader is told to stop.
#[derive(Debug)]
pub(crate) struct StopSignal {
    /// The hooks are being detached.
    detaching: AtomicBool,
    stop: AtomicBool,
    wake: EventFd,
}

impl StopSignal {
    pub(crate) fn new() -> nix::Result<Self> {
        Ok(Self { detaching: AtomicBool::new(false), stop: AtomicBool::new(false), wake: EventFd::new()? })
    }

    /// Says that hooks are detached from now on, and that this is no fault.
    pub(crate) fn detaching(&self) {
        self.detaching.store(true, Ordering::Release);
    }

    /// Asks the reader to read what is left and end.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        if let Err(error) = self.wake.write(1) {
            tracing::warn!(%error, "failed to wake a reader; it looks for itself soon");
        }
    }

    fn is_set(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

/// Reads the rings of one source.
pub(crate) struct Reader {
    pub(crate) class: Class,
    pub(crate) hooks: Vec<Hook>,
    pub(crate) rings: Vec<RingBuf<MapData>>,
    pub(crate) slots: Arc<Slots>,
    pub(crate) sleeping: MappedWords,
    pub(crate) converter: Converter,
    pub(crate) counters: Arc<ReaderCounters>,
    pub(crate) stop: Arc<StopSignal>,
    pub(crate) numbering: Numbering,
    pub(crate) order: InOrder,
    /// Shared by all classes' readers; that of processes leads.
    pub(crate) horizon: Arc<Horizon>,
    /// This process, as the kernel programs tell it: nothing of it is told but the canary, and that to nobody.
    pub(crate) self_pid: u32,
    pub(crate) canary: Option<Canary>,
    /// The CPUs that the thread stays on; any, if `None`.
    pub(crate) cpus: Option<CpuSet>,
}

/// The queue's other end is gone: the run is over.
struct QueueClosed;

impl Reader {
    /// Reads until told to stop, then reads what is left. Call it on a thread of its own.
    pub(crate) fn run(mut self, queue: &mpsc::Sender<CollectionEvent>, runtime: &Handle) {
        self.converter.set_wall_offset(wall_offset_ns());
        self.pin();
        if let Some(canary) = &mut self.canary {
            canary.start();
        }
        let horizon = Arc::clone(&self.horizon);
        let _lead = self.leads().then(|| horizon.lead());
        // A closed queue means that the runtime has given this source up: it counts what it was not sent.
        let _ = self.read_until_stopped(queue, runtime).and_then(|()| {
            self.canary = None;
            self.read_rest(queue, runtime)
        });
    }

    /// The CPUs were checked when they were asked for; a cpuset can have been narrowed since.
    fn pin(&self) {
        let Some(cpus) = &self.cpus else { return };
        if let Err(error) = sched_setaffinity(Pid::from_raw(0), cpus) {
            tracing::warn!(class = self.class.name(), %error, "failed to pin a reader, it runs on any CPU");
        }
    }

    fn read_until_stopped(
        &mut self,
        queue: &mpsc::Sender<CollectionEvent>,
        runtime: &Handle,
    ) -> Result<(), QueueClosed> {
        let mut batch = Vec::new();
        let (mut heartbeat_ns, mut wall_clock_ns) = (0, 0);
        let mut naps = Naps::of(self.class);
        let mut rest = Rest::None;
        while !self.stop.is_set() {
            let asked = self.leads() && self.horizon.take_asked();
            let now_ns = boot_ns();
            if now_ns >= wall_clock_ns {
                self.converter.set_wall_offset(wall_offset_ns());
                wall_clock_ns = now_ns + WALL_CLOCK_NS;
            }
            let (read, complete_ns) = self.read_turn(now_ns);
            if read == 0 || now_ns >= heartbeat_ns {
                self.reconcile();
                self.look_for_canary(complete_ns);
                heartbeat_ns = now_ns + HEARTBEAT_NS;
            }
            let mut all = self.hand_on(complete_ns, &mut batch, queue, runtime)?;
            // A look that was asked for and found nothing changes nothing.
            if read > 0 || !asked {
                rest = naps.after(read);
            }
            if !all && rest == Rest::None {
                self.horizon.ask();
            } else if !all {
                self.horizon.wait(complete_ns);
                all = self.hand_on(complete_ns, &mut batch, queue, runtime)?;
            }
            match rest {
                Rest::None => {}
                Rest::Nap(ms) => self.nap(ms),
                Rest::Sleep if all => self.sleep(),
                Rest::Sleep => self.nap(NAP_MS_MIN),
            }
        }
        Ok(())
    }

    /// The hooks are detached. Programs that were running then finish; what they wrote is read.
    fn read_rest(
        &mut self,
        queue: &mpsc::Sender<CollectionEvent>,
        runtime: &Handle,
    ) -> Result<(), QueueClosed> {
        let mut batch = Vec::new();
        let begun_ns = boot_ns();
        loop {
            let now_ns = boot_ns();
            let (read, complete_ns) = self.read_turn(now_ns);
            self.reconcile();
            let mut all = self.hand_on(complete_ns, &mut batch, queue, runtime)?;
            if !all {
                self.horizon.wait(complete_ns);
                all = self.hand_on(complete_ns, &mut batch, queue, runtime)?;
            }
            let settled = self.is_settled() || now_ns >= begun_ns + SETTLE_NS;
            if read == 0 && settled && (all || now_ns >= begun_ns + LAST_WAIT_NS) {
                break;
            }
            if read == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let now_ns = boot_ns();
        for (cpu, hook) in self.streams() {
            let gap = self.numbering.close(cpu, hook, self.slots.read(cpu, hook as usize), now_ns);
            self.lost(gap);
        }
        self.order.release(u64::MAX, &mut batch);
        self.send(&mut batch, queue, runtime)?;
        self.counters.drained.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether the other classes' readers wait for this one.
    fn leads(&self) -> bool {
        self.class == Class::Process
    }

    /// Hands on what happened up to that time, as far as the processes' reader has come; says whether that was all.
    fn hand_on(
        &mut self,
        complete_ns: u64,
        batch: &mut Vec<Waiting>,
        queue: &mpsc::Sender<CollectionEvent>,
        runtime: &Handle,
    ) -> Result<bool, QueueClosed> {
        let until_ns =
            if self.leads() { complete_ns } else { complete_ns.min(self.horizon.reached_ns(complete_ns)) };
        self.order.release(until_ns, batch);
        self.send(batch, queue, runtime)?;
        if self.leads() {
            self.horizon.reach(complete_ns);
        }
        Ok(until_ns == complete_ns || self.order.is_empty())
    }

    /// Reads up to a turn's worth from every ring; says how many records there were, and up to what time none is left.
    fn read_turn(&mut self, now_ns: u64) -> (usize, u64) {
        let Self { rings, slots, converter, counters, numbering, class, order, self_pid, canary, .. } = self;
        let mut total = 0;
        let mut complete_ns = now_ns;
        for ring in rings {
            let mut count = 0;
            let mut last_ns = 0;
            while count < RECORDS_PER_TURN_MAX
                && let Some(bytes) = ring.next()
            {
                count += 1;
                // Before what becomes of it is counted: no counter may be ahead of the one before it.
                add(&counters.read, 1);
                match read_record(&bytes, converter, numbering, slots) {
                    Ok(Read { hook, mut event, gap, own }) => {
                        last_ns = event.ktime_ns;
                        for told in gap.iter().flat_map(|gap| told(*class, gap, converter)) {
                            order.push(last_ns, told);
                        }
                        if own || event.process.pid == *self_pid {
                            event.internal = true;
                            if let Some(canary) = canary {
                                canary.take(hook, &event);
                            }
                        }
                        add(&counters.decoded, 1);
                        order.push(last_ns, Waiting::Event(event));
                    }
                    Err(error) => {
                        numbering.malformed();
                        if counters.malformed.load(Ordering::Relaxed) == 0 {
                            tracing::error!(%error, "malformed record; further ones are only counted");
                        }
                        add(&counters.malformed, 1);
                    }
                }
            }
            if count == RECORDS_PER_TURN_MAX {
                complete_ns = complete_ns.min(last_ns);
            }
            total += count;
        }
        (total, complete_ns)
    }

    /// Tells losses that no later event has shown.
    fn reconcile(&mut self) {
        // Taken here: no event that was read is younger, and none that is still to be numbered will be older.
        let now_ns = boot_ns();
        for (cpu, hook) in self.streams() {
            let gap = self.numbering.reconcile(cpu, hook, self.slots.read(cpu, hook as usize), now_ns);
            self.lost(gap);
        }
    }

    fn lost(&mut self, gap: Option<Gap>) {
        if let Some(gap) = gap {
            for told in told(self.class, &gap, &self.converter) {
                self.order.push(gap.before_ns, told);
            }
        }
    }

    /// Tells if the canary did not come back as it should.
    fn look_for_canary(&mut self, complete_ns: u64) {
        if self.stop.detaching.load(Ordering::Acquire) {
            self.canary = None;
        }
        let Some(canary) = &mut self.canary else { return };
        let (slots, missed) = (&self.slots, self.counters.missed.load(Ordering::Acquire));
        let lost = |hook: Hook| {
            let of_cpu = |cpu| slots.read(cpu, hook as usize).1.iter().sum::<u64>();
            missed + (0..slots.cpus()).map(of_cpu).sum::<u64>()
        };
        let Some(faults) = canary.look(complete_ns, lost) else { return };
        for fault in &faults {
            self.order.push(complete_ns, error(self.class, ErrorCode::Canary, fault.clone()));
        }
        let fault = (!faults.is_empty()).then(|| faults.join("; "));
        let mut known = self.counters.canary.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fault) = fault.as_ref().filter(|fault| Some(*fault) != known.as_ref()) {
            tracing::error!(class = self.class.name(), fault, "a hook is not as it should be");
        }
        *known = fault;
    }

    fn is_settled(&self) -> bool {
        self.streams().all(|(cpu, hook)| {
            let (generated, _) = self.slots.read(cpu, hook as usize);
            self.numbering.is_settled(cpu, hook, generated)
        })
    }

    fn streams(&self) -> impl Iterator<Item = (usize, Hook)> + use<> {
        let hooks = self.hooks.clone();
        (0..self.slots.cpus()).flat_map(move |cpu| hooks.clone().into_iter().map(move |hook| (cpu, hook)))
    }

    fn send(
        &self,
        batch: &mut Vec<Waiting>,
        queue: &mpsc::Sender<CollectionEvent>,
        runtime: &Handle,
    ) -> Result<(), QueueClosed> {
        let mut events = batch.drain(..);
        while events.len() > 0 {
            // Nobody else sends, so what there is room for can only become more.
            let free = queue.capacity().min(events.len());
            let permits = if free > 0 {
                queue.try_reserve_many(free).map_err(|_| QueueClosed)?
            } else {
                // Half of a full queue: the batcher works on the other half meanwhile.
                let half = queue.max_capacity().div_ceil(2).min(events.len());
                runtime.block_on(queue.reserve_many(half)).map_err(|_| QueueClosed)?
            };
            let mut kernel_events = 0;
            for permit in permits {
                let Some(event) = events.next() else { break };
                kernel_events += u64::from(matches!(event, Waiting::Event(_)));
                permit.send(event.into());
            }
            add(&self.counters.sent, kernel_events);
        }
        Ok(())
    }

    /// Waits a moment, or for a stop, or for somebody who waits for this reader.
    fn nap(&self, ms: u16) {
        self.poll(Vec::new(), ms);
    }

    /// Waits for a record, a stop, or the next look at the counters.
    fn sleep(&self) {
        self.sleeping.word(self.class as usize).store(1, Ordering::SeqCst);
        let rings = self.rings.iter().map(|ring| PollFd::new(ring.as_fd(), PollFlags::POLLIN));
        // The rings are looked at once more as the poll begins.
        self.poll(rings.collect(), SLEEP_MS_MAX);
        self.sleeping.word(self.class as usize).store(0, Ordering::Relaxed);
    }

    fn poll<'a>(&'a self, mut waiting: Vec<PollFd<'a>>, ms: u16) {
        waiting.push(PollFd::new(self.stop.wake.as_fd(), PollFlags::POLLIN));
        if self.leads() {
            waiting.push(PollFd::new(self.horizon.asking(), PollFlags::POLLIN));
        }
        // An interrupted poll is a short rest.
        let _ = poll(&mut waiting, PollTimeout::from(ms));
    }
}

/// Why a record gives no event.
#[derive(Debug, thiserror::Error)]
enum RecordError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Number(#[from] WrongNumber),
    #[error("record says cpu {0}, which this machine cannot have")]
    Cpu(u32),
    #[error("hook {0:?} is none of this source's")]
    Hook(Hook),
}

/// What a record gives.
struct Read {
    hook: Hook,
    event: Box<KernelEvent>,
    /// What its number shows to be lost.
    gap: Option<Gap>,
    /// The canary has started its process.
    own: bool,
}

fn read_record(
    bytes: &[u8],
    converter: &mut Converter,
    numbering: &mut Numbering,
    slots: &Slots,
) -> Result<Read, RecordError> {
    let (hook, record) = Record::parse(bytes)?;
    let event = converter.event(hook, &record).ok_or(RecordError::Hook(hook))?;
    let cpu = event.cpu as usize;
    if cpu >= slots.cpus() {
        return Err(RecordError::Cpu(event.cpu));
    }
    let gap = numbering.came(cpu, hook, event.seq, event.ktime_ns, || slots.read(cpu, hook as usize))?;
    Ok(Read { hook, event, gap, own: record.header().missing & RECORD_OWN != 0 })
}

/// What is told of a gap: the loss, and where no counter explains it, that the books do not balance.
fn told(class: Class, gap: &Gap, converter: &Converter) -> impl Iterator<Item = CollectionEvent> + use<> {
    let unexplained = gap.reasons.iter().find(|(reason, _)| *reason == UNEXPLAINED);
    let fault = unexplained.map(|(_, count)| {
        let (stream, cpu) = (gap.hook.stream(), gap.cpu);
        let message = format!(
            "stream {stream} of cpu {cpu}: of the numbers {} to {}, {count} neither came nor were counted as lost",
            gap.first_seq, gap.last_seq
        );
        error(class, ErrorCode::Accounting, message)
    });
    std::iter::once(loss(class, gap, converter)).chain(fault)
}

fn error(class: Class, code: ErrorCode, message: String) -> CollectionEvent {
    let timestamp = SystemTime::now();
    CollectionEvent::Error(Box::new(ErrorEvent { class: event_class(class), code, message, timestamp }))
}

fn loss(class: Class, gap: &Gap, converter: &Converter) -> CollectionEvent {
    let wall = |ktime_ns| SystemTime::UNIX_EPOCH + Duration::from_nanos(converter.wall_ns(ktime_ns));
    CollectionEvent::Loss(Box::new(LossEvent {
        class: event_class(class),
        gap: Some(LossGap {
            stream: gap.hook.stream().to_owned(),
            cpu: u32::try_from(gap.cpu).unwrap_or(u32::MAX),
            first_seq: gap.first_seq,
            last_seq: gap.last_seq,
        }),
        count: gap.last_seq - gap.first_seq + 1,
        t_first: wall(gap.after_ns),
        t_last: wall(gap.before_ns),
        reasons: gap.reasons.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect(),
    }))
}

#[cfg(test)]
pub(super) mod tests;
