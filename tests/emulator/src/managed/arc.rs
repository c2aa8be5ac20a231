//! The keys of Azure Arc: who can read a file of the agent's may have the machine's tokens.

use std::collections::HashMap;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::entra::guid;
use crate::token::random_hex;

/// Where the agent has its keys. Clients read no other folder.
pub(crate) const FOLDER: &str = "/var/opt/azcmagent/tokens";

/// How many bytes a key has.
pub(crate) const SIZE: usize = 384;

/// The keys that were written and not used yet.
#[derive(Debug)]
pub(crate) struct Keys {
    folder: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Each file, by its content.
    files: HashMap<String, PathBuf>,
    /// The folders that were not there before, outermost first.
    made: Vec<PathBuf>,
    closed: bool,
}

impl Keys {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, state: Mutex::default() }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a new key of so many bytes, and answers with its file.
    pub(crate) fn issue(&self, size: usize) -> Result<PathBuf> {
        let mut state = self.state.lock().expect("nobody panics with it");
        if state.closed {
            return Err(Error::other("the emulator ends"));
        }
        // Another emulator may have taken it away.
        state.make(&self.folder).map_err(|error| {
            let folder = self.folder.display();
            Error::other(format!("cannot make the folder {folder} for keys: {error}"))
        })?;
        let mut key = String::new();
        while key.len() < size {
            key.push_str(&random_hex());
        }
        key.truncate(size);
        let file = self.folder.join(format!("{}.key", guid()));
        std::fs::write(&file, &key).map_err(|error| {
            Error::other(format!("cannot write the key {}: {error}", file.display()))
        })?;
        state.files.insert(key, file.clone());
        Ok(file)
    }

    /// Whether this is the content of a file, which is removed then.
    pub(crate) fn redeem(&self, key: &str) -> bool {
        let file = self.state.lock().expect("nobody panics with it").files.remove(key);
        file.is_some_and(|file| std::fs::remove_file(file).is_ok())
    }

    /// Removes what was written, and writes no more.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock().expect("nobody panics with it");
        state.closed = true;
        for (_, file) in state.files.drain() {
            let _ = std::fs::remove_file(file);
        }
        // Those that others have put something into stay.
        for folder in state.made.drain(..).rev() {
            let _ = std::fs::remove_dir(folder);
        }
    }
}

impl State {
    /// Makes a folder and those around it, and remembers which were missing.
    fn make(&mut self, folder: &Path) -> Result<()> {
        let missing: Vec<&Path> = folder.ancestors().take_while(|path| !path.exists()).collect();
        for path in missing.into_iter().rev() {
            match std::fs::create_dir(path) {
                Ok(()) => self.made.push(path.to_owned()),
                // Another emulator was quicker.
                Err(_) if path.is_dir() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_good_once_and_what_was_there_before_stays() {
        let outer = std::env::temp_dir().join(format!("amr-emulator-keys-{}", random_hex()));
        std::fs::create_dir(&outer).unwrap();
        let folder = outer.join("agent/tokens");
        let keys = Keys::new(folder.clone());
        assert!(!folder.exists());
        let (first, second) = (keys.issue(SIZE).unwrap(), keys.issue(SIZE).unwrap());
        let content = std::fs::read_to_string(&first).unwrap();
        assert_eq!((content.len(), first.parent()), (SIZE, Some(folder.as_path())));
        assert!(!keys.redeem("something else"));
        assert!(keys.redeem(&content) && !first.exists() && second.exists());
        assert!(!keys.redeem(&content));
        keys.close();
        assert!(keys.issue(SIZE).is_err());
        assert!(outer.exists() && !outer.join("agent").exists());
        // A folder with something of somebody else's is not removed.
        let keys = Keys::new(folder.clone());
        keys.issue(SIZE).unwrap();
        std::fs::write(folder.join("other.key"), "theirs").unwrap();
        drop(keys);
        let left: Vec<_> =
            std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["other.key"]);
        std::fs::remove_dir_all(&outer).unwrap();
    }
}
