//! Compares each crate's public items with its snapshot; `UPDATE_API=1` writes it anew.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use public_api::Builder;

#[test]
fn what_the_core_shows_is_what_its_snapshot_says() {
    compare("redis-entraid-core", "core");
}

#[test]
fn what_clients_share_is_what_its_snapshot_says() {
    compare("redis-entraid-client", "client");
}

#[test]
fn what_the_tokio_host_shows_is_what_its_snapshot_says() {
    compare("redis-entraid", "tokio");
}

#[test]
fn what_the_wasi_host_shows_is_what_its_snapshot_says() {
    compare("redis-entraid-wasi", "wasi");
}

#[test]
fn what_the_embassy_host_shows_is_what_its_snapshot_says() {
    compare("redis-entraid-embassy", "embassy");
}

#[test]
fn what_tls_shows_is_what_its_snapshot_says() {
    compare("redis-entraid-tls", "tls");
}

#[test]
fn no_host_shows_a_name_at_its_root_that_a_glob_import_would_take_from_the_language() {
    const TAKEN: [&str; 7] = ["core", "std", "alloc", "proc_macro", "test", "Result", "Option"];
    for host in ["tokio", "wasi", "embassy"] {
        let shown = fs::read_to_string(snapshot(host)).unwrap();
        for line in shown.lines() {
            let path = line.split_once("redis_entraid").and_then(|(_, path)| path.split_once("::"));
            let name = path.and_then(|(_, name)| name.split(['<', '(', ' ']).next());
            assert!(!name.is_some_and(|name| TAKEN.contains(&name)), "{host}: {line}");
        }
    }
}

/// Where it is kept what the crate `name` shows.
fn snapshot(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name).with_extension("txt")
}

fn compare(package: &str, name: &str) {
    let json = documented(package);
    let api = Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()
        .expect("rustdoc's JSON is of another version than the library `public-api` reads");
    let shown: String = api.items().map(|item| format!("{item}\n")).collect();
    let file = snapshot(name);
    if env::var_os("UPDATE_API").is_some() {
        return fs::write(file, shown).unwrap();
    }
    let kept = fs::read_to_string(&file).unwrap_or_default();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (shown, kept) = (lines(&shown), lines(&kept));
    let gone = kept.iter().filter(|line| !shown.contains(line)).map(|line| format!("- {line}\n"));
    let new = shown.iter().filter(|line| !kept.contains(line)).map(|line| format!("+ {line}\n"));
    let changes: String = gone.chain(new).collect();
    assert!(
        shown == kept,
        "the public API of {package} has changed:\n{changes}if it should have, run \
         UPDATE_API=1 cargo test --package public-api-snapshots, and commit {}",
        file.display(),
    );
}

/// Where rustdoc has written what it knows of `package`.
///
/// Its JSON is unstable, so that the compiler has to be told that this is meant. It builds in a folder
/// of its own: with that variable, all else would be built anew.
fn documented(package: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rustdoc");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["rustdoc", "--locked", "--quiet", "--lib", "--all-features", "--package", package]);
    cargo.args(["--target-dir".as_ref(), target.as_os_str()]);
    cargo.args(["--", "-Zunstable-options", "--output-format=json", "--cap-lints=allow"]);
    let status = cargo.env("RUSTC_BOOTSTRAP", "1").status().expect("there is no cargo");
    assert!(status.success(), "rustdoc fails for {package}");
    target.join("doc").join(package.replace('-', "_")).with_extension("json")
}
