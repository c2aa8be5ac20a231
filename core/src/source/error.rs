//! Why there is no token, and when it makes sense to ask again.

use core::fmt;
use core::time::Duration;

use super::io::{IoError, IoFailure};
use super::said::ServiceText;
use crate::http::TooManyHeaders;
use crate::json::JsonError;
use crate::storage::CapacityError;
use crate::token::TokenError;

/// What decides when the next attempt is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ErrorKind {
    /// It may work in a moment: quick attempts, then slow ones.
    Transient,
    /// The endpoint asked to be left alone, for this long if it said so.
    Throttled(Option<Duration>),
    /// The configuration has to be changed: slow attempts only, since no event tells when that is
    /// done.
    Configuration,
    /// As `Configuration`, unless it was fixed already and is not replicated to all machines yet:
    /// quick attempts first.
    Replication,
    /// A clock is wrong, here or there: slow attempts.
    Clock,
    /// The response can't be parsed: slow attempts.
    Parse,
}

impl ErrorKind {
    /// Whether quick attempts may help: the default of
    /// [`is_retryable`](crate::policy::RetryPolicy::is_retryable).
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Transient | Self::Replication | Self::Throttled(_))
    }
}

/// Why a source gave no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SourceError {
    /// A step couldn't be done: mostly, there is no response.
    Io(IoFailure),
    /// No token within the policy's request timeout.
    TimedOut,
    /// The endpoint refused.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The `error` of RFC 6749 section 5.2, if it gave one.
        error: OAuthError,
        /// The number behind `AADSTS`, Entra's own code.
        code: Option<u32>,
        /// When to ask again.
        kind: ErrorKind,
    },
    /// The response is not the JSON that it should be.
    Json(JsonError),
    /// The response is a web page: a proxy or a captive portal answered.
    WebPage,
    /// The response has no usable `access_token`.
    NoToken,
    /// There is a token, but it can't be used.
    Token(TokenError),
    /// The source is configured in a way that can't work.
    Config(ConfigError),
    /// A buffer is too small.
    Capacity(CapacityError),
    /// The error of a source of your own.
    Other {
        /// When to ask again.
        kind: ErrorKind,
        /// What happened, for a person. Never anything secret.
        what: &'static str,
    },
}

impl SourceError {
    /// The driver passed an input that the last step didn't ask for.
    pub const ORDER: Self =
        Self::Other { kind: ErrorKind::Configuration, what: "a response to no request" };

    /// What decides when the next attempt is made.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Io(failure) => match failure {
                IoFailure::Connect | IoFailure::Io => ErrorKind::Transient,
                // One machine of many may have sent a chain that isn't whole.
                IoFailure::Tls => ErrorKind::Replication,
                IoFailure::Request
                | IoFailure::NotFound
                | IoFailure::File
                | IoFailure::Unsupported
                | IoFailure::TooLarge(_) => ErrorKind::Configuration,
            },
            Self::TimedOut => ErrorKind::Transient,
            Self::Refused { kind, .. } | Self::Other { kind, .. } => *kind,
            Self::Json(_) | Self::WebPage | Self::NoToken => ErrorKind::Parse,
            Self::Token(error) => match error {
                TokenError::Expired => ErrorKind::Clock,
                TokenError::NoUser | TokenError::Capacity(_) => ErrorKind::Configuration,
                TokenError::NotText | TokenError::Unreadable(_) | TokenError::NoLifetime => {
                    ErrorKind::Parse
                }
            },
            Self::Config(_) | Self::Capacity(_) => ErrorKind::Configuration,
        }
    }

    /// Returns whether the identity doesn't exist here: no answer, not configured, or this host
    /// can't do what it needs. The next one of a [`Chain`](super::Chain) may be.
    pub const fn is_elsewhere(&self) -> bool {
        matches!(
            self,
            Self::Config(
                ConfigError::Missing(_) | ConfigError::Empty(_) | ConfigError::TenantRequired
            ) | Self::Io(IoFailure::Connect | IoFailure::NotFound | IoFailure::Unsupported)
        )
    }

    /// Returns what to do about it, where that is known.
    pub const fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Io(IoFailure::Connect) => Some(
                "the token endpoint can't be reached: check DNS, routes and firewalls \
                (login.microsoftonline.com:443, or 169.254.169.254:80 for a managed identity)",
            ),
            Self::Io(IoFailure::Tls) => Some(
                "the token endpoint's certificate isn't accepted: check the clock, the trusted \
                roots (DigiCert Global Root G2), and AZURE_AUTHORITY_HOST",
            ),
            Self::Refused { code: Some(code), .. } => entra_advice(*code),
            Self::Refused { error: OAuthError::SeveralIdentities, .. } => {
                Some("several identities are assigned to this machine: set AZURE_CLIENT_ID")
            }
            Self::WebPage => Some(
                "a proxy or a captive portal is in between, or AZURE_AUTHORITY_HOST names another \
                server",
            ),
            Self::Refused { status: 400, error: OAuthError::InvalidRequest, .. } => {
                Some("the managed identity isn't assigned to this machine, or its id is wrong")
            }
            _ => None,
        }
    }
}

/// What Entra's codes mean to a person. They never decide anything here.
const fn entra_advice(code: u32) -> Option<&'static str> {
    Some(match code {
        7_000_215 => "wrong client secret: give the secret's value, not its id",
        7_000_222 => "the client secret has expired: make a new one",
        700_016 => "no such application in this tenant: check AZURE_CLIENT_ID and AZURE_TENANT_ID",
        7_000_112 => "the application is disabled in this tenant",
        90_002 => "no such tenant: check AZURE_TENANT_ID, and the cloud (AZURE_AUTHORITY_HOST)",
        90_038 | 900_382 | 900_432 => "the tenant is in another cloud: set AZURE_AUTHORITY_HOST",
        9_001_023 => "client credentials need a tenant, not `common` or `consumers`",
        700_027 | 50_012 => "the certificate isn't registered with the application",
        500_133 | 700_024 => {
            "the assertion isn't valid at this time: check this machine's clock, and that the \
            federated token file is replaced"
        }
        700_213 | 70_021 => "no federated credential of the application matches the assertion",
        500_011 | 650_057 => {
            "Azure Cache for Redis isn't known in this tenant, or the scope is wrong"
        }
        70_011 | 28_002 | 901_002 => "wrong scope: it is https://redis.azure.com/.default",
        53_003 => "blocked by a conditional access policy",
        90_055 => "the tenant is throttled",
        _ => return None,
    })
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(failure) => failure.fmt(f)?,
            Self::TimedOut => f.write_str("the token request timed out")?,
            Self::Refused { status, error, code, .. } => {
                write!(f, "the token endpoint refused: HTTP {status} {}", error.name())?;
                if let Some(code) = code {
                    write!(f, " (AADSTS{code})")?;
                }
            }
            Self::Json(error) => write!(f, "can't parse the token response: {error}")?,
            Self::WebPage => f.write_str("the token endpoint sent a web page, not a token")?,
            Self::NoToken => f.write_str("the token response has no usable access_token")?,
            Self::Token(error) => error.fmt(f)?,
            Self::Config(error) => error.fmt(f)?,
            Self::Capacity(error) => error.fmt(f)?,
            Self::Other { what, .. } => f.write_str(what)?,
        }
        match self.advice() {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for SourceError {}

impl From<ConfigError> for SourceError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<TooManyHeaders> for SourceError {
    fn from(error: TooManyHeaders) -> Self {
        Self::Config(ConfigError::Headers(error))
    }
}

impl From<CapacityError> for SourceError {
    fn from(error: CapacityError) -> Self {
        Self::Capacity(error)
    }
}

impl From<JsonError> for SourceError {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

/// A source that can't work as it is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ConfigError {
    /// A service principal without a tenant, or with `common` or `consumers`, which Entra refuses
    /// for client credentials (AADSTS9001023).
    TenantRequired,
    /// The authority, or what stands in for it, is not an `https` URL.
    NotHttps(&'static str),
    /// An id or a name is empty.
    Empty(&'static str),
    /// The source needs what this host doesn't have or wasn't given: the wall clock, say.
    Missing(&'static str),
    /// A source of your own sets too many header lines.
    Headers(TooManyHeaders),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TenantRequired => {
                f.write_str("a service principal needs a tenant: a GUID or a domain, not `common`")
            }
            Self::NotHttps(what) => write!(f, "{what} must be an https URL"),
            Self::Empty(what) => write!(f, "{what} is empty"),
            Self::Missing(what) => write!(f, "the identity needs {what}"),
            Self::Headers(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ConfigError {}

/// The `error` of a token endpoint (RFC 6749 section 5.2, and Entra's own additions).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum OAuthError {
    /// `invalid_request`
    InvalidRequest,
    /// `invalid_request`, since several user-assigned identities exist and none was named.
    SeveralIdentities,
    /// `invalid_client`
    InvalidClient,
    /// `invalid_grant`
    InvalidGrant,
    /// `unauthorized_client`
    UnauthorizedClient,
    /// `unsupported_grant_type`
    UnsupportedGrantType,
    /// `invalid_scope`
    InvalidScope,
    /// `invalid_resource`
    InvalidResource,
    /// `interaction_required`
    InteractionRequired,
    /// `temporarily_unavailable`: the one that is worth another try.
    TemporarilyUnavailable,
    /// Another one, or none.
    Other,
}

impl OAuthError {
    pub(super) const ALL: [(Self, &'static str); 9] = [
        (Self::InvalidRequest, "invalid_request"),
        (Self::InvalidClient, "invalid_client"),
        (Self::InvalidGrant, "invalid_grant"),
        (Self::UnauthorizedClient, "unauthorized_client"),
        (Self::UnsupportedGrantType, "unsupported_grant_type"),
        (Self::InvalidScope, "invalid_scope"),
        (Self::InvalidResource, "invalid_resource"),
        (Self::InteractionRequired, "interaction_required"),
        (Self::TemporarilyUnavailable, "temporarily_unavailable"),
    ];

    /// Its word in the error document; empty for [`OAuthError::Other`].
    pub fn name(self) -> &'static str {
        let known = if self == Self::SeveralIdentities { Self::InvalidRequest } else { self };
        Self::ALL.iter().find(|(error, _)| *error == known).map_or("", |(_, name)| name)
    }
}

/// The error of a [`TokenSource`](super::TokenSource): any error that has a [`SourceError`].
pub trait SourceFailure: core::error::Error {
    /// What decides the schedule. The error itself keeps the details, for a person.
    fn reason(&self) -> SourceError;

    /// What the service says, if it says something.
    fn service_text(&self) -> Option<ServiceText> {
        None
    }
}

impl SourceFailure for SourceError {
    fn reason(&self) -> SourceError {
        *self
    }
}

/// The error of an [`HttpSource`](super::HttpSource).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(clippy::large_enum_variant, reason = "there is no allocator, and only failures carry it")]
pub enum HttpSourceError<E> {
    /// A step couldn't be done.
    Io {
        /// Its kind, for the retry schedule.
        reason: SourceError,
        /// The host's own error.
        error: E,
    },
    /// The endpoint answered without a token.
    Refused {
        /// Its kind, for the retry schedule.
        reason: SourceError,
        /// What the endpoint says.
        text: ServiceText,
    },
    /// All else.
    Source(SourceError),
}

impl<E: IoError> SourceFailure for HttpSourceError<E> {
    fn reason(&self) -> SourceError {
        match self {
            Self::Io { reason: error, .. }
            | Self::Refused { reason: error, .. }
            | Self::Source(error) => *error,
        }
    }

    fn service_text(&self) -> Option<ServiceText> {
        match self {
            Self::Refused { text, .. } if !text.is_empty() => Some(*text),
            _ => None,
        }
    }
}

impl<E> From<SourceError> for HttpSourceError<E> {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

impl<E: fmt::Display> fmt::Display for HttpSourceError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { reason, error } => write!(f, "{reason}: {error}"),
            Self::Refused { reason, text } if !text.is_empty() => {
                write!(f, "{reason}; it says: {text}")
            }
            Self::Refused { reason: error, .. } | Self::Source(error) => error.fmt(f),
        }
    }
}

impl<E: core::error::Error + 'static> core::error::Error for HttpSourceError<E> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            Self::Refused { .. } | Self::Source(_) => None,
        }
    }
}
