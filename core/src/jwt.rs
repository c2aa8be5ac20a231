//! The claims of a JSON Web Token (RFC 7519), **not verified**.
//!
//! An access token is made for the server and opaque to the client, which has no key to check its
//! signature with and no reason to: the token came over authenticated TLS, and the server checks
//! it. What the client needs is the name to log in with, `oid`, and the dates.
//! [`Claims::read`] takes them from the payload's top level only, decoding as it goes: it needs
//! no memory, and no `oid` in a nested object or in some string fools it.
//!
//! ```
//! use redis_entraid_core::jwt::Claims;
//!
//! // {"alg":"none"} . {"oid":"11111111-2222-3333-4444-555555555555","exp":1795300358} .
//! let token = "eyJhbGciOiJub25lIn0.eyJvaWQiOiIxMTExMTExMS0yMjIyLTMzMzMtNDQ0NC01NTU1NTU1NTU1NTUiLCJleHAiOjE3OTUzMDAzNTh9.";
//! let claims = Claims::read(token).unwrap();
//! assert_eq!(claims.oid.unwrap().as_str(), "11111111-2222-3333-4444-555555555555");
//! assert_eq!(claims.exp.unwrap().0, 1_795_300_358);
//! ```

use core::fmt;

use crate::base64::decode;
use crate::json::{self, JsonError, Scanner};
use crate::span::Span;
use crate::time::UnixTime;

/// The claims that concern us, as far as the token has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claims {
    /// `oid`, the object id of the identity: the user name for `AUTH`.
    pub oid: Option<Guid>,
    /// `tid`, the tenant that issued it.
    pub tid: Option<Guid>,
    /// `exp`: not valid from then on.
    pub exp: Option<UnixTime>,
    /// `nbf`: not valid before. Entra dates it back by about five minutes.
    pub nbf: Option<UnixTime>,
    /// `iat`: when it was issued, dated back likewise.
    pub iat: Option<UnixTime>,
    /// `aud`, the service that it is for.
    pub audience: Audience,
}

/// Which service a token is for, as far as we know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Audience {
    /// The token doesn't say.
    #[default]
    Missing,
    /// Azure Managed Redis, by name or by its application id.
    Redis,
    /// Another one: the server will refuse it. The scope was wrong.
    Other,
}

/// A GUID in its usual form, as `oid` and `tid` are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Guid([u8; 36]);

impl Guid {
    /// Takes 8-4-4-4-12 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 36] = text.as_bytes().try_into().ok()?;
        let formed = bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
        formed.then_some(Self(bytes))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// This is no JWT, or its claims can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum JwtError {
    /// Not three parts with dots between them.
    Parts,
    /// The payload is not base64url without padding (RFC 7515 section 2).
    Base64,
    /// The payload is not a JSON object.
    Json(JsonError),
    /// A claim that should be there once is there twice (RFC 7519 section 4).
    Duplicate(Claim),
    /// A claim has the wrong type, or `oid` or `tid` is no GUID.
    Malformed(Claim),
}

/// The name of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Claim {
    /// `oid`
    Oid,
    /// `tid`
    Tid,
    /// `exp`
    Exp,
    /// `nbf`
    Nbf,
    /// `iat`
    Iat,
    /// `aud`
    Aud,
}

impl Claim {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Oid, "oid"),
        (Self::Tid, "tid"),
        (Self::Exp, "exp"),
        (Self::Nbf, "nbf"),
        (Self::Iat, "iat"),
        (Self::Aud, "aud"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(claim, _)| *claim == self).map_or("", |(_, name)| name)
    }
}

impl fmt::Display for JwtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parts => f.write_str("not a JWT: it needs three parts"),
            Self::Base64 => f.write_str("the JWT's payload is not unpadded base64url"),
            Self::Json(error) => write!(f, "the JWT's payload is invalid: {error}"),
            Self::Duplicate(claim) => write!(f, "the JWT has two claims {}", claim.name()),
            Self::Malformed(claim) => write!(f, "the JWT's claim {} is malformed", claim.name()),
        }
    }
}

impl core::error::Error for JwtError {}

impl From<JsonError> for JwtError {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

impl Claims {
    /// Reads the claims of `token`. Nothing is verified.
    ///
    /// # Errors
    /// [`JwtError`] if it is no JWT, which an access token needn't be, or a claim is unusable.
    pub fn read(token: &str) -> Result<Self, JwtError> {
        let (_header, rest) = cut(token.as_bytes()).ok_or(JwtError::Parts)?;
        let (payload, signature) = cut(rest).ok_or(JwtError::Parts)?;
        if cut(signature).is_some() {
            return Err(JwtError::Parts);
        }
        let payload = Payload(payload);
        let mut claims = Self::default();
        let mut seen = [false; Claim::ALL.len()];
        let mut scanner = Scanner::new();
        for piece in payload.pieces() {
            let mut decoded = [0; PIECE];
            let decoded = decode(piece, &mut decoded).ok_or(JwtError::Base64)?;
            let mut at = 0;
            while let (used, Some(member)) = scanner.feed(decoded.get(at..).unwrap_or_default())? {
                at += used;
                claims.take(&payload, member, &mut seen)?;
            }
        }
        scanner.finish()?;
        Ok(claims)
    }

    fn take(
        &mut self,
        payload: &Payload<'_>,
        member: json::Member,
        seen: &mut [bool; Claim::ALL.len()],
    ) -> Result<(), JwtError> {
        let mut memory = [0; 24];
        // A longer name, even one with escapes, is none of ours.
        let Some(key) = payload.get(member.key, &mut memory) else { return Ok(()) };
        let known = Claim::ALL.iter().zip(seen).find(|((_, name), _)| json::text_is(key, name));
        let Some(((claim, _), seen)) = known else { return Ok(()) };
        if core::mem::replace(seen, true) {
            return Err(JwtError::Duplicate(*claim));
        }
        let mut memory = [0; 256];
        let Some(value) = payload.get(member.value, &mut memory) else {
            // An audience as long as this is not ours.
            return if *claim == Claim::Aud {
                self.audience = Audience::Other;
                Ok(())
            } else {
                Err(JwtError::Malformed(*claim))
            };
        };
        // The one that it is, as a name or as a date.
        let (guid, date) = match claim {
            Claim::Oid => (Some(&mut self.oid), None),
            Claim::Tid => (Some(&mut self.tid), None),
            Claim::Exp => (None, Some(&mut self.exp)),
            Claim::Nbf => (None, Some(&mut self.nbf)),
            Claim::Iat => (None, Some(&mut self.iat)),
            Claim::Aud => {
                let ours = AUDIENCES.iter().any(|audience| json::text_is(value, audience));
                self.audience = if ours { Audience::Redis } else { Audience::Other };
                return Ok(());
            }
        };
        let malformed = JwtError::Malformed(*claim);
        if let Some(guid) = guid {
            let found = json::text(value, &mut [0; 36]).and_then(Guid::parse);
            *guid = Some(found.ok_or(malformed)?);
        }
        if let Some(date) = date {
            let found = json::number(value).filter(|_| !value.starts_with(b"\""));
            *date = Some(UnixTime(found.ok_or(malformed)?));
        }
        Ok(())
    }
}

/// What a token for Azure Managed Redis has as `aud`: the service by name, or by application id.
const AUDIENCES: [&str; 3] =
    [SERVICE, SERVICE.split_at(SERVICE.len() - 1).0, "acca5fbb-b7e4-4009-81f1-37e38fd66d78"];
const SERVICE: &str = "https://redis.azure.com/";

/// What is before and behind the first dot.
#[inline(never)]
fn cut(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let dot = text.iter().position(|byte| *byte == b'.')?;
    Some((text.get(..dot)?, text.get(dot + 1..)?))
}

/// Decoded bytes of a piece; a multiple of three, so that a piece is whole groups of base64.
const PIECE: usize = 96;

/// A base64url text that decodes any span of its bytes.
struct Payload<'a>(&'a [u8]);

impl<'a> Payload<'a> {
    fn pieces(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.0.chunks(PIECE / 3 * 4)
    }

    /// The decoded bytes of `span`; `None` if they don't fit into `out`.
    fn get<'o>(&self, span: Span, out: &'o mut [u8]) -> Option<&'o [u8]> {
        let len = span.end.checked_sub(span.start).filter(|len| *len <= out.len())?;
        // Group by group: three bytes from four characters.
        let mut groups = self.0.get(span.start / 3 * 4..)?.chunks(4);
        let mut skip = span.start % 3;
        let mut filled = 0;
        while filled < len {
            let mut group = [0; 3];
            let bytes = decode(groups.next()?, &mut group)?.get(skip..)?;
            skip = 0;
            let take = bytes.len().min(len - filled);
            out.get_mut(filled..filled + take)?.copy_from_slice(bytes.get(..take)?);
            filled += take;
        }
        out.get(..len)
    }
}

#[cfg(test)]
mod tests;
