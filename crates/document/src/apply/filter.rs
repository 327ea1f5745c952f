//! Which fields a write through one endpoint can own: a status write owns nothing of the spec, the
//! main endpoint nothing of the status.

use super::compare::Comparison;
use crate::fields::{Element, FieldSet};

#[derive(Debug, Clone, Default)]
pub enum Filter {
    #[default]
    All,
    /// All but these fields and what is below them.
    Except(FieldSet),
    /// Only what is on or below one of these paths, where none stands for any element
    /// (`spec.containers[*].resources`).
    Only(Vec<Vec<Option<Element>>>),
}

impl Filter {
    /// All but the fields at these dotted paths.
    pub fn except<'p>(paths: impl IntoIterator<Item = &'p str>) -> Self {
        Filter::Except(paths.into_iter().collect())
    }

    /// Only what is at these dotted paths; `*` stands for any element.
    pub fn only<'p>(paths: impl IntoIterator<Item = &'p str>) -> Self {
        let element = |name: &str| (name != "*").then(|| Element::field(name));
        Filter::Only(paths.into_iter().map(|path| path.split('.').map(element).collect()).collect())
    }

    pub(super) fn narrow(&self, set: &mut FieldSet) {
        match self {
            Filter::All => {}
            Filter::Except(fields) => set.subtract_trees(fields),
            Filter::Only(paths) => keep(set, &paths.iter().map(Vec::as_slice).collect::<Vec<_>>()),
        }
    }

    pub(super) fn narrow_all(&self, comparison: &mut Comparison) {
        comparison.each(|set| self.narrow(set));
    }
}

fn keep(set: &mut FieldSet, paths: &[&[Option<Element>]]) {
    if paths.iter().any(|path| path.is_empty()) {
        return;
    }
    set.retain(|node| {
        let below: Vec<_> = paths
            .iter()
            .filter_map(|path| path.split_first())
            .filter(|(first, _)| first.as_ref().is_none_or(|first| *first == node.element))
            .map(|(_, rest)| rest)
            .collect();
        node.member &= !below.is_empty();
        if below.is_empty() {
            node.below = FieldSet::default();
        } else {
            keep(&mut node.below, &below);
        }
    });
}
