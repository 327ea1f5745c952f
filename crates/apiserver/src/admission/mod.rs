//! Admission: what is done to, and asked of, a write between decoding and committing.
//!
//! A plug-in is one file. What it decides is a function of the request and the cluster's state; none
//! keeps state of its own but the webhooks' connections; what quotas leave is counted in `quota`.

pub mod asking;
pub mod certificates;
pub mod default_class;
pub mod device;
pub mod draft;
mod durations;
pub mod escalation;
pub mod expressions;
pub mod limit_ranger;
pub mod matching;
pub mod namespace_lifecycle;
pub mod node_restriction;
pub mod node_taint;
pub mod pod_resize;
pub mod pod_security;
pub mod pod_topology_labels;
pub mod policy;
pub mod priority;
pub mod resource_quota;
pub mod runtime_class;
pub mod service_account;
pub mod storage_protection;
pub mod tolerations;
pub mod volume_resize;
pub mod webhook;

#[cfg(test)]
pub(crate) mod testing;

use std::sync::Arc;

use api::{
    resource::Resource,
    status::{Status, Subject},
};
use serde_json::Value;
use stdx::Random;
use tokio::time::Instant;

use durations::{Durations, Step};

use draft::Draft;

use crate::{
    audit::Annotations,
    authz::Authorizer,
    cluster::Cluster,
    identity::User,
    quota::{Reservation, Usage},
    warnings::Warnings,
};

/// A write on its way to the store.
#[derive(Debug)]
pub struct Request<'a> {
    pub operation: Operation,
    pub resource: &'a Resource,
    /// Empty for the resource itself.
    pub subresource: &'a str,
    pub namespace: &'a str,
    /// Empty where the name is still to be generated.
    pub name: &'a str,
    pub user: &'a User,
    pub dry_run: bool,
    /// `CreateOptions`, `UpdateOptions`, `DeleteOptions` as sent, or Null.
    pub options: &'a Value,
    /// The object as it would be stored; Null on delete. Mutating plug-ins change it. For `connect` and
    /// subresources with a body of their own (`Eviction`, `Binding`, `TokenRequest`) it is that body.
    pub object: Draft,
    /// The object as it is stored; Null on create.
    pub old: &'a Value,
    /// Sent to the client as `Warning` headers.
    pub warnings: Warnings,
    /// Written to the audit log.
    pub annotations: Annotations,
    /// Room in the quotas, kept until the write is done.
    pub reservation: Option<Reservation>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Operation {
    const NAMES: [&str; 4] = ["CREATE", "UPDATE", "DELETE", "CONNECT"];

    /// As reviews and metrics have it.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

impl Request<'_> {
    /// Whether this is about the resource itself, in any version.
    pub fn is_on(&self, group: &str, plural: &str) -> bool {
        self.subresource.is_empty() && self.is_about(group, plural)
    }

    /// Whether this is about the resource or one of its subresources.
    pub fn is_about(&self, group: &str, plural: &str) -> bool {
        &*self.resource.group == group && &*self.resource.plural == plural
    }

    pub fn creates(&self, group: &str, plural: &str) -> bool {
        self.operation == Operation::Create && self.is_on(group, plural)
    }

    /// `pods "web" is forbidden: …`
    pub fn forbidden(&self, detail: impl AsRef<str>) -> Status {
        Status::forbidden(self.subject(), detail)
    }

    pub fn subject(&self) -> Subject<'_> {
        let metadata = &self.object["metadata"];
        let names = [Some(self.name), metadata["name"].as_str(), metadata["generateName"].as_str()];
        let name = names.into_iter().flatten().find(|name| !name.is_empty()).unwrap_or("Unknown");
        Subject { group: &self.resource.group, resource: &self.resource.plural, name }
    }
}

/// A plug-in. All plug-ins mutate, in order; then all validate.
#[async_trait::async_trait]
pub trait Plugin: Send + Sync {
    fn name(&self) -> &'static str;

    /// The chain that stands inside this plug-in, where there is one.
    fn inner(&self) -> Option<&Chain> {
        None
    }

    /// What it measures itself, in Prometheus' text format.
    fn write_metrics(&self, _out: &mut String) {}

    async fn mutate(&self, _request: &mut Request<'_>, _cluster: &dyn Cluster) -> Result<(), Status> {
        Ok(())
    }

    async fn validate(&self, _request: &mut Request<'_>, _cluster: &dyn Cluster) -> Result<(), Status> {
        Ok(())
    }
}

/// The plug-ins of one server, in their order.
#[derive(Default)]
pub struct Chain {
    plugins: Vec<Box<dyn Plugin>>,
    /// How long each took; in the order of the plug-ins.
    durations: Vec<Durations>,
    /// How long all of them took together.
    steps: Durations,
}

impl Chain {
    pub fn new(plugins: Vec<Box<dyn Plugin>>) -> Self {
        let durations = plugins.iter().map(|_| Durations::default()).collect();
        Self { plugins, durations, steps: Durations::default() }
    }

    /// Lets every plug-in change the object.
    pub async fn mutate(&self, request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        let started = Instant::now();
        let result = self.mutate_by_each(request, cluster).await;
        self.steps.observe(Step::Admit, request.operation, result.is_err(), started.elapsed());
        result
    }

    async fn mutate_by_each(&self, request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        let mut started = Instant::now();
        for (plugin, durations) in self.plugins.iter().zip(&self.durations) {
            let result = plugin.mutate(request, cluster).await;
            let ended = Instant::now();
            durations.observe(Step::Admit, request.operation, result.is_err(), ended - started);
            result?;
            started = ended;
        }
        Ok(())
    }

    pub async fn validate(&self, request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        let started = Instant::now();
        let result = self.validate_by_each(request, cluster).await;
        self.steps.observe(Step::Validate, request.operation, result.is_err(), started.elapsed());
        result
    }

    async fn validate_by_each(&self, request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        let mut started = Instant::now();
        for (plugin, durations) in self.plugins.iter().zip(&self.durations) {
            let result = plugin.validate(request, cluster).await;
            let ended = Instant::now();
            durations.observe(Step::Validate, request.operation, result.is_err(), ended - started);
            result?;
            started = ended;
        }
        Ok(())
    }

    /// What was measured here and by the plug-ins.
    pub fn write_metrics(&self, out: &mut String) {
        durations::write_head(out);
        self.write_durations(out);
        self.steps.write_steps(out);
        for plugin in &self.plugins {
            plugin.write_metrics(out);
        }
    }

    fn write_durations(&self, out: &mut String) {
        for (plugin, durations) in self.plugins.iter().zip(&self.durations) {
            durations.write_plugin(out, plugin.name());
            if let Some(inner) = plugin.inner() {
                inner.write_durations(out);
            }
        }
    }
}

/// What the plug-ins of a stock kube-apiserver decide, in its order (`AllOrderedPlugins`), with
/// NodeRestriction, which kubeadm adds. Webhooks and quota come last: they see what the others made.
pub fn default_chain(
    authorizer: Arc<dyn Authorizer>,
    kinds: Arc<dyn matching::Kinds>,
    usage: Arc<Usage>,
    random: Arc<dyn Random>,
) -> Chain {
    let built_in = Chain::new(built_in(&authorizer, &random));
    let policies = policy::ValidatingAdmissionPolicy::new(Arc::clone(&kinds), Arc::clone(&authorizer));
    let around = webhook::Surroundings { kinds, authorizer, random, calls: Arc::default() };
    Chain::new(vec![
        Box::new(webhook::MutatingWebhooks::new(built_in, around.clone())),
        Box::new(policies),
        Box::new(webhook::ValidatingWebhooks::new(around)),
        Box::new(resource_quota::ResourceQuota(usage)),
    ])
}

fn built_in(authorizer: &Arc<dyn Authorizer>, random: &Arc<dyn Random>) -> Vec<Box<dyn Plugin>> {
    vec![
        Box::new(namespace_lifecycle::NamespaceLifecycle),
        Box::new(escalation::Escalation::new(Arc::clone(authorizer))),
        Box::new(limit_ranger::LimitRanger),
        Box::new(service_account::ServiceAccount::new(Arc::clone(random))),
        Box::new(node_restriction::NodeRestriction::new(Arc::clone(authorizer))),
        Box::new(node_taint::TaintNodesByCondition),
        Box::new(pod_security::PodSecurity),
        Box::new(priority::Priority),
        Box::new(tolerations::DefaultTolerationSeconds),
        Box::new(default_class::DefaultStorageClass),
        Box::new(storage_protection::StorageObjectInUseProtection),
        Box::new(volume_resize::PersistentVolumeClaimResize),
        Box::new(runtime_class::RuntimeClass),
        Box::new(certificates::CertificateApproval(Arc::clone(authorizer))),
        Box::new(certificates::CertificateSigning(Arc::clone(authorizer))),
        Box::new(certificates::ClusterTrustBundleAttest(Arc::clone(authorizer))),
        Box::new(certificates::CertificateSubjectRestriction),
        Box::new(default_class::DefaultIngressClass),
        Box::new(pod_topology_labels::PodTopologyLabels),
        Box::new(pod_resize::PodResizeValidator),
    ]
}

/// The strings of a list.
fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn elements(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The list at a field, which is made where there is none. Objects of built-in kinds have been checked
/// against their types; what is no object stays as it is.
fn list_at<'v>(parent: &'v mut Value, field: &str) -> Option<&'v mut Vec<Value>> {
    let list = parent.as_object_mut()?.entry(field).or_insert(Value::Null);
    if list.is_null() {
        *list = Value::Array(Vec::new());
    }
    list.as_array_mut()
}

/// Sets a field of what is an object, or is absent.
fn set(parent: &mut Value, field: &str, value: impl Into<Value>) {
    if parent.is_null() {
        *parent = Value::Object(serde_json::Map::new());
    }
    if let Some(fields) = parent.as_object_mut() {
        fields.insert(field.to_owned(), value.into());
    }
}

/// Several problems in one text: `[a, b]`, or the only one.
fn joined(mut problems: Vec<String>) -> String {
    let mut seen = std::collections::HashSet::new();
    problems.retain(|problem| seen.insert(problem.clone()));
    if problems.len() == 1 { problems.remove(0) } else { format!("[{}]", problems.join(", ")) }
}
