//! What is wrong between this machine and a server: names, routes, certificates, clocks.

use std::net::IpAddr;

use super::{Diagnosis, identity};
use crate::doctor::az::{Command, allow, show, show_database};
use crate::doctor::problem::{Known, TcpProblem};
use crate::doctor::tls::TlsProblem;

/// The port of Azure Managed Redis, and the range of its nodes'.
pub(super) const PORTS: &str = "10000 8500-8599";

/// A clock that is further off is what is wrong with a certificate.
pub(crate) const CLOCK_LIMIT: i64 = 300;

pub(super) fn clock() -> Diagnosis {
    Diagnosis::new(
        "This machine's clock is wrong. Certificates and tokens are checked by it.",
        "Set it by the network (that of a container, on its host), and look why that didn't happen: a VM that \
        slept, or no way to a time server:",
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

pub(super) fn tcp(attempts: &[(String, TcpProblem)], known: &Known) -> Diagnosis {
    let any = |what: fn(&TcpProblem) -> bool| attempts.iter().any(|(_, problem)| what(problem));
    let port = known.port;
    if let Some(other) = other_name(known) {
        return other;
    }
    if any(|problem| *problem == TcpProblem::Refused) {
        return if port == 10_000 {
            Diagnosis::new(
                "Nobody listens at port 10000: the database is being made, updated or was deleted, or the name \
                leads to another server.",
                "Wait for a minute, and look at the state of the cache:",
            )
            .run(show("resourceState", known))
        } else {
            Diagnosis::new(
                format!("Nobody listens at port {port}; Azure Managed Redis listens at 10000."),
                "Set REDIS_PORT to what this shows:",
            )
            .run(show_database("port", known))
        };
    }
    if any(|problem| *problem == TcpProblem::Denied) {
        return Diagnosis::new(
            "This machine doesn't let the program connect: a firewall, a sandbox, or a security module.",
            "Allow it to connect from here.",
        );
    }
    if any(|problem| matches!(problem, TcpProblem::Silent(_))) {
        return silent(known);
    }
    if any(|problem| matches!(problem, TcpProblem::NoRoute(_))) {
        return Diagnosis::new(
            "This machine has no route there: it has no network of this kind (IPv6, say), a VPN or a gateway is \
            down, or a firewall turns connections away.",
            "Connect the machine to a network from which the address can be reached (ip route get <address> \
            shows its way).",
        );
    }
    Diagnosis::new(
        "This machine can't connect, for the reason that it gives.",
        "Correct that: it was not the server that refused.",
    )
}

/// Nothing comes back from the server's address.
fn silent(known: &Known) -> Diagnosis {
    if known.addresses.iter().all(is_private) {
        return Diagnosis::new(
            "The addresses are private, and nothing comes back: this network is neither the private endpoint's \
            nor peered with it, or a pod's network policy, a network security group or a firewall drops what \
            goes there.",
            "Run this in that network, or allow the ports of Azure Managed Redis:",
        )
        .run(allow("AllowRedis", "VirtualNetwork", PORTS));
    }
    let port = known.port;
    Diagnosis::new(
        format!(
            "Nothing comes back: a rule for what goes out from here (a pod's network policy, a network security \
            group, a firewall) drops what goes to port {port}, or the cache's public network access is disabled."
        ),
        "Allow the ports 10000 and 8500 to 8599 on the way out. If this shows Disabled, use the private endpoint:",
    )
    .run(show("publicNetworkAccess", known))
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
            "What answers at this port doesn't speak TLS: host or port are of another server, or the database \
            takes plain text, with which no login by Entra ID is possible.",
            "Check the host and the port. This shows what the database takes; to change it from Plaintext to \
            Encrypted cuts off all clients that use plain text:",
        )
        .run(show_database("clientProtocol", known)),
        TlsProblem::NoCommonTls => Diagnosis::new(
            "What answers at this port speaks TLS, and in no version or form that this program accepts: it is \
            another server, or a firewall in between that is old.",
            "Check the host and the port, and let the firewall pass TLS 1.2 and 1.3 as they are. This shows the \
            version that the cache asks for:",
        )
        .run(show("minimumTlsVersion", known)),
        TlsProblem::Alert => Diagnosis::new(
            "What answers at this port turns the TLS handshake down: it is another server, or a firewall in \
            between doesn't let this name pass.",
            "Check the host and the port, and that no firewall inspects TLS:",
        )
        .run(show("hostName", known)),
        TlsProblem::Closed | TlsProblem::Silent => Diagnosis::new(
            "The server, or a firewall before it, closes the connection during the TLS handshake, or says \
            nothing: the database has too many connections or is being updated, or the firewall doesn't let \
            TLS pass.",
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
    if known.machine.is_bound {
        return binding_tls(problem, known);
    }
    let whose = "The certificate of the token endpoint";
    certificate(problem, known, whose).unwrap_or_else(|| {
        Diagnosis::new(
            format!("What is at {} does not answer as Microsoft Entra ID does.", known.endpoint),
            "Unset AZURE_AUTHORITY_HOST in the public cloud, and elsewhere set it to what this shows; and \
            let no firewall inspect the way there:",
        )
        .run(identity::cloud())
    })
}

/// What is wrong with the TLS of an identity binding's proxy, which has a name and authorities of its own.
fn binding_tls(problem: TlsProblem, known: &Known) -> Diagnosis {
    let cause = match problem {
        TlsProblem::UnknownIssuer | TlsProblem::Incomplete => {
            "is not signed by an authority in AZURE_KUBERNETES_CA_FILE or AZURE_KUBERNETES_CA_DATA"
        }
        TlsProblem::OtherName => "is not for the name in AZURE_KUBERNETES_SNI_NAME",
        _ => "can't be checked, or the proxy refuses the name in AZURE_KUBERNETES_SNI_NAME",
    };
    Diagnosis::new(
        format!(
            "The certificate at {}, the proxy of the identity binding, {cause}.",
            known.endpoint
        ),
        "Leave the variables and the volume as the webhook sets them, and start the pod anew. If it stays so, \
        see whether a mesh or a firewall answers in the proxy's place.",
    )
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
            "Compare the clock with another one, and set it by the network (that of a container, on its host):",
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
            "Install the roots, in the container's image too (in Alpine: apk add ca-certificates); or let the \
            firewall pass this name:",
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
            "Install them, in the container's image too (in Alpine: apk add ca-certificates):",
        )
        .run(Command::new("apt-get install ca-certificates")),
        _ => return None,
    })
}
