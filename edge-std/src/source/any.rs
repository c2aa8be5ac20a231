//! A source of any type.

use core::fmt;
use core::future::Future;
use core::pin::Pin;

use super::{AccessToken, FetchError, Request, TokenSource};

type Fetching<'a> = Pin<Box<dyn Future<Output = Result<AccessToken, FetchError>> + Send + 'a>>;

/// A source of any type: what the environment chooses, say.
///
/// ```no_run
/// # fn example() -> Result<(), redis_entraid::Error> {
/// use redis_entraid::Identity;
/// use redis_entraid::source::AnySource;
///
/// let (source, chosen) = AnySource::from_env()?;
/// println!("{chosen}");
/// let identity = Identity::new(source).start();
/// # let _ = identity;
/// # Ok(()) }
/// ```
pub struct AnySource(Box<dyn DynTokenSource>);

impl AnySource {
    /// Puts `source` in a box.
    pub fn new(source: impl TokenSource) -> Self {
        Self(Box::new(source))
    }
}

trait DynTokenSource: Send {
    fn fetch_dyn<'a>(&'a mut self, request: Request<'a>) -> Fetching<'a>;
}

impl<S: TokenSource> DynTokenSource for S {
    fn fetch_dyn<'a>(&'a mut self, request: Request<'a>) -> Fetching<'a> {
        Box::pin(self.fetch(request))
    }
}

impl TokenSource for AnySource {
    async fn fetch(&mut self, request: Request<'_>) -> Result<AccessToken, FetchError> {
        self.0.fetch_dyn(request).await
    }
}

impl fmt::Debug for AnySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnySource")
    }
}
