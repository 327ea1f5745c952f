//! The parameters of operations, by name. What each of them means is said here once.

use serde_json::{Value, json};

/// Name, type, meaning.
type Parameter = (&'static str, &'static str, &'static str);

const QUERY: &[Parameter] = &[
    ("allowWatchBookmarks", "boolean", "Asks a watch for BOOKMARK events, which carry a recent resourceVersion only."),
    ("command", "string", "The command to run, and its arguments; not in a shell."),
    ("container", "string", "The container; not needed where the pod has one only."),
    ("continue", "string", "The token of the previous chunk, to go on with a list that was limited."),
    ("dryRun", "string", "With All, the request is processed to the end and nothing is stored."),
    ("fieldManager", "string", "The name under which the changed fields are recorded as managed."),
    ("fieldSelector", "string", "Restricts the result to objects whose fields match."),
    (
        "fieldValidation",
        "string",
        "What becomes of unknown and duplicate fields: Ignore, Warn (the default) or Strict.",
    ),
    ("follow", "boolean", "Goes on with the log as it is written."),
    ("force", "boolean", "Takes fields over from other managers, where an apply would conflict."),
    ("gracePeriodSeconds", "integer", "The seconds until the object is deleted; 0 deletes at once."),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean", "Deletes an object even if it cannot be read."),
    ("insecureSkipTLSVerifyBackend", "boolean", "Does not verify the node's serving certificate."),
    ("labelSelector", "string", "Restricts the result to objects whose labels match."),
    ("limit", "integer", "The most items in a response; the list's metadata then tells how to go on."),
    ("limitBytes", "integer", "The most bytes of log."),
    ("orphanDependents", "boolean", "Replaced by propagationPolicy."),
    ("path", "string", "The path of the proxied request."),
    ("ports", "integer", "The ports to forward."),
    ("pretty", "string", "With true, the response is indented."),
    ("previous", "boolean", "The log of the container's previous run."),
    ("propagationPolicy", "string", "What becomes of dependents: Orphan, Background or Foreground."),
    ("resourceVersion", "string", "The version of the collection to read, or to watch from."),
    ("resourceVersionMatch", "string", "How resourceVersion is meant by a list: Exact or NotOlderThan."),
    ("sendInitialEvents", "boolean", "Begins a watch with an ADDED event for each object there is, and a bookmark."),
    ("sinceSeconds", "integer", "Only the log of so many seconds."),
    ("stderr", "boolean", "Connects standard error."),
    ("stdin", "boolean", "Connects standard input."),
    ("stdout", "boolean", "Connects standard output."),
    ("stream", "string", "Which stream of the log: All, Stdout or Stderr."),
    ("tailLines", "integer", "Only so many last lines of the log."),
    ("timeoutSeconds", "integer", "Ends the call, or the watch, after so many seconds."),
    ("timestamps", "boolean", "Begins each line of the log with its time."),
    ("tty", "boolean", "Allocates a terminal."),
    ("watch", "boolean", "Streams the changes instead of listing."),
];

const PATH: &[Parameter] = &[
    ("name", "string", "The object's name."),
    ("namespace", "string", "The object's namespace."),
    ("path", "string", "The path of the proxied request."),
];

pub const LIST: &[&str] = &[
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
];
pub const DELETE_COLLECTION: &[&str] = &[
    "continue",
    "dryRun",
    "fieldSelector",
    "gracePeriodSeconds",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "labelSelector",
    "limit",
    "orphanDependents",
    "propagationPolicy",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
];
pub const DELETE: &[&str] = &[
    "dryRun",
    "gracePeriodSeconds",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "orphanDependents",
    "propagationPolicy",
];
pub const WRITE: &[&str] = &["dryRun", "fieldManager", "fieldValidation"];
pub const PATCH: &[&str] = &["dryRun", "fieldManager", "fieldValidation", "force"];

/// Of subresources that connect or stream, by the kind of their options or their name.
pub fn of_connection(name: &str) -> &'static [&'static str] {
    match name {
        "PodAttachOptions" => &["container", "stderr", "stdin", "stdout", "tty"],
        "PodExecOptions" => &["command", "container", "stderr", "stdin", "stdout", "tty"],
        "PodPortForwardOptions" => &["ports"],
        "NodeProxyOptions" | "PodProxyOptions" | "ServiceProxyOptions" => &["path"],
        "log" => &[
            "container",
            "follow",
            "insecureSkipTLSVerifyBackend",
            "limitBytes",
            "previous",
            "sinceSeconds",
            "stream",
            "tailLines",
            "timestamps",
        ],
        _ => &[],
    }
}

pub fn query(names: &[&str]) -> Value {
    names.iter().filter_map(|name| parameter("query", QUERY, name)).collect()
}

/// The parameters that a path's braces name.
pub fn path(path: &str) -> Vec<Value> {
    let mut names: Vec<&str> =
        path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}')).collect();
    names.sort_unstable();
    names.iter().filter_map(|name| parameter("path", PATH, name)).collect()
}

fn parameter(place: &str, table: &[Parameter], name: &str) -> Option<Value> {
    let (name, kind, description) = table.iter().find(|(known, ..)| *known == name)?;
    let mut parameter = json!({
        "in": place,
        "name": name,
        "description": description,
        "schema": {"type": kind, "uniqueItems": true},
    });
    if place == "path" {
        parameter["required"] = true.into();
    }
    Some(parameter)
}
