//! What the fuzzers found worth keeping, once more.

use std::path::Path;

#[test]
fn what_was_found_once_holds_still() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, target) in fuzz::TARGETS {
        let entries = std::fs::read_dir(corpus.join(name)).expect("each target has a corpus");
        let mut count = 0;
        for entry in entries {
            let path = entry.expect("it can be listed").path();
            println!("{}", path.display());
            target(&std::fs::read(path).expect("it can be read"));
            count += 1;
        }
        assert!(count >= 20, "{name} has only {count}");
    }
}

#[test]
fn each_target_has_its_fuzzer() {
    let fuzzers = Path::new(env!("CARGO_MANIFEST_DIR")).join("libfuzzer/targets");
    let mut names: Vec<_> = std::fs::read_dir(fuzzers)
        .expect("it can be listed")
        .map(|entry| entry.expect("it can be read").path())
        .map(|path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, fuzz::TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
}
