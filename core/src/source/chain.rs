//! Two sources, of which the first that is there is used.

use super::Source;
use super::error::SourceError;
use super::step::{Input, Start, Step};

/// Asks the first source, and the second one where the first isn't there: its endpoint can't be
/// reached, this host can't do what it needs, or it isn't configured. What an endpoint *refuses* is not asked
/// for elsewhere: it is a mistake in the configuration, and is reported.
///
/// The one that has given a token once is asked from then on. A chain of three is a chain whose second
/// source is a chain.
///
/// ```
/// use redis_entraid_core::http::ResponseWriter;
/// use redis_entraid_core::source::{
///     Authority, Chain, Input, IoFailure, ManagedIdentity, Selector, ServicePrincipal, Source, Start,
///     Step,
/// };
/// use redis_entraid_core::time::Instant;
///
/// let managed = ManagedIdentity::imds(Selector::<&str>::System);
/// let tenant = Authority::tenant("72f988bf-86f1-41af-91ab-2d7cd011db47");
/// let mut chain = Chain::new(managed, ServicePrincipal::with_secret(tenant, "client", "secret"));
///
/// let (mut request, mut response) = ([0; 512], [0; 512]);
/// let start = Input::Start(Start::new(Instant::FAR_FUTURE));
/// let Ok(Step::Http(http)) = chain.next(start, &mut request) else { unreachable!() };
/// assert!(http.url.text(&request).unwrap().starts_with("http://169.254.169.254/"));
///
/// // This machine is in no cloud: the service principal has its turn.
/// let failed = Input::Failed(IoFailure::Connect);
/// let Ok(Step::Http(http)) = chain.next(failed, &mut request) else { unreachable!() };
/// assert!(http.url.text(&request).unwrap().starts_with("https://login.microsoftonline.com/"));
///
/// let mut writer = ResponseWriter::new(&mut response);
/// writer.status(200);
/// writer.body_chunk(br#"{"access_token":"eyJ.e30.x","expires_in":3599}"#).unwrap();
/// let Ok(Step::Done(token)) = chain.next(Input::Response(writer.finish()), &mut request) else {
///     unreachable!()
/// };
/// assert_eq!(token.token(&response).unwrap().secret.expose(), "eyJ.e30.x");
///
/// // From then on it is the only one.
/// let start = Input::Start(Start::new(Instant::FAR_FUTURE));
/// let Ok(Step::Http(http)) = chain.next(start, &mut request) else { unreachable!() };
/// assert!(http.url.text(&request).unwrap().starts_with("https://login.microsoftonline.com/"));
/// ```
#[derive(Clone, Debug)]
pub struct Chain<A, B> {
    first: A,
    second: B,
    start: Option<Start>,
    turn: Turn,
    passed_over: Option<SourceError>,
}

/// Whose answers come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    First,
    Second,
    /// One of the two has given a token.
    FirstForEver,
    SecondForEver,
}

impl<A: Source, B: Source> Chain<A, B> {
    /// Asks `first`, and `second` where there is no such thing.
    pub const fn new(first: A, second: B) -> Self {
        Self { first, second, start: None, turn: Turn::First, passed_over: None }
    }

    /// Why the first source was passed over, once it was.
    pub const fn passed_over(&self) -> Option<SourceError> {
        self.passed_over
    }
}

impl<A: Source, B: Source> Source for Chain<A, B> {
    fn next(&mut self, input: Input<'_>, request: &mut [u8]) -> Result<Step, SourceError> {
        if let Input::Start(start) = &input {
            self.start = Some(*start);
            if self.turn == Turn::Second {
                self.turn = Turn::First;
            }
        }
        if matches!(self.turn, Turn::First | Turn::FirstForEver) {
            match self.first.next(input, request) {
                Err(error) if self.turn == Turn::First && error.is_elsewhere() => {
                    (self.turn, self.passed_over) = (Turn::Second, Some(error));
                    let start = self.start.ok_or(SourceError::ORDER)?;
                    return self.second.next(Input::Start(start), request);
                }
                Ok(step @ Step::Done(_)) => {
                    self.turn = Turn::FirstForEver;
                    return Ok(step);
                }
                other => return other,
            }
        }
        let step = self.second.next(input, request);
        if matches!(step, Ok(Step::Done(_))) {
            self.turn = Turn::SecondForEver;
        }
        step
    }

    fn identify(&self, feed: &mut dyn FnMut(&[u8])) {
        feed(b"chain");
        self.first.identify(feed);
        self.second.identify(feed);
    }
}
