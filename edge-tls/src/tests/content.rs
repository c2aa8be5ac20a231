//! The two ends of what a refusal is told by.

use embedded_tls::TlsError;

use crate::error::{Error, Violation};
use crate::halves::Halves;
use crate::inner::{Progress, Refusal};

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
