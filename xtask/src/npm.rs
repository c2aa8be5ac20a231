//! The npm package: built from `wasm/js`, with tools that come from registries.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::targets::{Component, cross};
use crate::tools::{Result, cache, cargo, debian, quietly, root, run};

/// WebAssembly for JavaScript.
pub(crate) const WASM: &str = "wasm32-unknown-unknown";

/// The modules of the package, which are features of `wasm/js`.
const MODULES: [(&str, &[&str]); 2] = [
    ("client", &["initSync", "RawClient", "RawSubscriber"]),
    ("tokens", &["initSync", "RawManager"]),
];

/// What is not asked for here makes a module that older hosts refuse.
const FEATURES: [&str; 6] = [
    "bulk-memory",
    "reference-types",
    "nontrapping-float-to-int",
    "sign-ext",
    "mutable-globals",
    "multivalue",
];

/// Shrinks modules.
const BINARYEN: &str = "binaryen@132.0.0";

/// How: this order was the best of those that were tried.
const SHRINK: [&str; 7] = [
    "--flatten",
    "--rereloop",
    "-Oz",
    "-Oz",
    "--converge",
    "--strip-producers",
    "--strip-target-features",
];

/// A package that was built.
pub(crate) struct Built {
    /// The folder that is packed.
    pub(crate) folder: PathBuf,
    /// What npm installs.
    pub(crate) tarball: PathBuf,
    /// Whether something had to be compiled.
    pub(crate) built: bool,
}

/// Where the package and what is made with it lies.
fn out() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |folder| root().join(folder));
    target.join("npm")
}

fn io(error: std::io::Error) -> String {
    error.to_string()
}

/// Builds the package.
pub(crate) fn package() -> Result<Built> {
    node()?;
    let (out, folder) = (out(), out().join("redis-entraid-js"));
    anew(&folder)?;
    copy(&root().join("wasm/js/npm"), &folder)?;
    for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
        fs::copy(root().join(licence), folder.join(licence)).map_err(io)?;
    }
    let wasm = folder.join("wasm");
    fs::create_dir_all(&wasm).map_err(io)?;
    let mut built = false;
    for (name, exports) in MODULES {
        let module = module(name, false)?;
        built |= module.built;
        let glue = out.join("glue").join(name);
        anew(&glue)?;
        run(Command::new(bindgen()?).arg(&module.path).arg(&glue))?;
        let small = wasm.join(format!("{name}.wasm"));
        let optimizer =
            npm_tool("binaryen", &[BINARYEN])?.join("node_modules/binaryen/bin/wasm-opt");
        let mut shrink = Command::new("node");
        shrink.arg(optimizer).args(SHRINK).args(FEATURES.map(|name| format!("--enable-{name}")));
        quietly(shrink.arg(glue.join("redis_entraid_js_bg.wasm")).arg("-o").arg(&small))?;
        let text = base64(&fs::read(&small).map_err(io)?);
        let text = format!("export const base64 =\n  '{text}';\n");
        fs::write(wasm.join(format!("{name}.inline.js")), text).map_err(io)?;
        // Only what we use, and that small.
        let used = format!("export {{ {} }} from './redis_entraid_js.js';\n", exports.join(", "));
        fs::write(glue.join("used.js"), used).map_err(io)?;
        let mut minify = Command::new(esbuild()?);
        minify.current_dir(&glue).args(["used.js", "--bundle", "--minify", "--format=esm"]);
        // There is one of it, for the module and for what is around it.
        minify.arg("--external:../lib/broken.js");
        let script = wasm.join(format!("{name}.js"));
        quietly(minify.arg(format!("--outfile={}", script.display())))?;
    }
    let mut pack = Command::new("npm");
    pack.current_dir(&out).args(["pack", "--silent", "./redis-entraid-js"]);
    let tarball = out.join(quietly(&mut pack)?.trim());
    Ok(Built { folder, tarball, built })
}

/// A module as it comes from the compiler, with the `names` of its functions or without.
pub(crate) fn module(name: &str, names: bool) -> Result<Component> {
    // Each stays as it was built.
    let target = out().join(if names { "named" } else { "target" }).join(name);
    let folder = target.display().to_string();
    let build = ["build", "--locked", "--release", "--manifest-path", "wasm/js/Cargo.toml"];
    let more = ["--no-default-features", "--features", name, "--target-dir", &folder];
    let mut command = cross(WASM, "core,alloc", &[&build[..], &more].concat())?;
    if names {
        command.env("CARGO_PROFILE_RELEASE_STRIP", "none");
        command.env("CARGO_PROFILE_RELEASE_DEBUG", "false");
    }
    let built = run(&mut command)?.built;
    let path = target.join(WASM).join("release/redis_entraid_js.wasm");
    Ok(Component { path, built })
}

/// Deletes a folder, to make it again.
fn anew(folder: &Path) -> Result<()> {
    fs::remove_dir_all(folder).or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(io(error)),
    })
}

/// Has Node and npm.
pub(crate) fn node() -> Result<()> {
    debian(&["node", "npm"], &["nodejs", "npm"])?;
    let version = quietly(Command::new("node").arg("--version"))?;
    let major = version.trim_start_matches('v').split('.').next().unwrap_or_default();
    match major.parse::<u32>() {
        Ok(20..) => Ok(()),
        _ => Err(format!("Node 20 or later is wanted, not {}", version.trim())),
    }
}

/// wasm-bindgen's own program, as small as we need it. It is slow to build.
fn bindgen() -> Result<PathBuf> {
    let manifest = root().join("wasm/bindgen/Cargo.toml");
    let text = fs::read_to_string(&manifest).map_err(io)?;
    let (_, version) = text.split_once("\"=").ok_or("bindgen's version isn't pinned")?;
    let version = version.split('"').next().unwrap_or_default();
    let folder = cache().join("tools").join(format!("bindgen-{version}"));
    let program = folder.join("bin/bindgen");
    if !program.exists() {
        let mut install = cargo(&["install", "--locked", "--path", "wasm/bindgen", "--root"]);
        install.env_remove("CARGO_TARGET_DIR").arg(&folder);
        run(install.arg("--target-dir").arg(cache().join("target-bindgen")))?;
    }
    Ok(program)
}

/// Makes one file of many, as the tools of Workers do.
fn esbuild() -> Result<PathBuf> {
    Ok(npm_tool("esbuild", &[ESBUILD])?.join("node_modules/@esbuild/linux-x64/bin/esbuild"))
}

/// A folder with npm's `packages` in it, each with its version, installed once and kept. None of
/// their install scripts is run.
pub(crate) fn npm_tool(name: &str, packages: &[&str]) -> Result<PathBuf> {
    node()?;
    let versions = packages.join("_").replace(['/', '@'], "-");
    let folder = cache().join("tools").join(format!("npm-{name}{versions}"));
    if !folder.exists() {
        let new = folder.with_extension(format!("new-{}", std::process::id()));
        fs::create_dir_all(&new).map_err(io)?;
        install(&new, packages)?;
        match fs::rename(&new, &folder) {
            // Another process was quicker.
            Err(_) if folder.exists() => fs::remove_dir_all(&new).map_err(io)?,
            renamed => renamed.map_err(io)?,
        }
    }
    Ok(folder)
}

/// Installs `packages` into `folder`.
pub(crate) fn install(folder: &Path, packages: &[&str]) -> Result<()> {
    let manifest = folder.join("package.json");
    if !manifest.exists() {
        fs::write(&manifest, "{ \"private\": true, \"type\": \"module\" }\n").map_err(io)?;
    }
    let mut command = Command::new("npm");
    command.current_dir(folder).args(["install", "--silent", "--no-audit", "--no-fund"]);
    quietly(command.args(["--ignore-scripts", "--no-save"]).args(packages)).map(drop)
}

/// A project in which the package is installed as people install it.
pub(crate) struct Project {
    folder: PathBuf,
    /// The package that is installed there.
    pub(crate) package: PathBuf,
    /// Whether something had to be compiled.
    pub(crate) built: bool,
}

/// Runs Workers.
const WORKERD: &str = "workerd@1.20261117.1";
const ESBUILD: &str = "esbuild@0.28.2";
const DENO: &str = "deno@2.9.6";
/// The client that the credentials provider is for, and the provider that it is compared with.
const NODE_REDIS: [&str; 3] = ["redis@6.3.1", "@redis/entraid@6.1.0", "@azure/identity@4.14.1"];
/// The client whose speed ours is compared with.
const IOREDIS: &str = "ioredis@5.11.1";
const TYPES: [&str; 4] = [
    "typescript@7.0.2",
    "@types/node@26.6.6",
    "@types/deno@2.7.0",
    "@cloudflare/workers-types@5.20261117.1",
];

/// Builds the package and installs it into an empty project, with what the tests need.
pub(crate) fn project() -> Result<Project> {
    let Built { folder: package, tarball, built } = package()?;
    let folder = out().join("project");
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(io)?;
    }
    copy(&root().join("tests/javascript"), &folder)?;
    for example in ["deno", "node", "worker"] {
        let inside = format!("examples/{example}");
        copy(&root().join(&inside), &folder.join(&inside))?;
        // Theirs names a version that isn't published yet.
        fs::remove_file(folder.join(inside).join("package.json")).map_err(io)?;
    }
    let tarball = tarball.display().to_string();
    let all: Vec<&str> = [&[&tarball[..], IOREDIS], &NODE_REDIS[..], &TYPES[..]].concat();
    install(&folder, &all)?;
    Ok(Project { folder, package, built })
}

impl Project {
    /// The programs that run it, for the tests.
    pub(crate) fn environment(&self) -> Result<Vec<(&'static str, PathBuf)>> {
        let inside = |name, package, path: &str| -> Result<PathBuf> {
            Ok(npm_tool(name, &[package])?.join("node_modules").join(path))
        };
        Ok(vec![
            ("NODE", "node".into()),
            ("DENO", inside("deno", DENO, "@deno/linux-x64-glibc/deno")?),
            ("WORKERD", inside("workerd", WORKERD, "@cloudflare/workerd-linux-64/bin/workerd")?),
            ("ESBUILD", esbuild()?),
            ("JS_PROJECT", self.folder.clone()),
            ("JS_SUBJECT", self.folder.join("stdio.mjs")),
        ])
    }

    /// Checks what uses the types, for each host with its own.
    pub(crate) fn types(&self) -> [Command; 3] {
        ["node", "deno", "worker"].map(|host| {
            let mut command = Command::new("node");
            command.current_dir(&self.folder).arg("node_modules/typescript/bin/tsc");
            command.arg("--project").arg(format!("tsconfig.{host}.json"));
            command
        })
    }
}

/// Copies a folder with all that is in it.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).map_err(io)?;
    for entry in fs::read_dir(from).map_err(io)? {
        let entry = entry.map_err(io)?;
        let target = to.join(entry.file_name());
        if entry.file_type().map_err(io)?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target).map_err(io)?;
        }
    }
    Ok(())
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for part in bytes.chunks(3) {
        let byte = |at: usize| usize::from(part.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let shown = char::from(DIGITS[bits >> (18 - 6 * digit) & 63]);
            text.push(if digit > part.len() { '=' } else { shown });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        let all = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
        for (bytes, text) in all {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
