//! What is wrong at the server: logins, permissions, maintenance, nodes.

use redis_entraid::error::{LoginError, ServerError};

use super::{Diagnosis, identity, network};
use crate::doctor::az::{allow, assign, assignment, assignments, cache, show};
use crate::doctor::problem::{Known, Step};

pub(super) fn login(error: LoginError, known: &Known) -> Diagnosis {
    // A policy for the identity of a node would let all its pods in.
    if let (LoginError::WrongPass, Some(diagnosis)) = (error, identity::unset(known)) {
        return diagnosis;
    }
    let object_id = known.object_id.as_deref().unwrap_or("of the token");
    match error {
        LoginError::WrongAudience => identity::audience(),
        LoginError::WrongPass => Diagnosis::new(
            format!("Most likely, no access policy assignment of this cache is for the object id {object_id}."),
            "Assign a policy to it (of an application, this is the object id of its service principal, \
            not of its registration; access-policy-assignment list shows who is assigned):",
        )
        .run(assign(known)),
        LoginError::NoPerm => Diagnosis::new(
            "The access policy of this identity doesn't let it log in.",
            "Give it a wider one:",
        )
        .run(assignment("update", known).with("--access-string \"+@all ~*\"")),
        LoginError::Unavailable => unavailable(known),
        LoginError::MaxClients => Diagnosis::new(
            "The database has as many connections as its size allows.",
            "Share one client among the tasks of a process, or take a larger size:",
        )
        .run(cache("update", known).with("--sku <larger-size>")),
        LoginError::Denied => Diagnosis::new(
            "The server takes connections of its own machine only: it is no Azure Managed Redis.",
            "Set REDIS_HOSTNAME to the name of the cache:",
        )
        .run(show("hostName", known)),
        _ => Diagnosis::new(
            "The server doesn't take the login in this form: it is no Azure Managed Redis, or Entra ID is \
            not enabled there.",
            "See who is assigned to the database:",
        )
        .run(assignments(known)),
    }
}

pub(super) fn command(error: &ServerError, step: Step, known: &Known) -> Diagnosis {
    match error.code.as_str() {
        "NOPERM" => {
            let what = if step == Step::Write { "write" } else { "read" };
            Diagnosis::new(
                format!(
                    "The identity is logged in, and its access policy doesn't let it {what} this key \
                    (doctor --prefix tries others)."
                ),
                "If it is meant to, give it a wider policy (the name of the assignment may differ: \
                access-policy-assignment list shows it):",
            )
            .run(assignment("update", known).with("--access-string \"+@all ~*\""))
        }
        "READONLY" => Diagnosis::new(
            "The node is a replica, or becomes one: a failover is under way.",
            "Wait for a minute. If it stays so, look at the state of the cache:",
        )
        .run(show("resourceState", known)),
        "LOADING" | "BUSY" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" => unavailable(known),
        "OOM" => Diagnosis::new(
            "The database is full, and its eviction policy frees nothing.",
            "Delete keys, or take a larger size:",
        )
        .run(cache("update", known).with("--sku <larger-size>")),
        "NOAUTH" => Diagnosis::new(
            "The server has forgotten the login: the assignment was deleted, or a failover is under way.",
            "Try again in a minute. If it stays so, see who is assigned to the database:",
        )
        .run(assignments(known)),
        _ => Diagnosis::new(
            "The server can't do it, for the reason that it gives.",
            "Look at the state of the cache:",
        )
        .run(show("resourceState", known)),
    }
}

pub(super) fn unavailable(known: &Known) -> Diagnosis {
    Diagnosis::new(
        "The server is starting, in maintenance, or in a failover.",
        "Wait for a minute: a client waits by itself. If it stays so, look at the state of the cache:",
    )
    .run(show("resourceState", known))
}

pub(super) fn lost(known: &Known) -> Diagnosis {
    Diagnosis::new(
        "The connection ended or the server fell silent: a failover or maintenance is under way, or a \
        firewall cuts connections.",
        "Try again in a minute. If it stays so, look at the state of the cache:",
    )
    .run(show("resourceState", known))
}

pub(super) fn garbled(known: &Known) -> Diagnosis {
    Diagnosis::new(
        "What was written is not what is read: a replica answers, or something else writes to this key.",
        "Look at the state of the cache:",
    )
    .run(show("resourceState", known))
}

pub(super) fn node() -> Diagnosis {
    Diagnosis::new(
        "The database has the OSS cluster policy, where each node has a port of its own from 8500 to 8599, \
        and this one can't be used: a firewall lets only port 10000 pass, or the node is being replaced.",
        "Allow all ports of Azure Managed Redis. If they are, try again in a minute:",
    )
    .run(allow("AllowRedis", "<address-of-the-cache>", network::PORTS))
}
