//! Requests and a small cluster for the tests of plug-ins.

use std::sync::{Arc, LazyLock};

use api::{
    registry::{Registry, RuntimeConfig, registry},
    resource::Resource,
    status::Status,
};
use serde_json::{Value, json};

use super::{Operation, Plugin, Request};
use crate::{
    audit::Annotations,
    cluster::{Cluster, FixedCluster},
    identity::User,
    warnings::Warnings,
};

pub static REGISTRY: LazyLock<Registry> = LazyLock::new(|| registry(&RuntimeConfig::parse("api/all=true").unwrap()));

/// `pods`, `deployments.apps`.
pub fn resource(name: &str) -> Arc<Resource> {
    let (plural, group) = name.split_once('.').unwrap_or((name, ""));
    let found = REGISTRY.find_preferred(group, plural).cloned();
    found.unwrap_or_else(|| panic!("no resource {name}"))
}

/// A cluster with the namespace `default` and its service account.
pub fn cluster() -> FixedCluster {
    FixedCluster::default()
        .with("namespaces", json!({"metadata": {"name": "default"}, "status": {"phase": "Active"}}))
        .with("serviceaccounts", json!({"metadata": {"name": "default", "namespace": "default"}}))
}

/// A request that owns what a [`Request`] borrows.
#[derive(Debug, Clone)]
pub struct Case {
    operation: Operation,
    resource: Arc<Resource>,
    subresource: &'static str,
    namespace: String,
    name: String,
    pub user: User,
    dry_run: bool,
    object: Value,
    old: Value,
}

impl Case {
    pub fn create(resource_name: &str, object: Value) -> Self {
        Self {
            operation: Operation::Create,
            resource: resource(resource_name),
            subresource: "",
            namespace: "default".into(),
            name: object["metadata"]["name"].as_str().unwrap_or_default().into(),
            user: User { name: "jane".into(), ..User::default() },
            dry_run: false,
            object,
            old: Value::Null,
        }
    }

    pub fn delete(resource_name: &str, old: Value) -> Self {
        let case = Self::create(resource_name, old.clone());
        Self { operation: Operation::Delete, object: Value::Null, old, ..case }
    }

    pub fn update(self, old: Value) -> Self {
        Self { operation: Operation::Update, old, ..self }
    }

    pub fn namespace(self, namespace: &str) -> Self {
        Self { namespace: namespace.into(), ..self }
    }

    pub fn name(self, name: &str) -> Self {
        Self { name: name.into(), ..self }
    }

    pub fn subresource(self, subresource: &'static str) -> Self {
        Self { subresource, ..self }
    }

    pub fn user(self, name: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        Self { user: User { name: name.into(), groups, ..User::default() }, ..self }
    }

    pub fn dry_run(self) -> Self {
        Self { dry_run: true, ..self }
    }

    pub fn request(&self) -> Request<'_> {
        Request {
            operation: self.operation,
            resource: &self.resource,
            subresource: self.subresource,
            namespace: &self.namespace,
            name: &self.name,
            user: &self.user,
            dry_run: self.dry_run,
            options: &Value::Null,
            object: self.object.clone().into(),
            old: &self.old,
            warnings: Warnings::kept(),
            annotations: Annotations::kept(),
            reservation: None,
        }
    }

    /// The object after a decision, or the refusal.
    pub fn run(&self, decide: impl FnOnce(&mut Request<'_>) -> Result<(), Status>) -> Result<Value, Status> {
        let mut request = self.request();
        decide(&mut request).map(|()| request.object.into_inner())
    }

    /// Both phases of a plug-in: the object and the warnings, or the message of the refusal.
    pub async fn admit(&self, plugin: &dyn Plugin, cluster: &dyn Cluster) -> Result<(Value, Vec<String>), String> {
        let mut request = self.request();
        plugin.mutate(&mut request, cluster).await.map_err(|status| status.message)?;
        plugin.validate(&mut request, cluster).await.map_err(|status| status.message)?;
        Ok((request.object.into_inner(), request.warnings.noted()))
    }
}
