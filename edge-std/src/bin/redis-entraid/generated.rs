//! `completions` and `man`: what is made of the command line's description.

use std::io::Write;

use clap::CommandFactory;
use clap_mangen::Man;
use serde_json::json;

use crate::arguments::{Arguments, Completions};
use crate::failure::Failure;
use crate::output::Output;

const NAME: &str = "redis-entraid";

/// Prints a script that completes this program's arguments in a shell.
pub(crate) fn completions(options: &Completions, output: &Output) -> Result<(), Failure> {
    let shell = options.shell;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), NAME, &mut script);
    if output.json {
        let script = String::from_utf8_lossy(&script);
        output.line(json!({ "shell": shell.to_string(), "script": script }))?;
    } else {
        output.raw(&script)?;
    }
    Ok(())
}

/// Prints the manual page, with those of the subcommands behind it.
pub(crate) fn man(output: &Output) -> Result<(), Failure> {
    let mut page = Vec::new();
    let mut command = Arguments::command();
    command.build();
    Man::new(command.clone()).render(&mut page)?;
    for part in command.get_subcommands() {
        let manual = Man::new(part.clone());
        writeln!(page, ".SH \"{NAME} {}\"", part.get_name())?;
        manual.render_description_section(&mut page)?;
        manual.render_options_section(&mut page)?;
    }
    if output.json {
        output.line(json!({ "page": String::from_utf8_lossy(&page) }))?;
    } else {
        output.raw(&page)?;
    }
    Ok(())
}
