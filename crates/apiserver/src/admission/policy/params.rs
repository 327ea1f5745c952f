//! The parameters that a binding hands to its policy.

use std::sync::Arc;

use api::selector::LabelSelector;
use serde_json::Value;

use super::compiled::{Binding, Policy};
use crate::{
    admission::{Request, matching::Kinds},
    cluster::Cluster,
};

/// The policy is evaluated once for each; Null where it has none.
pub fn collect(
    policy: &Policy,
    binding: &Binding,
    request: &Request<'_>,
    cluster: &dyn Cluster,
    kinds: &dyn Kinds,
) -> Result<Vec<Arc<Value>>, String> {
    let reference = &binding.param_ref;
    let Some((api_version, kind)) = &policy.param_kind else { return Ok(vec![Arc::new(Value::Null)]) };
    if reference.is_null() {
        return Ok(vec![Arc::new(Value::Null)]);
    }
    let resource = kinds
        .by_kind(api_version, kind)
        .ok_or_else(|| format!("failed to find resource referenced by paramKind: '{}, Kind={kind}'", api_version))?;
    let named_namespace = reference["namespace"].as_str().filter(|namespace| !namespace.is_empty());
    let namespace = match (resource.is_namespaced(), named_namespace) {
        (false, Some(_)) => {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned());
        }
        (false, None) => None,
        (true, Some(namespace)) => Some(namespace),
        (true, None) if request.namespace.is_empty() => {
            return Err(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".to_owned()
            );
        }
        (true, None) => Some(request.namespace),
    };
    let topic = &resource.storage.topic;
    let found: Vec<Arc<Value>> = match reference["name"].as_str().filter(|name| !name.is_empty()) {
        Some(name) => cluster.get(topic, namespace, name).into_iter().collect(),
        None => {
            let selector = LabelSelector::from_object(&reference["selector"]).map_err(|error| error.to_string())?;
            let all = cluster.list(topic, namespace).into_iter();
            all.filter(|object| selector.matches_labels(&object["metadata"]["labels"])).collect()
        }
    };
    if found.is_empty() && reference["parameterNotFoundAction"] != "Allow" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
    }
    Ok(found)
}
