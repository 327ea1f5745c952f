//! ValidatingAdmissionPolicy: policies in CEL, bound to requests and parameters by bindings.
//! Policies are compiled once for each state of the cluster they are in.

mod compiled;
mod decide;
mod params;
pub mod typecheck;
pub mod validate;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt::{self, Debug},
    sync::Arc,
};

use api::status::{Status, Subject};
use serde_json::{Value, json};

use super::{
    Plugin, Request,
    asking::Asking,
    expressions::{Facts, request_document},
    matching::{Kinds, Matched, in_version, is_namespace},
};
use crate::{
    authz::Authorizer,
    cluster::{Cluster, Derived},
    metrics::{histogram::Histogram, labelled::Labelled},
};
use compiled::{Binding, Policies, Policy};
use decide::{Check, Decision};

pub const POLICIES: &str = "validatingadmissionpolicies.admissionregistration.k8s.io";
pub const BINDINGS: &str = "validatingadmissionpolicybindings.admissionregistration.k8s.io";

/// Resources no policy is asked about: reviews, which store nothing, and the policies themselves.
const EXEMPT: [(&str, &str); 10] = [
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
];

/// Upper bounds of what a validation takes, in seconds.
const CHECK_SECONDS: [f64; 5] = [5e-7, 0.001, 0.01, 0.1, 1.0];

/// Bytes that an audit annotation may have.
const MAX_AUDIT_BYTES: usize = 10 * 1024;

pub struct ValidatingAdmissionPolicy {
    kinds: Arc<dyn Kinds>,
    authorizer: Arc<dyn Authorizer>,
    policies: Derived<Policies>,
    checks: Labelled<Histogram>,
}

impl Debug for ValidatingAdmissionPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValidatingAdmissionPolicy").finish_non_exhaustive()
    }
}

impl ValidatingAdmissionPolicy {
    pub fn new(kinds: Arc<dyn Kinds>, authorizer: Arc<dyn Authorizer>) -> Self {
        Self {
            kinds,
            authorizer,
            policies: Derived::new(&[POLICIES, BINDINGS], Policies::compile),
            checks: Labelled::default(),
        }
    }

    /// Asks all policies; the first denial answers the request.
    fn judge(&self, request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        let resource = request.resource;
        if EXEMPT.contains(&(&resource.group, &resource.plural)) {
            return Ok(());
        }
        let policies = self.policies.get(cluster);
        let mut outcome = Outcome::default();
        for policy in &policies.0 {
            let Some(matched) = policy.matcher_result(request, cluster, &*self.kinds, &mut outcome) else { continue };
            for binding in &policy.bindings {
                self.bind(policy, binding, &matched, request, cluster, &mut outcome);
            }
            for (key, values) in std::mem::take(&mut outcome.annotations) {
                request.annotations.add(&format!("{}/{key}", policy.name), values.join(", "));
            }
        }
        if !outcome.failures.is_empty() {
            let failures = Value::from(std::mem::take(&mut outcome.failures)).to_string();
            request.annotations.add("validation.policy.admission.k8s.io/validation_failure", failures);
        }
        request.warnings.extend(outcome.warnings);
        outcome.denial.map_or(Ok(()), |denial| Err(denial.into_status(request)))
    }

    fn bind(
        &self,
        policy: &Policy,
        binding: &Binding,
        matched: &Matched,
        request: &Request<'_>,
        cluster: &dyn Cluster,
        outcome: &mut Outcome,
    ) {
        match &binding.matcher {
            Ok(matcher) if matcher.matches(request, cluster, &*self.kinds).is_none() => return,
            Ok(_) => {}
            Err(problem) => return outcome.misconfigured(policy, Some(binding), problem),
        }
        let params = match params::collect(policy, binding, request, cluster, &*self.kinds) {
            Ok(params) => params,
            Err(problem) => return outcome.misconfigured(policy, Some(binding), &problem),
        };
        let resource = match matched {
            Matched::AsRequested => request.resource,
            Matched::As(other) => other,
        };
        let converted = matches!(matched, Matched::As(_)).then(|| {
            (
                in_version(&request.object, request.resource, resource),
                in_version(request.old, request.resource, resource),
            )
        });
        let (object, old) = match &converted {
            Some((object, old)) => (object, old),
            None => (&*request.object, request.old),
        };
        let namespace = (!request.namespace.is_empty() && !is_namespace(request.resource))
            .then(|| cluster.get("namespaces", None, request.namespace))
            .flatten();
        let document = request_document(request, resource);
        for params in &params {
            let facts = Facts {
                object,
                old,
                request: &document,
                params,
                namespace: namespace.as_deref().unwrap_or(&Value::Null),
                authorizer: &Asking { authorizer: &*self.authorizer, cluster },
                user: request.user,
            };
            let judged = decide::judge(policy, &facts);
            for (decision, check) in judged.decisions.iter().zip(&judged.checks) {
                self.count(policy, binding, decision, check);
            }
            for (index, decision) in judged.decisions.into_iter().enumerate() {
                outcome.take(policy, binding, index, decision);
            }
            for (key, value) in judged.annotations {
                match value {
                    Ok(mut value) => {
                        value.truncate(value.floor_char_boundary(MAX_AUDIT_BYTES));
                        let values = outcome.annotations.entry(key).or_default();
                        if !values.contains(&value) {
                            values.push(value);
                        }
                    }
                    Err(problem) => outcome.deny(policy, Some(binding), &problem, None),
                }
            }
        }
    }

    /// A denial counts once for each thing that is done about it.
    fn count(&self, policy: &Policy, binding: &Binding, decision: &Decision, check: &Check) {
        let actions: Vec<String> = match decision {
            Decision::Admit => vec!["allow".to_owned()],
            Decision::Deny { .. } => binding.actions.iter().map(|action| action.to_ascii_lowercase()).collect(),
        };
        for action in actions {
            let labels = format_args!(
                "enforcement_action=\"{action}\",error_type=\"{}\",policy=\"{}\",policy_binding=\"{}\"",
                check.error_type, policy.name, binding.name
            );
            self.checks.observe(labels, &CHECK_SECONDS, check.elapsed);
        }
    }
}

#[async_trait::async_trait]
impl Plugin for ValidatingAdmissionPolicy {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionPolicy"
    }

    fn write_metrics(&self, out: &mut String) {
        let total = "apiserver_validating_admission_policy_check_total";
        self.checks.write_totals(out, total, "Validations of policies, by what was done about them.");
        let duration = "apiserver_validating_admission_policy_check_duration_seconds";
        self.checks.write(out, duration, "How long validations of policies took, in seconds.");
    }

    async fn validate(&self, request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        self.judge(request, cluster)
    }
}

/// What the policies have said so far.
#[derive(Debug, Default)]
struct Outcome {
    denial: Option<Denial>,
    warnings: Vec<String>,
    /// Of the policy at hand.
    annotations: BTreeMap<String, Vec<String>>,
    /// Failures that are to be audited.
    failures: Vec<Value>,
}

#[derive(Debug)]
struct Denial {
    message: String,
    reason: Option<String>,
}

impl Outcome {
    fn deny(&mut self, policy: &Policy, binding: Option<&Binding>, message: &str, reason: Option<String>) {
        if self.denial.is_some() {
            return;
        }
        let bound = binding.map_or(String::new(), |binding| format!(" with binding '{}'", binding.name));
        let message = format!("ValidatingAdmissionPolicy '{}'{bound} denied request: {message}", policy.name);
        self.denial = Some(Denial { message, reason });
    }

    /// What cannot be configured counts as the failure policy says.
    fn misconfigured(&mut self, policy: &Policy, binding: Option<&Binding>, problem: &str) {
        if policy.fails_closed {
            let what = if binding.is_some() { "binding" } else { "policy" };
            self.deny(policy, binding, &format!("failed to configure {what}: {problem}"), None);
        }
    }

    fn take(&mut self, policy: &Policy, binding: &Binding, index: usize, decision: Decision) {
        let Decision::Deny { message, reason } = decision else { return };
        for action in &binding.actions {
            match &**action {
                "Deny" => self.deny(policy, Some(binding), &message, reason.clone()),
                "Warn" => self.warnings.push(format!(
                    "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {message}",
                    policy.name, binding.name
                )),
                "Audit" => self.failures.push(json!({
                    "message": message,
                    "policy": policy.name,
                    "binding": binding.name,
                    "expressionIndex": index,
                    "validationActions": binding.actions,
                })),
                _ => {}
            }
        }
    }
}

impl Denial {
    fn into_status(self, request: &Request<'_>) -> Status {
        let resource = request.resource;
        let subject = Subject { group: &resource.group, resource: &resource.plural, name: request.name };
        let mut status = Status::forbidden(subject, &self.message);
        let (reason, code) = match self.reason.as_deref() {
            Some("Unauthorized") => ("Unauthorized", 401),
            Some("Forbidden") => ("Forbidden", 403),
            Some("RequestEntityTooLarge") => ("RequestEntityTooLarge", 413),
            _ => ("Invalid", 422),
        };
        (status.reason, status.code) = (reason.into(), code);
        if let Some(details) = &mut status.details {
            details["causes"] = json!([{"message": self.message}]);
        }
        status
    }
}
