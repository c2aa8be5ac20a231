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
