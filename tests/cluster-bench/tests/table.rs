//! That the program still runs: its figures are for people.

use std::process::Command;

#[test]
fn every_load_runs_on_both_clients_without_a_failure() {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_cluster-bench"));
    bench.args(["--rounds", "1", "--seconds", "0.2", "--changes", "0"]);
    let output = bench.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let table = String::from_utf8(output.stdout).unwrap();
    for load in ["1 task", "64 tasks", "pipelines of 100"] {
        let row = format!("| {load}: failed | 0 | 0 | 0 | 0 |");
        assert!(table.contains(&row), "{table}{said}");
        assert!(table.contains(&format!("| {load}: CPU, µs per command | ")), "{table}");
    }
    assert!(!table.contains("NaN"), "{table}");
}
