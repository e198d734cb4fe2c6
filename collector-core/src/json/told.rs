//! What the collector tells about itself, and the four seed events, as JSON.

use super::kernel::{list, map};
use super::text::boolean;
use super::{JsonEncoder, key, number, object, string};
use crate::accounting::{ClassAccount, Reasons};
use crate::event::{
    ClassCoverage, CoverageEvent, ErrorEvent, FilesystemEvent, LossEvent, NetworkEvent, PerformanceEvent,
    ProcessEvent, SummaryEvent,
};
use std::time::SystemTime;

impl JsonEncoder {
    pub(super) fn coverage(&mut self, event: &CoverageEvent, out: &mut Vec<u8>) {
        self.time(out, event.timestamp);
        key!(out, "kernel");
        string(out, &event.kernel);
        key!(out, "classes");
        map(out, event.classes.iter(), |out, (class, coverage)| {
            string(out, class.name());
            out.push(b':');
            object(out, |out| class_coverage(coverage, out));
        });
    }

    pub(super) fn loss(&mut self, event: &LossEvent, out: &mut Vec<u8>) {
        key!(out, "class");
        string(out, event.class.name());
        if let Some(gap) = &event.gap {
            key!(out, "stream");
            string(out, &gap.stream);
            key!(out, "cpu");
            number(out, gap.cpu);
            key!(out, "first_seq");
            number(out, gap.first_seq);
            key!(out, "last_seq");
            number(out, gap.last_seq);
        }
        key!(out, "count");
        number(out, event.count);
        key!(out, "t_first");
        self.times.write(out, event.t_first);
        key!(out, "t_last");
        self.times.write(out, event.t_last);
        let mut named = event.reasons.iter();
        match (named.next(), named.next()) {
            (None, _) => {}
            (Some((reason, _)), None) => {
                key!(out, "reason");
                string(out, reason);
            }
            (Some(_), Some(_)) => {
                key!(out, "reasons");
                reasons(out, &event.reasons);
            }
        }
    }

    pub(super) fn error(&mut self, event: &ErrorEvent, out: &mut Vec<u8>) {
        self.time(out, event.timestamp);
        key!(out, "class");
        string(out, event.class.name());
        key!(out, "code");
        string(out, event.code.name());
        key!(out, "message");
        string(out, &event.message);
    }

    pub(super) fn summary(&mut self, event: &SummaryEvent, out: &mut Vec<u8>) {
        self.time(out, event.timestamp);
        key!(out, "classes");
        map(out, event.classes.iter(), |out, (class, account)| {
            string(out, class.name());
            out.push(b':');
            object(out, |out| class_account(account, out));
        });
    }

    pub(super) fn process(&mut self, event: &ProcessEvent, out: &mut Vec<u8>) {
        key!(out, "pid");
        number(out, event.pid);
        if let Some(ppid) = event.ppid {
            key!(out, "ppid");
            number(out, ppid);
        }
        key!(out, "name");
        string(out, &event.name);
        if let Some(path) = &event.executable_path {
            key!(out, "executable_path");
            string(out, path);
        }
        key!(out, "command_line");
        list(out, event.command_line.iter(), |out, arg| string(out, arg));
        if let Some(start_time) = event.start_time {
            key!(out, "start_time");
            self.times.write(out, start_time);
        }
        if let Some(usage) = event.cpu_usage.filter(|usage| usage.is_finite()) {
            key!(out, "cpu_usage");
            float(out, usage);
        }
        if let Some(usage) = event.memory_usage {
            key!(out, "memory_usage");
            number(out, usage);
        }
        if let Some(hash) = &event.executable_hash {
            key!(out, "executable_hash");
            string(out, hash);
        }
        if let Some(user) = &event.user_id {
            key!(out, "user_id");
            string(out, user);
        }
        key!(out, "accessible");
        boolean(out, event.accessible);
        key!(out, "file_exists");
        boolean(out, event.file_exists);
        self.timestamp(out, event.timestamp);
        if event.cpu_usage.is_some_and(|usage| !usage.is_finite()) {
            out.extend_from_slice(br#","missing":{"cpu_usage":"not_finite"}"#);
        }
    }

    pub(super) fn network(&mut self, event: &NetworkEvent, out: &mut Vec<u8>) {
        key!(out, "connection_id");
        string(out, &event.connection_id);
        key!(out, "source_addr");
        string(out, &event.source_addr);
        key!(out, "dest_addr");
        string(out, &event.dest_addr);
        key!(out, "protocol");
        string(out, &event.protocol);
        key!(out, "state");
        string(out, &event.state);
        pid(out, event.pid);
        key!(out, "bytes_sent");
        number(out, event.bytes_sent);
        key!(out, "bytes_received");
        number(out, event.bytes_received);
        self.timestamp(out, event.timestamp);
    }

    pub(super) fn filesystem(&mut self, event: &FilesystemEvent, out: &mut Vec<u8>) {
        key!(out, "path");
        string(out, &event.path);
        key!(out, "operation");
        string(out, &event.operation);
        pid(out, event.pid);
        if let Some(size) = event.size {
            key!(out, "size");
            number(out, size);
        }
        if let Some(permissions) = &event.permissions {
            key!(out, "permissions");
            string(out, permissions);
        }
        if let Some(hash) = &event.file_hash {
            key!(out, "file_hash");
            string(out, hash);
        }
        self.timestamp(out, event.timestamp);
    }

    pub(super) fn performance(&mut self, event: &PerformanceEvent, out: &mut Vec<u8>) {
        key!(out, "metric_name");
        string(out, &event.metric_name);
        if event.value.is_finite() {
            key!(out, "value");
            float(out, event.value);
        }
        key!(out, "unit");
        string(out, &event.unit);
        pid(out, event.pid);
        key!(out, "component");
        string(out, &event.component);
        self.timestamp(out, event.timestamp);
        if !event.value.is_finite() {
            out.extend_from_slice(br#","missing":{"value":"not_finite"}"#);
        }
    }

    fn time(&mut self, out: &mut Vec<u8>, time: SystemTime) {
        key!(out, "time");
        self.times.write(out, time);
    }

    fn timestamp(&mut self, out: &mut Vec<u8>, time: SystemTime) {
        key!(out, "timestamp");
        self.times.write(out, time);
    }
}

fn class_coverage(coverage: &ClassCoverage, out: &mut Vec<u8>) {
    key!(out, "hooks");
    list(out, coverage.hooks.iter(), |out, hook| {
        object(out, |out| {
            key!(out, "via");
            string(out, &hook.via);
            key!(out, "rung");
            string(out, &hook.rung);
            key!(out, "readers");
            string(out, &hook.readers);
        });
    });
    key!(out, "blind");
    list(out, coverage.blind.iter(), |out, name| string(out, name));
}

/// The counters such that generated is the sum of the parts; what is still in a ring is pending too.
fn class_account(account: &ClassAccount, out: &mut Vec<u8>) {
    key!(out, "generated");
    number(out, account.generated);
    key!(out, "delivered");
    number(out, account.delivered);
    key!(out, "filtered");
    number(out, account.filtered);
    key!(out, "internal");
    number(out, account.internal);
    key!(out, "merged");
    number(out, account.merged);
    key!(out, "pending");
    number(out, account.pending + account.in_ring);
    key!(out, "missed");
    number(out, account.missed);
    key!(out, "dropped");
    reasons(out, &account.dropped());
}

fn reasons(out: &mut Vec<u8>, reasons: &Reasons) {
    map(out, reasons.iter(), |out, (reason, count)| {
        string(out, reason);
        out.push(b':');
        number(out, *count);
    });
}

fn pid(out: &mut Vec<u8>, pid: Option<u32>) {
    if let Some(pid) = pid {
        key!(out, "pid");
        number(out, pid);
    }
}

/// A finite number; the shortest digits that give it back exactly.
fn float(out: &mut Vec<u8>, value: f64) {
    use std::io::Write;
    write!(out, "{value:?}").expect("writing into a Vec never fails");
}
