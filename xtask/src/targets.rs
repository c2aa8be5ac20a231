//! Builds for other targets: with the target of a rustup that has it, or else with the
//! distribution's compiler and sources.

use std::path::PathBuf;
use std::process::Command;

use crate::tools::{Result, cargo, debian, quietly, root, run};

/// WASI 0.2 components.
pub(crate) const WASI: &str = "wasm32-wasip2";

/// A Cortex-M3 without an operating system.
pub(crate) const CORTEX_M3: &str = "thumbv7m-none-eabi";

/// `cargo` with `args` for `target`. `crates` are those of the sources that have to be built where
/// there is no rustup target.
pub(crate) fn cross(target: &str, crates: &str, args: &[&str]) -> Result<Command> {
    let args = [args, &["--target", target]].concat();
    if quietly(Command::new("rustup").args(["target", "add", target])).is_ok() {
        return Ok(cargo(&args));
    }
    debian(
        &["/usr/bin/cargo", "/usr/bin/rustc", "/usr/lib/rustlib/src/rust/library/Cargo.toml"],
        &["rustc-web", "cargo-web", "rust-web-src"],
    )?;
    let mut command = Command::new("/usr/bin/cargo");
    command.current_dir(root()).args(&args).arg(format!("-Zbuild-std={crates}"));
    command.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
    if target == WASI {
        // There is no libc, and the linker is rustup's.
        command.arg("-Zbuild-std-features=compiler-builtins-mem");
        let sysroot = quietly(Command::new("rustc").args(["--print", "sysroot"]))?;
        let host = quietly(Command::new("rustc").args(["--print", "host-tuple"]))?;
        let bin = format!("{}/lib/rustlib/{}/bin", sysroot.trim(), host.trim());
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{bin}/gcc-ld:{path}"));
        command.env("CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS", "-Clink-self-contained=no");
        command.env("CARGO_TARGET_WASM32_WASIP2_LINKER", format!("{bin}/wasm-component-ld"));
    }
    Ok(command)
}

/// What a component was built as.
pub(crate) struct Component {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Whether it had to be compiled.
    pub(crate) built: bool,
}

/// Builds the firmware of the package in `folder`, with `features`.
pub(crate) fn firmware(folder: &str, features: &str) -> Result<Component> {
    let built = firmwares(folder, features, None)?;
    let name = folder.rsplit('/').next().unwrap_or_default();
    Ok(Component { path: built.path.join(name), ..built })
}

/// The firmwares of `examples/gateway-qemu`, by the variable that tells a test where each is: with
/// the chains that Azure has, and with P-256 alone.
pub(crate) fn gateways() -> Result<[(&'static str, Component); 2]> {
    let gateway = |features| firmware("examples/gateway-qemu", features);
    Ok([("GATEWAY", gateway("rsa")?), ("GATEWAY_P256", gateway("")?)])
}

/// Builds the firmwares of the package in `folder`, with `features`, at its own level of
/// optimization or at another one. Answers with the folder that they are in.
pub(crate) fn firmwares(folder: &str, features: &str, level: Option<&str>) -> Result<Component> {
    let manifest = format!("{folder}/Cargo.toml");
    let name = folder.rsplit('/').next().unwrap_or_default();
    let target = built_in(&format!("{name} {features} {}", level.unwrap_or_default()));
    let build = ["build", "--locked", "--release", "--manifest-path", &manifest];
    let more = ["--no-default-features", "--features", features, "--target-dir", &target];
    let mut command = cross(CORTEX_M3, "core", &[&build[..], &more].concat())?;
    // Names of functions that say whose they are.
    command.env("CARGO_TARGET_THUMBV7M_NONE_EABI_RUSTFLAGS", "-Csymbol-mangling-version=v0");
    command.envs(level.map(|level| ("CARGO_PROFILE_RELEASE_OPT_LEVEL", level)));
    let built = run(command.env("DEFMT_LOG", "info"))?.built;
    Ok(Component { path: PathBuf::from(target).join(CORTEX_M3).join("release"), built })
}

/// Builds the component of the package in `folder`, with `features`.
pub(crate) fn component(folder: &str, features: &str) -> Result<Component> {
    build(folder, features, false)
}

/// The same with the names of its functions.
pub(crate) fn named_component(folder: &str, features: &str) -> Result<Component> {
    build(folder, features, true)
}

/// The folder for what is built as `name`.
fn built_in(name: &str) -> String {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |folder| root().join(folder));
    let target = target.join("components").join(name).display().to_string();
    target.trim_end().replace([' ', ','], "-")
}

fn build(folder: &str, features: &str, named: bool) -> Result<Component> {
    let name = folder.rsplit('/').next().unwrap_or_default();
    // Each combination of features stays as it was built.
    let target = format!("{folder} {features} {}", if named { "named" } else { "" });
    let target = built_in(&target);
    let manifest = format!("{folder}/Cargo.toml");
    let build = ["build", "--locked", "--release", "--manifest-path", &manifest];
    let more = ["--no-default-features", "--features", features, "--target-dir", &target];
    let mut command = cross(WASI, "core,alloc", &[&build[..], &more].concat())?;
    if named {
        command.env("CARGO_PROFILE_RELEASE_STRIP", "none");
        command.env("CARGO_PROFILE_RELEASE_DEBUG", "false");
    }
    let built = run(&mut command)?.built;
    let file = format!("{}.wasm", name.replace('-', "_"));
    Ok(Component { path: PathBuf::from(target).join(WASI).join("release").join(file), built })
}
