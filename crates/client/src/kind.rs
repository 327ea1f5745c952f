//! Where the objects of a kind are found.

use std::borrow::Cow;

/// A kind in one version, as it stands in `apiVersion`, `kind` and paths.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// Empty for the core group.
    pub group: Cow<'static, str>,
    pub version: Cow<'static, str>,
    pub kind: Cow<'static, str>,
    pub plural: Cow<'static, str>,
    pub namespaced: bool,
}

impl Kind {
    pub const fn namespaced(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
    ) -> Self {
        Self::fixed([group, version, kind, plural], true)
    }

    pub const fn of_cluster(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
    ) -> Self {
        Self::fixed([group, version, kind, plural], false)
    }

    const fn fixed([group, version, kind, plural]: [&'static str; 4], namespaced: bool) -> Self {
        Self {
            group: Cow::Borrowed(group),
            version: Cow::Borrowed(version),
            kind: Cow::Borrowed(kind),
            plural: Cow::Borrowed(plural),
            namespaced,
        }
    }

    /// `apps/v1`, or `v1` for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The path of the collection: of one namespace, or of all where `namespace` is empty.
    pub fn collection(&self, namespace: &str) -> String {
        let root = if self.group.is_empty() { "/api/".to_owned() } else { format!("/apis/{}/", self.group) };
        let (version, plural) = (&self.version, &self.plural);
        if namespace.is_empty() {
            format!("{root}{version}/{plural}")
        } else {
            format!("{root}{version}/namespaces/{namespace}/{plural}")
        }
    }

    /// The path of an object or, where `subresource` is not empty, of that part of it.
    pub fn object(&self, namespace: &str, name: &str, subresource: &str) -> String {
        let mut path = format!("{}/{name}", self.collection(namespace));
        if !subresource.is_empty() {
            path.push('/');
            path.push_str(subresource);
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_group_and_scope() {
        let deployments = Kind::namespaced("apps", "v1", "Deployment", "deployments");
        assert_eq!(deployments.collection(""), "/apis/apps/v1/deployments");
        assert_eq!(deployments.object("shop", "web", "scale"), "/apis/apps/v1/namespaces/shop/deployments/web/scale");
        let nodes = Kind::of_cluster("", "v1", "Node", "nodes");
        assert_eq!(nodes.object("", "a", ""), "/api/v1/nodes/a");
        assert_eq!((nodes.api_version(), deployments.api_version()), ("v1".to_owned(), "apps/v1".to_owned()));
    }
}
