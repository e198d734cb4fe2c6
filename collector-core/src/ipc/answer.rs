//! From a question to an answer.

use super::filter;
use super::fit::Fitted;
use super::hash::{HashError, Limits, hash_path};
use super::options::{IPC_TASK_TIME_MAX, IpcOptions};
use super::peer::Access;
use super::performance::OwnMetrics;
use super::processes::{Known, Recorder, known, selected, trees};
use super::proto::{
    AdvancedCapabilities, CapabilityRequest, CapabilityResponse, CollectionCapabilities, DetectionResult,
    DetectionTask, FilesystemRecord, HashCheck, HashResult, MonitoringDomain, NetworkRecord,
    PerformanceRecord, ProcessRecord, TaskType,
};
use super::recent::{Kept, RecentEvents};
use super::request::Request;
use super::time::epoch_millis;
use super::view::ProcessView;
use crate::runtime::Live;
use crate::source::SourceCaps;
use bytes::Bytes;
use prost::Message;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// What a client that only wants to know whether it is understood puts into a task's metadata.
const NEGOTIATION: &str = "capability_negotiation";
/// A task's id is echoed in a frame that has to hold the answer too.
const TASK_ID_BYTES_MAX: usize = 4096;
/// Tasks at one time that read files or /proc. More wait for their turn.
const BLOCKING_TASKS_MAX: usize = 2;
/// Of a client's text that a message repeats.
const ECHOED_CHARS_MAX: usize = 64;
const SHA256_HEX_CHARS: usize = 64;

/// Answers the clients' questions.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) caps: SourceCaps,
    pub(super) view: ProcessView,
    pub(super) recent: Arc<RecentEvents>,
    pub(super) options: IpcOptions,
    own: Arc<OwnMetrics>,
    pub(super) stop: CancellationToken,
    turns: Arc<Semaphore>,
}

/// The right to one of the few tasks that block a thread. It ends with that task, also if nobody waits for it any more.
struct Turn(#[expect(dead_code, reason = "it only has to be held")] OwnedSemaphorePermit);

/// What a task has to keep to.
struct Terms {
    access: Access,
    hash_until: Instant,
    stop: CancellationToken,
}

/// Success, or what the client is told instead.
type Outcome = Result<DetectionResult, String>;

impl Answers {
    pub(super) fn new(
        caps: SourceCaps,
        view: ProcessView,
        recent: Arc<RecentEvents>,
        options: IpcOptions,
        live: Arc<Live>,
        stop: CancellationToken,
    ) -> Self {
        let own = Arc::new(OwnMetrics::new(live));
        let turns = Arc::new(Semaphore::new(BLOCKING_TASKS_MAX));
        Self { caps, view, recent, options, own, stop, turns }
    }

    /// The answer's bytes; `Err` is an answer too, after which the connection is of no use.
    pub(super) async fn answer(&self, payload: Bytes, access: Access) -> Result<Vec<u8>, Vec<u8>> {
        match Request::parse(payload) {
            Ok(Request::Capabilities(request)) => Ok(self.capabilities(&request).encode_to_vec()),
            Ok(Request::Task(task)) => Ok(self.task(*task, access).await.encode_to_vec()),
            Err(error) => Err(refused(String::new(), format!("Malformed request: {error}")).encode_to_vec()),
        }
    }

    async fn task(&self, task: DetectionTask, access: Access) -> DetectionResult {
        // Cancelled when the answer is given or nobody waits for it any more: a file is then not read to its end.
        let stop = self.stop.child_token();
        let _over = stop.clone().drop_guard();
        let terms = Terms { access, hash_until: Instant::now() + self.options.hash_timeout, stop };
        let task_id = task.task_id.clone();
        if task_id.len() > TASK_ID_BYTES_MAX {
            let message =
                format!("task_id has {} bytes, at most {TASK_ID_BYTES_MAX} are echoed", task_id.len());
            return refused(String::new(), message);
        }
        match timeout(IPC_TASK_TIME_MAX, self.outcome(task, terms)).await {
            Ok(Ok(result)) => DetectionResult { task_id, ..result },
            Ok(Err(message)) => refused(task_id, message),
            Err(_) => refused(task_id, format!("The task took longer than {IPC_TASK_TIME_MAX:?}")),
        }
    }

    async fn outcome(&self, task: DetectionTask, terms: Terms) -> Outcome {
        let kind = TaskType::try_from(task.task_type)
            .map_err(|_| format!("Unknown task type: {}", task.task_type))?;
        if task.metadata.as_deref() == Some(NEGOTIATION) {
            return Ok(DetectionResult { success: true, ..DetectionResult::default() });
        }
        self.check_domain(domain_of(kind))?;
        match kind {
            TaskType::EnumerateProcesses => self.processes(task, selected, None, terms.stop).await,
            TaskType::MonitorProcessTree => self.processes(task, trees, None, terms.stop).await,
            TaskType::CheckProcessHash => match (task.hash_check.clone(), &task.process_filter) {
                (Some(check), _) => self.check_hash(check, &terms, false).await,
                (None, Some(_)) => {
                    let hash = Some(self.limits(&terms));
                    self.processes(task, selected, hash, terms.stop).await
                }
                (None, None) => Err("CHECK_PROCESS_HASH needs a hash_check or a process_filter".to_owned()),
            },
            TaskType::VerifyExecutable => {
                let check = task.hash_check.ok_or("VERIFY_EXECUTABLE needs a hash_check")?;
                self.check_hash(check, &terms, true).await
            }
            TaskType::MonitorNetworkConnections => {
                let filter = filter::Network::new(task.network_filter).map_err(|error| error.to_string())?;
                let events = self.recent.network().into_iter().filter(|kept| filter.allow(&kept.event));
                let fitted = Fitted::take_newest(events.collect(), network_record);
                Ok(DetectionResult {
                    error_message: fitted.note(),
                    network_events: fitted.records,
                    ..succeeded()
                })
            }
            TaskType::TrackFileOperations => {
                let filter =
                    filter::Filesystem::new(task.filesystem_filter).map_err(|error| error.to_string())?;
                let events = self.recent.filesystem().into_iter().filter(|kept| filter.allow(&kept.event));
                let fitted = Fitted::take_newest(events.collect(), filesystem_record);
                Ok(DetectionResult {
                    error_message: fitted.note(),
                    filesystem_events: fitted.records,
                    ..succeeded()
                })
            }
            TaskType::CollectPerformanceMetrics => self.performance(task).await,
        }
    }

    async fn processes(
        &self,
        task: DetectionTask,
        select: fn(Vec<Known>, &filter::Processes) -> Vec<Known>,
        hash: Option<Limits>,
        stop: CancellationToken,
    ) -> Outcome {
        let filter = filter::Processes::new(task.process_filter).map_err(|error| error.to_string())?;
        // Before the table is asked for: no more copies of it than tasks that can use one.
        let turn = self.turn().await;
        let table = self.view.live().await.map_err(|error| error.to_string())?;
        let told = self.recent.processes();
        let (fitted, late) = turn
            .blocking(move || {
                let mut recorder = Recorder::new(hash, stop);
                let processes = select(known(table, told), &filter);
                let fitted =
                    Fitted::<ProcessRecord>::take(processes.into_iter(), |process| recorder.record(process));
                (fitted, recorder.note())
            })
            .await?;
        let notes: Vec<_> = fitted.note().into_iter().chain(late).collect();
        let error_message = (!notes.is_empty()).then(|| notes.join("; "));
        Ok(DetectionResult { error_message, processes: fitted.records, ..succeeded() })
    }

    /// Hashes a file and compares; for `VERIFY_EXECUTABLE` there has to be something to compare with.
    async fn check_hash(&self, check: HashCheck, terms: &Terms, must_match: bool) -> Outcome {
        let HashCheck { expected_hash, hash_algorithm, executable_path } = check;
        let algorithm = hash_algorithm.to_ascii_lowercase();
        if !["", "sha256", "sha-256"].contains(&algorithm.as_str()) {
            let named: String = hash_algorithm.chars().take(ECHOED_CHARS_MAX).collect();
            return Err(format!("Unsupported hash algorithm: {named:?} (supported: sha256)"));
        }
        let is_hash = expected_hash.len() == SHA256_HEX_CHARS
            && expected_hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hash && (must_match || !expected_hash.is_empty()) {
            return Err(format!("expected_hash is no SHA-256: {SHA256_HEX_CHARS} hexadecimal digits"));
        }
        let limits = self.limits(terms);
        let path = executable_path.clone();
        let work = move || hash_path(&path, &limits, || {});
        let hash: Result<String, HashError> = self.turn().await.blocking(work).await?;
        let mut result = HashResult { algorithm: "sha256".to_owned(), ..HashResult::default() };
        // A path that was refused for its length is not repeated.
        result.file_path =
            if let Err(HashError::LongPath(_)) = hash { String::new() } else { executable_path };
        match hash {
            Ok(hash) if is_hash && !hash.eq_ignore_ascii_case(&expected_hash) => {
                result.error_message = Some(format!("hash mismatch: expected {expected_hash}, found {hash}"));
                result.hash_value = hash;
                Ok(DetectionResult { hash_result: Some(result), ..succeeded() })
            }
            Ok(hash) => {
                result.hash_value = hash;
                result.success = true;
                Ok(DetectionResult { hash_result: Some(result), ..succeeded() })
            }
            Err(error) => {
                let message = format!("failed to hash {:?}: {error}", result.file_path);
                result.error_message = Some(error.to_string());
                Ok(DetectionResult { hash_result: Some(result), ..refused(String::new(), message) })
            }
        }
    }

    async fn performance(&self, task: DetectionTask) -> Outcome {
        let filter = filter::Performance::new(task.performance_filter).map_err(|error| error.to_string())?;
        let own = Arc::clone(&self.own);
        let own = self.turn().await.blocking(move || own.measured()).await?;
        let told = self.recent.performance().into_iter();
        let told = told.map(|kept| (kept.number, kept.event)).chain(own.into_iter().map(|event| (0, event)));
        let told = told.filter(|(_, event)| filter.allow(event));
        let fitted = Fitted::take_newest(told.collect(), |(number, event)| performance_record(number, event));
        Ok(DetectionResult {
            error_message: fitted.note(),
            performance_events: fitted.records,
            ..succeeded()
        })
    }

    fn capabilities(&self, request: &CapabilityRequest) -> CapabilityResponse {
        let domains = [
            MonitoringDomain::Process,
            MonitoringDomain::Network,
            MonitoringDomain::Filesystem,
            MonitoringDomain::Performance,
        ];
        let supported = domains.into_iter().filter(|&domain| self.caps.contains(caps_of(domain)));
        let refusal = request.requested_domains.iter().find_map(|&domain| {
            let Ok(domain) = MonitoringDomain::try_from(domain) else {
                return Some(format!("Unknown monitoring domain: {domain}"));
            };
            self.check_domain(domain).err()
        });
        CapabilityResponse {
            negotiation_success: refusal.is_none(),
            capabilities: Some(CollectionCapabilities {
                supported_domains: supported.map(i32::from).collect(),
                advanced: Some(AdvancedCapabilities {
                    kernel_level: self.caps.contains(SourceCaps::KERNEL_LEVEL),
                    realtime: self.caps.contains(SourceCaps::REALTIME),
                    system_wide: self.caps.contains(SourceCaps::SYSTEM_WIDE),
                }),
            }),
            error_message: refusal,
            server_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        }
    }

    fn check_domain(&self, domain: MonitoringDomain) -> Result<(), String> {
        let name = match domain {
            MonitoringDomain::Process => "Process",
            MonitoringDomain::Network => "Network",
            MonitoringDomain::Filesystem => "Filesystem",
            MonitoringDomain::Performance => "Performance",
        };
        let supported = self.caps.contains(caps_of(domain));
        supported.then_some(()).ok_or_else(|| format!("{name} monitoring not supported"))
    }

    fn limits(&self, terms: &Terms) -> Limits {
        Limits {
            bytes_max: self.options.hash_bytes_max.0,
            until: terms.hash_until,
            timeout: self.options.hash_timeout,
            access: terms.access,
            stop: terms.stop.clone(),
        }
    }

    /// Waits for a turn.
    async fn turn(&self) -> Turn {
        Turn(Arc::clone(&self.turns).acquire_owned().await.expect("the semaphore is never closed"))
    }
}

impl Turn {
    /// Runs work that blocks its thread.
    async fn blocking<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let work = move || {
            let _until_done = self;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| "The task failed inside the collector".to_owned())
    }
}

fn domain_of(kind: TaskType) -> MonitoringDomain {
    match kind {
        TaskType::EnumerateProcesses
        | TaskType::CheckProcessHash
        | TaskType::MonitorProcessTree
        | TaskType::VerifyExecutable => MonitoringDomain::Process,
        TaskType::MonitorNetworkConnections => MonitoringDomain::Network,
        TaskType::TrackFileOperations => MonitoringDomain::Filesystem,
        TaskType::CollectPerformanceMetrics => MonitoringDomain::Performance,
    }
}

fn caps_of(domain: MonitoringDomain) -> SourceCaps {
    match domain {
        MonitoringDomain::Process => SourceCaps::PROCESS,
        MonitoringDomain::Network => SourceCaps::NETWORK,
        MonitoringDomain::Filesystem => SourceCaps::FILESYSTEM,
        MonitoringDomain::Performance => SourceCaps::PERFORMANCE,
    }
}

fn succeeded() -> DetectionResult {
    DetectionResult { success: true, ..DetectionResult::default() }
}

fn refused(task_id: String, message: String) -> DetectionResult {
    DetectionResult { task_id, success: false, error_message: Some(message), ..DetectionResult::default() }
}

fn network_record(kept: Kept<crate::NetworkEvent>) -> NetworkRecord {
    let event = kept.event;
    NetworkRecord {
        connection_id: event.connection_id,
        source_address: event.source_addr,
        destination_address: event.dest_addr,
        protocol: event.protocol,
        state: event.state,
        pid: event.pid,
        bytes_sent: event.bytes_sent,
        bytes_received: event.bytes_received,
        collection_time: epoch_millis(event.timestamp),
    }
}

fn filesystem_record(kept: Kept<crate::FilesystemEvent>) -> FilesystemRecord {
    let event = kept.event;
    FilesystemRecord {
        operation_id: format!("file-{}", kept.number),
        path: event.path,
        operation_type: event.operation,
        pid: event.pid,
        file_size: event.size,
        permissions: event.permissions,
        file_hash: event.file_hash,
        collection_time: epoch_millis(event.timestamp),
    }
}

/// Number 0 is for what is measured for this answer.
fn performance_record(number: u64, event: crate::PerformanceEvent) -> PerformanceRecord {
    PerformanceRecord {
        metric_id: format!("{}-{number}", event.metric_name),
        metric_name: event.metric_name,
        value: event.value,
        unit: event.unit,
        pid: event.pid,
        component: event.component,
        collection_time: epoch_millis(event.timestamp),
    }
}

#[cfg(test)]
mod tests;
