//! Which certificates are good enough, and why others are not.

mod common;

use common::{NAME, Node, authority, key, leaf, ping, ping_at, root};
use rcgen::{
    BasicConstraints, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose,
    NameConstraints, PKCS_ECDSA_P256_SHA256 as P256,
};
use redis_entraid_tls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use redis_entraid_tls::{CertificateError, Error};

/// A root, and a server's certificate right below it.
fn simple() -> (Node, Node) {
    let root = root("root", key(&P256));
    let leaf = root.issue(leaf(&[NAME]), key(&P256));
    (root, leaf)
}

fn refused(result: Result<(), Error>) -> CertificateError {
    match result {
        Err(Error::Certificate(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_good_chain_is_accepted() {
    let (root, leaf) = simple();
    assert_eq!(ping(leaf.server(), &[&root], NAME), Ok(()));
}

#[test]
#[cfg(feature = "p384")]
fn authorities_with_p384_are_accepted() {
    use rcgen::PKCS_ECDSA_P384_SHA384 as P384;
    let root = root("root", key(&P384));
    let middle = root.issue(authority("middle"), key(&P384));
    for algorithm in [&P256, &P384] {
        let leaf = middle.issue(leaf(&[NAME]), key(algorithm));
        assert_eq!(ping(leaf.server(), &[&root], NAME), Ok(()));
    }
}

#[cfg(feature = "rsa")]
mod rsa {
    use super::*;
    use rcgen::{PKCS_RSA_SHA256, PKCS_RSA_SHA384, PKCS_RSA_SHA512, RsaKeySize};

    fn key(hash: &'static rcgen::SignatureAlgorithm, size: RsaKeySize) -> KeyPair {
        KeyPair::generate_rsa_for(hash, size).unwrap()
    }

    #[test]
    fn a_chain_of_the_shape_of_azures_is_accepted() {
        let root = root("root", key(&PKCS_RSA_SHA384, RsaKeySize::_2048));
        let global = root.issue(authority("global"), key(&PKCS_RSA_SHA384, RsaKeySize::_4096));
        let issuing = global.issue(authority("issuing"), key(&PKCS_RSA_SHA384, RsaKeySize::_4096));
        let names = ["*.region.example", "localhost"];
        let leaf = issuing.issue(leaf(&names), key(&PKCS_RSA_SHA256, RsaKeySize::_2048));
        assert_eq!(ping(leaf.server(), &[&root], NAME), Ok(()));
        // The same signatures, but the root is another of the same name.
        let other = super::root("root", key(&PKCS_RSA_SHA384, RsaKeySize::_2048));
        let error = refused(ping(leaf.server(), &[&other], NAME));
        assert_eq!(error, CertificateError::Signature);
    }

    #[test]
    fn keys_of_3072_bits_and_sha512_are_accepted() {
        let root = root("root", key(&PKCS_RSA_SHA512, RsaKeySize::_3072));
        let leaf = root.issue(leaf(&[NAME]), key(&PKCS_RSA_SHA256, RsaKeySize::_3072));
        assert_eq!(ping(leaf.server(), &[&root], NAME), Ok(()));
    }

    /// A key that is none of those that are checked here: too large, or with an odd exponent.
    fn odd(bits: u32, exponent: u32) -> KeyPair {
        let mut openssl = std::process::Command::new("openssl");
        openssl.args(["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt"]);
        openssl.arg(format!("rsa_keygen_bits:{bits}")).arg("-pkeyopt");
        let output = openssl.arg(format!("rsa_keygen_pubexp:{exponent}")).output().unwrap();
        let pem = String::from_utf8(output.stdout).unwrap();
        KeyPair::from_pem_and_sign_algo(&pem, &PKCS_RSA_SHA256).unwrap()
    }

    #[test]
    fn keys_that_nothing_can_be_checked_with_are_unsupported_and_no_wrong_signature() {
        for (bits, exponent) in [(4160, 65_537), (2048, 65_539)] {
            let root = root("root", odd(bits, exponent));
            let leaf = root.issue(leaf(&[NAME]), super::key(&P256));
            let error = refused(ping(leaf.server(), &[&root], NAME));
            assert_eq!(error, CertificateError::Unsupported, "{bits} {exponent}");
            let root = super::root("root", super::key(&P256));
            let leaf = root.issue(super::leaf(&[NAME]), odd(bits, exponent));
            let error = refused(ping(leaf.server(), &[&root], NAME));
            assert_eq!(error, CertificateError::Unsupported, "{bits} {exponent}, its own");
        }
    }

    #[test]
    fn a_server_that_has_not_the_rsa_key_of_its_certificate_is_refused() {
        let root = root("root", super::key(&P256));
        let leaf = root.issue(leaf(&[NAME]), key(&PKCS_RSA_SHA256, RsaKeySize::_2048));
        let server = leaf.server_with(private(&key(&PKCS_RSA_SHA256, RsaKeySize::_2048)));
        assert_eq!(refused(ping(server, &[&root], NAME)), CertificateError::Proof);
    }

    #[test]
    fn a_proof_with_an_algorithm_that_is_not_the_certificates_is_refused() {
        let root = root("root", super::key(&P256));
        let leaf = root.issue(leaf(&[NAME]), super::key(&P256));
        let server = leaf.server_with(private(&key(&PKCS_RSA_SHA256, RsaKeySize::_2048)));
        assert_eq!(refused(ping(server, &[&root], NAME)), CertificateError::Scheme);
    }
}

#[test]
fn any_of_several_roots_will_do() {
    let (root, leaf) = simple();
    let others = [common::root("first", key(&P256)), common::root("last", key(&P256))];
    assert_eq!(ping(leaf.server(), &[&others[0], &root, &others[1]], NAME), Ok(()));
}

#[test]
fn without_a_root_nothing_is_sent() {
    let (_, leaf) = simple();
    assert_eq!(ping(leaf.server(), &[], NAME), Err(Error::NoRoots));
}

#[test]
fn another_name_is_refused() {
    let (root, leaf) = simple();
    for name in [
        "other.region.example",
        "region.example",
        "a.cache.region.example",
        "xcache.region.example",
    ] {
        assert_eq!(refused(ping(leaf.server(), &[&root], name)), CertificateError::Name, "{name}");
    }
}

#[test]
fn what_is_not_a_name_is_refused() {
    let (root, leaf) = simple();
    for name in ["", "cache.region.example:10000", "*.region.example", "rediss://cache", "a b"] {
        assert_eq!(ping(leaf.server(), &[&root], name), Err(Error::Name), "{name}");
    }
}

#[test]
fn a_dot_at_the_end_of_the_name_makes_no_difference() {
    let (root, leaf) = simple();
    assert_eq!(ping(leaf.server(), &[&root], "cache.region.example."), Ok(()));
}

#[test]
fn an_address_is_looked_for_among_the_addresses() {
    let root = root("root", key(&P256));
    let mut params = leaf(&[NAME]);
    let address = "10.1.2.3".parse().unwrap();
    params.subject_alt_names.push(rcgen::SanType::IpAddress(address));
    let leaf = root.issue(params, key(&P256));
    assert_eq!(ping(leaf.server(), &[&root], "10.1.2.3"), Ok(()));
    let error = refused(ping(leaf.server(), &[&root], "10.1.2.4"));
    assert_eq!(error, CertificateError::Name);
}

#[test]
fn the_common_name_does_not_count() {
    let root = root("root", key(&P256));
    let mut params = leaf(&[]);
    params.distinguished_name.push(rcgen::DnType::CommonName, NAME);
    let leaf = root.issue(params, key(&P256));
    assert_eq!(refused(ping(leaf.server(), &[&root], NAME)), CertificateError::Name);
}

#[test]
fn a_name_beyond_the_first_three_is_found() {
    let root = root("root", key(&P256));
    let names = ["a.example", "b.example", "c.example", "d.example", "e.example", NAME];
    let leaf = root.issue(leaf(&names), key(&P256));
    assert_eq!(ping(leaf.server(), &[&root], NAME), Ok(()));
}

#[test]
fn a_name_longer_than_64_bytes_is_found() {
    let root = root("root", key(&P256));
    let label = "a".repeat(60);
    let long = format!("{label}.{label}.northeurope.redis.azure.net");
    let leaf = root.issue(leaf(&[&long]), key(&P256));
    assert_eq!(ping(leaf.server(), &[&root], &long), Ok(()));
}

#[test]
fn a_wildcard_stands_for_one_label() {
    let root = root("root", key(&P256));
    let leaf = root.issue(leaf(&["*.region.example"]), key(&P256));
    assert_eq!(ping(leaf.server(), &[&root], NAME), Ok(()));
    for name in ["a.cache.region.example", "region.example"] {
        assert_eq!(refused(ping(leaf.server(), &[&root], name)), CertificateError::Name, "{name}");
    }
}

#[test]
fn an_expired_certificate_is_refused() {
    let (root, leaf) = simple();
    let later = UnixTime::since_unix_epoch(std::time::Duration::from_secs(
        UnixTime::now().as_secs() + 40 * 86_400,
    ));
    let error = refused(ping_at(leaf.server(), &[&root], NAME, later));
    assert_eq!(error, CertificateError::Expired);
}

#[test]
fn a_certificate_that_is_not_valid_yet_is_refused() {
    let (root, leaf) = simple();
    // As a clock says that was never set.
    let epoch = UnixTime::since_unix_epoch(std::time::Duration::from_secs(0));
    let error = refused(ping_at(leaf.server(), &[&root], NAME, epoch));
    assert_eq!(error, CertificateError::NotYetValid);
}

#[test]
fn an_expired_authority_is_refused() {
    let root = root("root", key(&P256));
    let mut params = authority("middle");
    params.not_after = time::OffsetDateTime::now_utc() - time::Duration::hours(1);
    let leaf = root.issue(params, key(&P256)).issue(leaf(&[NAME]), key(&P256));
    assert_eq!(refused(ping(leaf.server(), &[&root], NAME)), CertificateError::Expired);
}

#[test]
fn another_root_is_refused() {
    let other = root("other", key(&P256));
    let middle = root("root", key(&P256)).issue(authority("middle"), key(&P256));
    let leaf = middle.issue(leaf(&[NAME]), key(&P256));
    assert_eq!(refused(ping(leaf.server(), &[&other], NAME)), CertificateError::UnknownIssuer);
}

#[test]
fn a_server_that_sends_its_own_certificate_alone_has_left_its_issuer_out() {
    let root = root("root", key(&P256));
    let middle = root.issue(authority("middle"), key(&P256));
    let leaf = middle.issue(leaf(&[NAME]), key(&P256));
    assert_eq!(ping(leaf.server(), &[&root], NAME), Ok(()));
    assert_eq!(refused(ping(leaf.alone(), &[&root], NAME)), CertificateError::Incomplete);
}

#[test]
fn a_root_of_the_same_name_but_with_another_key_is_refused() {
    let (_, leaf) = simple();
    let other = root("root", key(&P256));
    assert_eq!(refused(ping(leaf.server(), &[&other], NAME)), CertificateError::Signature);
}

#[test]
fn a_self_signed_certificate_is_refused() {
    let (root, _) = simple();
    let params = leaf(&[NAME]);
    let key = key(&P256);
    let der = params.self_signed(&key).unwrap().der().clone();
    let mut own = common::root("own", key);
    own.der = der;
    assert_eq!(refused(ping(own.server(), &[&root], NAME)), CertificateError::UnknownIssuer);
}

#[test]
fn the_certificate_of_another_server_can_not_issue_any() {
    let root = root("root", key(&P256));
    for is_ca in [IsCa::NoCa, IsCa::ExplicitNoCa] {
        // Without basicConstraints, and with one that says no.
        let mut params = leaf(&["attacker.example"]);
        params.is_ca = is_ca;
        let attacker = root.issue(params, key(&P256));
        let forged = attacker.issue(leaf(&[NAME]), key(&P256));
        let error = refused(ping(forged.server(), &[&root], NAME));
        assert_eq!(error, CertificateError::NotAnAuthority);
    }
}

#[test]
fn an_authority_without_basic_constraints_is_none() {
    let root = root("root", key(&P256));
    let mut params = authority("middle");
    params.is_ca = IsCa::NoCa;
    let leaf = root.issue(params, key(&P256)).issue(leaf(&[NAME]), key(&P256));
    assert_eq!(refused(ping(leaf.server(), &[&root], NAME)), CertificateError::NotAnAuthority);
}

#[test]
fn an_authority_whose_key_may_not_sign_certificates_is_refused() {
    let root = root("root", key(&P256));
    let mut params = authority("middle");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let below = root.issue(params, key(&P256)).issue(leaf(&[NAME]), key(&P256));
    assert_eq!(refused(ping(below.server(), &[&root], NAME)), CertificateError::Usage);
    // Without a key usage it may.
    let mut params = authority("middle");
    params.key_usages.clear();
    let below = root.issue(params, key(&P256)).issue(leaf(&[NAME]), key(&P256));
    assert_eq!(ping(below.server(), &[&root], NAME), Ok(()));
}

#[test]
fn a_server_whose_key_may_not_sign_is_refused() {
    let root = root("root", key(&P256));
    let mut params = leaf(&[NAME]);
    params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    let leaf = root.issue(params, key(&P256));
    assert_eq!(refused(ping(leaf.server(), &[&root], NAME)), CertificateError::Usage);
}

#[test]
fn a_certificate_for_clients_only_is_refused() {
    let root = root("root", key(&P256));
    let mut params = leaf(&[NAME]);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let leaf = root.issue(params, key(&P256));
    assert_eq!(refused(ping(leaf.server(), &[&root], NAME)), CertificateError::Usage);
}

#[test]
fn an_authority_is_no_server() {
    let root = root("root", key(&P256));
    let mut params = leaf(&[NAME]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let leaf = root.issue(params, key(&P256));
    assert_eq!(refused(ping(leaf.server(), &[&root], NAME)), CertificateError::Authority);
}

#[test]
fn more_authorities_than_the_path_length_permits_are_refused() {
    let root = root("root", key(&P256));
    let mut params = authority("last");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let last = root.issue(params, key(&P256));
    assert_eq!(ping(last.issue(leaf(&[NAME]), key(&P256)).server(), &[&root], NAME), Ok(()));
    let one_more = last.issue(authority("one more"), key(&P256));
    let leaf = one_more.issue(leaf(&[NAME]), key(&P256));
    assert_eq!(refused(ping(leaf.server(), &[&root], NAME)), CertificateError::PathLength);
}

#[test]
fn a_name_that_its_issuer_may_not_vouch_for_is_refused() {
    let root = root("root", key(&P256));
    let only = |name: &str| {
        let mut params = authority("constrained");
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName(name.into())],
            excluded_subtrees: Vec::new(),
        });
        root.issue(params, key(&P256)).issue(leaf(&[NAME]), key(&P256))
    };
    assert_eq!(ping(only("example").server(), &[&root], NAME), Ok(()));
    let error = refused(ping(only("other").server(), &[&root], NAME));
    assert_eq!(error, CertificateError::NameConstraint);
}

#[test]
fn a_server_that_has_not_the_key_of_its_certificate_is_refused() {
    let (root, leaf) = simple();
    let server = leaf.server_with(private(&key(&P256)));
    assert_eq!(refused(ping(server, &[&root], NAME)), CertificateError::Proof);
}

#[test]
fn more_than_eight_certificates_are_refused() {
    let root = root("root", key(&P256));
    let mut last = root.issue(authority("1"), key(&P256));
    for level in 2..8 {
        last = last.issue(authority(&level.to_string()), key(&P256));
    }
    let nine = last.issue(authority("8"), key(&P256)).issue(leaf(&[NAME]), key(&P256));
    assert_eq!(refused(ping(nine.server(), &[&root], NAME)), CertificateError::TooMany);
    let eight = last.issue(leaf(&[NAME]), key(&P256));
    // That is not too many, but deeper than anybody needs.
    assert_eq!(refused(ping(eight.server(), &[&root], NAME)), CertificateError::TooComplex);
}

fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()))
}
