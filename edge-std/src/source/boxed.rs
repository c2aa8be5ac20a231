//! A source of any type.

use core::fmt;
use core::future::Future;
use core::pin::Pin;

use super::{AccessToken, FetchError, Request, TokenSource};

type Fetching<'a> = Pin<Box<dyn Future<Output = Result<AccessToken, FetchError>> + Send + 'a>>;

/// A source of any type.
pub(crate) struct BoxedSource(Box<dyn DynTokenSource>);

impl BoxedSource {
    pub(crate) fn new(source: impl TokenSource) -> Self {
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

impl TokenSource for BoxedSource {
    async fn fetch(&mut self, request: Request<'_>) -> Result<AccessToken, FetchError> {
        self.0.fetch_dyn(request).await
    }
}

impl fmt::Debug for BoxedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoxedSource")
    }
}
