//! Server-side apply: what a manager wants is merged in, and what it no longer wants taken out.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Write;
use super::conflict::Conflicts;
use super::invalid::Invalid;
use super::last_applied;
use super::managed::{self, Entry, Operation};
use super::merge::merge;
use super::ownership::{Change, managed_changes, reconcile, strip_unmanaged};
use super::prune::prune;
use super::set::set_of;
use super::updating::{before_first_apply, managed_fields, set_managed_fields, take_managed_fields};
use super::validate::validate;

#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum ApplyError {
    /// Not a configuration that can be applied here.
    #[error("{0}")]
    BadRequest(String),
    /// The configuration does not fit the type, or the live object cannot be merged with.
    #[error("{0}")]
    Invalid(String),
    #[error(transparent)]
    Conflicts(#[from] Conflicts),
}

/// The name by which kubectl applies, for which alone the last-applied annotation counts.
const KUBECTL: &str = "kubectl";

/// `live` with `config` applied, not yet defaulted. None live: it is created.
///
/// With `force`, fields that others own are taken from them. An apply that changes nothing gives back `live` as it is.
pub fn apply(live: Option<&Value>, config: &Value, write: &Write<'_>, force: bool) -> Result<Value, ApplyError> {
    check(config, write)?;
    let mut applied = match merge_and_own(live, config, write, force) {
        Err(ApplyError::Conflicts(conflicts)) if write.manager() == KUBECTL => {
            take_over(live, config, write, conflicts)?
        }
        applied => applied?,
    };
    if write.manager() == KUBECTL {
        last_applied::renew(&mut applied, config);
    }
    Ok(applied)
}

fn check(config: &Value, write: &Write<'_>) -> Result<(), ApplyError> {
    let text = |name: &str| config[name].as_str().unwrap_or_default();
    if text("apiVersion") != write.api_version || text("kind") != write.kind {
        let kind = version_and_kind(text("apiVersion"), text("kind"));
        return Err(ApplyError::BadRequest(format!("invalid object type: {kind}")));
    }
    if managed_fields(config).is_some() {
        return Err(ApplyError::BadRequest("metadata.managedFields must be nil".to_owned()));
    }
    validate(config, write.of).map_err(|invalid| untyped("patch", config, write, &invalid))
}

/// Conflicts with what client-side apply set and nobody changed since are none.
fn take_over(
    live: Option<&Value>,
    config: &Value,
    write: &Write<'_>,
    conflicts: Conflicts,
) -> Result<Value, ApplyError> {
    let Some(allowed) = live.and_then(|live| last_applied::untouched(live, write)) else {
        return Err(conflicts.into());
    };
    let allowed: BTreeSet<_> = allowed.paths().iter().map(ToString::to_string).collect();
    let others: Vec<_> = conflicts.0.into_iter().filter(|conflict| !allowed.contains(&conflict.field)).collect();
    if others.is_empty() { merge_and_own(live, config, write, true) } else { Err(Conflicts(others).into()) }
}

fn merge_and_own(live: Option<&Value>, config: &Value, write: &Write<'_>, force: bool) -> Result<Value, ApplyError> {
    let failed = |what: &str, invalid: Invalid| ApplyError::Invalid(format!("failed to {what}: {invalid}"));
    let mut base = live.cloned().unwrap_or_else(|| json!({}));
    let stored = take_managed_fields(&mut base);
    let mut entries = managed::decode(stored.as_ref())
        .map_err(|error| ApplyError::Invalid(format!("failed to decode managed fields: {error}")))?;
    if entries.is_empty() && live.is_some() {
        entries = before_first_apply(&base, write)
            .map_err(|invalid| failed("create manager for existing fields", invalid))?;
    }
    reconcile(&mut entries, &base, write);

    let mut new = base.clone();
    merge(&mut new, config, write.of).map_err(|invalid| failed("merge config", invalid))?;
    let mut entry = Entry::new(write, Operation::Apply);
    entry.fields = set_of(config, write.of).map_err(|invalid| failed("get field set", invalid))?;
    write.filter.narrow(&mut entry.fields);
    let last = managed::take(&mut entries, &entry);
    entries.push(entry);
    if let Some(last) = &last {
        new = prune(new, last, &entries, write).map_err(|invalid| failed("prune fields", invalid))?;
    }
    // The manager's own entry is no party to its conflicts.
    let Some(mut entry) = entries.pop() else { return Ok(new) };

    let changes = managed_changes(&base, &new, write).map_err(|invalid| failed("compare objects", invalid))?;
    let mut change = Change::new(&base, &new, changes, write);
    if !force {
        let conflicts = change.conflicts(&entries).map_err(|invalid| failed("compare objects", invalid))?;
        if !conflicts.0.is_empty() {
            return Err(conflicts.into());
        }
    }
    change.disown(&mut entries).map_err(|invalid| failed("compare objects", invalid))?;
    strip_unmanaged(&mut entry.fields);
    if let Some(last) = last
        && last.fields == entry.fields
        && last.api_version == entry.api_version
        && base == new
    {
        entry.time = last.time;
    }
    if !entry.fields.is_empty() {
        entries.push(entry);
    }
    set_managed_fields(&mut new, managed::encode(entries, Vec::new()));
    Ok(new)
}

/// The error of a document that does not fit its type.
fn untyped(which: &str, document: &Value, write: &Write<'_>, invalid: &Invalid) -> ApplyError {
    let text = |name: &str| document["metadata"][name].as_str().unwrap_or_default();
    let kind = version_and_kind(write.api_version, write.kind);
    let (namespace, name) = (text("namespace"), text("name"));
    ApplyError::Invalid(format!("failed to create typed {which} object ({namespace}/{name}; {kind}): {invalid}"))
}

/// `apps/v1, Kind=Deployment`; the core group is empty.
fn version_and_kind(api_version: &str, kind: &str) -> String {
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{slash}{api_version}, Kind={kind}")
}
