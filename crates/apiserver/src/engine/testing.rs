//! What the engine's own tests share.

use std::sync::Arc;

use api::{registry, registry::RuntimeConfig, resource::Resource};

/// The stable row of a built-in resource of the core group.
pub fn resource(plural: &str) -> Arc<Resource> {
    let registry = registry::registry(&RuntimeConfig::default());
    registry.find("", "v1", plural).cloned().unwrap()
}
