//! The steps from the environment to the server, one after the other, until one fails.

use std::error::Error as _;
use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use redis_entraid::entraid_core::jwt::{Audience, Claims, Guid};
use redis_entraid::entraid_core::source::{IoError, IoFailure, SourceError};
use redis_entraid::entraid_core::transport::{Endpoint, Progress, Stage};
use redis_entraid::error::ConnectErrorKind;
use redis_entraid::net::TlsTcp;
use redis_entraid::source::FetchError;
use redis_entraid::{Chosen, Client, Connect, Error, Event, Identity, http};
use tokio::net::TcpStream;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::database;
use super::diagnosis::{CLOCK_LIMIT, is_private};
use super::machine::Machine;
use super::problem::{Known, Problem, Step, TcpProblem};
use super::report::Report;
use super::tls::TlsProblem;
use crate::arguments::{Doctor, Target};
use crate::claims::Shown;
use crate::setup::{Fetched, Setup};
use crate::time::{millis, moment, number, span};

/// So many nodes are dialed at a time: the service limits how many connections come anew.
const AT_ONCE: usize = 4;

/// The first step that failed, if one did.
pub(crate) type Checked = Result<(), Problem>;

/// Checks step by step, and notes in `known` what a diagnosis needs.
pub(crate) async fn check(
    target: &Target,
    options: &Doctor,
    known: &mut Known,
    report: &mut Report<'_>,
) -> Checked {
    let setup = Setup::read(target).map_err(Problem::Environment)?;
    let place = setup.place.clone();
    // What isn't the name of a server may have a key in it.
    known.host.clone_from(&place.host);
    known.port = place.port;
    known.endpoint.clone_from(&place.endpoint);
    let said = format!("{}:{}, {}", place.host, place.port, place.chosen);
    report.good(Step::Environment, &said);
    known.machine = Machine::look(&place.chosen, target.timeout).await;
    known.chosen = Some(place.chosen);

    let fetched = setup.fetch(target.timeout).await.map_err(|error| no_token(&error))?;
    report.good(Step::Endpoint, &format!("{} in {}", known.endpoint, millis(fetched.took)));
    report.good(Step::Token, &token(&fetched, known)?);
    let clock = clock(&fetched, known, report);

    let addresses = resolve(target, known).await?;
    report.good(Step::Name, &summary(&known.addresses));
    report.good(Step::Tcp, &tcp(addresses, target.timeout).await.map_err(Problem::Tcp)?);
    report.good(Step::Tls, &tls(target, known).await?);

    let begun = Instant::now();
    let mut redis = connect(target, known, &fetched.identity, None)
        .await
        .map_err(|error| refused(Step::Login, error))?;
    let protocol = redis.health().connection.map(|connection| connection.protocol.to_string());
    let protocol = protocol.unwrap_or_default();
    let object_id = known.object_id.as_deref().unwrap_or_default();
    let took = millis(begun.elapsed());
    report.good(Step::Login, &format!("{object_id} in {took}, {protocol}"));

    // Before a key, which may be at a node that can't be reached.
    let nodes = database::nodes(&mut redis, &known.host, known.port, report).await?;
    all_answer(target, known, &fetched.identity, nodes, report).await?;
    database::read_and_write(&mut redis, options, target.timeout, report).await?;
    database::maintenance(&mut redis, report).await?;
    redis.close().await;
    // All else works yet; it won't when a token or a certificate is near its end.
    clock
}

fn no_token(error: &FetchError) -> Problem {
    let io = error.source().and_then(|error| error.downcast_ref::<http::Error>());
    if let Some(io) = io {
        let failure = io.failure();
        let said = match failure {
            // It is clear what is meant.
            IoFailure::NotFound | IoFailure::File => io.to_string(),
            failure => format!("{failure}: {io}"),
        };
        let proxy = match io {
            http::Error::Proxy(status) => Some(*status),
            _ => None,
        };
        let reason = match failure {
            // Of a certificate that is known by its thumbprint, the source knows more.
            IoFailure::Tls => error.reason(),
            _ => SourceError::Io(failure),
        };
        return Problem::Token { reason, tls: TlsProblem::of(io), proxy, said };
    }
    let (reason, said) = (error.reason(), error.to_string());
    // The rest of its text is advice, and a better one follows.
    let advice = reason.advice().map(|advice| format!("; {advice}")).unwrap_or_default();
    Problem::Token { reason, tls: None, proxy: None, said: said.replacen(&advice, "", 1) }
}

/// Whose token it is, and for what.
fn token(fetched: &Fetched, known: &mut Known) -> Result<String, Problem> {
    let shown = Shown::of(&fetched.token);
    let token = fetched.token.as_token();
    let audience = Claims::read(token.secret.expose()).unwrap_or_default().audience;
    known.object_id.clone_from(&shown.oid);
    if audience == Audience::Other {
        return Err(Problem::Audience(shown.audience.unwrap_or_else(|| "another service".into())));
    }
    let tenant = shown.tenant.as_deref().unwrap_or("unknown");
    let asked = match &known.chosen {
        Some(
            Chosen::ServicePrincipal { tenant, .. }
            | Chosen::ClientCertificate { tenant, .. }
            | Chosen::WorkloadIdentity { tenant, .. },
        ) => Guid::parse(tenant),
        _ => None,
    };
    if let (Some(asked), Some(given)) = (asked, Guid::parse(tenant))
        && !asked.as_str().eq_ignore_ascii_case(given.as_str())
    {
        return Err(Problem::Tenant(tenant.to_owned()));
    }
    let audience = shown.audience.as_deref().unwrap_or("a service that it doesn't name");
    let object_id = shown.oid.as_deref().unwrap_or("unknown");
    let ends = shown.ends.map(|ends| format!(" ({})", moment(ends))).unwrap_or_default();
    let lives = span(fetched.expires_in);
    Ok(format!("for {audience}, object id {object_id}, tenant {tenant}, ends in {lives}{ends}"))
}

/// Compares this machine's clock with that of the endpoint. A wrong one doesn't end all: what else is wrong is
/// looked for, too.
fn clock(fetched: &Fetched, known: &mut Known, report: &mut Report<'_>) -> Checked {
    // What answers on this machine has the same clock.
    let is_elsewhere = known.asks_entra() || matches!(known.chosen, Some(Chosen::Imds { .. }));
    if !is_elsewhere {
        report.good(Step::Clock, "not compared: no other machine gives the token out");
        return Ok(());
    }
    known.clock_ahead = fetched.identity.health().clock_skew;
    match known.clock_ahead {
        Some(ahead) if ahead.abs() > CLOCK_LIMIT => {
            let problem = Problem::Clock(ahead);
            report.bad(Step::Clock, &problem.to_string());
            return Err(problem);
        }
        // It is told in whole seconds.
        Some(-1..=1) => report.good(Step::Clock, "the token endpoint's"),
        Some(ahead) => {
            let side = if ahead > 0 { "ahead of" } else { "behind" };
            report.good(Step::Clock, &format!("{} s {side} the token endpoint's", ahead.abs()));
        }
        None => report.good(Step::Clock, "not compared: the token endpoint doesn't say the time"),
    }
    Ok(())
}

async fn resolve(target: &Target, known: &mut Known) -> Result<Vec<SocketAddr>, Problem> {
    let host = &known.host;
    let found = timeout(target.timeout, tokio::net::lookup_host((&**host, known.port))).await;
    let addresses: Vec<SocketAddr> = match found {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => return Err(Problem::Name(format!("{host}: {error}"))),
        Err(_) => return Err(Problem::Name(format!("{host}: DNS doesn't answer"))),
    };
    known.addresses = addresses.iter().map(SocketAddr::ip).collect();
    if addresses.is_empty() {
        return Err(Problem::Name(format!("{host} has no address")));
    }
    Ok(addresses)
}

/// How many addresses there are, and of which kind.
fn summary(addresses: &[IpAddr]) -> String {
    let kind = |address| if is_private(address) { "private" } else { "public" };
    let each = addresses.iter().map(|address| format!("{address} ({})", kind(address)));
    let each: Vec<String> = each.collect();
    match each.as_slice() {
        [only] => only.clone(),
        all => format!("{} addresses: {}", all.len(), all.join(", ")),
    }
}

/// Connects to each address. One that accepts is enough.
async fn tcp(
    addresses: Vec<SocketAddr>,
    limit: Duration,
) -> Result<String, Vec<(String, TcpProblem)>> {
    let mut attempts = JoinSet::new();
    for address in addresses {
        attempts.spawn(async move {
            let begun = Instant::now();
            let problem = match timeout(limit, TcpStream::connect(address)).await {
                Ok(Ok(_)) => return (address, Ok(begun.elapsed())),
                Ok(Err(error)) => TcpProblem::of(error.kind(), error.to_string()),
                Err(_) => TcpProblem::Silent(limit),
            };
            (address, Err(problem))
        });
    }
    let (mut reached, mut missed) = (Vec::new(), Vec::new());
    for (address, result) in attempts.join_all().await {
        match result {
            Ok(time) => reached.push(format!("{address} in {}", millis(time))),
            Err(problem) => missed.push((address.to_string(), problem)),
        }
    }
    if reached.is_empty() {
        return Err(missed);
    }
    reached.extend(missed.iter().map(|(address, problem)| format!("{address}: {problem}")));
    Ok(reached.join(", "))
}

/// Does a handshake with the server, or with a node of it, once.
async fn dial(
    target: &Target,
    endpoint: Endpoint<'_>,
) -> Result<<TlsTcp as Connect>::Stream, Problem> {
    let (progress, begun) = (Progress::new(), Instant::now());
    let endpoint = endpoint.with_progress(&progress);
    let error = match timeout(target.timeout, TlsTcp::default().connect(endpoint)).await {
        Ok(Ok(stream)) => return Ok(stream),
        Ok(Err(error)) => Some(error),
        Err(_) => None,
    };
    let unanswered = endpoint.unanswered(begun.elapsed());
    let said = match &error {
        Some(error) => error.source().map(ToString::to_string).unwrap_or_default(),
        None => unanswered.to_string(),
    };
    let address = endpoint.address;
    Err(match unanswered.stage {
        Stage::Name => Problem::Name(format!("{address}: {said}")),
        Stage::Tcp => {
            let problem = match &error {
                Some(error) => TcpProblem::of(kind_of(error), said),
                None => TcpProblem::Silent(target.timeout),
            };
            Problem::Tcp(vec![(String::new(), problem)])
        }
        _ => {
            let problem = match &error {
                Some(error) => TlsProblem::of(error).unwrap_or(TlsProblem::Closed),
                None => TlsProblem::Silent,
            };
            Problem::Tls(problem, said)
        }
    })
}

/// What the system says of a connection.
fn kind_of(error: &redis_entraid::error::ConnectError) -> std::io::ErrorKind {
    let cause = error.source().and_then(|error| error.downcast_ref::<std::io::Error>());
    cause.map_or(std::io::ErrorKind::Other, std::io::Error::kind)
}

/// Does a handshake, and reads the names in the server's certificate.
async fn tls(target: &Target, known: &Known) -> Result<String, Problem> {
    let stream = dial(target, Endpoint::new(&known.host, known.port)).await?;
    let (_, session) = stream.get_ref();
    let version = match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "TLS 1.3",
    };
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    let certificate = certificate.and_then(|it| webpki::EndEntityCert::try_from(it).ok());
    let names: Vec<String> =
        certificate.map(|it| it.valid_dns_names().map(str::to_owned).collect()).unwrap_or_default();
    Ok(format!("{version}, certificate of {}", names.join(", ")))
}

/// Connects to the server, or to a node of it, and logs in.
async fn connect(
    target: &Target,
    known: &Known,
    identity: &Identity,
    node: Option<&(String, u16)>,
) -> Result<Client, Error> {
    let builder = Client::builder(&known.host).identity(identity);
    let builder = builder.start_timeout(target.timeout).command_timeout(target.timeout);
    let builder = match node {
        Some((address, port)) => builder.address(address).port(*port),
        None => builder.port(known.port),
    };
    let (tell, mut told) = unbounded_channel();
    let builder = builder.on_event(move |event| {
        if let Event::Rejected { error, .. } = event {
            let _ = tell.send(*error);
        }
    });
    let not_yet = async {
        loop {
            match told.recv().await {
                Some(error) if error.is_transient() => return error,
                Some(_) => {}
                None => return pending().await,
            }
        }
    };
    // A client would try again until it works: here, the reason is what matters.
    tokio::select! {
        connected = builder.connect() => connected,
        error = not_yet => Err(Error::Login(error)),
    }
}

/// What `error` is at `step`.
pub(crate) fn refused(step: Step, error: Error) -> Problem {
    match error {
        Error::Login(error) => Problem::Login(error),
        Error::Server(error) => Problem::Command { command: "the command", error, step },
        Error::Unavailable { cause: Some(cause) } => refused(step, *cause),
        Error::Token(error) => no_token(&error),
        Error::Connect(error) => {
            let said = error.source().map(ToString::to_string).unwrap_or_default();
            let problem = match error.kind() {
                ConnectErrorKind::Name => Problem::Name(said),
                ConnectErrorKind::Tls => {
                    let problem = TlsProblem::of(&*error).unwrap_or(TlsProblem::BadCertificate);
                    Problem::Tls(problem, said)
                }
                _ => Problem::Tcp(vec![(String::new(), TcpProblem::of(kind_of(&error), said))]),
            };
            match step {
                Step::Login => problem,
                // The server itself was reached before.
                _ => Problem::Node {
                    which: "the node that has the key".to_owned(),
                    problem: Box::new(problem),
                },
            }
        }
        error => Problem::Lost(step, error.to_string()),
    }
}

/// Logs in to each node.
async fn all_answer(
    target: &Target,
    known: &Known,
    identity: &Identity,
    nodes: Vec<(String, u16)>,
    report: &mut Report<'_>,
) -> Checked {
    if nodes.is_empty() {
        return Ok(());
    }
    let count = nodes.len();
    let (mut logins, mut waiting) = (JoinSet::new(), nodes.into_iter());
    loop {
        while logins.len() < AT_ONCE
            && let Some(node) = waiting.next()
        {
            let (target, known, identity) = (target.clone(), known.clone(), identity.clone());
            logins.spawn(async move {
                let accepted = accepts(&target, &known, &identity, &node).await;
                (format!("{}:{}", node.0, node.1), accepted)
            });
        }
        let Some(done) = logins.join_next().await else { break };
        // It neither panics nor is aborted.
        let Ok((address, accepted)) = done else { continue };
        accepted.map_err(|problem| Problem::Node {
            which: format!("{address}, one of {}", number(count as u64, "node")),
            problem: Box::new(problem),
        })?;
    }
    let accept = match count {
        1 => "the one node accepts the login".to_owned(),
        all => format!("all {all} nodes accept the login"),
    };
    report.good(Step::Nodes, &accept);
    Ok(())
}

/// Logs in to a node.
async fn accepts(
    target: &Target,
    known: &Known,
    identity: &Identity,
    node: &(String, u16),
) -> Checked {
    // A client would dial again and again.
    let endpoint = Endpoint::new(&known.host, known.port).redirected(&node.0, node.1);
    drop(dial(target, endpoint).await?);
    let connected = connect(target, known, identity, Some(node)).await;
    connected.map_err(|error| refused(Step::Login, error))?.close().await;
    Ok(())
}
