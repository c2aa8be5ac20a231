//! Where the token is between requests: in memory as long as the instance lives, and in a folder
//! that the host lends, `/cache`. A key-value store would do as well.

use alloc::format;
use alloc::vec::Vec;

use redis_entraid_wasi::entraid_core::zeroize::Zeroizing;
use spin::Mutex;
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, OpenFlags, PathFlags};
use wasip2::random::random::get_random_u64;

use crate::seal;

type Bytes = Zeroizing<Vec<u8>>;

static MEMORY: Mutex<Option<Bytes>> = Mutex::new(None);

/// The name of the file.
const FILE: &str = "token";

/// More than any token.
const MOST: u64 = 64 << 10;

/// The snapshot that was saved last, by whichever instance, of this identity.
pub fn load(identity: &str) -> Option<Bytes> {
    if let Some(snapshot) = &*MEMORY.lock() {
        return Some(snapshot.clone());
    }
    let snapshot = seal::open(identity, &read()?)?;
    *MEMORY.lock() = Some(snapshot.clone());
    Some(snapshot)
}

/// Saves a snapshot: without a folder or a key for others, in memory only.
pub fn save(identity: &str, snapshot: &[u8]) {
    *MEMORY.lock() = Some(Zeroizing::new(snapshot.to_vec()));
    if let Some(sealed) = seal::seal(identity, snapshot) {
        // Without it, the next instance fetches a token.
        let _ = write(&sealed);
    }
}

fn folder() -> Option<Descriptor> {
    get_directories().into_iter().find(|(_, path)| path == "/cache").map(|(folder, _)| folder)
}

fn read() -> Option<Vec<u8>> {
    let (none, flags) = (OpenFlags::empty(), DescriptorFlags::READ);
    let file = folder()?.open_at(PathFlags::empty(), FILE, none, flags).ok()?;
    file.read(MOST, 0).ok().map(|(bytes, _)| bytes)
}

fn write(bytes: &[u8]) -> Option<()> {
    let folder = folder()?;
    // All or nothing, even if others write too.
    let new = format!("{FILE}-{:016x}", get_random_u64());
    let (create, flags) = (OpenFlags::CREATE | OpenFlags::EXCLUSIVE, DescriptorFlags::WRITE);
    let file = folder.open_at(PathFlags::empty(), &new, create, flags).ok()?;
    let whole = file.write(bytes, 0) == Ok(bytes.len() as u64);
    if whole && folder.rename_at(&new, &folder, FILE).is_ok() {
        return Some(());
    }
    let _ = folder.unlink_file_at(&new);
    None
}
