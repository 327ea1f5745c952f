//! How ownership moves when a document changes: changed fields leave those who owned them.

use std::borrow::Cow;
use std::sync::LazyLock;

use serde_json::Value;

use super::Write;
use super::compare::{Comparison, compare};
use super::conflict::{Conflict, Conflicts};
use super::invalid::Invalid;
use super::managed::Entry;
use super::schema::Schema;
use super::set::close_atomic;
use crate::fields::FieldSet;

/// Fields that are the server's own or name the object; nobody manages them.
static UNMANAGED: LazyLock<FieldSet> = LazyLock::new(|| {
    FieldSet::from_iter([
        "apiVersion",
        "kind",
        "metadata",
        "metadata.name",
        "metadata.namespace",
        "metadata.creationTimestamp",
        "metadata.selfLink",
        "metadata.uid",
        "metadata.clusterName",
        "metadata.generation",
        "metadata.managedFields",
        "metadata.resourceVersion",
    ])
});

pub(super) fn strip_unmanaged(set: &mut FieldSet) {
    set.subtract(&UNMANAGED);
}

/// What a change does to fields that can be managed, as the entries of one version see it.
pub(super) fn managed_changes(old: &Value, new: &Value, write: &Write<'_>) -> Result<Comparison, Invalid> {
    let mut changes = compare(old, new, write.of)?;
    changes.each(strip_unmanaged);
    write.filter.narrow_all(&mut changes);
    Ok(changes)
}

/// Drops entries of versions that are gone, and fits the others to the types of today.
pub(super) fn reconcile(entries: &mut Vec<Entry>, live: &Value, write: &Write<'_>) {
    entries.retain_mut(|entry| {
        let Some((_, of)) = write.convert(live, &entry.api_version) else { return false };
        close_atomic(&mut entry.fields, Schema::Typed(of));
        true
    });
}

/// A change from `old` to `new`, as seen in each version in which somebody owns fields.
pub(super) struct Change<'a> {
    old: &'a Value,
    new: &'a Value,
    write: &'a Write<'a>,
    seen: Vec<(String, Comparison)>,
}

impl<'a> Change<'a> {
    /// `changes` is what [`managed_changes`] says of these documents.
    pub fn new(old: &'a Value, new: &'a Value, changes: Comparison, write: &'a Write<'a>) -> Self {
        Self { old, new, write, seen: vec![(write.api_version.to_owned(), changes)] }
    }

    /// The change as the version written in sees it.
    pub fn into_changes(mut self) -> Comparison {
        self.seen.swap_remove(0).1
    }

    /// The fields of `entries` that the change sets to something else.
    pub fn conflicts(&mut self, entries: &[Entry]) -> Result<Conflicts, Invalid> {
        let mut entries: Vec<_> = entries.iter().collect();
        entries.sort_by_key(|entry| entry.identity());
        let mut conflicts = Vec::new();
        for entry in entries {
            let Some(changes) = self.seen_in(&entry.api_version)? else { continue };
            let mut fields = changes.modified.clone();
            fields.extend(changes.added.clone());
            fields.intersect(&entry.fields);
            let manager = entry.describe();
            conflicts.extend(
                fields.paths().iter().map(|path| Conflict { manager: manager.clone(), field: path.to_string() }),
            );
        }
        Ok(Conflicts(conflicts))
    }

    /// Takes what changed from those who owned it. Who owns nothing any more is gone.
    pub fn disown(&mut self, entries: &mut Vec<Entry>) -> Result<(), Invalid> {
        for entry in entries.iter_mut() {
            match self.seen_in(&entry.api_version)? {
                Some(changes) => {
                    entry.fields.subtract(&changes.modified);
                    entry.fields.subtract(&changes.added);
                    entry.fields.subtract(&changes.removed);
                }
                None => entry.fields = FieldSet::default(),
            }
        }
        entries.retain(|entry| !entry.fields.is_empty());
        Ok(())
    }

    fn seen_in(&mut self, api_version: &str) -> Result<Option<&Comparison>, Invalid> {
        let index = match self.seen.iter().position(|(version, _)| version == api_version) {
            Some(index) => index,
            None => {
                let Some(changes) = self.compare_in(api_version)? else { return Ok(None) };
                self.seen.push((api_version.to_owned(), changes));
                self.seen.len() - 1
            }
        };
        Ok(Some(&self.seen[index].1))
    }

    fn compare_in(&self, api_version: &str) -> Result<Option<Comparison>, Invalid> {
        let (Some((old, of)), Some((new, _))) =
            (self.write.convert(self.old, api_version), self.write.convert(self.new, api_version))
        else {
            return Ok(None);
        };
        if let (Cow::Borrowed(_), Cow::Borrowed(_)) = (&old, &new)
            && of.id() == self.write.of.id()
        {
            return Ok(Some(self.seen[0].1.clone()));
        }
        managed_changes(&old, &new, &Write { of, ..*self.write }).map(Some)
    }
}
