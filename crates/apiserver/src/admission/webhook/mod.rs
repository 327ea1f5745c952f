//! MutatingAdmissionWebhook and ValidatingAdmissionWebhook: others decide, over HTTPS.

mod address;
pub mod calls;
mod client;
mod configuration;
mod review;
mod trust;

#[cfg(test)]
mod tests;

use std::{collections::HashSet, sync::Arc};

use api::{
    resource::Resource,
    status::{Status, Subject},
};
use bytes::Bytes;
use document::{Encoding, patch::json::Patch};
use futures_util::{StreamExt, stream::FuturesUnordered};
use serde_json::{Value, json};
use stdx::Random;
use tokio::time::Instant;

use super::{
    Chain, Plugin, Request,
    asking::Asking,
    expressions::{Facts, Verdict, request_document},
    matching::{Kinds, Matched, in_version, is_namespace},
    text,
};
use crate::{
    authz::Authorizer,
    cluster::{Cluster, Derived},
    engine::type_meta,
};
use calls::{Calls, Outcome};
use configuration::{MUTATING, VALIDATING, Webhook, Webhooks};
use review::{Answer, Decision};

/// No webhook is asked about what configures webhooks and policies: one could lock everybody out.
const EXEMPT: [&str; 6] = [
    "mutatingwebhookconfigurations",
    "validatingwebhookconfigurations",
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
];

/// The largest patch that a webhook may send.
const MAX_PATCH_BYTES: usize = 3 * 1024 * 1024;

/// What both kinds of webhooks need to know.
#[derive(Clone)]
pub struct Surroundings {
    pub kinds: Arc<dyn Kinds>,
    pub authorizer: Arc<dyn Authorizer>,
    pub random: Arc<dyn Random>,
    /// What is measured of both.
    pub calls: Arc<Calls>,
}

/// Wraps the plug-ins before it, because they see once more what a webhook has changed.
pub struct MutatingWebhooks {
    before: Chain,
    around: Surroundings,
    webhooks: Derived<Webhooks>,
}

impl MutatingWebhooks {
    pub fn new(before: Chain, around: Surroundings) -> Self {
        Self { before, around, webhooks: Derived::new(&[MUTATING], Webhooks::mutating) }
    }
}

#[async_trait::async_trait]
impl Plugin for MutatingWebhooks {
    fn name(&self) -> &'static str {
        "MutatingAdmissionWebhook"
    }

    fn inner(&self) -> Option<&super::Chain> {
        Some(&self.before)
    }

    /// Of the validating ones too: a family is told in one piece.
    fn write_metrics(&self, out: &mut String) {
        self.around.calls.write(out);
    }

    async fn mutate(&self, request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        self.before.mutate(request, cluster).await?;
        let webhooks = self.webhooks.get(cluster);
        if webhooks.0.is_empty() || is_exempt(request) {
            return Ok(());
        }
        let mut round = Round::default();
        for (index, webhook) in webhooks.0.iter().enumerate() {
            round.call(&self.around, index, webhook, request, cluster).await?;
        }
        if !round.changed {
            return Ok(());
        }
        round.number = 1;
        // Once more, and never again: webhooks that answer each other would not come to an end.
        let made_by_webhooks = (*request.object).clone();
        self.before.mutate(request, cluster).await?;
        if *request.object != made_by_webhooks {
            round.again.extend(round.asked.iter().copied());
        }
        for (index, webhook) in webhooks.0.iter().enumerate() {
            if round.again.contains(&index) {
                round.call(&self.around, index, webhook, request, cluster).await?;
            }
        }
        Ok(())
    }

    async fn validate(&self, request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        self.before.validate(request, cluster).await
    }
}

/// Which webhooks have been asked, and which are to be asked again.
#[derive(Default)]
struct Round {
    /// Those that want to know what came after them.
    asked: HashSet<usize>,
    again: HashSet<usize>,
    changed: bool,
    number: u32,
}

impl Round {
    async fn call(
        &mut self,
        around: &Surroundings,
        index: usize,
        webhook: &Webhook,
        request: &mut Request<'_>,
        cluster: &dyn Cluster,
    ) -> Result<(), Status> {
        let Some(matched) = relevant(around, webhook, request, cluster)? else { return Ok(()) };
        let place = format!("mutation.webhook.admission.k8s.io/round_{}_index_{index}", self.number);
        let started = Instant::now();
        let changed = match ask(around, webhook, &matched, true, request, cluster).await {
            Ok(answer) => {
                answer.note(webhook, request);
                match answer.decision {
                    Decision::Allow => Ok(false),
                    Decision::Deny(status) => Err(Problem::Refused(status)),
                    Decision::Patch { kind, patch } => apply(webhook, &matched, &kind, &patch, request),
                }
            }
            Err(problem) => Err(problem),
        };
        around.calls.observe(webhook, "admit", request.operation, Outcome::of_change(&changed), started.elapsed());
        // The patch itself is for audit levels that show bodies, which this server's log does not.
        let noted = json!({
            "configuration": webhook.configuration,
            "webhook": webhook.name,
            "mutated": *changed.as_ref().unwrap_or(&false),
        });
        request.annotations.add(&place, noted.to_string());
        let changed = match changed {
            Ok(changed) => changed,
            Err(problem) => {
                problem.settle(webhook, &place, request)?;
                false
            }
        };
        if changed {
            self.changed = true;
            self.again.extend(self.asked.iter().copied());
        }
        if webhook.reinvokes {
            self.asked.insert(index);
        }
        Ok(())
    }
}

pub struct ValidatingWebhooks {
    around: Surroundings,
    webhooks: Derived<Webhooks>,
}

impl ValidatingWebhooks {
    pub fn new(around: Surroundings) -> Self {
        Self { around, webhooks: Derived::new(&[VALIDATING], Webhooks::validating) }
    }
}

#[async_trait::async_trait]
impl Plugin for ValidatingWebhooks {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionWebhook"
    }

    async fn validate(&self, request: &mut Request<'_>, cluster: &dyn Cluster) -> Result<(), Status> {
        let webhooks = self.webhooks.get(cluster);
        if webhooks.0.is_empty() || is_exempt(request) {
            return Ok(());
        }
        let mut chosen = Vec::new();
        for webhook in &webhooks.0 {
            if let Some(matched) = relevant(&self.around, webhook, request, cluster)? {
                chosen.push((webhook, matched));
            }
        }
        let asked = &*request;
        let mut calls: FuturesUnordered<_> = chosen
            .iter()
            .enumerate()
            .map(async |(index, (webhook, matched))| {
                let started = Instant::now();
                let answer = ask(&self.around, webhook, matched, false, asked, cluster).await;
                let outcome = Outcome::of_answer(&answer);
                self.around.calls.observe(webhook, "validating", asked.operation, outcome, started.elapsed());
                (index, webhook, answer)
            })
            .collect();
        let mut answers = Vec::with_capacity(chosen.len());
        while let Some(answer) = calls.next().await {
            answers.push(answer);
        }
        drop(calls);
        // All are waited for, and all are noted; the first to refuse is told.
        let mut outcome = Ok(());
        for (index, webhook, answer) in answers {
            let settled = match answer {
                Ok(answer) => {
                    answer.note(webhook, request);
                    match answer.decision {
                        Decision::Deny(status) => Err(status),
                        Decision::Allow | Decision::Patch { .. } => Ok(()),
                    }
                }
                Err(problem) => {
                    let place = format!("validating.webhook.admission.k8s.io/round_0_index_{index}");
                    problem.settle(webhook, &place, request)
                }
            };
            outcome = outcome.and(settled);
        }
        outcome
    }
}

impl Answer {
    /// Passes on what is meant for the client, and for the audit log.
    fn note(&self, webhook: &Webhook, request: &mut Request<'_>) {
        request.warnings.extend(self.warnings.iter().cloned());
        for (key, value) in &self.annotations {
            request.annotations.add(&format!("{}/{key}", webhook.name), value.as_str());
        }
    }
}

fn is_exempt(request: &Request<'_>) -> bool {
    &*request.resource.group == "admissionregistration.k8s.io" && EXEMPT.contains(&&*request.resource.plural)
}

/// Why there is no answer.
#[derive(Debug)]
enum Problem {
    /// The webhook could not be asked, or makes no sense: its failure policy decides.
    Failed(String),
    /// Whatever the failure policy says.
    Refused(Status),
}

impl Problem {
    /// `place` is where the audit log tells of the call.
    fn settle(self, webhook: &Webhook, place: &str, request: &Request<'_>) -> Result<(), Status> {
        match self {
            Problem::Refused(status) => Err(status),
            Problem::Failed(reason) => {
                let text = format!("failed calling webhook {:?}: {reason}", webhook.name);
                if webhook.fails_closed {
                    return Err(Status::internal(text));
                }
                request.annotations.add(&format!("failed-open.{place}"), &*webhook.name);
                tracing::warn!("{text}; the write goes on, as the webhook's failure policy says");
                Ok(())
            }
        }
    }
}

/// In which version the webhook is to be asked, if at all.
fn relevant(
    around: &Surroundings,
    webhook: &Webhook,
    request: &Request<'_>,
    cluster: &dyn Cluster,
) -> Result<Option<Matched>, Status> {
    let matched = match &webhook.matcher {
        None => return Ok(None),
        Some(Err(problem)) => return Err(Status::internal(problem)),
        Some(Ok(matcher)) => matcher.matches(request, cluster, &*around.kinds),
    };
    let Some(matched) = matched else { return Ok(None) };
    if webhook.conditions.is_empty() {
        return Ok(Some(matched));
    }
    let resource = row(&matched, request);
    let (object, old) = shown(&matched, request);
    let namespace = (!request.namespace.is_empty() && !is_namespace(request.resource))
        .then(|| cluster.get("namespaces", None, request.namespace))
        .flatten();
    let facts = Facts {
        object: &object,
        old: &old,
        request: &request_document(request, resource),
        params: &Value::Null,
        namespace: namespace.as_deref().unwrap_or(&Value::Null),
        authorizer: &Asking { authorizer: &*around.authorizer, cluster },
        user: request.user,
    };
    match webhook.conditions.evaluate(&facts) {
        Verdict::Matches => Ok(Some(matched)),
        Verdict::Fails(problem) if webhook.fails_closed => {
            let subject = Subject { group: &resource.group, resource: &resource.plural, name: request.name };
            Err(Status::forbidden(subject, problem))
        }
        Verdict::Excludes(_) | Verdict::Fails(_) => Ok(None),
    }
}

fn row<'r>(matched: &'r Matched, request: &Request<'r>) -> &'r Resource {
    match matched {
        Matched::AsRequested => request.resource,
        Matched::As(other) => other,
    }
}

/// The object and its old form, as the webhook sees them.
fn shown(matched: &Matched, request: &Request<'_>) -> (Value, Value) {
    match matched {
        Matched::AsRequested => ((*request.object).clone(), request.old.clone()),
        Matched::As(other) => {
            (in_version(&request.object, request.resource, other), in_version(request.old, request.resource, other))
        }
    }
}

async fn ask(
    around: &Surroundings,
    webhook: &Webhook,
    matched: &Matched,
    mutating: bool,
    request: &Request<'_>,
    cluster: &dyn Cluster,
) -> Result<Answer, Problem> {
    if request.dry_run && !webhook.is_pure {
        let text = format!("admission webhook {:?} does not support dry run", webhook.name);
        return Err(Problem::Refused(Status::bad_request(text)));
    }
    let version = webhook.review_version.ok_or_else(|| {
        let problem = "webhook does not accept known AdmissionReview versions (v1, v1beta1)";
        Problem::Failed(format!("could not create admission objects: {problem}"))
    })?;
    let client = webhook.client.as_ref();
    let client = client.map_err(|problem| Problem::Failed(format!("could not get REST client: {problem}")))?;
    let failed = |reason: String| Problem::Failed(format!("failed to call webhook: {reason}"));
    let address = address::resolve(&webhook.place, webhook.timeout.as_secs(), cluster).map_err(failed)?;
    let uid = around.random.uuid();
    let body = {
        let (object, old) = shown(matched, request);
        let question = review::question(version, &uid, request, row(matched, request), &object, &old);
        Bytes::from(question.to_string())
    };
    let post = |reason: &str| failed(format!("Post {:?}: {reason}", address.url));
    let answered = tokio::time::timeout(webhook.timeout, client.post(&address, body)).await;
    let bytes = match answered {
        Err(_) => return Err(post("context deadline exceeded")),
        Ok(Err(client::CallError::Status(text))) => return Err(failed(text)),
        Ok(Err(error)) => return Err(post(&error.to_string())),
        Ok(Ok(bytes)) => bytes,
    };
    let decoded = document::decode(&bytes, Encoding::Json, bytes.len())
        .map_err(|error| failed(format!("couldn't get version/kind; json parse error: {error}")))?;
    review::answer(&webhook.name, version, &uid, mutating, &decoded.value)
        .map_err(|problem| Problem::Failed(format!("received invalid webhook response: {problem}")))
}

/// Applies a patch; says whether it changed something.
fn apply(
    webhook: &Webhook,
    matched: &Matched,
    kind: &str,
    patch: &[u8],
    request: &mut Request<'_>,
) -> Result<bool, Problem> {
    let undecodable =
        |error: String| Problem::Failed(format!("received undecodable patch in webhook response: {error}"));
    let decoded = document::decode(patch, Encoding::Json, MAX_PATCH_BYTES);
    let decoded = decoded.map_err(|error| undecodable(error.to_string()))?;
    if decoded.value.is_null() || decoded.value.as_array().is_some_and(Vec::is_empty) {
        return Ok(false);
    }
    let patch = Patch::parse(decoded.value).map_err(|error| undecodable(error.to_string()))?;
    if !request.object.is_object() {
        return Err(Problem::Refused(Status::internal(format!(
            "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
            webhook.name
        ))));
    }
    if kind != "JSONPatch" {
        return Err(Problem::Failed(format!("unsupported patch type {kind:?}")));
    }
    let broken = |error: String| Problem::Refused(Status::internal(error));
    let (before, _) = shown(matched, request);
    let mut object = before.clone();
    patch.apply(&mut object).map_err(|error| broken(error.to_string()))?;
    retype(&before, row(matched, request), &mut object).map_err(Problem::Refused)?;
    if object == before {
        return Ok(false);
    }
    *request.object = match matched {
        Matched::AsRequested => object,
        Matched::As(other) => in_version(&object, other, request.resource),
    };
    Ok(true)
}

/// What a webhook made must be an object of the kind it was asked about: the plug-ins that see it next rely on that.
fn retype(asked: &Value, resource: &Resource, object: &mut Value) -> Result<(), Status> {
    let (api_version, kind) = type_meta::named_type(object).map_err(Status::internal)?;
    if resource.custom.is_some() {
        if kind.is_empty() {
            return Err(Status::internal(format!("Object 'Kind' is missing in '{object}'")));
        }
        let meant = resource.api_version();
        if api_version != meant {
            let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
            let problem = format!(
                "{group}/{version}, Kind={kind} is unstructured and is not suitable for converting to {meant:?}"
            );
            return Err(Status::new(500, "", problem));
        }
        return type_meta::same_custom_type(resource, object);
    }
    // What is left out is what it was.
    let or = |found: &str, field: &str| if found.is_empty() { text(&asked[field]) } else { found }.to_owned();
    let (api_version, kind) = (or(api_version, "apiVersion"), or(kind, "kind"));
    if (&*api_version, &*kind) != (text(&asked["apiVersion"]), text(&asked["kind"])) {
        return Err(match type_meta::mistaken(&api_version, &kind, resource) {
            Ok(problem) => Status::new(500, "", problem),
            Err(unregistered) => Status::internal(unregistered),
        });
    }
    object["apiVersion"] = api_version.into();
    object["kind"] = kind.into();
    // A subresource may have a body of a kind of its own.
    if object["kind"] == *resource.kind {
        document::check(object, resource.root()).map_err(|error| Status::internal(error.0))?;
        document::default(object, resource.root());
    }
    Ok(())
}
