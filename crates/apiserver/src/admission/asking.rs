//! What expressions ask of the server: the authorizer in the cluster at hand, and the registry.

use std::{fmt, sync::Arc};

use api::{registry::Registry, resource::Resource};
use arc_swap::ArcSwap;

use super::matching::Kinds;
use crate::{authz, cel::library::access, cluster::Cluster, identity::Attributes};

/// An authorizer for expressions, which see no cluster.
pub struct Asking<'a> {
    pub authorizer: &'a dyn authz::Authorizer,
    pub cluster: &'a dyn Cluster,
}

impl fmt::Debug for Asking<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asking").finish_non_exhaustive()
    }
}

impl access::Authorizer for Asking<'_> {
    fn authorize(&self, attributes: &Attributes<'_>) -> (bool, String) {
        let decision = self.authorizer.authorize(attributes, self.cluster);
        (decision.is_allowed(), decision.reason().to_owned())
    }
}

/// The registry as it is at each request.
#[derive(Debug)]
pub struct Served(pub Arc<ArcSwap<Registry>>);

impl Kinds for Served {
    fn by_kind(&self, api_version: &str, kind: &str) -> Option<Arc<Resource>> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.0.load().find_kind(group, version, kind).cloned()
    }

    fn equivalents(&self, resource: &Resource) -> Vec<Arc<Resource>> {
        let is_other = |row: &&Arc<Resource>| {
            row.storage.topic == resource.storage.topic
                && (&row.group, &row.version) != (&resource.group, &resource.version)
        };
        self.0.load().rows().filter(is_other).cloned().collect()
    }
}
