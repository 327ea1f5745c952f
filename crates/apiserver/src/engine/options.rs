//! `ListOptions`: how a collection is asked for. The query is read in two steps, as clients see them: first each
//! parameter by itself, where the first that cannot be read is a bad request (400); then all of them
//! together, where everything that does not fit is told at once (422).

use std::time::Duration;

use api::{
    field::{FieldError, FieldErrors, Path},
    status::{Status, Subject},
};

use super::list::Selection;
use crate::http::query::Query;

const EXACT: &str = "Exact";
const NOT_OLDER_THAN: &str = "NotOlderThan";

/// How fresh, and how much (KEP-365, KEP-1904).
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    pub selection: Selection,
    /// 0: no limit.
    pub limit: usize,
    pub continue_token: Option<String>,
    pub revision: Freshness,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Freshness {
    /// Everything acknowledged before the request.
    #[default]
    MostRecent,
    NotOlderThan(u64),
    Exact(u64),
}

#[derive(Debug, Clone)]
pub struct WatchOptions {
    pub selection: Selection,
    pub start: Start,
    pub bookmarks: bool,
    pub timeout: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// After this revision.
    After(u64),
    /// First all objects as they are now, then what happens.
    WithState,
    /// The same, with a bookmark where the state ends (`sendInitialEvents`, KEP-3157).
    WithMarkedState(u64),
    /// Only what happens from now on (`sendInitialEvents=false` without a revision).
    Now,
}

/// The parameters, each well formed by itself. Lists and watches share them.
struct Parameters<'q> {
    selection: Selection,
    bookmarks: bool,
    version: &'q str,
    matching: &'q str,
    timeout_seconds: i64,
    limit: i64,
    continue_token: &'q str,
    initial_events: Option<bool>,
}

impl<'q> Parameters<'q> {
    fn read(query: &'q Query) -> Result<Self, Status> {
        let text = |name| query.get(name).unwrap_or_default();
        Ok(Self {
            selection: Selection::parse(query)?,
            bookmarks: query.is_true("allowWatchBookmarks"),
            version: text("resourceVersion"),
            matching: text("resourceVersionMatch"),
            timeout_seconds: query.integer("timeoutSeconds")?.unwrap_or(0),
            limit: query.integer("limit")?.unwrap_or(0),
            continue_token: text("continue"),
            initial_events: query.boolean("sendInitialEvents"),
        })
    }

    /// What does not fit together in a list.
    fn list_errors(&self) -> FieldErrors {
        let mut errors = FieldErrors::new();
        let mut forbid = |field, detail: &str| errors.push(FieldError::forbidden(&Path::new(field), detail));
        let matching = self.matching;
        if !matching.is_empty() {
            if self.version.is_empty() {
                forbid("resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided");
            }
            if !self.continue_token.is_empty() {
                forbid("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided");
            }
            if matching == EXACT && self.version == "0" {
                let detail = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                forbid("resourceVersionMatch", detail);
            }
        }
        if self.initial_events.is_some() {
            forbid("sendInitialEvents", "sendInitialEvents is forbidden for list");
        }
        if !matches!(matching, "" | EXACT | NOT_OLDER_THAN) {
            let supported = [EXACT, NOT_OLDER_THAN, ""];
            errors.push(FieldError::not_supported(&Path::new("resourceVersionMatch"), matching, &supported));
        }
        errors
    }

    /// What does not fit together in a watch.
    fn watch_errors(&self) -> FieldErrors {
        let mut errors = FieldErrors::new();
        let mut forbid = |detail: &str| errors.push(FieldError::forbidden(&Path::new("resourceVersionMatch"), detail));
        let matching = self.matching;
        if self.initial_events.is_some() && matching != NOT_OLDER_THAN {
            forbid("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
        }
        // A watch from the present state is one with initial events, whether it says so or not.
        let with_state = self.initial_events.is_none() && matches!(self.version, "" | "0");
        if !self.continue_token.is_empty() && (with_state || !matching.is_empty()) {
            forbid("resourceVersionMatch is forbidden when continue is provided");
        }
        if !matching.is_empty() {
            if self.initial_events.is_none() {
                forbid("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
            }
            if matching != NOT_OLDER_THAN {
                let path = Path::new("resourceVersionMatch");
                errors.push(FieldError::not_supported(&path, matching, &[NOT_OLDER_THAN]));
            }
        }
        errors
    }
}

impl ListOptions {
    pub fn parse(query: &Query) -> Result<Self, Status> {
        let asked = Parameters::read(query)?;
        refuse(&asked.list_errors())?;
        let continue_token = (!asked.continue_token.is_empty()).then(|| asked.continue_token.to_owned());
        // Nothing is listed backwards: a negative limit is none.
        let limit = usize::try_from(asked.limit).unwrap_or(0);
        let revision = freshness(asked.version, asked.matching, limit)?;
        let names_version = !matches!(revision, Freshness::MostRecent | Freshness::NotOlderThan(0));
        if continue_token.is_some() && names_version {
            return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
        }
        Ok(Self { selection: asked.selection, limit, continue_token, revision })
    }
}

impl Freshness {
    /// What `resourceVersion` asks of a GET.
    pub fn of_get(query: &Query) -> Result<Self, Status> {
        freshness(query.get("resourceVersion").unwrap_or_default(), "", 0)
    }
}

fn freshness(version: &str, matching: &str, limit: usize) -> Result<Freshness, Status> {
    if version.is_empty() {
        return Ok(Freshness::MostRecent);
    }
    let number = revision(version)?;
    Ok(match matching {
        EXACT => Freshness::Exact(number),
        // A limit with a version and no match asks for that very version (KEP-1904's legacy rule).
        "" if limit > 0 && number > 0 => Freshness::Exact(number),
        _ => Freshness::NotOlderThan(number),
    })
}

impl WatchOptions {
    pub fn parse(query: &Query) -> Result<Self, Status> {
        let asked = Parameters::read(query)?;
        refuse(&asked.watch_errors())?;
        let version = if asked.version.is_empty() { 0 } else { revision(asked.version)? };
        let start = match (asked.initial_events, version) {
            (Some(true), version) => Start::WithMarkedState(version),
            (Some(false), 0) => Start::Now,
            (None, 0) => Start::WithState,
            (_, version) => Start::After(version),
        };
        let timeout = match asked.timeout_seconds {
            0 => None,
            // What should have ended already ends at once.
            seconds => Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0))),
        };
        Ok(Self { selection: asked.selection, start, bookmarks: asked.bookmarks, timeout })
    }
}

fn refuse(errors: &FieldErrors) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    let subject = Subject { group: "meta.k8s.io", resource: "ListOptions", name: "" };
    Err(Status::invalid(subject, errors))
}

fn revision(text: &str) -> Result<u64, Status> {
    text.parse().map_err(|_| {
        let refusal = invalid_version(text).message;
        Status::bad_request(format!("invalid resource version: resourceVersion: {refusal}"))
    })
}

pub fn invalid_version(text: &str) -> Status {
    Status::bad_request(format!("Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVALID: &str = "ListOptions.meta.k8s.io \"\" is invalid: ";

    /// The code and message of a refusal, or `ok`.
    fn told<T>(result: Result<T, Status>) -> String {
        match result {
            Ok(_) => "ok".to_owned(),
            Err(status) => format!("{} {}", status.code, status.message).replace(INVALID, ""),
        }
    }

    #[test]
    fn a_list_is_refused_as_in_kubernetes() {
        let check =
            |query: &str, expect: &str| assert_eq!(told(ListOptions::parse(&Query::parse(query))), expect, "{query}");
        check("limit=-1&timeoutSeconds=5&unknown=1", "ok");
        check("resourceVersion=0&resourceVersionMatch=NotOlderThan", "ok");
        check("continue=abc&resourceVersion=0", "ok");
        check("timeoutSeconds=abc", "400 strconv.ParseInt: parsing \"abc\": invalid syntax");
        check("limit=", "400 strconv.ParseInt: parsing \"\": invalid syntax");
        check(
            "limit=99999999999999999999",
            "400 strconv.ParseInt: parsing \"99999999999999999999\": value out of range",
        );
        check("sendInitialEvents=false", "422 sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list");
        check(
            "resourceVersion=x",
            "400 invalid resource version: resourceVersion: Invalid value: \"x\": strconv.ParseUint: parsing \"x\": invalid syntax",
        );
        check(
            "resourceVersionMatch=foo",
            "422 [resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided, \
             resourceVersionMatch: Unsupported value: \"foo\": supported values: \"Exact\", \"NotOlderThan\", \"\"]",
        );
        check(
            "resourceVersionMatch=Exact&resourceVersion=0",
            "422 resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
        );
        check("continue=abc&resourceVersion=5", "400 specifying resource version is not allowed when using continue");
    }

    #[test]
    fn a_watch_is_refused_as_in_kubernetes() {
        let check =
            |query: &str, expect: &str| assert_eq!(told(WatchOptions::parse(&Query::parse(query))), expect, "{query}");
        let requires =
            "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        check("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", "ok");
        check("continue=abc&resourceVersion=5", "ok");
        check(
            "continue=abc",
            "422 resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided",
        );
        check("limit=abc", "400 strconv.ParseInt: parsing \"abc\": invalid syntax");
        check("sendInitialEvents=true", &format!("422 {requires}"));
        check(
            "sendInitialEvents=true&resourceVersionMatch=Exact",
            &format!(
                "422 [{requires}, resourceVersionMatch: Unsupported value: \"Exact\": supported values: \"NotOlderThan\"]"
            ),
        );
        check(
            "resourceVersionMatch=NotOlderThan",
            "422 resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        );
    }

    #[test]
    fn a_watch_starts_where_it_is_told() {
        let start = |query: &str| WatchOptions::parse(&Query::parse(query)).unwrap().start;
        assert_eq!(start(""), Start::WithState);
        assert_eq!(start("resourceVersion=0"), Start::WithState);
        assert_eq!(start("resourceVersion=7"), Start::After(7));
        assert_eq!(start("sendInitialEvents=true&resourceVersionMatch=NotOlderThan"), Start::WithMarkedState(0));
        assert_eq!(start("sendInitialEvents=false&resourceVersionMatch=NotOlderThan"), Start::Now);
    }
}
