//! Checks, and how many of them there were.

use std::process::Command;

use crate::tools::{Output, Result, attempt, cargo, run};

/// How many checks there were.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) passed: u32,
    pub(super) failed: u32,
    pub(super) skipped: u32,
    /// Something was compiled or fetched for it.
    pub(super) built: bool,
}

impl Counts {
    /// One check that passed.
    pub(super) fn one() -> Self {
        Self { passed: 1, ..Self::default() }
    }

    pub(super) fn add(&mut self, more: Self) {
        self.passed += more.passed;
        self.failed += more.failed;
        self.skipped += more.skipped;
        self.built |= more.built;
    }
}

impl From<&Output> for Counts {
    /// What the lines `test result: ok. 3 passed; 0 failed; 1 ignored; ...` add up to.
    fn from(output: &Output) -> Self {
        let mut counts = Self { built: output.built, ..Self::default() };
        for line in output.text.lines().filter(|line| line.starts_with("test result: ")) {
            let number = |what| {
                let before = line.split(what).next().unwrap_or_default();
                before.rsplit([' ', '.']).next().and_then(|n| n.parse::<u32>().ok()).unwrap_or(0)
            };
            counts.passed += number(" passed");
            counts.failed += number(" failed");
            counts.skipped += number(" ignored");
        }
        if let Some(failure) = &output.failure {
            println!("{failure}");
            // Something else than a test may have failed.
            counts.failed = counts.failed.max(1);
        }
        counts
    }
}

/// Runs a command as one check.
pub(super) fn check(command: &mut Command) -> Result<Counts> {
    Ok(Counts { built: run(command)?.built, ..Counts::one() })
}

/// Runs tests, each of which is a check.
pub(super) fn tests(args: &[&str]) -> Result<Counts> {
    let mut command = cargo(&[&["test", "--no-fail-fast"], args].concat());
    Ok(Counts::from(&attempt(own(&mut command))?))
}

/// Takes away what the user's environment says of a server, an identity and the way to it: the checks
/// bring their own.
pub(super) fn own(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        let ours = name.to_str().is_some_and(|name| {
            ["REDIS_", "AZURE_", "IDENTITY_", "MSI_", "IMDS_"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
                || name.to_ascii_uppercase().ends_with("_PROXY")
        });
        if ours {
            command.env_remove(name);
        }
    }
    command
}
