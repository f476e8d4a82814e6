//! The figures of one run.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Failure;
use super::fleet::Fleet;

/// What one scenario measured at one server.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// Which server.
    pub target: String,
    /// Which scenario and size, such as `rate-1000`.
    pub scenario: String,
    /// By name; the name ends with the unit.
    pub figures: BTreeMap<String, f64>,
}

impl Report {
    pub fn new(scenario: impl Into<String>) -> Report {
        Report { target: String::new(), scenario: scenario.into(), figures: BTreeMap::new() }
    }

    pub fn set(&mut self, name: &str, value: f64) {
        self.figures.insert(name.to_owned(), value);
    }

    /// A share or rate, left out when there is nothing to divide by.
    pub fn set_ratio(&mut self, name: &str, value: f64, by: f64) {
        if by > 0.0 {
            self.set(name, value / by);
        }
    }

    /// What arrived of what was published.
    pub fn set_delivered(&mut self, fleet: &Fleet, missing: u64) {
        self.set("delivered", fleet.tally.delivered as f64);
        self.set("lost", missing as f64);
        self.set("repeated", fleet.tally.repeated as f64);
        self.set_ratio("frame_bytes", fleet.tally.frame_bytes as f64, fleet.tally.delivered as f64);
    }

    /// Whether nothing was lost, doubled or out of order.
    pub fn is_whole(&self) -> bool {
        !["lost", "repeated"].iter().any(|name| self.figures.get(*name).is_some_and(|count| *count > 0.0))
    }

    pub fn save(&self, path: &Path) -> Result<(), Failure> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()).into())
    }

    pub fn load(path: &Path) -> Result<Report, Failure> {
        let text = fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        serde_json::from_str(&text).map_err(|error| format!("{} holds no report: {error}", path.display()).into())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} · {}", self.scenario, self.target)?;
        for (name, value) in &self.figures {
            writeln!(f, "  {name:<36} {}", Shown(*value))?;
        }
        Ok(())
    }
}

/// A figure with as many digits as it is worth.
pub struct Shown(pub f64);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0;
        if value.abs() >= 1_000.0 {
            let digits = format!("{:.0}", value.abs());
            if value < 0.0 {
                f.write_str("-")?;
            }
            for (at, digit) in digits.chars().enumerate() {
                if at > 0 && (digits.len() - at).is_multiple_of(3) {
                    f.write_str(",")?;
                }
                write!(f, "{digit}")?;
            }
            Ok(())
        } else if value.abs() >= 100.0 || value.fract() == 0.0 {
            write!(f, "{value:.0}")
        } else if value.abs() >= 10.0 {
            write!(f, "{value:.1}")
        } else {
            write!(f, "{value:.2}")
        }
    }
}

/// A duration as a figure in milliseconds.
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A duration as a figure in microseconds.
pub fn microseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_shows_the_digits_it_is_worth() {
        let shown: Vec<String> =
            [2_983_417.4, 1_000.0, 133.4, 12.34, 5.678, 0.0, 64.0].map(|value| Shown(value).to_string()).into();
        assert_eq!(shown, ["2,983,417", "1,000", "133", "12.3", "5.68", "0", "64"]);
    }

    #[test]
    fn a_report_with_losses_is_not_whole() {
        let mut report = Report::new("rate-10");
        report.set("lost", 0.0);
        assert!(report.is_whole());
        report.set("repeated", 1.0);
        assert!(!report.is_whole());
    }
}
