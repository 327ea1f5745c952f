//! The name of an object within its kind.

use std::{
    borrow::Borrow,
    fmt::{self, Display},
    sync::Arc,
};

/// `namespace/name`, or `name` alone for objects of the cluster. One allocation, shared by its clones;
/// ordered so that a namespace's objects stand together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// `namespace` is empty for objects of the cluster.
    pub fn new(namespace: &str, name: &str) -> Self {
        if namespace.is_empty() { Self(name.into()) } else { Self(format!("{namespace}/{name}").into()) }
    }

    pub fn namespace(&self) -> &str {
        self.0.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(_, name)| name)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_apart_as_it_was_put_together() {
        let web = Key::new("shop", "web");
        assert_eq!((web.namespace(), web.name(), web.as_str()), ("shop", "web", "shop/web"));
        let node = Key::new("", "node-1");
        assert_eq!((node.namespace(), node.name()), ("", "node-1"));
    }
}
