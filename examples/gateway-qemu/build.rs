//! Where the linker scripts are, and when this was built.

use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo:rustc-link-search={here}");
    println!("cargo:rustc-link-arg=-Tlink.x");
    println!("cargo:rustc-link-arg=-Tdefmt.x");
    for file in ["memory.x", "build.rs"] {
        println!("cargo:rerun-if-changed={file}");
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    println!("cargo:rustc-env=BUILT_AT={}", since.as_secs());
}
