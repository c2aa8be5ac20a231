//! What is wrong between this machine and a server: names, routes, certificates, clocks.

use std::net::{IpAddr, SocketAddr};

use super::Diagnosis;
use crate::doctor::az::{Command, allow, cache, database, show};
use crate::doctor::problem::{Known, TcpProblem};
use crate::doctor::tls::TlsProblem;

/// The port of Azure Managed Redis, and the range of its nodes'.
const PORTS: &str = "10000 8500-8599";

/// A clock that is further off is what is wrong with a certificate.
pub(crate) const CLOCK_LIMIT: i64 = 300;

pub(super) fn clock() -> Diagnosis {
    Diagnosis::new(
        "This machine's clock is wrong. Certificates and tokens are checked by it.",
        "Set it by the network, and look why that didn't happen (a VM that slept, no way to a time server):",
    )
    .run(Command::new("sudo timedatectl set-ntp true"))
}

pub(super) fn name(known: &Known) -> Diagnosis {
    other_name(known).unwrap_or_else(|| {
        Diagnosis::new(
            "REDIS_HOSTNAME is misspelt, or the cache was deleted, or DNS doesn't answer here: with a \
            private endpoint, the zone privatelink.redis.azure.net must be linked to this network.",
            "Compare it with what this shows; then look at the DNS of this network (az network \
            private-dns link vnet list):",
        )
        .run(show("hostName", known))
    })
}

/// A host name that can't be right.
fn other_name(known: &Known) -> Option<Diagnosis> {
    let host = known.host.to_ascii_lowercase();
    let (cause, advice) = if host.contains(".redis.cache.") {
        (
            "REDIS_HOSTNAME is of Azure Cache for Redis, which is another service.",
            "Set it to the name of the Azure Managed Redis, <name>.<region>.redis.azure.net:",
        )
    } else if host.contains("privatelink") {
        (
            "REDIS_HOSTNAME is the name inside the private DNS zone; no certificate is for it.",
            "Set it to the cache's own name, which leads to the private endpoint where the zone is linked:",
        )
    } else {
        return None;
    };
    Some(Diagnosis::new(cause, advice).run(show("hostName", known)))
}

pub(super) fn tcp(attempts: &[(SocketAddr, TcpProblem)], known: &Known) -> Diagnosis {
    let any = |what: fn(&TcpProblem) -> bool| attempts.iter().any(|(_, problem)| what(problem));
    let port = known.port;
    if let Some(other) = other_name(known) {
        return other;
    }
    if any(|problem| *problem == TcpProblem::Refused) {
        let cause = if port == 10_000 {
            "Nobody listens at port 10000: the database is being made, updated or was deleted."
                .to_owned()
        } else {
            format!("Nobody listens at port {port}; Azure Managed Redis listens at 10000.")
        };
        return Diagnosis::new(cause, "Set REDIS_PORT to what this shows:")
            .run(database("show", known).with("--query port").with("--output tsv"));
    }
    if any(|problem| *problem == TcpProblem::Denied) {
        return Diagnosis::new(
            "This machine doesn't let the program connect: a firewall, a sandbox, or a security module.",
            "Allow it to connect from here.",
        );
    }
    if known.addresses.iter().all(is_private) {
        Diagnosis::new(
            "The addresses are private, and nothing comes back: this network isn't (peered with) that of \
            the private endpoint, or a network security group or a firewall drops what goes there.",
            "Run this in that network, or allow the ports of Azure Managed Redis:",
        )
        .run(allow("AllowRedis", "VirtualNetwork", PORTS))
    } else {
        Diagnosis::new(
            format!(
                "Nothing comes back: public network access is disabled, or a firewall drops what goes to \
                port {port}."
            ),
            "Use a private endpoint, or enable public access:",
        )
        .run(cache("update", known).with("--public-network-access Enabled"))
    }
}

/// Whether it is of a private network.
pub(crate) fn is_private(address: &IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            address.is_private() || address.is_loopback() || address.is_link_local()
        }
        IpAddr::V6(address) => {
            address.is_unique_local() || address.is_loopback() || address.is_unicast_link_local()
        }
    }
}

/// What is wrong with the server's TLS.
pub(super) fn tls(problem: TlsProblem, known: &Known) -> Diagnosis {
    match problem {
        TlsProblem::OtherName => other_name(known).unwrap_or_else(|| {
            Diagnosis::new(
                format!(
                    "The certificate is not for {}: REDIS_HOSTNAME is an address or an alias, or it leads \
                    to another server.",
                    known.host
                ),
                "Set it to the cache's own name, also with a private endpoint:",
            )
            .run(show("hostName", known))
        }),
        TlsProblem::NotTls => Diagnosis::new(
            "What answers at this port doesn't speak TLS: it is another server, or the database takes \
            plain text, with which no login by Entra ID is possible.",
            "Check the host and the port, or let the database speak TLS:",
        )
        .run(database("update", known).with("--client-protocol Encrypted")),
        TlsProblem::Closed | TlsProblem::Alert | TlsProblem::Silent => Diagnosis::new(
            "The server, or a firewall before it, ends TLS before it begins: the database has too many \
            connections or is being updated, or the firewall doesn't let TLS pass.",
            "Try again in a minute. If it stays so, look at the state of the cache, and at its metric of \
            connected clients:",
        )
        .run(show("resourceState", known)),
        problem => certificate(problem, known, "The server's certificate").unwrap_or_else(|| {
            Diagnosis::new(
                "The server's certificate can't be trusted: something in between replaces it.",
                "Check that the name leads to the cache and that no firewall inspects TLS:",
            )
            .run(show("hostName", known))
        }),
    }
}

/// What is wrong with the TLS of the endpoint where tokens are asked for.
pub(super) fn endpoint_tls(problem: TlsProblem, known: &Known) -> Diagnosis {
    let whose = "The certificate of the token endpoint";
    certificate(problem, known, whose).unwrap_or_else(|| {
        Diagnosis::new(
            format!("What answers for {} is not Microsoft Entra ID.", known.endpoint),
            "Unset AZURE_AUTHORITY_HOST in the public cloud, and elsewhere set it to what this shows; and \
            let no firewall inspect the way there:",
        )
        .run(
            Command::new("az cloud show")
                .with("--query endpoints.activeDirectory")
                .with("--output tsv"),
        )
    })
}

/// What a certificate's dates and its issuer say.
fn certificate(problem: TlsProblem, known: &Known, whose: &str) -> Option<Diagnosis> {
    let good_clock = known.clock_ahead.is_some_and(|ahead| ahead.abs() < CLOCK_LIMIT);
    Some(match problem {
        TlsProblem::Expired | TlsProblem::NotYetValid if !good_clock => Diagnosis::new(
            format!(
                "{whose} is not valid at the time of this machine: its clock is wrong, or something in \
                between shows a certificate of its own."
            ),
            "Compare the clock with another one, and set it by the network:",
        )
        .run(Command::new("sudo timedatectl set-ntp true")),
        TlsProblem::Expired | TlsProblem::NotYetValid => Diagnosis::new(
            format!(
                "{whose} is not valid now, and this machine's clock is right: a proxy or another server \
                shows an old one."
            ),
            "Check that the name leads to the cache:",
        )
        .run(show("hostName", known)),
        TlsProblem::UnknownIssuer => Diagnosis::new(
            format!(
                "{whose} is issued by an authority that this machine doesn't trust: its roots are missing \
                or old (DigiCert Global Root G2 is needed), or a firewall inspects TLS."
            ),
            "Install the roots, in the container's image too; or let the firewall pass this name:",
        )
        .run(Command::new("apt-get install --reinstall ca-certificates")),
        TlsProblem::Incomplete => Diagnosis::new(
            format!(
                "{whose} comes without those of its authorities: a front end is set up wrong, or a \
                firewall inspects TLS."
            ),
            "Try again: another front end may answer. If it stays so, tell Azure's support.",
        ),
        TlsProblem::NoRoots => Diagnosis::new(
            "This machine has no roots to trust: the image has no ca-certificates, or SSL_CERT_FILE names \
            another file.",
            "Install them, in the container's image too:",
        )
        .run(Command::new("apt-get install ca-certificates")),
        _ => return None,
    })
}
