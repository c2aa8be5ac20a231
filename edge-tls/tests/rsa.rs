//! RSA signatures, made and judged by openssl.

#![cfg(feature = "rsa")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use redis_entraid_tls::ALGORITHMS;
use redis_entraid_tls::pki_types::{AlgorithmIdentifier, SignatureVerificationAlgorithm, alg_id};

/// An algorithm, as we and as openssl call it.
#[derive(Clone, Copy)]
struct Scheme {
    ours: AlgorithmIdentifier,
    hash: &'static str,
    options: &'static [&'static str],
}

const PKCS1: &[&str] = &["rsa_padding_mode:pkcs1"];
const PSS: &[&str] = &["rsa_padding_mode:pss", "rsa_pss_saltlen:digest"];

const SCHEMES: [Scheme; 6] = [
    Scheme { ours: alg_id::RSA_PKCS1_SHA256, hash: "-sha256", options: PKCS1 },
    Scheme { ours: alg_id::RSA_PKCS1_SHA384, hash: "-sha384", options: PKCS1 },
    Scheme { ours: alg_id::RSA_PSS_SHA256, hash: "-sha256", options: PSS },
    Scheme { ours: alg_id::RSA_PKCS1_SHA512, hash: "-sha512", options: PKCS1 },
    Scheme { ours: alg_id::RSA_PSS_SHA384, hash: "-sha384", options: PSS },
    Scheme { ours: alg_id::RSA_PSS_SHA512, hash: "-sha512", options: PSS },
];

impl Scheme {
    fn algorithm(self) -> &'static dyn SignatureVerificationAlgorithm {
        let mut known = ALGORITHMS.iter().copied();
        known.find(|algorithm| algorithm.signature_alg_id() == self.ours).unwrap()
    }

    fn dgst(self) -> Command {
        let mut command = Command::new("openssl");
        command.args(["dgst", self.hash]);
        command.args(self.options.iter().flat_map(|option| ["-sigopt", option]));
        command
    }
}

/// A key of openssl's, in a directory of its own.
struct Key {
    directory: PathBuf,
    /// The modulus and the exponent, as in a certificate.
    public: Vec<u8>,
    modulus: Vec<u8>,
}

impl Drop for Key {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Key {
    fn new(bits: usize, exponent: u32) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("redis-entraid-tls-rsa-{}-{count}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).unwrap();
        let (private, public, modulus) = ("private.pem", "public.pem", "modulus.der");
        let bits_option = format!("rsa_keygen_bits:{bits}");
        let exponent = format!("rsa_keygen_pubexp:{exponent}");
        let options = ["-pkeyopt", &bits_option, "-pkeyopt", &exponent];
        let generate = [&["genpkey", "-algorithm", "RSA", "-out", private][..], &options].concat();
        openssl(&directory, &generate);
        openssl(&directory, &["rsa", "-in", private, "-pubout", "-out", public]);
        let der = ["-RSAPublicKey_out", "-outform", "DER", "-out", modulus];
        openssl(&directory, &[&["rsa", "-in", private][..], &der].concat());
        let public = fs::read(directory.join(modulus)).unwrap();
        // A sequence and an integer, each with two bytes of length, and a zero.
        let modulus = public[9..][..bits / 8].to_vec();
        Self { directory, public, modulus }
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.directory.join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn sign(&self, scheme: Scheme, message: &[u8]) -> Vec<u8> {
        let message = self.write("message", message);
        let mut command = scheme.dgst();
        command.arg("-sign").arg(self.directory.join("private.pem")).arg(message);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    /// What openssl makes of a block that is signed as it is.
    fn sign_block(&self, block: &[u8]) -> Vec<u8> {
        let block = self.write("block", block);
        let mut command = Command::new("openssl");
        command.args(["pkeyutl", "-decrypt", "-pkeyopt", "rsa_padding_mode:none", "-inkey"]);
        command.arg(self.directory.join("private.pem")).arg("-in").arg(block);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    /// Whether a signature is good: openssl's word, which has to be ours too.
    fn judge(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> bool {
        let ours = scheme.algorithm().verify_signature(&self.public, message, signature).is_ok();
        let message = self.write("message", message);
        let signature = self.write("signature", signature);
        let mut command = scheme.dgst();
        command.arg("-verify").arg(self.directory.join("public.pem"));
        let output = command.arg("-signature").arg(signature).arg(message).output().unwrap();
        let theirs = output.stdout.starts_with(b"Verified OK");
        assert_eq!(output.status.success(), theirs, "{output:?}");
        assert_eq!(ours, theirs, "{} {:?}", scheme.hash, scheme.options);
        theirs
    }
}

fn openssl(directory: &Path, args: &[&str]) {
    let output = Command::new("openssl").current_dir(directory).args(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Numbers that need not be good, but the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }
}

/// Signs messages with each scheme, and damages each signature in another way.
fn agree(bits: usize, exponent: u32, messages: usize) -> usize {
    let key = Key::new(bits, exponent);
    let mut numbers = Numbers(bits as u64);
    for i in 0..messages {
        // The three that Azure needs are tried more often.
        let scheme = SCHEMES[if i % 4 == 3 { 3 + i / 4 % 3 } else { i % 4 }];
        let len = numbers.below(300);
        let message = numbers.bytes(len);
        let signature = key.sign(scheme, &message);
        assert!(key.judge(scheme, &message, &signature));
        let (mut other, mut changed) = (message.clone(), signature.clone());
        let bit = 1 << numbers.below(8);
        let mut judged = scheme;
        match i / 4 % 8 {
            0 | 1 => changed[numbers.below(bits / 8)] ^= bit,
            2 if len > 0 => other[numbers.below(len)] ^= bit,
            2 | 3 => other.push(0),
            // Another padding or hash.
            4 => {
                judged = SCHEMES[(0..6).find(|i| SCHEMES[*i].ours != scheme.ours).unwrap()];
            }
            // Not smaller than the modulus, although the same number.
            5 => changed = sum(&signature, &key.modulus).unwrap_or_else(|| vec![0xff; bits / 8]),
            6 => drop(changed.pop()),
            _ => changed.insert(0, 0),
        }
        assert!(!key.judge(judged, &other, &changed), "{i}");
    }
    messages
}

/// The sum of two numbers, if it is no longer than they are.
fn sum(a: &[u8], b: &[u8]) -> Option<Vec<u8>> {
    let mut carry = 0;
    let mut sum = Vec::new();
    for (a, b) in a.iter().zip(b).rev() {
        carry += u16::from(*a) + u16::from(*b);
        sum.insert(0, carry as u8);
        carry >>= 8;
    }
    (carry == 0).then_some(sum)
}

#[test]
fn we_agree_with_openssl_about_1000_signatures() {
    std::thread::scope(|scope| {
        let runs = [(2048, 65_537, 300), (3072, 65_537, 300), (4096, 65_537, 300), (2048, 3, 100)];
        let runs = runs
            .map(|(bits, exponent, messages)| scope.spawn(move || agree(bits, exponent, messages)));
        let all: usize = runs.map(|run| run.join().unwrap()).into_iter().sum();
        assert_eq!(all, 1000);
    });
}

/// DigestInfo for SHA-256 with and without the parameters that it has to have.
const WITH: &[u8] = b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20";
const WITHOUT: &[u8] = b"\x30\x2f\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x04\x20";

#[test]
fn only_one_block_is_right_for_a_message() {
    use sha2::{Digest, Sha256};
    let message = b"PING";
    let hash = Sha256::digest(message);
    for exponent in [3, 65_537] {
        let key = Key::new(2048, exponent);
        let block = |start: &[u8], padding: u8, info: &[u8], end: &[u8]| {
            let len = 256 - start.len() - 1 - info.len() - hash.len() - end.len();
            [start, &vec![padding; len], &[0], info, &hash, end].concat()
        };
        let good = block(&[0, 1], 0xff, WITH, &[]);
        assert!(key.judge(SCHEMES[0], message, &key.sign_block(&good)));
        let mut short = block(&[0, 1], 0xff, WITH, &[0; 100]);
        for block in [
            block(&[0, 1], 0xff, WITHOUT, &[]),
            block(&[0, 2], 0xff, WITH, &[]),
            block(&[0, 0], 0xff, WITH, &[]),
            block(&[0, 1], 0xfe, WITH, &[]),
            block(&[0, 1, 0], 0xff, WITH, &[]),
            // The hash where it should be, or not, and something behind it, as if nobody looked.
            block(&[0, 1], 0xff, WITH, &[0]),
            std::mem::take(&mut short),
            block(&[0, 1], 0xff, b"", &[]),
        ] {
            assert!(!key.judge(SCHEMES[0], message, &key.sign_block(&block)));
        }
    }
}

#[test]
fn a_block_of_pss_is_right_to_the_last_bit() {
    use sha2::{Digest, Sha256};
    // The first bit of a block can only be set if the modulus is not the smallest.
    let key = std::iter::repeat_with(|| Key::new(2048, 65_537)).find(|key| key.modulus[0] > 0x90);
    let key = key.unwrap();
    let message = b"PING";
    // EMSA-PSS-ENCODE; what is given is changed before or after the mask.
    let encode = |salt: [u8; 32], before: &[(usize, u8)], after: &[(usize, u8)]| {
        let hash = [&[0; 8][..], &Sha256::digest(message), &salt].concat();
        let hash = Sha256::digest(hash);
        let mut block = [&[0; 190][..], &[1], &salt].concat();
        for (at, byte) in before {
            block[*at] ^= byte;
        }
        for (counter, chunk) in (0u32..).zip(block.chunks_mut(32)) {
            let mask = Sha256::digest([&hash[..], &counter.to_be_bytes()].concat());
            chunk.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        }
        block[0] &= 0x7f;
        block.extend_from_slice(&hash);
        block.push(0xbc);
        for (at, byte) in after {
            block[*at] ^= byte;
        }
        block
    };
    // A salt with which the block is smaller than that, even with its first bit set.
    let mut salts = (0..=255).map(|byte| [byte; 32]);
    let salt = salts.find(|salt| encode(*salt, &[], &[])[0] < 0x10).unwrap();
    let block = |before: &[_], after: &[_]| encode(salt, before, after);
    assert_eq!(block(&[], &[]).len(), 256);
    assert!(key.judge(SCHEMES[2], message, &key.sign_block(&block(&[], &[]))));
    for (before, after) in [
        // In the padding, in the byte after it, in the salt.
        (&[(0, 1)][..], &[][..]),
        (&[(100, 0x80)], &[]),
        (&[(189, 1)], &[]),
        (&[(190, 2)], &[]),
        (&[(190, 1)], &[]),
        (&[(222, 1)], &[]),
        // The bit that is not there, the hash, the byte at the end.
        (&[], &[(0, 0x80)]),
        (&[], &[(223, 1)]),
        (&[], &[(255, 1)]),
        (&[], &[(255, 0xff)]),
    ] {
        let signature = key.sign_block(&block(before, after));
        assert!(!key.judge(SCHEMES[2], message, &signature), "{before:?} {after:?}");
    }
}

#[test]
fn a_salt_of_another_length_is_refused() {
    let key = Key::new(2048, 65_537);
    for salt in ["rsa_pss_saltlen:0", "rsa_pss_saltlen:20", "rsa_pss_saltlen:max"] {
        let options: &[&str] = match salt {
            "rsa_pss_saltlen:0" => &["rsa_padding_mode:pss", "rsa_pss_saltlen:0"],
            "rsa_pss_saltlen:20" => &["rsa_padding_mode:pss", "rsa_pss_saltlen:20"],
            _ => &["rsa_padding_mode:pss", "rsa_pss_saltlen:max"],
        };
        let signature = key.sign(Scheme { options, ..SCHEMES[2] }, b"PING");
        assert!(!key.judge(SCHEMES[2], b"PING", &signature), "{salt}");
    }
}

#[test]
fn other_keys_are_refused() {
    let sign = |bits, exponent| {
        let key = Key::new(bits, exponent);
        let signature = key.sign(SCHEMES[0], b"PING");
        let algorithm = SCHEMES[0].algorithm();
        let mut wrong = vec![algorithm.verify_signature(&key.public, b"PING", &signature).is_ok()];
        // Trailing bytes, a negative modulus, an even one, zero, one, nothing.
        let mut negative = key.public.clone();
        negative[8] = 0x80;
        let mut even = key.public.clone();
        even[9 + bits / 8 - 1] &= 0xfe;
        let zeros = [&key.public[..9], &vec![0; bits / 8], &key.public[9 + bits / 8..]].concat();
        for public in
            [[&key.public[..], &[0]].concat(), negative, even, zeros, vec![0x30, 0], vec![]]
        {
            wrong.push(algorithm.verify_signature(&public, b"PING", &signature).is_ok());
        }
        wrong
    };
    // Too small, and an exponent that nobody uses; a length in between is as good as any.
    assert_eq!(sign(1024, 65_537), [false; 7]);
    assert_eq!(sign(2048, 17), [false; 7]);
    assert_eq!(sign(2560, 65_537), [&[true][..], &[false; 6]].concat());
}
