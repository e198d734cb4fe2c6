//! What an event costs while it waits.

use super::{
    CollectionEvent, Endpoint, ErrorEvent, Exec, KernelBody, KernelEvent, LossEvent, Missing, Text, Truncated,
};
use std::mem::size_of;

impl CollectionEvent {
    /// About how many bytes of memory the event holds: its own and those of its text. What many events share (their
    /// hook's origin, their process's identity) is not counted. Cheap enough to be asked for every event.
    pub fn size_hint(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Process(event) => {
                    event.name.len()
                        + optional(event.executable_path.as_ref())
                        + event.command_line.iter().map(|arg| size_of::<String>() + arg.len()).sum::<usize>()
                        + optional(event.executable_hash.as_ref())
                        + optional(event.user_id.as_ref())
                }
                Self::Network(event) => {
                    event.connection_id.len()
                        + event.source_addr.len()
                        + event.dest_addr.len()
                        + event.protocol.len()
                        + event.state.len()
                }
                Self::Filesystem(event) => {
                    event.path.len()
                        + event.operation.len()
                        + optional(event.permissions.as_ref())
                        + optional(event.file_hash.as_ref())
                }
                Self::Performance(event) => {
                    event.metric_name.len() + event.unit.len() + event.component.len()
                }
                Self::Kernel(event) => size_of::<KernelEvent>() + kernel_text(event),
                Self::Loss(event) => {
                    let stream = event.gap.as_ref().map_or(0, |gap| gap.stream.len());
                    let reasons = event.reasons.keys().map(|name| size_of::<(String, u64)>() + name.len());
                    size_of::<LossEvent>() + stream + reasons.sum::<usize>()
                }
                Self::Error(event) => size_of::<ErrorEvent>() + event.message.len(),
                // Once a run each, and the runtime's own: from a source they are refused before they wait.
                Self::Coverage(_) | Self::Summary(_) => 0,
            }
    }
}

fn optional(text: Option<&String>) -> usize {
    text.map_or(0, String::len)
}

fn kernel_text(event: &KernelEvent) -> usize {
    let body = match &event.body {
        KernelBody::Exec(exec) => exec_text(exec),
        KernelBody::Open(open) => texts([&open.path, &open.requested]),
        KernelBody::ExecFailed(failed) => texts([&failed.filename, &failed.argv]),
        KernelBody::CgroupMade(made) => made.path.as_bytes().len(),
        // These have none.
        KernelBody::Fork(_) | KernelBody::Exit(_) => 0,
        KernelBody::Connect(connect) => {
            [&connect.local, &connect.remote].into_iter().flatten().map(Endpoint::text_len).sum()
        }
        KernelBody::ConnectResult(decided) => {
            [&decided.local, &decided.remote].into_iter().flatten().map(Endpoint::text_len).sum()
        }
    };
    let missing = event.missing.iter().map(|missing| size_of::<Missing>() + missing.field.len());
    let truncated = event.truncated.iter().map(|cut| size_of::<Truncated>() + cut.field.len());
    event.process.name.as_bytes().len() + body + missing.sum::<usize>() + truncated.sum::<usize>()
}

fn exec_text(exec: &Exec) -> usize {
    let script = exec.script.as_ref().and_then(|script| script.path.as_ref());
    let script = script.map_or(0, |path| path.as_bytes().len());
    script + texts([&exec.filename, &exec.path, &exec.interp, &exec.argv, &exec.cwd])
}

fn texts<const N: usize>(texts: [&Option<Text>; N]) -> usize {
    texts.into_iter().flatten().map(|text| text.as_bytes().len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{FilesystemEvent, ProcessEvent};
    use crate::test_events::kernel_event;
    use std::borrow::Cow;

    #[test]
    fn text_counts_byte_for_byte() {
        let empty = CollectionEvent::Filesystem(FilesystemEvent::default());
        let full = CollectionEvent::Filesystem(FilesystemEvent {
            path: "p".repeat(100),
            operation: "o".repeat(10),
            permissions: Some("0644".to_owned()),
            file_hash: Some("h".repeat(64)),
            ..FilesystemEvent::default()
        });
        assert_eq!(full.size_hint() - empty.size_hint(), 100 + 10 + 4 + 64);
        let args = CollectionEvent::Process(ProcessEvent {
            command_line: vec![String::new(); 1000],
            ..ProcessEvent::default()
        });
        assert!(args.size_hint() >= 1000 * size_of::<String>(), "empty arguments are not for nothing");
    }

    #[test]
    fn a_kernel_events_text_counts() {
        let mut event = kernel_event(1);
        let small = CollectionEvent::Kernel(Box::new(event.clone())).size_hint();
        let argv = Some(Text::from("a".repeat(8192).as_str()));
        event.body = KernelBody::Exec(Exec { argv, ..Exec::default() });
        assert_eq!(CollectionEvent::Kernel(Box::new(event)).size_hint() - small, 8192);
    }

    #[test]
    fn lists_that_a_source_fills_count() {
        let mut event = kernel_event(1);
        let small = CollectionEvent::Kernel(Box::new(event.clone())).size_hint();
        let field: Cow<'static, str> = Cow::Owned("f".repeat(1000));
        event.missing =
            vec![Missing { field: field.clone(), reason: crate::event::MissingReason::Fault }; 10];
        event.truncated = vec![Truncated { field, original_len: 1 }; 10];
        assert!(CollectionEvent::Kernel(Box::new(event)).size_hint() - small >= 20_000);

        let mut loss = LossEvent {
            class: crate::event::EventClass::Process,
            gap: None,
            count: 1,
            t_first: std::time::SystemTime::UNIX_EPOCH,
            t_last: std::time::SystemTime::UNIX_EPOCH,
            reasons: std::collections::BTreeMap::new(),
        };
        let small = CollectionEvent::Loss(Box::new(loss.clone())).size_hint();
        loss.reasons = (0..10).map(|n| (format!("{n}{}", "r".repeat(1000)), 1)).collect();
        assert!(CollectionEvent::Loss(Box::new(loss)).size_hint() - small >= 10_000);
    }
}
