//! What the figures must show (issue D), and whether they do.

use super::figures::NONE;
use super::results::Figure;

/// What a value is held against.
#[derive(Clone, Copy)]
enum Beside {
    /// The number itself.
    Nothing,
    /// The same value of the yardstick, a collector called `ref`.
    Ref,
    /// The same value of another figure.
    Figure(&'static str),
}

struct Target {
    id: &'static str,
    figure: &'static str,
    value: &'static str,
    beside: Beside,
    /// The most that it may be; with `at_least`, the least.
    bound: f64,
    at_least: bool,
}

const fn most(
    id: &'static str,
    figure: &'static str,
    value: &'static str,
    beside: Beside,
    bound: f64,
) -> Target {
    Target { id, figure, value, beside, bound, at_least: false }
}

use Beside::{Figure as Other, Nothing, Ref};

const BPF: &str = "bpf_ns_per_operation";
const LAW: &str = "law, daemon stopped twice";
const L1: &str = "flood at 400000/s";
const L2: &str = "flood at full speed";
const AGENT: &str = "agent_cpu_s_per_million";

const TARGETS: &[Target] = &[
    most("law", LAW, "books_off", Nothing, 0.0),
    most("law", LAW, "told_off", Nothing, 0.0),
    most("law", LAW, "lines_off", Nothing, 0.0),
    most("law", LAW, "load_unseen", Nothing, 0.0),
    most("law", LAW, "execs_lost", Nothing, 0.0),
    most("K1", "kernel open", BPF, Ref, 1.1),
    most("K1", "kernel open, portable", BPF, Ref, 1.8),
    most("K1", "kernel connect-udp", BPF, Ref, 1.1),
    most("K1", "kernel connect-refused", BPF, Ref, 1.5),
    most("K1", "kernel exec", BPF, Ref, 2.0),
    most("K2", "cost open", "added_ns", Ref, 1.0),
    most("K3", "cost getppid", "added_ns", Nothing, 10.0),
    most("K4", "open filtered by comm", BPF, Other("open told"), 0.5),
    most("K4", "open filtered by path", BPF, Other("open told"), 0.5),
    most("U1", "cost open", AGENT, Nothing, 0.7),
    most("U2", "criterion", "convert/open_ns", Nothing, 200.0),
    most("L1", L1, "lost", Nothing, 0.0),
    most("L1", L1, "lines_off", Nothing, 0.0),
    most("L1", L1, "execs_lost", Nothing, 0.0),
    most("L1", L1, "exec_max_ms", Nothing, 20.0),
    Target { id: "L2", figure: L2, value: "rate_per_s", beside: Nothing, bound: 800_000.0, at_least: true },
    most("L2", L2, "lost", Nothing, 0.0),
    most("L2", L2, "told_off", Nothing, 0.0),
    most("L2", L2, "execs_lost", Nothing, 0.0),
    most("L2", L2, "exec_max_ms", Nothing, 20.0),
    most("B1", "build", "added_percent", Nothing, 1.0),
    most("B1", "build", "agent_percent_of_load", Nothing, 2.0),
    most("T1", "latency at 200/s", "p50_ms", Nothing, 1.0),
    most("T1", "latency at 200/s", "p99_ms", Nothing, 10.0),
    most("T1", "idle", "core_percent", Nothing, 0.5),
    most("M1", "idle", "resident_mib", Nothing, 40.0),
    most("G1", "growth 10000 processes", AGENT, Other("growth 100 processes"), 1.2),
    most("G1", "growth 100000 processes", AGENT, Other("growth 100 processes"), 1.2),
    most("G1", "2 CPUs emulated, at full speed", BPF, Other("1 CPU emulated, at full speed"), 1.2),
    most("G1", "2 CPUs emulated, at full speed", AGENT, Other("1 CPU emulated, at full speed"), 1.2),
    most("G1", "4 CPUs emulated, at full speed", BPF, Other("1 CPU emulated, at full speed"), 1.2),
    most("G1", "4 CPUs emulated, at full speed", AGENT, Other("1 CPU emulated, at full speed"), 1.2),
    most("G1", "8 CPUs emulated, at full speed", BPF, Other("1 CPU emulated, at full speed"), 1.2),
    most("G1", "8 CPUs emulated, at full speed", AGENT, Other("1 CPU emulated, at full speed"), 1.2),
    most("G1", "16 CPUs emulated, at full speed", BPF, Other("1 CPU emulated, at full speed"), 1.2),
    most("G1", "16 CPUs emulated, at full speed", AGENT, Other("1 CPU emulated, at full speed"), 1.2),
    most("G1", "2 CPUs emulated, at 5000/s", BPF, Other("1 CPU emulated, at 5000/s"), 1.2),
    most("G1", "2 CPUs emulated, at 5000/s", AGENT, Other("1 CPU emulated, at 5000/s"), 1.2),
    most("G1", "4 CPUs emulated, at 5000/s", BPF, Other("1 CPU emulated, at 5000/s"), 1.2),
    most("G1", "4 CPUs emulated, at 5000/s", AGENT, Other("1 CPU emulated, at 5000/s"), 1.2),
    most("G1", "8 CPUs emulated, at 5000/s", BPF, Other("1 CPU emulated, at 5000/s"), 1.2),
    most("G1", "8 CPUs emulated, at 5000/s", AGENT, Other("1 CPU emulated, at 5000/s"), 1.2),
    most("G1", "16 CPUs emulated, at 5000/s", BPF, Other("1 CPU emulated, at 5000/s"), 1.2),
    most("G1", "16 CPUs emulated, at 5000/s", AGENT, Other("1 CPU emulated, at 5000/s"), 1.2),
];

/// A line for each target whose figures were taken.
pub(super) fn lines(figures: &[Figure]) -> Vec<String> {
    TARGETS.iter().filter_map(|target| target.line(figures)).collect()
}

fn value(figures: &[Figure], figure: &str, agent: &str, value: &str) -> Option<f64> {
    let found = figures.iter().find(|known| known.figure == figure && known.agent == agent);
    found?.values.get(value).copied().filter(|value| value.is_finite())
}

impl Target {
    fn line(&self, figures: &[Figure]) -> Option<String> {
        let measured = value(figures, self.figure, "collectord", self.value)?;
        let (shown, unit) = match self.beside {
            Nothing => (measured, String::new()),
            Ref => (measured / value(figures, self.figure, "ref", self.value)?, "x ref".to_owned()),
            Other(other) => {
                (measured / value(figures, other, "collectord", self.value)?, format!("x {other}"))
            }
        };
        let (reached, sign) =
            if self.at_least { (shown >= self.bound, ">=") } else { (shown <= self.bound, "<=") };
        let verdict = if reached { "reached" } else { "MISSED" };
        let without = value(figures, self.figure, NONE, "load_cpu_ns").filter(|_| self.value == "added_ns");
        let beside = without.map(|bare| format!(" ({measured:.0} ns on {bare:.0})")).unwrap_or_default();
        let (id, figure, value, bound) = (self.id, self.figure, self.value, self.bound);
        Some(format!(
            "{id:<4} {figure:<31} {value:<24} {shown:>12.3}{unit}{beside}, {sign} {bound}: {verdict}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(figure: &str, agent: &str, value: &str, number: f64) -> Figure {
        let values = [(value.to_owned(), number)].into();
        Figure { figure: figure.to_owned(), agent: agent.to_owned(), values }
    }

    #[test]
    fn a_target_beside_the_yardstick_is_a_ratio() {
        let figures = [
            figure("kernel open", "collectord", BPF, 300.0),
            figure("kernel open", "ref", BPF, 150.0),
            figure(L2, "collectord", "rate_per_s", 900_000.0),
        ];
        let lines = lines(&figures);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].contains("2.000x ref, <= 1.1: MISSED"), "{}", lines[0]);
        assert!(lines[1].contains(">= 800000: reached"), "{}", lines[1]);
    }
}
