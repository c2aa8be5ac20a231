//! Powers modulo an odd number, for public keys only: the time that it takes depends on what it is
//! given.
//!
//! Numbers are slices of 32-bit limbs, the least significant first. All of them are as long as the
//! modulus, so that one piece of code does for all lengths, without a heap.

/// The limbs of the largest modulus: 4,096 bits.
pub(crate) const LIMBS: usize = 128;

pub(crate) type Number = [u32; LIMBS];

/// `base` to the power of 2^`squarings` + 1, modulo `modulus`.
///
/// `modulus` must be odd and its highest bit set, `base` smaller than it and as long.
pub(crate) fn power<'r>(
    base: &[u32],
    squarings: u32,
    modulus: &[u32],
    result: &'r mut Number,
) -> Option<&'r [u32]> {
    let first = *modulus.first()?;
    if first & 1 == 0 || modulus.last()? >> 31 == 0 || base.len() != modulus.len() {
        return None;
    }
    if !less(base, modulus) {
        return None;
    }
    let field = Field { modulus, inverse: negative_inverse(first) };
    let (mut power, mut other) = ([0; LIMBS], [0; LIMBS]);
    let (power, other) = (power.get_mut(..base.len())?, other.get_mut(..base.len())?);
    field.square_of_radix(power, other);
    // Into the Montgomery form; the last multiplication, by a number that is not in it, leads out.
    field.multiply(base, power, other);
    for _ in 0..squarings {
        power.copy_from_slice(other);
        field.multiply(power, power, other);
    }
    let result = result.get_mut(..base.len())?;
    field.multiply(base, other, result);
    Some(result)
}

/// -1/`n` modulo 2^32, for an odd `n`, by Newton's method: each round doubles the bits that are
/// right, of which there are three at first.
fn negative_inverse(n: u32) -> u32 {
    let mut inverse = n;
    for _ in 0..4 {
        let error = 2u32.wrapping_sub(n.wrapping_mul(inverse));
        inverse = inverse.wrapping_mul(error);
    }
    inverse.wrapping_neg()
}

struct Field<'a> {
    modulus: &'a [u32],
    /// -1/modulus modulo 2^32.
    inverse: u32,
}

impl Field<'_> {
    /// `result` = `a` * `b` / 2^(32 * limbs), by operand scanning: after each limb of `a` a
    /// multiple of the modulus is added that makes the lowest limb zero, and that limb is dropped.
    fn multiply(&self, a: &[u32], b: &[u32], result: &mut [u32]) {
        result.fill(0);
        let mut top = 0;
        for a in a {
            let carry = add_product(result, b, *a);
            let sum = u64::from(top) + u64::from(carry);
            let lowest = result.first().copied().unwrap_or(0);
            let carry = add_product(result, self.modulus, lowest.wrapping_mul(self.inverse));
            let sum = sum + u64::from(carry);
            result.rotate_left(1);
            if let Some(highest) = result.last_mut() {
                *highest = sum as u32;
            }
            top = (sum >> 32) as u32;
        }
        if top != 0 || !less(result, self.modulus) {
            subtract(result, self.modulus);
        }
    }

    /// `result` = 2^(2 * 32 * limbs) modulo the modulus, which leads into the Montgomery form.
    ///
    /// 2^(32 * limbs) minus the modulus is the form of 1. Doubled `limbs` times, it is that of
    /// 2^limbs; each squaring then doubles the exponent, five times.
    fn square_of_radix(&self, result: &mut [u32], scratch: &mut [u32]) {
        result.fill(0);
        subtract(result, self.modulus);
        for _ in 0..self.modulus.len() {
            let mut carry = 0;
            for limb in result.iter_mut() {
                (*limb, carry) = (*limb << 1 | carry, *limb >> 31);
            }
            if carry != 0 || !less(result, self.modulus) {
                subtract(result, self.modulus);
            }
        }
        for _ in 0..5 {
            scratch.copy_from_slice(result);
            self.multiply(scratch, scratch, result);
        }
    }
}

/// `sum` += `factor` * `limb`; what does not fit is returned.
fn add_product(sum: &mut [u32], factor: &[u32], limb: u32) -> u32 {
    let mut carry = 0;
    for (sum, factor) in sum.iter_mut().zip(factor) {
        // At most (2^32 - 1)^2 + 2 * (2^32 - 1), which is 2^64 - 1.
        let product = u64::from(*factor) * u64::from(limb) + u64::from(*sum) + carry;
        *sum = product as u32;
        carry = product >> 32;
    }
    carry as u32
}

/// `a` -= `b`, modulo 2^(32 * limbs).
fn subtract(a: &mut [u32], b: &[u32]) {
    let mut borrow = false;
    for (a, b) in a.iter_mut().zip(b) {
        let (difference, first) = a.overflowing_sub(*b);
        let (difference, second) = difference.overflowing_sub(u32::from(borrow));
        (*a, borrow) = (difference, first || second);
    }
}

fn less(a: &[u32], b: &[u32]) -> bool {
    a.iter().rev().lt(b.iter().rev())
}
