//! Paths and queries, read as strictly as bodies: a malformed id is refused before any query of the
//! database, an unknown parameter is refused with its name.

use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::code::Code;
use super::problem::Problem;

/// Values in the path.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(_) => Err(Problem::new(
                Code::InvalidId,
                "an id in the path is malformed; ids look like chat_01J9ZQ4Y3M8T6V5W2X1R0P7N6K",
            )),
        }
    }
}

/// The query's parameters while they are taken one by one. Call [`finish`](Self::finish) at the end.
pub struct Query {
    pairs: Vec<(String, String)>,
    known: Vec<&'static str>,
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| Problem::new(Code::InvalidQuery, "the query cannot be read"))?
            .0;
        Ok(Self { pairs, known: Vec::new() })
    }
}

impl Query {
    /// One parameter as text.
    ///
    /// # Errors
    ///
    /// When it is there twice or holds a NUL.
    pub fn text(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        self.known.push(name);
        let mut found = None;
        for (_, value) in self.pairs.iter().filter(|(key, _)| key == name) {
            if found.replace(value.clone()).is_some() {
                return Err(invalid(name, "is there twice"));
            }
        }
        match found {
            Some(text) if text.contains('\0') => Err(invalid(name, "holds a NUL character")),
            found => Ok(found),
        }
    }

    /// One parameter as something that is parsed.
    ///
    /// # Errors
    ///
    /// When it cannot be parsed; `expected` says as what.
    pub fn parse<T: FromStr>(
        &mut self,
        name: &'static str,
        expected: &str,
    ) -> Result<Option<T>, Problem> {
        match self.text(name)?.map(|text| text.parse()) {
            None => Ok(None),
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(_)) => Err(invalid(name, &format!("takes {expected}"))),
        }
    }

    /// One parameter that must be there.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub fn required(&mut self, name: &'static str) -> Result<String, Problem> {
        self.text(name)?.ok_or_else(|| invalid(name, "is required"))
    }

    /// `limit`, from 1 to `max`.
    ///
    /// # Errors
    ///
    /// When it is outside.
    pub fn limit(&mut self, default: u32, max: u32) -> Result<u32, Problem> {
        match self.text("limit")?.map(|text| text.parse::<u32>()) {
            None => Ok(default),
            Some(Ok(limit)) if (1..=max).contains(&limit) => Ok(limit),
            Some(_) => Err(Problem::new(
                Code::InvalidLimit,
                format!("limit takes a number from 1 to {max}"),
            )),
        }
    }

    /// What is left is unknown.
    ///
    /// # Errors
    ///
    /// When a parameter was not asked for.
    pub fn finish(self) -> Result<(), Problem> {
        let unknown = self.pairs.iter().find(|(key, _)| !self.known.contains(&key.as_str()));
        let Some((key, _)) = unknown else { return Ok(()) };
        let key: String = key.chars().take(64).collect();
        let near = crate::options::nearest(&key, self.known.iter().copied());
        let hint = near.map_or_else(String::new, |near| format!("; did you mean \"{near}\"?"));
        Err(Problem::new(Code::InvalidQuery, format!("there is no parameter \"{key}\"{hint}")))
    }
}

fn invalid(name: &str, what: &str) -> Problem {
    Problem::new(Code::InvalidQuery, format!("the parameter {name} {what}"))
}
