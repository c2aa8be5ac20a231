//! Commands as JavaScript packs them: for each how many arguments it has, and for each of those how
//! long it is, as four bytes, little end first, and its bytes.

use alloc::vec::Vec;

use redis_entraid_core::resp::Arg;

/// The commands in `packed`.
pub(crate) fn unpack(packed: &[u8]) -> Vec<Vec<Arg<'_>>> {
    let mut rest = packed;
    let mut commands = Vec::new();
    while let Some(count) = number(&mut rest) {
        let args = (0..count).map_while(|_| {
            let len = number(&mut rest)?;
            let (arg, behind) = rest.split_at_checked(len)?;
            rest = behind;
            Some(Arg::from(arg))
        });
        commands.push(args.collect());
    }
    commands
}

fn number(rest: &mut &[u8]) -> Option<usize> {
    let (number, behind) = rest.split_first_chunk()?;
    *rest = behind;
    usize::try_from(u32::from_le_bytes(*number)).ok()
}
