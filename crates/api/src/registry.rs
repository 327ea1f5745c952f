//! All rows that are served, and how to find one. A registry is a value: to add a custom resource is to
//! make another one, and a request goes on with the one it began with. Copying costs pointers.

mod runtime_config;

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use crate::{builtin, resource::Resource};

pub use runtime_config::{RuntimeConfig, RuntimeConfigError};

#[derive(Debug, Clone, Default)]
pub struct Registry {
    /// In the order of discovery: built-in groups by preference, then the others by name.
    groups: Vec<Arc<Group>>,
    by_name: HashMap<Box<str>, usize>,
}

#[derive(Debug, Clone)]
pub struct Group {
    pub name: Box<str>,
    /// Those preferred first; never empty.
    pub versions: Vec<Version>,
    is_builtin: bool,
}

#[derive(Debug, Clone)]
pub struct Version {
    pub name: Box<str>,
    /// Sorted by plural.
    rows: Vec<Arc<Resource>>,
}

/// The built-in rows that `config` switches on.
pub fn registry(config: &RuntimeConfig) -> Registry {
    let mut registry = Registry::default();
    for group in builtin::groups() {
        for version in group.versions.iter().filter(|version| config.serves(group.name, version)) {
            registry.add(group.rows(version.name));
        }
    }
    for group in &mut registry.groups {
        Arc::make_mut(group).is_builtin = true;
    }
    registry
}

impl Registry {
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.group(group)?.version(version)?.find(plural)
    }

    pub fn find_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.group(group)?.version(version)?.rows.iter().find(|row| &*row.kind == kind)
    }

    /// In any version: the one preferred first.
    pub fn find_preferred(&self, group: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.group(group)?.versions.iter().find_map(|version| version.find(plural))
    }

    pub fn group(&self, name: &str) -> Option<&Group> {
        self.by_name.get(name).map(|index| &*self.groups[*index])
    }

    /// In the order of discovery; the core group, whose name is empty, is the first.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().map(|group| &**group)
    }

    /// All rows, in the order of discovery.
    pub fn rows(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.groups().flat_map(|group| &group.versions).flat_map(Version::rows)
    }

    /// This registry with the rows added, each in place of the row of the same group, version and plural.
    pub fn with(&self, rows: impl IntoIterator<Item = Resource>) -> Registry {
        let mut registry = self.clone();
        registry.add(rows);
        registry
    }

    /// This registry without any version of the resource.
    pub fn without(&self, group: &str, plural: &str) -> Registry {
        self.filtered(group, |row| &*row.plural != plural)
    }

    /// This registry without one version of the resource.
    pub fn without_version(&self, group: &str, version: &str, plural: &str) -> Registry {
        self.filtered(group, |row| &*row.version != version || &*row.plural != plural)
    }

    fn filtered(&self, group: &str, keep: impl Fn(&Resource) -> bool) -> Registry {
        let mut registry = self.clone();
        if let Some(index) = self.by_name.get(group) {
            let group = Arc::make_mut(&mut registry.groups[*index]);
            for version in &mut group.versions {
                version.rows.retain(|row| keep(row));
            }
            group.versions.retain(|version| !version.rows.is_empty());
            registry.groups.retain(|group| !group.versions.is_empty());
            registry.index();
        }
        registry
    }

    fn add(&mut self, rows: impl IntoIterator<Item = Resource>) {
        for row in rows {
            let index = match self.by_name.get(&row.group) {
                Some(index) => *index,
                None => self.add_group(&row.group),
            };
            Arc::make_mut(&mut self.groups[index]).add(row);
        }
    }

    fn add_group(&mut self, name: &str) -> usize {
        let after = |group: &Arc<Group>| group.is_builtin || *group.name < *name;
        let is_first_fill = self.groups.iter().all(|group| !group.is_builtin);
        let index = if is_first_fill { self.groups.len() } else { self.groups.partition_point(after) };
        self.groups.insert(index, Arc::new(Group { name: name.into(), versions: Vec::new(), is_builtin: false }));
        self.index();
        index
    }

    fn index(&mut self) {
        self.by_name = self.groups.iter().enumerate().map(|(index, group)| (group.name.clone(), index)).collect();
    }
}

impl Group {
    pub fn version(&self, name: &str) -> Option<&Version> {
        self.versions.iter().find(|version| &*version.name == name)
    }

    pub fn preferred_version(&self) -> &str {
        self.versions.first().map_or("", |version| &version.name)
    }

    fn add(&mut self, row: Resource) {
        let index = match self.versions.iter().position(|version| version.name == row.version) {
            Some(index) => index,
            None => {
                let before = |version: &Version| compare_versions(&version.name, &row.version) == Ordering::Less;
                let index = self.versions.partition_point(before);
                self.versions.insert(index, Version { name: row.version.clone(), rows: Vec::new() });
                index
            }
        };
        let rows = &mut self.versions[index].rows;
        match rows.binary_search_by(|known| known.plural.cmp(&row.plural)) {
            Ok(index) => rows[index] = Arc::new(row),
            Err(index) => rows.insert(index, Arc::new(row)),
        }
    }
}

impl Version {
    pub fn find(&self, plural: &str) -> Option<&Arc<Resource>> {
        let index = self.rows.binary_search_by(|row| (*row.plural).cmp(plural)).ok()?;
        Some(&self.rows[index])
    }

    /// Sorted by plural.
    pub fn rows(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.rows.iter()
    }
}

/// The order of preference of version names: `v2`, `v1`, `v2beta1`, `v1beta2`, `v1alpha1`, then what has
/// no such form, by the alphabet (apimachinery, `version.CompareKubeAwareVersionStrings`).
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    match (parse_version(a), parse_version(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// Stability, major, minor.
fn parse_version(name: &str) -> Option<(u8, u64, u64)> {
    let rest = name.strip_prefix('v')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (major, suffix) = rest.split_at(digits);
    let (stability, minor) = match suffix {
        "" => (2, "0"),
        _ => match (suffix.strip_prefix("beta"), suffix.strip_prefix("alpha")) {
            (Some(minor), _) => (1, minor),
            (_, Some(minor)) => (0, minor),
            _ => return None,
        },
    };
    let number = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u64>().ok())?;
    Some((stability, number(major)?, number(minor)?))
}

#[cfg(test)]
mod tests;
