//! The two ends of what a refusal is told by.

use std::vec::Vec;

use aes_gcm::aead::{AeadInPlace, Buffer, KeyInit};
use embedded_tls::TlsError;

use super::fake::NoCipher;
use crate::error::{Error, Violation};
use crate::halves::Halves;
use crate::inner::{Progress, Refusal};
use crate::suite::Checked;

struct Record(Vec<u8>);

impl AsRef<[u8]> for Record {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl AsMut<[u8]> for Record {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Buffer for Record {
    fn extend_from_slice(&mut self, other: &[u8]) -> aes_gcm::aead::Result<()> {
        self.0.extend_from_slice(other);
        Ok(())
    }

    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }
}

#[test]
fn a_cipher_without_a_guard_decrypts_nothing() {
    let cipher = Checked::<NoCipher>::new(&Default::default());
    let decrypt = |header: &[u8]| {
        let mut record = Record([&b"PONG\x17"[..], &[0; 16]].concat());
        cipher.decrypt_in_place(&Default::default(), header, &mut record).map(|()| record.0)
    };
    let mark = Progress::Open.mark().unwrap();
    assert_eq!(decrypt(&[23, 3, mark, 0, 21]).unwrap(), b"PONG\x17");
    // As a server sends it.
    assert!(decrypt(&[23, 3, 3, 0, 21]).is_err());
    assert!(decrypt(&[23, 3, mark]).is_err());
    let (nonce, tag) = (Default::default(), Default::default());
    let detached = cipher.decrypt_in_place_detached(&nonce, &[23, 3, mark, 0, 21], &mut [], &tag);
    assert!(detached.is_err());
}

#[test]
fn each_stage_that_is_marked_is_recognized() {
    let stages = [
        Progress::Extensions,
        Progress::Certificate,
        Progress::Proof,
        Progress::Finished,
        Progress::Open,
    ];
    for stage in stages {
        assert_eq!(stage.mark().and_then(Progress::of_mark), Some(stage));
    }
    assert_eq!((Progress::New.mark(), Progress::Hello.mark()), (None, None));
    // What a server's own version would be.
    assert_eq!(Progress::of_mark(3), None);
}

#[test]
fn other_errors_are_no_refusals() {
    assert_eq!(Refusal::of(&TlsError::DecodeError), None);
    assert_eq!(Error::from(Refusal::Message), Error::Violation(Violation::Message));
}

#[test]
fn the_first_reason_is_the_one_that_counts() {
    let halves = Halves::new((), ());
    assert_eq!(halves.shared.fail(Error::Forged), Error::Forged);
    assert_eq!(halves.shared.fail(Error::Alert), Error::Forged);
    assert_eq!(halves.shared.check(), Err(Error::Forged));
}

#[test]
fn a_key_is_good_for_so_many_records() {
    let halves = Halves::new((), ());
    halves.shared.wear_out(2);
    for _ in 0..2 {
        assert_eq!(halves.shared.before_sending(), Ok(()));
        assert_eq!(halves.shared.send(), Ok(()));
        // More of the same record.
        assert_eq!(halves.shared.send(), Ok(()));
        halves.shared.sent();
    }
    assert_eq!(halves.shared.send(), Err(Error::WornOut));
    assert_eq!(halves.shared.before_sending(), Err(Error::WornOut));
}
