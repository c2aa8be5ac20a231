//! How large the core is on a device: the firmwares of `tests/sizes/device`, which are run, so that
//! what is measured works.

use std::process::Command;

use crate::elf;
use crate::targets::firmwares;
use crate::tools::{Result, debian, quietly};
use crate::wasm::Function;

/// What a part of the core takes, besides what a firmware takes without it.
pub(crate) struct Part {
    /// What it is, with those before it.
    pub(crate) what: &'static str,
    /// Bytes of flash.
    pub(crate) flash: u32,
    /// Bytes of RAM, besides buffers.
    pub(crate) ram: u32,
    /// Bytes of the stack, at the most.
    pub(crate) stack: u32,
    /// Bytes of buffers, as large as they were chosen.
    pub(crate) buffers: u32,
    /// Its functions.
    pub(crate) functions: Vec<Function>,
}

/// The firmwares, of which each has more than the one before.
const FIRMWARES: [(&str, &str); 5] = [
    ("empty", "empty firmware"),
    ("tokens", "token manager, JSON and JWT"),
    ("login", "+ RESP and the login"),
    ("commands", "+ a connection with commands"),
    ("source", "+ a managed identity over HTTP"),
];

/// Builds, runs and measures the firmwares. The first one is empty, and what it takes is taken off
/// the others.
pub(crate) fn parts() -> Result<Vec<Part>> {
    debian(&["qemu-system-arm"], &["qemu-system-arm"])?;
    let folder = firmwares("tests/sizes/device", "", None)?.path;
    let mut parts: Vec<Part> = Vec::new();
    for (program, what) in FIRMWARES {
        let path = folder.join(program);
        let file = std::fs::read(&path).map_err(|error| error.to_string())?;
        let memory = elf::memory(&file).ok_or("it is no firmware")?;
        let mut qemu = Command::new("timeout");
        qemu.args(["30", "qemu-system-arm", "-M", "mps2-an385", "-nographic", "-monitor", "none"]);
        qemu.args(["-serial", "none", "-chardev", "stdio,id=said"]);
        qemu.args(["-semihosting-config", "enable=on,target=native,chardev=said"]);
        let said = quietly(qemu.arg("-kernel").arg(&path))?;
        let number = |word: &str| {
            let mut lines = said.lines().filter_map(|line| line.split_once(' '));
            let found = lines.find(|(name, _)| *name == word).and_then(|(_, n)| n.parse().ok());
            found.ok_or_else(|| format!("{program} doesn't say its {word}"))
        };
        let (buffers, texts) = (number("buffers")?, number("texts")?);
        let (flash, ram) = parts.first().map_or((0, 0), |empty| (empty.flash, empty.ram));
        parts.push(Part {
            what,
            flash: memory.flash - texts - flash,
            ram: memory.ram - buffers - ram,
            stack: number("stack")?,
            buffers,
            functions: elf::functions(&file).ok_or("its functions can't be read")?,
        });
    }
    Ok(parts)
}
