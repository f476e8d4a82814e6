//! The text format of Prometheus: lines of names, labels and values.

use std::fmt::Write as _;

/// The text so far.
#[derive(Default)]
pub struct Text(String);

/// One metric, of which samples are written.
pub struct Metric<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Text {
    /// A figure that only grows.
    pub fn counter(&mut self, name: &'static str, help: &str) -> Metric<'_> {
        self.metric(name, "counter", help)
    }

    /// A figure that goes up and down.
    pub fn gauge(&mut self, name: &'static str, help: &str) -> Metric<'_> {
        self.metric(name, "gauge", help)
    }

    fn metric(&mut self, name: &'static str, kind: &str, help: &str) -> Metric<'_> {
        // Writing to a String does not fail, here and below.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Metric { text: &mut self.0, name }
    }

    /// The text.
    pub fn finish(self) -> String {
        self.0
    }
}

impl Metric<'_> {
    /// The one sample of a metric without labels.
    pub fn value(self, value: u64) {
        let _ = writeln!(self.text, "{} {value}", self.name);
    }

    /// The one sample, in seconds.
    pub fn seconds(self, value: f64) {
        let _ = writeln!(self.text, "{} {value}", self.name);
    }

    /// A sample with labels.
    pub fn sample(self, labels: &[(&str, &str)], value: u64) -> Self {
        let _ = write!(self.text, "{}{{", self.name);
        for (index, (name, value)) in labels.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let _ = write!(self.text, "{comma}{name}=\"{}\"", escape(value));
        }
        let _ = writeln!(self.text, "}} {value}");
        self
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_can_hold_anything_and_stays_one_line() {
        let mut text = Text::default();
        text.gauge("a", "What it is.").sample(&[("x", "q\"b\\n\nz"), ("y", "")], 3);
        assert_eq!(text.finish(), "# HELP a What it is.\n# TYPE a gauge\na{x=\"q\\\"b\\\\n\\nz\",y=\"\"} 3\n");
    }
}
