//! The addresses of one name, tried side by side (RFC 8305).

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::error::Error as StdError;
use core::fmt::{self, Write as _};
use core::future::{Future, poll_fn};
use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;

use redis_entraid_core::drive::timeout_at;
use redis_entraid_core::time::{Clock, Instant, Timer};
use redis_entraid_core::transport::{Endpoint, IpText, Stage, Unanswered};
use smallvec::SmallVec;

/// How long an address has to itself before the next one is tried beside it: the value that RFC
/// 8305 recommends.
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Connects to the first of `addresses` of `endpoint` that answers, by its deadline.
///
/// They are tried in their order, but families take turns, and one where no login succeeded the last
/// time comes last, if the endpoint has a [`Progress`](redis_entraid_core::transport::Progress). The next one
/// begins when the last one has had [`ATTEMPT_DELAY`], or as soon as one fails; all go on side by
/// side. The first success wins, and the others are dropped.
///
/// # Errors
/// [`Unreached`] with what happened at each address.
///
/// # Cancel safety
/// That of `connect`: dropping the future drops all attempts.
pub async fn reach<T, F, S, E>(
    timer: &T,
    endpoint: &Endpoint<'_>,
    addresses: impl IntoIterator<Item = SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<S, Unreached<E>>
where
    T: Timer,
    F: Future<Output = Result<S, E>>,
{
    let (until, mut waiting) = (endpoint.deadline(), families_in_turn(addresses));
    let turn = endpoint.next_turn().checked_rem(waiting.len());
    waiting.rotate_left(turn.unwrap_or(0));
    waiting.reverse();
    let mut race = Race { waiting, open: SmallVec::new(), tried: Vec::new() };
    loop {
        let begun = timer.now();
        if let Some(address) = race.waiting.pop() {
            race.open.push(Attempt { address, begun, connecting: Box::pin(connect(address)) });
        } else if race.open.is_empty() {
            return Err(Unreached(race.tried));
        }
        let next = begun.plus(ATTEMPT_DELAY);
        let by = if race.waiting.is_empty() { until } else { until.min(next) };
        match timeout_at(timer, by, poll_fn(|cx| race.poll(cx))).await {
            Some(Some((address, stream))) => {
                let mut ip = IpText::default();
                let _ = write!(ip, "{}", address.ip().to_canonical());
                endpoint.reached(&ip);
                return Ok(stream);
            }
            None if timer.now() >= until => return Err(race.give_up(timer)),
            _ => {}
        }
    }
}

/// The addresses, so that each but the last ones is followed by one of the other family.
fn families_in_turn(addresses: impl IntoIterator<Item = SocketAddr>) -> Addresses {
    let mut addresses: Addresses = addresses.into_iter().collect();
    for at in 1..addresses.len() {
        let (before, rest) = addresses.split_at_mut(at);
        let last = before.last().is_some_and(SocketAddr::is_ipv6);
        if let Some(other) = rest.iter().position(|address| address.is_ipv6() != last)
            && let Some(rest) = rest.get_mut(..=other)
        {
            rest.rotate_right(1);
        }
    }
    addresses
}

/// As many as a name usually has need no allocation.
type Addresses = SmallVec<[SocketAddr; 4]>;

/// Who still may win.
struct Race<F, E> {
    /// The next one is the last.
    waiting: Addresses,
    open: SmallVec<[Attempt<F>; 1]>,
    tried: Vec<(SocketAddr, Missed<E>)>,
}

struct Attempt<F> {
    address: SocketAddr,
    begun: Instant,
    connecting: Pin<Box<F>>,
}

impl<F: Future<Output = Result<S, E>>, S, E> Race<F, E> {
    /// Waits for the first success, or for a failure: `None`.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<(SocketAddr, S)>> {
        for at in 0..self.open.len() {
            let Some(attempt) = self.open.get_mut(at) else { break };
            if let Poll::Ready(connected) = attempt.connecting.as_mut().poll(cx) {
                let address = self.open.remove(at).address;
                let failed = |error| self.tried.push((address, Missed::Failed(error)));
                let connected = connected.map_err(failed).ok();
                return Poll::Ready(connected.map(|stream| (address, stream)));
            }
        }
        Poll::Pending
    }

    /// There is no time left.
    fn give_up(self, clock: &impl Clock) -> Unreached<E> {
        let Self { waiting, open, mut tried } = self;
        tried.extend(open.iter().map(|Attempt { address, begun, .. }| {
            let unanswered = Unanswered::new(Stage::Tcp, clock.now().since(*begun));
            (*address, Missed::Unanswered(unanswered))
        }));
        tried.extend(waiting.into_iter().rev().map(|address| (address, Missed::Untried)));
        Unreached(tried)
    }
}

/// What happened at each address of a name, none of which was reached.
#[derive(Debug)]
pub struct Unreached<E>(Vec<(SocketAddr, Missed<E>)>);

/// Why an address was not reached.
#[derive(Debug)]
#[non_exhaustive]
pub enum Missed<E> {
    /// It was tried and failed.
    Failed(E),
    /// No answer.
    Unanswered(Unanswered),
    /// There was no time to try it.
    Untried,
}

impl<E> Unreached<E> {
    /// Each address with what happened there; none if the name has no address.
    pub fn addresses(&self) -> impl Iterator<Item = (SocketAddr, &Missed<E>)> {
        self.0.iter().map(|(address, missed)| (*address, missed))
    }

    /// The errors of those that failed.
    pub fn errors(&self) -> impl Iterator<Item = &E> {
        self.0.iter().filter_map(|(_, missed)| match missed {
            Missed::Failed(error) => Some(error),
            _ => None,
        })
    }
}

impl<E: fmt::Display> fmt::Display for Unreached<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("the name has no address");
        }
        for (number, (address, missed)) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{}: ", address.ip())?;
            match missed {
                Missed::Failed(error) => error.fmt(f)?,
                Missed::Unanswered(unanswered) => unanswered.fmt(f)?,
                Missed::Untried => f.write_str("not tried: out of time")?,
            }
        }
        Ok(())
    }
}

impl<E: StdError + 'static> StdError for Unreached<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.errors().next().map(|error| error as &dyn StdError)
    }
}

#[cfg(test)]
mod tests;
