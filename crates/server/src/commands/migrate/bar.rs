//! How far it is: a bar that is drawn over itself where a person looks, else a line now and then.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::commands::job::show;

/// How often a bar is drawn.
const DRAWN_EVERY: Duration = Duration::from_millis(100);

/// How often a line is written.
const WRITTEN_EVERY: Duration = Duration::from_secs(5);

/// How wide the bar is.
const COLUMNS: usize = 24;

/// Goes from one place of the log to another.
pub(super) struct Bar {
    label: &'static str,
    from: u64,
    to: u64,
    at: u64,
    /// Where it was when the first step was told: a run that goes on is not that fast.
    begun_at: Option<u64>,
    begun: Instant,
    shown: Instant,
    is_terminal: bool,
}

impl Bar {
    pub fn new(label: &'static str, from: u64, to: u64) -> Self {
        let now = Instant::now();
        let is_terminal = std::io::stderr().is_terminal();
        Bar { label, from, to, at: from, begun_at: None, begun: now, shown: now, is_terminal }
    }

    /// It is at this place.
    pub fn step(&mut self, at: u64) {
        self.begun_at.get_or_insert(at);
        self.at = at;
        let every = if self.is_terminal { DRAWN_EVERY } else { WRITTEN_EVERY };
        if self.shown.elapsed() >= every {
            self.shown = Instant::now();
            self.show();
        }
    }

    /// It is over.
    pub fn end(mut self) {
        self.at = self.to;
        self.show();
        if self.is_terminal {
            eprintln!();
        }
    }

    fn show(&self) {
        let line = self.line(self.begun.elapsed());
        let mut out = std::io::stderr().lock();
        // Whoever looked may have gone.
        let _ = match self.is_terminal {
            true => write!(out, "\r\x1b[K{line}").and_then(|()| out.flush()),
            false => writeln!(out, "{line}"),
        };
    }

    fn line(&self, elapsed: Duration) -> String {
        let (done, all) = (self.at - self.from.min(self.at), self.to - self.from.min(self.to));
        let fraction = if all == 0 { 1.0 } else { done as f64 / all as f64 };
        let moved = self.at.saturating_sub(self.begun_at.unwrap_or(self.from));
        let rate = moved as f64 / elapsed.as_secs_f64().max(0.001);
        format!("{}  {}: {done} of {all}, {rate:.0}/s", show::bar(fraction, COLUMNS), self.label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is_and_how_fast() {
        let mut bar = Bar::new("Moving events", 100, 300);
        bar.step(150);
        bar.step(200);
        assert_eq!(
            bar.line(Duration::from_secs(2)),
            "[############............]  50 %  Moving events: 100 of 200, 25/s"
        );
        let nothing = Bar::new("Moving events", 7, 7).line(Duration::from_secs(1));
        assert!(nothing.contains("100 %") && nothing.contains("0 of 0, 0/s"), "{nothing}");
    }
}
