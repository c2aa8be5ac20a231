//! Where the linker scripts are.

fn main() {
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo:rustc-link-search={here}");
    println!("cargo:rustc-link-arg=-Tlink.x");
    println!("cargo:rustc-link-arg=-Tdefmt.x");
    for file in ["memory.x", "build.rs"] {
        println!("cargo:rerun-if-changed={file}");
    }
}
