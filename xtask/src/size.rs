//! How large it is, and where the bytes are.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use rustc_demangle::demangle;

use crate::devices::Measured;
use crate::targets::{component, firmwares, named_component};
use crate::tools::Result;
use crate::wasm;
use crate::{devices, elf, npm};

/// Components: what they are, and the features of `tests/sizes/wasi`.
const COMPONENTS: [(&str, &str); 6] = [
    ("plain", ""),
    ("with HTTP", "http"),
    ("with TLS (P-256)", "tls-p256"),
    ("with TLS (P-256, RSA)", "tls-rsa"),
    ("with TLS (all chains)", "tls"),
    ("with HTTP and TLS (all chains)", "http,tls"),
];

/// The modules of the npm package, and what they may have with their bindings, compressed: a little
/// more than they have. Of that, 3.9 and 3.6 KB are the certificates and federated tokens of
/// applications, and of the client 36 KB are clusters.
const MODULES: [(&str, usize); 2] = [("client", 168_500), ("tokens", 54_600)];

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
    let package = npm::package()?;
    for (name, _) in MODULES {
        let of = |file: String| of_file(&package.folder.join("wasm").join(file));
        let (module, glue) = (of(format!("{name}.wasm"))?, of(format!("{name}.js"))?);
        println!("{:34} {:>9} {:>9}", format!("npm: {name}"), module.bytes, module.gzip);
        let (bytes, gzip) = (module.bytes + glue.bytes, module.gzip + glue.gzip);
        println!("{:34} {bytes:>9} {gzip:>9}", format!("npm: {name} and its bindings"));
        let named = std::fs::read(npm::module(name, true)?.path);
        let named = named.map_err(|error| error.to_string())?;
        let functions = wasm::module_functions(&named).ok_or("its functions can't be read")?;
        shares.push((format!("npm: {name}"), by_crate(&functions)));
    }
    for (what, features) in COMPONENTS {
        let built = component("tests/sizes/wasi", features)?;
        let bytes = std::fs::read(&built.path).map_err(|error| error.to_string())?;
        println!("{what:34} {:>9} {:>9}", bytes.len(), gzip(&bytes)?);
        let named = named_component("tests/sizes/wasi", features)?;
        let named = std::fs::read(&named.path).map_err(|error| error.to_string())?;
        let functions = wasm::functions(&named).ok_or("its functions can't be read")?;
        shares.push((what.to_owned(), by_crate(&functions)));
    }
    println!("\nbytes of code by crate, before the names were taken away");
    for (what, share) in shares {
        show(&what, &share);
    }
    Ok(())
}

/// A file, as it is and as it is sent.
struct Size {
    bytes: usize,
    gzip: usize,
}

fn of_file(path: &Path) -> Result<Size> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Size { bytes: bytes.len(), gzip: gzip(&bytes)? })
}

/// Checks that no module of the npm package has grown: with its bindings, compressed, it is not
/// larger than its [ceiling](MODULES).
pub(crate) fn ceilings(package: &Path) -> Result<u32> {
    for (name, ceiling) in MODULES {
        let of = |file: String| of_file(&package.join("wasm").join(file));
        let gzip = of(format!("{name}.wasm"))?.gzip + of(format!("{name}.js"))?.gzip;
        println!("npm: {name} and its bindings: {gzip} bytes of gzip, at most {ceiling}");
        if gzip > ceiling {
            return Err(format!("{name} has grown to {gzip} bytes"));
        }
    }
    Ok(MODULES.len() as u32)
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
