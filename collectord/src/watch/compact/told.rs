//! What the collector tells of itself between the events: coverage, losses, the books.

use super::{Color, Lines, clock};
use crate::terminal::wrapped;
use collector_core::event::{ClassCoverage, CoverageEvent, ErrorEvent, LossEvent, SummaryEvent};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What a line begins with that goes on with the one before.
const NEXT_LINE: &str = "#   ";

impl Lines {
    pub(super) fn loss(&mut self, loss: &LossEvent) {
        let mut text = format!("{} LOST  {} {} events", clock(loss.t_last), loss.count, loss.class.name());
        if let Some(gap) = &loss.gap {
            let _ = write!(
                text,
                ", stream {} cpu {}: {} to {}",
                gap.stream, gap.cpu, gap.first_seq, gap.last_seq
            );
        }
        for (reason, count) in &loss.reasons {
            let _ = write!(text, ", {reason} {count}");
        }
        self.told(Color::Red, &text);
    }

    pub(super) fn error(&mut self, error: &ErrorEvent) {
        let when = clock(error.timestamp);
        let text = format!("{when} ERROR {} {}: {}", error.class.name(), error.code.name(), error.message);
        self.told(Color::Red, &text);
    }

    pub(super) fn coverage(&mut self, coverage: &CoverageEvent) {
        for (class, covered) in &coverage.classes {
            let hooks = hooks(covered);
            let mut text = format!("# {} on Linux {}: {hooks}", class.name(), coverage.kernel);
            if !covered.blind.is_empty() {
                let _ = write!(text, "; blind: {}", covered.blind.join(", "));
            }
            self.told(Color::Dim, &text);
        }
        self.header();
        self.headed = true;
    }

    pub(super) fn header(&mut self) {
        self.painted(Color::Dim, &self.columns.header());
        self.out.push('\n');
    }

    pub(super) fn summary(&mut self, summary: &SummaryEvent) {
        for (class, account) in &summary.classes {
            let dropped = account.dropped();
            let lost: u64 = dropped.values().sum();
            let reasons: Vec<String> =
                dropped.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
            let text = format!(
                "# {}: {} generated = {} delivered + {} internal + {} filtered + {} merged + {} pending + {lost} lost{}{}{}; missed {}",
                class.name(),
                account.generated,
                account.delivered,
                account.internal,
                account.filtered,
                account.merged,
                account.pending + account.in_ring,
                if lost > 0 { " (" } else { "" },
                reasons.join(", "),
                if lost > 0 { ")" } else { "" },
                account.missed,
            );
            self.told(if lost > 0 { Color::Red } else { Color::Dim }, &text);
        }
    }

    /// A line that is not cut: what does not fit goes on in the next one.
    fn told(&mut self, color: Color, text: &str) {
        for line in wrapped(text, self.columns.width, 0, NEXT_LINE) {
            self.painted(color, &line);
            self.out.push('\n');
        }
    }
}

/// The hooks by rung and readers, such as `raw_tp (direct) a, b; tp (portable) c`.
fn hooks(covered: &ClassCoverage) -> String {
    let mut groups: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for hook in &covered.hooks {
        let target = hook.via.strip_prefix(hook.rung.as_str()).and_then(|rest| rest.strip_prefix(':'));
        groups.entry((&hook.rung, &hook.readers)).or_default().push(target.unwrap_or(&hook.via));
    }
    let group = |((rung, readers), hooks): ((&str, &str), Vec<&str>)| {
        format!("{rung} ({readers}) {}", hooks.join(", "))
    };
    groups.into_iter().map(group).collect::<Vec<_>>().join("; ")
}
