//! The steps as they are checked, for a person at once, and for a program at the end.

use serde_json::{Value, json};

use super::problem::Step;
use crate::output::{Output, Tone, wrapped};

/// As wide as what is printed below the steps.
pub(crate) const WIDTH: usize = 88;

/// What each step has shown.
pub(crate) struct Report<'o> {
    output: &'o Output,
    steps: Vec<Value>,
    printed: std::io::Result<()>,
}

impl<'o> Report<'o> {
    /// Before the first step.
    pub(crate) const fn new(output: &'o Output) -> Self {
        Self { output, steps: Vec::new(), printed: Ok(()) }
    }

    /// A step works, and shows this.
    pub(crate) fn good(&mut self, step: Step, saw: &str) {
        self.step(step, true, saw);
    }

    /// A step fails, and shows this.
    pub(crate) fn bad(&mut self, step: Step, saw: &str) {
        self.step(step, false, saw);
    }

    fn step(&mut self, step: Step, is_good: bool, saw: &str) {
        if self.output.json {
            self.steps.push(json!({ "step": step.name(), "ok": is_good, "saw": saw }));
        } else if self.printed.is_ok() {
            self.printed = self.line(step, is_good, saw);
        }
    }

    /// All steps; or why they couldn't be printed.
    pub(crate) fn end(self) -> std::io::Result<Vec<Value>> {
        self.printed.map(|()| self.steps)
    }

    fn line(&self, step: Step, is_good: bool, saw: &str) -> std::io::Result<()> {
        let output = self.output;
        let mark = match is_good {
            true => output.paint(Tone::Good, "ok  "),
            false => output.paint(Tone::Bad, "FAIL"),
        };
        let mut lines = wrapped(saw, WIDTH).into_iter();
        let first = lines.next().unwrap_or_default();
        output.line(format_args!("{mark}  {:<11}  {first}", step.name()))?;
        for more in lines {
            output.line(format_args!("{:19}{more}", ""))?;
        }
        Ok(())
    }
}
