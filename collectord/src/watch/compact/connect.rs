//! Connections in one line: from where to where, and how it came out.

use super::fit::{Cut, Keep};
use super::{Color, Lines, duration, whole_duration};
use collector_core::event::{Connect, ConnectOutcome, ConnectResult, Endpoint, Errno};
use std::fmt::Write;

impl Lines {
    /// `tcp LOCAL -> REMOTE ok after 1.234ms`.
    pub(super) fn connect(&mut self, connect: &Connect) {
        let _ = write!(self.out, "{} ", connect.protocol_name());
        self.way(connect.local.as_ref(), connect.remote.as_ref());
        self.outcome(connect.result, connect.errno, connect.latency_ns);
    }

    /// What came of one that was pending.
    pub(super) fn connect_result(&mut self, decided: &ConnectResult) {
        self.way(decided.local.as_ref(), decided.remote.as_ref());
        self.outcome(decided.result, decided.errno, decided.latency_ns);
    }

    /// Where there is no room, the own address gives way first; on a narrow terminal there never is.
    fn way(&mut self, local: Option<&Endpoint>, remote: Option<&Endpoint>) {
        if let Some(local) = local.filter(|_| !self.columns.are_narrow()) {
            let start = self.out.len();
            self.endpoint(local);
            self.cuts.clear();
            self.cuts.push(Cut { range: start..self.out.len(), keep: Keep::Begin });
            self.out.push_str(" -> ");
        }
        match remote {
            Some(remote) => self.endpoint(remote),
            None => self.out.push('?'),
        }
    }

    fn endpoint(&mut self, endpoint: &Endpoint) {
        match endpoint {
            Endpoint::Path(path) => self.argument(path.as_bytes()),
            Endpoint::Abstract(name) => self.argument(&[b"@", name.as_bytes()].concat()),
            // An address is no word that could be quoted: `[::1]:80`.
            other => {
                let start = self.out.len();
                self.out.push_str(&other.to_text());
                self.cuts.push(Cut { range: start..self.out.len(), keep: Keep::Ends });
            }
        }
    }

    fn outcome(&mut self, result: Option<ConnectOutcome>, errno: Option<Errno>, latency_ns: Option<u64>) {
        let name = result.map_or("?", ConnectOutcome::name);
        let mut text = format!(" {name}");
        // The others' names say it.
        if let Some(errno) =
            errno.filter(|_| matches!(result, Some(ConnectOutcome::Error | ConnectOutcome::Unreachable)))
        {
            let _ = write!(text, " {}", errno.name());
        }
        match result {
            Some(ConnectOutcome::Ok | ConnectOutcome::Pending) | None => self.out.push_str(&text),
            Some(_) => self.painted(Color::Yellow, &text),
        }
        if let Some(ns) = latency_ns {
            let _ = match self.columns.are_narrow() {
                true => write!(self.out, " {}", whole_duration(ns)),
                false => write!(self.out, " after {}", duration(ns)),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fit;
    use super::*;
    use collector_core::event::{AddressFamily, Text};

    fn line(connect: &Connect, width: Option<usize>) -> String {
        let mut lines = Lines::new(false, width);
        lines.connect(connect);
        let cuts = std::mem::take(&mut lines.cuts);
        lines.columns.fit(&mut lines.out, 0, &cuts);
        lines.out
    }

    fn tcp(local: &str, remote: &str, port: u16) -> Connect {
        Connect {
            family: AddressFamily::INET6,
            protocol: 6,
            local: Some(Endpoint::ip(local.parse().unwrap(), Some(40_000))),
            remote: Some(Endpoint::ip(remote.parse().unwrap(), Some(port))),
            result: Some(ConnectOutcome::Ok),
            latency_ns: Some(1_234_567),
            ..Connect::default()
        }
    }

    #[test]
    fn both_ends_and_the_outcome_are_told() {
        let ok = tcp("10.0.0.1", "10.0.0.2", 80);
        assert_eq!(line(&ok, None), "tcp 10.0.0.1:40000 -> 10.0.0.2:80 ok after 1.234ms");
        let refused =
            Connect { result: Some(ConnectOutcome::Refused), errno: Some(Errno(111)), ..ok.clone() };
        assert!(line(&refused, None).ends_with("10.0.0.2:80 refused after 1.234ms"));
        let lost = Connect { result: Some(ConnectOutcome::Unreachable), errno: Some(Errno(113)), ..ok };
        assert!(line(&lost, None).ends_with("unreachable EHOSTUNREACH after 1.234ms"));
    }

    #[test]
    fn names_of_unix_sockets_are_words() {
        let unix = |remote| Connect {
            family: AddressFamily::UNIX,
            socket_type: 1,
            remote: Some(remote),
            result: Some(ConnectOutcome::Ok),
            ..Connect::default()
        };
        assert_eq!(line(&unix(Endpoint::Path(Text::from("/run/a b"))), None), "stream \"/run/a b\" ok");
        assert_eq!(line(&unix(Endpoint::Abstract(Text::from("\x1b"))), None), "stream @\\x1b ok");
    }

    #[test]
    fn the_own_address_gives_way_before_the_others_and_the_outcome_stays() {
        let long = tcp("2001:db8:1111:2222::1", "2001:db8:3333:4444::2", 443);
        let whole = line(&long, None);
        let remote = "-> [2001:db8:3333:4444::2]:443 ok after 1.234ms";
        assert!(whole.ends_with(remote), "{whole}");
        let mut lines = Lines::new(false, Some(110));
        // What stands before the detail.
        lines.out = " ".repeat(50);
        lines.connect(&long);
        let cuts = std::mem::take(&mut lines.cuts);
        lines.columns.fit(&mut lines.out, 0, &cuts);
        let short = lines.out.trim_start();
        assert!(short.ends_with(remote) && short.starts_with("tcp [2001:"), "{short}");
        assert_eq!(fit::width(&lines.out), 110);
    }

    #[test]
    fn a_narrow_line_has_the_others_address_the_outcome_and_a_short_latency() {
        let long = tcp("2001:db8:1111:2222::1", "2001:db8:3333:4444::2", 443);
        assert_eq!(line(&long, Some(60)), "tcp [2001:db8:3333:4444::2]:443 ok 1ms");
        let short = line(&long, Some(30));
        assert!(short.starts_with("tcp [2001") && short.ends_with("]:443 ok 1ms"), "{short}");
    }
}
