//! `completions` and `man`

use crate::program::Program;

const COMMANDS: [&str; 7] = ["completions", "doctor", "man", "ping", "run", "token", "watch"];

#[test]
fn each_shell_gets_a_script_that_knows_all_subcommands() {
    let program = Program::with(Vec::new());
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = program.run(&["completions", shell]).exits(0);
        for command in COMMANDS {
            assert!(ran.out.contains(command), "{shell}: {command}");
        }
        let json = program.run(&["completions", shell, "--json"]).exits(0).json();
        assert_eq!(json["script"].as_str(), Some(&*ran.out));
    }
    program.run(&["completions", "csh"]).exits(2);
}

#[test]
fn the_manual_page_describes_all_subcommands_and_exit_codes() {
    let program = Program::with(Vec::new());
    let page = program.run(&["man"]).exits(0).out;
    for command in COMMANDS {
        assert!(page.contains(&format!(".SH \"redis-entraid {command}\"")), "{command}: {page}");
    }
    assert!(page.contains("Exit codes"), "{page}");
    let json = program.run(&["man", "--json"]).exits(0).json();
    assert_eq!(json["page"].as_str(), Some(&*page));
}

#[test]
fn the_readme_has_the_exit_codes_and_the_subcommands_of_the_help() {
    let readme = include_str!("../../README.md");
    let help = Program::with(Vec::new()).run(&["--help"]).exits(0).out;
    let codes = help.split("Exit codes:").nth(1).unwrap().trim().lines();
    for (expected, line) in codes.enumerate() {
        let (code, meaning) = line.trim().split_once("  ").unwrap();
        assert_eq!(code, expected.to_string());
        assert!(readme.contains(&format!("| {code} | {meaning} |")), "{line}");
    }
    for command in COMMANDS {
        assert!(readme.contains(&format!("`{command}")), "{command}");
    }
}
