//! `bindgen MODULE.wasm FOLDER`: writes what JavaScript needs to use the module.
//!
//! A package of its own, since its version has to be that of the `wasm-bindgen` in the module, and
//! since it is slow to build.

use std::process::ExitCode;

use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [module, folder] = &args[..] else {
        eprintln!("bindgen MODULE.wasm FOLDER");
        return ExitCode::from(2);
    };
    let mut bindgen = Bindgen::new();
    let web = bindgen.input_path(module).web(true);
    match web.and_then(|bindgen| bindgen.typescript(false).generate(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}
