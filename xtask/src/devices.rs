//! How large things are on a device. What is measured is run, so that it is known to work.

use std::path::Path;
use std::process::Command;

use rustc_demangle::demangle;

use crate::elf::{self, Memory};
use crate::targets::{firmwares, gateways};
use crate::tools::{Result, cargo, debian, quietly};
use crate::wasm::Function;

/// What a firmware takes.
pub(crate) struct Measured {
    /// What it is.
    pub(crate) what: &'static str,
    /// Bytes of flash.
    pub(crate) flash: u32,
    /// Bytes of RAM; without the stack.
    pub(crate) ram: u32,
    /// Bytes of the stack, at the most, where that was measured.
    pub(crate) stack: Option<u32>,
    /// Its functions.
    pub(crate) functions: Vec<Function>,
    /// The most that it may take, so that it doesn't grow unseen: bytes of flash and of RAM.
    most: (u32, u32),
}

impl Measured {
    fn of(what: &'static str, firmware: &Path, most: (u32, u32)) -> Result<Self> {
        let file = std::fs::read(firmware).map_err(|error| error.to_string())?;
        let Memory { flash, ram } = elf::memory(&file).ok_or("it is no firmware")?;
        let functions = elf::functions(&file).ok_or("its functions can't be read")?;
        Ok(Self { what, flash, ram, stack: None, functions, most })
    }

    /// Says so if it takes more than it may.
    pub(crate) fn check(&self) -> Result<()> {
        let Self { what, flash, ram, most, .. } = self;
        if *flash <= most.0 && *ram <= most.1 {
            return Ok(());
        }
        Err(format!("{what}: {flash} bytes of flash and {ram} of RAM, at the most {most:?}"))
    }
}

/// The firmwares of `tests/sizes/device`, of which each has more than the one before, and the most
/// that they may take besides the first one, buffers, and what only the test is made of. The login
/// has 16 KiB and 1 KiB as its aim.
const PARTS: [(&str, &str, (u32, u32)); 5] = [
    ("empty", "an empty firmware", (2 * 1024, 0)),
    ("tokens", "token manager, JSON and JWT", (13_056, 1024)),
    ("login", "+ RESP and the login", (16 * 1024, 1024)),
    ("commands", "+ a connection with commands", (32_000, 1152)),
    ("source", "+ a managed identity over HTTP", (37_500, 1152)),
];

/// Builds, runs and measures the parts of the core.
pub(crate) fn parts() -> Result<Vec<Measured>> {
    debian(&["qemu-system-arm"], &["qemu-system-arm"])?;
    let folder = firmwares("tests/sizes/device", "", None)?.path;
    let mut parts: Vec<Measured> = Vec::new();
    for (program, what, most) in PARTS {
        let path = folder.join(program);
        let mut qemu = Command::new("timeout");
        qemu.args(["30", "qemu-system-arm", "-M", "mps2-an385", "-nographic", "-monitor", "none"]);
        qemu.args(["-serial", "none", "-chardev", "stdio,id=said"]);
        qemu.args(["-semihosting-config", "enable=on,target=native,chardev=said"]);
        let said = quietly(qemu.arg("-kernel").arg(&path))?;
        let mut part = Measured::of(what, &path, most)?;
        part.stack = Some(number(&said, "stack")?);
        let own = |(name, _): &Function| {
            let name = format!("{:#}", demangle(name));
            let name = name.trim_start_matches(['<', '&']);
            name.split_once("::").is_some_and(|(first, _)| [program, "device"].contains(&first))
        };
        part.flash -=
            part.functions.extract_if(.., |one| own(one)).map(|(_, len)| len as u32).sum::<u32>();
        if let Some(empty) = parts.first() {
            part.flash -= number(&said, "texts")? + empty.flash;
            part.ram -= number(&said, "buffers")? + empty.ram;
        }
        parts.push(part);
    }
    Ok(parts)
}

/// The gateway, as [`gateways`] has it: what it is, the test that shows what stack it takes, and the
/// most that it may take. With RSA that is 200 KiB of flash and 48 KiB of RAM.
const GATEWAYS: [(&str, &str, (u32, u32)); 2] = [
    (
        "gateway (P-256, RSA)",
        "it_stays_logged_in_through_three_tokens_a_cut_and_a_restart",
        (200 * 1024, 48 * 1024),
    ),
    ("gateway (P-256)", "with_p256_alone_it_logs_in_again", (187 * 1024, 43 * 1024)),
];

/// Builds and measures the gateway, without running it.
pub(crate) fn measured_gateways() -> Result<Vec<Measured>> {
    let mut measured = Vec::new();
    for ((what, _, most), (_, firmware)) in GATEWAYS.into_iter().zip(gateways()?) {
        measured.push(Measured::of(what, &firmware.path, most)?);
    }
    Ok(measured)
}

/// The same, and what stack it takes.
pub(crate) fn run_gateways() -> Result<Vec<Measured>> {
    let firmwares = gateways()?;
    let mut measured = measured_gateways()?;
    for (gateway, (_, test, _)) in measured.iter_mut().zip(GATEWAYS) {
        let package = ["test", "--package", "conformance", "--features", "gateway"];
        let test = ["--test", "gateway", "--", "--nocapture", "--exact", test];
        let mut command = cargo(&[&package[..], &test].concat());
        command.envs(firmwares.iter().map(|(name, firmware)| (name, &firmware.path)));
        gateway.stack = Some(number(&quietly(&mut command)?, "stack:")?);
    }
    Ok(measured)
}

/// The number behind `word`, in a line that begins so.
fn number(text: &str, word: &str) -> Result<u32> {
    let mut lines =
        text.lines().filter_map(|line| line.strip_prefix(word)?.split_whitespace().next());
    let found = lines.next().and_then(|number| number.parse().ok());
    found.ok_or_else(|| format!("nothing is said of {word}"))
}
