//! Sets of fields: which places of a document somebody owns.
//!
//! A set is a tree of path elements, each marked as a member or not; its JSON form is `FieldsV1`
//! ([`v1`]). Not here: which fields a document has (`apply::set_of`) and who owns them (`apply`).

mod element;
mod v1;

#[cfg(test)]
mod tests;

use std::fmt;

pub use element::{Element, Path};
pub(crate) use element::{html_safe, order};
pub use v1::FieldsError;
pub(crate) use v1::v1_subtract;

/// A set of paths. The empty path (the whole document) is never a member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// Sorted by element. Each is a member or has members below it.
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub element: Element,
    pub member: bool,
    pub below: FieldSet,
}

impl FieldSet {
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub fn insert(&mut self, path: impl IntoIterator<Item = Element>) {
        let mut set = self;
        let mut path = path.into_iter().peekable();
        while let Some(element) = path.next() {
            let node = set.node(element);
            if path.peek().is_none() {
                node.member = true;
                return;
            }
            set = &mut node.below;
        }
    }

    pub fn contains(&self, path: &[Element]) -> bool {
        match path {
            [] => false,
            [last] => self.get(last).is_some_and(|node| node.member),
            [first, rest @ ..] => self.get(first).is_some_and(|node| node.below.contains(rest)),
        }
    }

    /// Adds every member of `other`.
    pub fn extend(&mut self, other: FieldSet) {
        if self.is_empty() {
            *self = other;
        } else if !other.is_empty() {
            let mut nodes = std::mem::take(&mut self.nodes);
            nodes.extend(other.nodes);
            *self = Self::of_nodes(nodes);
        }
    }

    /// Removes every member of `other`. What lies below a member of `other` stays.
    pub fn subtract(&mut self, other: &FieldSet) {
        self.retain_beside(other, |node, other| {
            node.member &= !other.member;
            node.below.subtract(&other.below);
        });
    }

    /// Removes every member of `other` and what lies below it.
    pub fn subtract_trees(&mut self, other: &FieldSet) {
        self.retain_beside(other, |node, other| {
            if other.member {
                node.member = false;
                node.below = FieldSet::default();
            } else {
                node.below.subtract_trees(&other.below);
            }
        });
    }

    /// Keeps only the members of `other`.
    pub fn intersect(&mut self, other: &FieldSet) {
        let mut others = other.nodes.iter().peekable();
        self.nodes.retain_mut(|node| {
            while others.next_if(|other| other.element < node.element).is_some() {}
            let Some(other) = others.next_if(|other| other.element == node.element) else { return false };
            node.member &= other.member;
            node.below.intersect(&other.below);
            node.holds()
        });
    }

    /// Every member: those of a level first, then those below them.
    pub fn paths(&self) -> Vec<Path<'_>> {
        let mut paths = Vec::new();
        self.collect(&Path::default(), &mut paths);
        paths
    }

    /// The set of these nodes, in any order. Sorting once costs less than putting each in its place.
    fn of_nodes(mut nodes: Vec<Node>) -> Self {
        nodes.sort_by(|a, b| a.element.cmp(&b.element));
        nodes.dedup_by(|later, first| {
            let same = later.element == first.element;
            if same {
                first.member |= later.member;
                first.below.extend(std::mem::take(&mut later.below));
            }
            same
        });
        Self { nodes }
    }

    pub(crate) fn nodes_mut(&mut self) -> &mut [Node] {
        &mut self.nodes
    }

    pub(crate) fn get(&self, element: &Element) -> Option<&Node> {
        self.find(element).ok().map(|index| &self.nodes[index])
    }

    /// Appends a node; `element` must come after all others. Nothing happens where the node would hold nothing.
    pub(crate) fn push(&mut self, element: Element, member: bool, below: FieldSet) {
        if member || !below.is_empty() {
            debug_assert!(self.nodes.last().is_none_or(|last| last.element < element));
            self.nodes.push(Node { element, member, below });
        }
    }

    /// Keeps of each node what `keep` leaves of it.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&mut Node)) {
        self.nodes.retain_mut(|node| {
            keep(node);
            node.holds()
        });
    }

    fn retain_beside(&mut self, other: &FieldSet, mut visit: impl FnMut(&mut Node, &Node)) {
        let mut others = other.nodes.iter().peekable();
        self.retain(|node| {
            while others.next_if(|other| other.element < node.element).is_some() {}
            if let Some(other) = others.next_if(|other| other.element == node.element) {
                visit(node, other);
            }
        });
    }

    fn find(&self, element: &Element) -> Result<usize, usize> {
        self.nodes.binary_search_by(|node| node.element.cmp(element))
    }

    /// The node of `element`, made where it is missing. Sets are mostly built in order.
    fn node(&mut self, element: Element) -> &mut Node {
        let found = match self.nodes.last() {
            Some(last) if last.element < element => Err(self.nodes.len()),
            _ => self.find(&element),
        };
        let index = found.unwrap_or_else(|index| {
            self.nodes.insert(index, Node { element, member: false, below: FieldSet::default() });
            index
        });
        &mut self.nodes[index]
    }

    fn collect<'s>(&'s self, prefix: &Path<'s>, paths: &mut Vec<Path<'s>>) {
        paths.extend(self.nodes.iter().filter(|node| node.member).map(|node| prefix.join(&node.element)));
        for node in &self.nodes {
            if !node.below.is_empty() {
                node.below.collect(&prefix.join(&node.element), paths);
            }
        }
    }
}

impl Node {
    fn holds(&self) -> bool {
        self.member || !self.below.is_empty()
    }
}

/// A set of dotted field names, for sets known in advance: `["status", "spec.replicas"]`.
impl<'s> FromIterator<&'s str> for FieldSet {
    fn from_iter<I: IntoIterator<Item = &'s str>>(paths: I) -> Self {
        let mut set = FieldSet::default();
        for path in paths {
            set.insert(path.split('.').map(Element::field));
        }
        set
    }
}

/// One path a line.
impl fmt::Display for FieldSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.paths().iter().try_for_each(|path| writeln!(f, "{path}"))
    }
}
