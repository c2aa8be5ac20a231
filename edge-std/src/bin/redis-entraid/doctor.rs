//! `doctor`: all from the environment to the server, step by step; and for the first step that fails, why and
//! what to do.

mod az;
mod database;
mod diagnosis;
mod problem;
mod steps;
mod tls;

use serde_json::{Value, json};

use crate::arguments::{Doctor, Target};
use crate::failure::Failure;
use crate::output::{Output, Tone, wrapped};
use diagnosis::{Diagnosis, diagnose};
use problem::{Known, Problem, Step};

/// As wide as what is printed below the steps.
const WIDTH: usize = 88;

/// Checks the steps, and prints what comes of them.
pub(crate) async fn run(target: &Target, options: &Doctor, output: &Output) -> Result<(), Failure> {
    let mut known = Known::default();
    let mut steps = Vec::new();
    let mut printed = Ok(());
    let checked = steps::check(target, options, &mut known, &mut |step, saw| {
        if output.json {
            steps.push(json!({ "step": step.name(), "ok": true, "saw": saw }));
        } else if printed.is_ok() {
            printed = line(output, step, true, &saw);
        }
    })
    .await;
    printed?;
    let found = checked.as_ref().err().map(|problem| (problem, diagnose(problem, &known)));
    if output.json {
        if let Some((problem, _)) = &found {
            let (step, saw) = (problem.step().name(), problem.to_string());
            steps.push(json!({ "step": step, "ok": false, "saw": saw }));
        }
        let problem = found.as_ref().map(|(problem, diagnosis)| as_json(problem, diagnosis));
        let healthy = problem.is_none();
        let Known { host, port, .. } = &known;
        output.line(json!({
            "host": host, "port": port, "healthy": healthy, "steps": steps, "problem": problem,
        }))?;
    } else if let Some((problem, diagnosis)) = &found {
        line(output, problem.step(), false, &problem.to_string())?;
        print(output, diagnosis)?;
    }
    match found {
        Some((problem, _)) => Err(Failure::Said(problem.exit())),
        None => Ok(()),
    }
}

fn line(output: &Output, step: Step, is_good: bool, saw: &str) -> std::io::Result<()> {
    let mark =
        if is_good { output.paint(Tone::Good, "ok  ") } else { output.paint(Tone::Bad, "FAIL") };
    let mut lines = wrapped(saw, WIDTH).into_iter();
    let first = lines.next().unwrap_or_default();
    output.line(format_args!("{mark}  {:<11}  {first}", step.name()))?;
    for more in lines {
        output.line(format_args!("{:19}{more}", ""))?;
    }
    Ok(())
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
