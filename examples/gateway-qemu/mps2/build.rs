//! Where the linker finds the names of the interrupts.

fn main() {
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo:rustc-link-search={here}");
    for file in ["device.x", "build.rs"] {
        println!("cargo:rerun-if-changed={file}");
    }
}
