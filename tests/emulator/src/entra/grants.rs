//! Tokens that are given out, and what goes wrong instead.

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{Identity, refusal};
use crate::Shared;
use crate::faults::{Event, ExpiresOn, Fault};
use crate::http::message::{Answer, Reaction};
use crate::token::{RESOURCE, now, random_hex};

/// A token, and what a fault says about the document that it comes in.
#[derive(Clone, Debug)]
pub(crate) struct Granted {
    pub(crate) token: String,
    expires_on: u64,
    form: Option<ExpiresOn>,
    /// Whether the endpoint doesn't look at which identity is asked for.
    pub(crate) ignores_selector: bool,
}

impl Granted {
    /// The seconds that it has left, as Entra counts them.
    pub(crate) fn left(&self) -> u64 {
        self.expires_on.saturating_sub(now()).saturating_sub(1)
    }

    /// When it ends, in the form that a fault asks for, or in the endpoint's `usual` one.
    pub(crate) fn expires_on(&self, usual: ExpiresOn) -> Value {
        expires_on(self.expires_on, self.form.unwrap_or(usual))
    }
}

impl Shared {
    /// Gives a token of `identity` out in the document that `answer` makes, or does what a fault says.
    pub(crate) fn grant(
        &self,
        identity: &Identity,
        answer: impl Fn(&Granted) -> Result<Value, Answer>,
    ) -> Reaction {
        let (entra, counters) = (&self.entra, &self.counters);
        counters.add(|counts| &mut counts.token_requests);
        let fault = match self.faults.event(Event::Token).map(instead) {
            Some(Ok(reaction)) => return reaction,
            Some(Err(fault)) => Some(fault),
            None => None,
        };
        let life = match fault {
            Some(Fault::Life(seconds)) => seconds,
            _ => entra.life,
        };
        let mut last = entra.last.lock().expect("nobody panics with it");
        let granted = match last.get(&identity.object_id) {
            Some(granted) if fault == Some(Fault::Same) => {
                counters.add(|counts| &mut counts.same_tokens);
                granted.clone()
            }
            _ => {
                let expires_on = now() + life;
                let token = match fault {
                    Some(Fault::Opaque) => random_hex().repeat(8),
                    _ => entra.issuer.token(
                        &identity.object_id,
                        &identity.client_id,
                        identity.resource_id.as_deref(),
                        RESOURCE,
                        expires_on,
                    ),
                };
                let form = match fault {
                    Some(Fault::ExpiresOn(form)) => Some(form),
                    _ => None,
                };
                let ignores_selector = fault == Some(Fault::IgnoreSelector);
                Granted { token, expires_on, form, ignores_selector }
            }
        };
        let answer = match answer(&granted) {
            Ok(body) => {
                counters.add(|counts| &mut counts.tokens);
                let mut all = entra.given_out.lock().expect("nobody panics with it");
                all.push(granted.token.clone());
                last.insert(identity.object_id.clone(), granted);
                let bom = if fault == Some(Fault::Bom) { "\u{feff}" } else { "" };
                Answer::new(200, format!("{bom}{body}"))
            }
            Err(refusal) => refusal,
        };
        match fault {
            Some(Fault::Hang(Some(wait))) => Reaction::Later(wait, answer),
            Some(Fault::CutAfter(bytes)) => Reaction::CutAfter(bytes, answer),
            Some(Fault::Chunked(bytes)) => Reaction::Chunked(bytes, answer),
            _ => Reaction::Answer(answer),
        }
    }
}

/// What a fault does to a request that isn't even looked at; gives other faults back.
pub(crate) fn instead(fault: Fault) -> Result<Reaction, Fault> {
    Ok(match fault {
        Fault::Status { status, retry_after } => {
            // As large as one of Entra's own.
            let body = format!("<!DOCTYPE html><p>{}</p>", "Sorry. ".repeat(5_000));
            let headers = retry_after.map(|wait| ("retry-after", wait)).into_iter().collect();
            Reaction::Answer(Answer { status, headers, body })
        }
        Fault::Body { status, body } => Reaction::Answer(Answer::new(status, body)),
        Fault::Location { status, location } => {
            let headers = vec![("location", location)];
            Reaction::Answer(Answer { status, headers, body: String::new() })
        }
        Fault::Reason { status, reason } => Reaction::Reason(status, reason),
        Fault::Refuse { error, code, status } => Reaction::Answer(refusal(status, &error, code)),
        Fault::Garbage => Reaction::Answer(Answer::new(200, "<html>a proxy</html>".into())),
        Fault::Cut => Reaction::Cut,
        Fault::Hang(None) => Reaction::Hang,
        other => return Err(other),
    })
}

/// The second in which a token ends, as managed-identity endpoints have been seen to write it.
fn expires_on(second: u64, form: ExpiresOn) -> Value {
    let at = i64::try_from(second).ok().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    let at = at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = at.to_calendar_date();
    let (month, (hour, minute, second_of)) = (u8::from(month), at.to_hms());
    match form {
        ExpiresOn::Seconds => json!(second.to_string()),
        ExpiresOn::Number => json!(second),
        ExpiresOn::Relative => json!(second.saturating_sub(now()).to_string()),
        ExpiresOn::Us => {
            json!(format!("{month:02}/{day:02}/{year} {hour:02}:{minute:02}:{second_of:02} +00:00"))
        }
        ExpiresOn::Us12 => {
            let (half, hour) = (if hour < 12 { "AM" } else { "PM" }, (hour + 11) % 12 + 1);
            json!(format!("{month}/{day}/{year} {hour}:{minute:02}:{second_of:02} {half} +00:00"))
        }
        ExpiresOn::Iso => {
            json!(format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second_of:02}"))
        }
        ExpiresOn::Rfc3339 => json!(format!(
            "{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second_of:02}.4470000+00:00"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_token_has_each_form_that_was_seen() {
        let noon = 1_560_945_600; // 2019-06-19T12:00:00Z
        for (form, second, text) in [
            (ExpiresOn::Seconds, noon, json!("1560945600")),
            (ExpiresOn::Number, noon, json!(1_560_945_600)),
            (ExpiresOn::Us, noon, json!("06/19/2019 12:00:00 +00:00")),
            (ExpiresOn::Us12, noon, json!("6/19/2019 12:00:00 PM +00:00")),
            (ExpiresOn::Us12, noon - 1, json!("6/19/2019 11:59:59 AM +00:00")),
            (ExpiresOn::Us12, noon + 43_200, json!("6/20/2019 12:00:00 AM +00:00")),
            (ExpiresOn::Us12, noon + 50_400, json!("6/20/2019 2:00:00 AM +00:00")),
            (ExpiresOn::Iso, noon, json!("2019-06-19 12:00:00")),
            (ExpiresOn::Rfc3339, noon, json!("2019-06-19T12:00:00.4470000+00:00")),
        ] {
            assert_eq!(expires_on(second, form), text);
        }
        let relative = expires_on(now() + 100, ExpiresOn::Relative);
        let seconds: u64 = relative.as_str().unwrap().parse().unwrap();
        assert!((90..=100).contains(&seconds), "{seconds}");
    }
}
