//! Numbers, losses and sums: what every (cpu, stream) told, and whether the summary agrees.

use std::collections::BTreeMap;

/// One class's lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ClassLines {
    pub(super) events: u64,
    pub(super) lost: u64,
    /// The part of `lost` that was told as a mere count: its numbers are holes, if it ever had any.
    pub(super) unnumbered: u64,
    pub(super) missed: u64,
}

/// One class's part of the summary.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Books {
    pub(super) generated: u64,
    pub(super) delivered: u64,
    /// filtered + internal + merged + pending: numbered, and not in the stream.
    pub(super) aside: u64,
    pub(super) missed: u64,
    pub(super) dropped: u64,
}

/// The numbers of one (cpu, stream), as closed spans.
#[derive(Debug, Default)]
struct Numbers {
    class: String,
    spans: Vec<(u64, u64)>,
    last_event: Option<u64>,
}

/// What was told so far.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    numbers: BTreeMap<(u64, String), Numbers>,
    lines: BTreeMap<String, ClassLines>,
    pub(super) books: BTreeMap<String, Books>,
}

impl Ledger {
    /// A delivered event. Within one (cpu, stream) the order of lines is the order of numbers.
    pub(super) fn event(&mut self, class: &str, cpu: u64, stream: &str, seq: u64, faults: &mut Vec<String>) {
        self.lines.entry(class.to_owned()).or_default().events += 1;
        let numbers = self.stream(class, cpu, stream, faults);
        if let Some(last) = numbers.last_event.filter(|&last| last >= seq) {
            faults.push(format!("cpu {cpu}, stream {stream}: number {seq} follows {last}"));
        }
        numbers.last_event = Some(seq);
        numbers.spans.push((seq, seq));
    }

    /// A told gap.
    pub(super) fn loss(
        &mut self,
        class: &str,
        cpu: u64,
        stream: &str,
        span: (u64, u64),
        faults: &mut Vec<String>,
    ) {
        self.stream(class, cpu, stream, faults).spans.push(span);
    }

    /// The class's lines, to count in.
    pub(super) fn class(&mut self, class: &str) -> &mut ClassLines {
        self.lines.entry(class.to_owned()).or_default()
    }

    /// The numbers of one (cpu, stream), which belong to one class.
    fn stream(&mut self, class: &str, cpu: u64, stream: &str, faults: &mut Vec<String>) -> &mut Numbers {
        let numbers = self.numbers.entry((cpu, stream.to_owned())).or_default();
        if numbers.class.is_empty() {
            class.clone_into(&mut numbers.class);
        } else if numbers.class != class {
            faults.push(format!("stream {stream} is of class {} and of class {class}", numbers.class));
        }
        numbers
    }

    /// The rules that hold over the whole stream; `ended`: it has a summary.
    pub(super) fn close(&mut self, ended: bool, faults: &mut Vec<String>) {
        let mut holes: BTreeMap<&str, u64> = BTreeMap::new();
        for ((cpu, stream), numbers) in &mut self.numbers {
            numbers.spans.sort_unstable();
            let mut next = 0;
            let mut twice = 0;
            for &(first, last) in &numbers.spans {
                *holes.entry(&numbers.class).or_default() += first.saturating_sub(next);
                twice += next.min(last.saturating_add(1)).saturating_sub(first);
                next = next.max(last.saturating_add(1));
            }
            if twice > 0 {
                faults.push(format!("cpu {cpu}, stream {stream}: {twice} numbers stand twice"));
            }
        }
        if !ended {
            return;
        }
        for class in self.lines.keys().filter(|class| !self.books.contains_key(*class)) {
            faults.push(format!("{class}: events or losses, but no part in the summary"));
        }
        for (class, books) in &self.books {
            let lines = self.lines.get(class).cloned().unwrap_or_default();
            let holes = holes.get(class.as_str()).copied().unwrap_or_default();
            let told = [
                (
                    "generated",
                    books.generated,
                    "its parts give",
                    books.delivered + books.aside + books.dropped,
                ),
                ("delivered", books.delivered, "events stand in the stream:", lines.events),
                ("dropped", books.dropped, "losses told:", lines.lost),
                ("missed", books.missed, "skipped runs told:", lines.missed),
            ];
            for (name, summary, what, stream) in told {
                if summary != stream {
                    faults.push(format!("{class}: the summary has {summary} {name}, but {what} {stream}"));
                }
            }
            // The other way round nothing follows: the last numbers of a stream may all be filtered ones.
            let excused = books.aside.saturating_add(lines.unnumbered);
            if holes > excused {
                faults.push(format!(
                    "{class}: {holes} numbers are neither in the stream nor told as lost, but only {excused} were set \
                     aside or lost without numbers"
                ));
            }
        }
    }
}
