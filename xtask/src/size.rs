//! How large it is, and where the bytes are.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use rustc_demangle::demangle;

use crate::devices::Measured;
use crate::targets::{component, firmwares, named_component};
use crate::tools::Result;
use crate::wasm;
use crate::{devices, elf};

/// Components: what they are, and the features of `tests/sizes/wasi`.
const COMPONENTS: [(&str, &str); 6] = [
    ("plain", ""),
    ("with HTTP", "http"),
    ("with TLS (P-256)", "tls-p256"),
    ("with TLS (P-256, RSA)", "tls-rsa"),
    ("with TLS (all chains)", "tls"),
    ("with HTTP and TLS (all chains)", "http,tls"),
];

/// Prints the sizes of what is for devices.
pub(crate) fn devices() -> Result<()> {
    let (parts, gateways) = (devices::parts()?, devices::run_gateways()?);
    println!("\n{:34} {:>9} {:>9} {:>9}", "on a Cortex-M3", "flash", "RAM", "stack");
    let row = |what: &str, flash: u32, ram: u32, stack: Option<u32>| {
        let stack = stack.map(|stack| stack.to_string()).unwrap_or_default();
        println!("{what:34} {flash:>9} {ram:>9} {stack:>9}");
    };
    for Measured { what, flash, ram, stack, .. } in parts.iter().chain(&gateways) {
        row(what, *flash, *ram, *stack);
    }
    for (what, features) in [("at s (P-256, RSA)", "rsa"), ("at s (P-256)", "")] {
        let built = firmwares("examples/gateway-qemu", features, Some("s"))?;
        let file = std::fs::read(built.path.join("gateway-qemu"));
        let file = file.map_err(|error| error.to_string())?;
        let memory = elf::memory(&file).ok_or("it is no firmware")?;
        row(what, memory.flash, memory.ram, None);
    }
    println!("parts of the core, at opt-level s, are without buffers and an empty firmware");
    println!("the gateway, at opt-level z where nothing else is said, is all there is in it");
    println!("\nbytes of functions by crate");
    for Measured { what, functions, .. } in parts.iter().chain(&gateways) {
        show(what, &by_crate(functions));
    }
    println!("\nthe largest functions");
    for Measured { what, functions, .. } in parts.iter().skip(1) {
        let name = |(name, bytes): &wasm::Function| (format!("{:#}", demangle(name)), *bytes);
        let mut functions: Vec<_> = functions.iter().map(name).collect();
        functions.sort_by_key(|(_, bytes)| core::cmp::Reverse(*bytes));
        show(what, &functions);
    }
    Ok(())
}

/// The largest of what is known by name.
fn show(what: &str, sizes: &[(String, usize)]) {
    println!("{what}:");
    for (name, bytes) in sizes.iter().take(14) {
        println!("    {bytes:>9}  {name}");
    }
}

/// Prints the sizes of what is for WASI and JavaScript.
pub(crate) fn components() -> Result<()> {
    println!("\n{:34} {:>9} {:>9}", "component", "bytes", "gzip");
    let mut shares = Vec::new();
    let package = crate::npm::package()?;
    for (what, files) in [
        ("npm: module", &["redis_entraid_js_bg.wasm"][..]),
        ("npm: module and its bindings", &["redis_entraid_js_bg.wasm", "redis_entraid_js.js"]),
    ] {
        let (mut bytes, mut small) = (0, 0);
        for file in files {
            let read = std::fs::read(package.folder.join("wasm").join(file));
            let read = read.map_err(|error| error.to_string())?;
            (bytes, small) = (bytes + read.len(), small + gzip(&read)?);
        }
        println!("{what:34} {bytes:>9} {small:>9}");
    }
    for (what, features) in COMPONENTS {
        let built = component("tests/sizes/wasi", features)?;
        let bytes = std::fs::read(&built.path).map_err(|error| error.to_string())?;
        println!("{what:34} {:>9} {:>9}", bytes.len(), gzip(&bytes)?);
        let named = named_component("tests/sizes/wasi", features)?;
        let named = std::fs::read(&named.path).map_err(|error| error.to_string())?;
        let functions = wasm::functions(&named).ok_or("its functions can't be read")?;
        shares.push((what, by_crate(&functions)));
    }
    println!("\nbytes of code by crate, before the names were taken away");
    for (what, share) in shares {
        show(what, &share);
    }
    Ok(())
}

fn gzip(bytes: &[u8]) -> Result<usize> {
    let mut child = Command::new("gzip")
        .args(["-9", "-c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("gzip: {error}"))?;
    let mut stdin = child.stdin.take().expect("it is piped");
    let bytes = bytes.to_vec();
    let writing = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    writing.join().expect("it doesn't panic").map_err(|error| error.to_string())?;
    Ok(output.stdout.len())
}

/// The bytes of each crate's functions, the largest first.
fn by_crate(functions: &[wasm::Function]) -> Vec<(String, usize)> {
    let mut crates: BTreeMap<String, usize> = BTreeMap::new();
    for (name, bytes) in functions {
        *crates.entry(crate_of(name)).or_default() += bytes;
    }
    let mut crates: Vec<_> = crates.into_iter().collect();
    crates.sort_by_key(|(_, bytes)| core::cmp::Reverse(*bytes));
    crates
}

/// The crate of a function. One of another crate's, made for a type or a closure of ours, counts as
/// ours.
fn crate_of(mangled: &str) -> String {
    let name = format!("{:#}", demangle(mangled));
    let is_word = |byte: char| byte.is_ascii_alphanumeric() || byte == '_';
    let mut crates = name.match_indices("::").map(|(at, _)| {
        let before = &name[..at];
        &before[before.rfind(|byte| !is_word(byte)).map_or(0, |at| at + 1)..]
    });
    let ours = crates.clone().find(|name| name.starts_with("redis_entraid"));
    match ours.or_else(|| crates.next()) {
        // A method of a type of the language itself.
        Some("") => "core",
        Some(name) => name,
        None => "(exports and the rest)",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_belongs_to_the_crate_that_it_was_made_for() {
        let name = "_ZN4core3ptr61drop_in_place$LT$redis_entraid_core..client..error..Error$GT$17h6e04c027abc7c490E";
        assert_eq!(crate_of(name), "redis_entraid_core");
        assert_eq!(crate_of("_RNvNtCs9pv848UzQwQ_4core3fmt5write"), "core");
        assert_eq!(crate_of("cabi_realloc"), "(exports and the rest)");
    }
}
