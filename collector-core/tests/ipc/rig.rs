//! A collector that serves, and clients of it.

use super::wire::{Fields, Message, crc32c, frame};
use crate::support::{Behaviour, DEADLINE, TestSink, TestSource, config, run};
use collector_core::process_table::SnapshotEntry;
use collector_core::{CollectionEvent, Collector, IpcOptions, RunReport, ShutdownHandle, SourceCaps};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Every domain and quality.
pub(crate) const ALL: SourceCaps = SourceCaps::all();

/// A collector that has delivered its source's events and serves.
pub(crate) struct Rig {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) socket: PathBuf,
    handle: ShutdownHandle,
    running: JoinHandle<RunReport>,
}

/// What a rig is made of.
pub(crate) struct Setting {
    pub(crate) caps: SourceCaps,
    pub(crate) events: Vec<CollectionEvent>,
    pub(crate) processes: Vec<SnapshotEntry>,
    pub(crate) options: fn(IpcOptions) -> IpcOptions,
    /// Whether the sink takes anything.
    pub(crate) stalled: bool,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            caps: ALL,
            events: Vec::new(),
            processes: Vec::new(),
            options: |options| options,
            stalled: false,
        }
    }
}

impl Rig {
    pub(crate) async fn new(setting: Setting) -> Self {
        let Setting { caps, events, processes, options, stalled } = setting;
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("ipc/collector.sock");
        let config = config().with_component_name("rig").with_shutdown_timeout(Duration::from_secs(2));
        let mut collector = Collector::new(config).without_signal_handling().with_process_snapshot(processes);
        let count = events.len();
        let source = TestSource::new("source", move |feed| {
            let events = events.clone();
            async move {
                for event in events {
                    feed.other(event).await;
                }
                feed.stopped().await;
                Ok(())
            }
        });
        collector.register(Box::new(source.caps(caps).without_books())).unwrap();
        let behaviour = if stalled { Behaviour::BlocksAt(0) } else { Behaviour::Takes };
        let (sink, mut recorded) = TestSink::new("sink", behaviour);
        collector.add_sink(sink);
        collector.serve_ipc(options(IpcOptions::new(&socket))).unwrap();
        let handle = collector.shutdown_handle();
        let running = tokio::spawn(run(collector));
        match stalled {
            true => recorded.until_offered(1).await,
            false => recorded.until_events(count).await,
        }
        Self { folder, socket, handle, running }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(&self.socket).await
    }

    pub(crate) async fn stop(self) -> RunReport {
        self.stop_and_keep_folder().await.0
    }

    /// As [`Self::stop`], and leaves the folder for a look.
    pub(crate) async fn stop_and_keep_folder(self) -> (RunReport, tempfile::TempDir) {
        self.handle.shutdown();
        (self.running.await.unwrap(), self.folder)
    }
}

pub(crate) struct Client(pub(crate) UnixStream);

impl Client {
    pub(crate) async fn connect(socket: &Path) -> Self {
        Self(UnixStream::connect(socket).await.unwrap())
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// The next answer; `None` if the server closed the connection.
    pub(crate) async fn receive(&mut self) -> Option<Vec<u8>> {
        timeout(DEADLINE, async {
            let mut header = [0; 8];
            self.0.read_exact(&mut header).await.ok()?;
            let length = u32::from_le_bytes(header[..4].try_into().unwrap()) as usize;
            assert!((1..=1 << 20).contains(&length), "a frame of {length} bytes");
            let mut payload = vec![0; length];
            self.0.read_exact(&mut payload).await.ok()?;
            assert_eq!(crc32c(&payload).to_le_bytes(), header[4..], "the answer's checksum");
            Some(payload)
        })
        .await
        .expect("an answer or an end in time")
    }

    pub(crate) async fn is_closed(&mut self) -> bool {
        self.receive().await.is_none()
    }

    pub(crate) async fn ask(&mut self, message: Message) -> Fields {
        self.send(&frame(&message.0)).await;
        Fields::parse(&self.receive().await.expect("an answer"))
    }

    /// A task, with its id echoed.
    pub(crate) async fn task(&mut self, kind: u64, rest: Message) -> Answer {
        let mut message = Message::new().text(1, "task-7").varint(2, kind);
        message.0.extend(rest.0);
        let fields = self.ask(message).await;
        assert_eq!(fields.text(1), "task-7");
        Answer(fields)
    }
}

/// A `DetectionResult`.
#[derive(Debug)]
pub(crate) struct Answer(pub(crate) Fields);

impl Answer {
    pub(crate) fn succeeded(&self) -> bool {
        self.0.is(2)
    }

    pub(crate) fn message(&self) -> String {
        self.0.text(3)
    }

    /// What it says, which has to be a refusal.
    pub(crate) fn refusal(&self) -> String {
        assert!(!self.succeeded(), "{self:?}");
        self.message()
    }

    /// The records, of a success without a remark.
    pub(crate) fn records(&self, field: u64) -> Vec<Fields> {
        assert!(self.succeeded() && !self.0.has(3), "{}", self.message());
        self.0.messages(field)
    }
}
