//! Requests in a form that is the same each time.

use std::collections::BTreeMap;
use std::fmt::Write;

use amr_emulator::{Captured, Emulator};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// Headers that are about the client, or that its HTTP library adds.
const NOT_SHOWN: &[&str] = &[
    "accept-encoding",
    "client-request-id",
    "connection",
    "content-length",
    "host",
    "return-client-request-id",
    "user-agent",
];

/// All requests that have come, with names for what is another value each time.
pub(crate) fn normalized(emulator: &Emulator) -> String {
    let names = Names::of(emulator);
    emulator.requests().iter().map(|request| shown(request, &names)).collect()
}

fn shown(request: &Captured, names: &Names) -> String {
    let mut text = format!("{} {}\n", request.method, names.replaced(&request.path));
    let mut all = Vec::new();
    for (name, value) in &request.headers {
        let about = name.starts_with("x-client-") || name.starts_with("x-ms-");
        if !about && !NOT_SHOWN.contains(&name.as_str()) {
            let value = match value.strip_prefix("Basic ") {
                Some(_) => "Basic {key}".into(),
                None => names.replaced(value),
            };
            all.push(format!("{name}: {value}"));
        }
    }
    for (sign, fields) in [('?', &request.query), ('&', &request.form())] {
        for (name, value) in fields {
            let value = assertion(value, names).unwrap_or_else(|| names.replaced(value));
            all.push(format!("{sign}{name}={value}"));
        }
    }
    all.sort();
    for line in all {
        writeln!(text, "    {line}").unwrap();
    }
    text
}

/// What an assertion says, if it is one.
fn assertion(value: &str, names: &Names) -> Option<String> {
    let mut parts = value.split('.').map(|part| {
        let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
        serde_json::from_slice::<Map<String, Value>>(&bytes).ok()
    });
    let (header, claims) = (parts.next()??, parts.next()??);
    let all: BTreeMap<_, _> = header.iter().chain(&claims).collect();
    let shown = all.into_iter().map(|(name, value)| match value.as_str() {
        Some(_) if ["jti", "x5t", "x5t#S256"].contains(&name.as_str()) => name.clone(),
        Some(text) => format!("{name}={}", names.replaced(text)),
        None => name.clone(),
    });
    Some(format!("{{assertion: {}}}", shown.collect::<Vec<_>>().join(", ")))
}

/// What is another value each time, and its name.
struct Names(Vec<(String, &'static str)>);

impl Names {
    fn of(emulator: &Emulator) -> Self {
        let entra = emulator.entra();
        let user = &entra.user_assigned;
        Self(vec![
            (emulator.authority(), "{authority}"),
            (entra.tenant.clone(), "{tenant}"),
            (entra.principal.client_id.clone(), "{client-id}"),
            (entra.secret.clone(), "{secret}"),
            (entra.federated_token(), "{federated-token}"),
            (entra.identity_header.clone(), "{identity-header}"),
            (entra.msi_secret.clone(), "{msi-secret}"),
            (user.client_id.clone(), "{user-client-id}"),
            (user.object_id.clone(), "{user-object-id}"),
            (user.resource_id.clone().unwrap(), "{user-resource-id}"),
        ])
    }

    fn replaced(&self, text: &str) -> String {
        let replace = |text: String, (value, name): &(String, &str)| text.replace(value, name);
        self.0.iter().fold(text.to_owned(), replace)
    }
}
