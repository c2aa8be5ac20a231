//! `doctor`: all from the environment to the server, step by step; and for the first step that fails, why and
//! what to do.

mod az;
mod database;
mod diagnosis;
mod machine;
mod problem;
mod report;
mod steps;
mod tls;

use serde_json::{Value, json};

use crate::arguments::{Doctor, Target};
use crate::failure::Failure;
use crate::output::{Output, Tone, wrapped};
use diagnosis::{Diagnosis, diagnose};
use problem::{Known, Problem};
use report::{Report, WIDTH};

/// Checks the steps, and prints what comes of them.
pub(crate) async fn run(target: &Target, options: &Doctor, output: &Output) -> Result<(), Failure> {
    let mut known = Known::default();
    let mut report = Report::new(output);
    let checked = steps::check(target, options, &mut known, &mut report).await;
    let found = checked.as_ref().err().map(|problem| (problem, diagnose(problem, &known)));
    // A wrong clock was shown where it was seen.
    if let Some((problem, _)) = found.as_ref().filter(|(it, _)| !matches!(it, Problem::Clock(_))) {
        report.bad(problem.step(), &problem.to_string());
    }
    let printed =
        end(report, &known, found.as_ref().map(|(it, diagnosis)| (*it, diagnosis)), output);
    match found {
        // That nobody reads it makes nothing well.
        Some((problem, _)) => Err(Failure::Said(problem.exit())),
        None => Ok(printed?),
    }
}

fn end(
    report: Report<'_>,
    known: &Known,
    found: Option<(&Problem, &Diagnosis)>,
    output: &Output,
) -> std::io::Result<()> {
    let steps = report.end()?;
    if output.json {
        let host = Some(&known.host).filter(|host| !host.is_empty());
        let port = Some(known.port).filter(|port| *port != 0);
        let problem = found.map(|(problem, diagnosis)| as_json(problem, diagnosis));
        let healthy = problem.is_none();
        output.line(json!({
            "host": host, "port": port, "healthy": healthy, "steps": steps, "problem": problem,
        }))
    } else {
        found.map_or(Ok(()), |(_, diagnosis)| print(output, diagnosis))
    }
}

fn print(output: &Output, diagnosis: &Diagnosis) -> std::io::Result<()> {
    let part = |name: &str, text: &str| {
        for (at, line) in wrapped(text, WIDTH).iter().enumerate() {
            let name = output.paint(Tone::Faint, if at == 0 { name } else { "     " });
            output.line(format_args!("{name}  {line}"))?;
        }
        Ok::<_, std::io::Error>(())
    };
    output.line("")?;
    part("cause", &diagnosis.cause)?;
    part("do   ", &diagnosis.advice)?;
    let Some(command) = &diagnosis.command else { return Ok(()) };
    output.line("")?;
    for line in command.lines(WIDTH) {
        output.line(format_args!("       {line}"))?;
    }
    Ok(())
}

fn as_json(problem: &Problem, diagnosis: &Diagnosis) -> Value {
    json!({
        "step": problem.step().name(),
        "saw": problem.to_string(),
        "cause": diagnosis.cause,
        "advice": diagnosis.advice,
        "command": diagnosis.command.as_ref().map(az::Command::line),
    })
}
