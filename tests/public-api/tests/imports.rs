//! Reads which modules of a crate import which: none may lead back to itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The modules at a crate's root, each with those that it imports.
type Imports = BTreeMap<String, BTreeSet<String>>;

#[test]
fn no_module_is_imported_by_what_it_imports() {
    for sources in ["core/src", "client/src", "edge-tls/src", "edge-embassy/src"] {
        let mut imports = Imports::new();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(sources);
        read(&root, &root, &mut imports);
        assert!(imports.len() > 5, "{sources}: {imports:?}");
        let circles: Vec<_> =
            imports.keys().filter(|name| is_in_a_circle(name, &imports)).collect();
        assert!(circles.is_empty(), "{sources}: {circles:?} import each other: {imports:#?}");
    }
}

fn is_in_a_circle(name: &str, imports: &Imports) -> bool {
    let mut reached = BTreeSet::new();
    let mut next: Vec<_> = imports[name].iter().collect();
    while let Some(other) = next.pop() {
        if reached.insert(other) {
            next.extend(imports.get(other).into_iter().flatten());
        }
    }
    reached.contains(&name.to_owned())
}

/// Collects what the files in `folder` import, but for their tests and examples.
fn read(root: &Path, folder: &Path, imports: &mut Imports) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if name == "tests" {
            continue;
        }
        if path.is_dir() {
            read(root, &path, imports);
        } else if path.extension().is_some_and(|extension| extension == "rs") && name != "lib" {
            let module = path.strip_prefix(root).unwrap().iter().next().unwrap();
            let module = Path::new(module).file_stem().unwrap().to_str().unwrap();
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            let of = imports.entry(module.to_owned()).or_default();
            of.extend(code.flat_map(imported).filter(|other| other != module));
        }
    }
}

/// The modules that `line` names by their path from the root.
fn imported(line: &str) -> Vec<String> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let paths = line.split("crate::").skip(1);
    paths.map(|path| path.chars().take_while(|c| is_name(*c)).collect()).collect()
}
