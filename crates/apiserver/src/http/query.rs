//! Query parameters: the options of every verb, checked where they are read.

use api::status::Status;

/// The parameters of one request, in order. A parameter given twice counts once: the first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(query: &str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value, where it is not empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// As Kubernetes reads booleans: absent, `0` and `false` are false; any other value is true.
    pub fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !matches!(value.to_ascii_lowercase().as_str(), "0" | "false"))
    }

    pub fn boolean(&self, name: &str) -> Option<bool> {
        self.get(name).map(|_| self.is_true(name))
    }

    /// A parameter that is there but empty is no number.
    pub fn integer(&self, name: &str) -> Result<Option<i64>, Status> {
        let Some(text) = self.get(name) else { return Ok(None) };
        text.parse::<i64>().map(Some).map_err(|error| {
            use std::num::IntErrorKind::{NegOverflow, PosOverflow};
            let is_range = matches!(error.kind(), PosOverflow | NegOverflow);
            let why = if is_range { "value out of range" } else { "invalid syntax" };
            Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: {why}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_read_as_in_kubernetes() {
        let query = Query::parse("watch=1&limit=5&labelSelector=a%20in%20(b)&empty=&off=false&dryRun=All&dryRun=x");
        assert!(query.is_true("watch") && !query.is_true("off") && !query.is_true("absent"));
        assert_eq!(query.integer("limit").unwrap(), Some(5));
        assert_eq!(query.text("labelSelector"), Some("a in (b)"));
        assert_eq!((query.get("empty"), query.text("empty")), (Some(""), None));
        assert_eq!(query.all("dryRun").collect::<Vec<_>>(), ["All", "x"]);
        assert!(Query::parse("limit=x").integer("limit").is_err());
    }
}
