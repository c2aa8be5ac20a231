//! The requests that came, as they came: what a client sends is compared with what Microsoft's send.

use std::collections::VecDeque;
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::http::message::fields;

/// So many requests are kept, the newest.
const KEPT: usize = 1_000;

/// What a form is called.
const FORM: &str = "application/x-www-form-urlencoded";

/// Names and values, in their order.
pub(crate) type Fields = Vec<(String, String)>;

/// A request to one of the identity endpoints, with the secrets in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Its method.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
    /// The fields of the query, decoded, in their order.
    pub query: Vec<(String, String)>,
    /// Its header lines, in their order, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
}

impl Captured {
    /// The fields of the body, decoded, in their order, if the head says that it is a form.
    pub fn form(&self) -> Vec<(String, String)> {
        let kind = self.header("content-type").and_then(|kind| kind.split(';').next());
        match kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case(FORM)) {
            true => fields(&self.body),
            false => Vec::new(),
        }
    }

    /// The field `name` of the query.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        find(&self.query, name)
    }

    /// The header `name`, which is in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    fn json(&self) -> Value {
        json!({
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "headers": self.headers,
            "form": self.form(),
        })
    }
}

/// The value of the first field called `name`.
pub(crate) fn find<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// The requests of all endpoints.
#[derive(Debug, Default)]
pub(crate) struct Capture(Mutex<VecDeque<Captured>>);

impl Capture {
    pub(crate) fn add(&self, request: &Captured) {
        let mut requests = self.0.lock().expect("nobody panics with it");
        if requests.len() == KEPT {
            requests.pop_front();
        }
        requests.push_back(request.clone());
    }

    pub(crate) fn all(&self) -> Vec<Captured> {
        self.0.lock().expect("nobody panics with it").iter().cloned().collect()
    }

    pub(crate) fn clear(&self) {
        self.0.lock().expect("nobody panics with it").clear();
    }

    pub(crate) fn json(&self) -> Value {
        self.all().iter().map(Captured::json).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_thousand_requests_are_kept() {
        let capture = Capture::default();
        let request = |number: usize| Captured {
            method: "GET".into(),
            path: format!("/{number}"),
            query: Vec::new(),
            headers: Vec::new(),
            body: String::new(),
        };
        (0..=KEPT).for_each(|number| capture.add(&request(number)));
        let all = capture.all();
        assert_eq!((all.len(), all[0].path.as_str()), (KEPT, "/1"));
        assert_eq!(all[KEPT - 1].path, format!("/{KEPT}"));
        capture.clear();
        assert_eq!(capture.all(), []);
    }
}
