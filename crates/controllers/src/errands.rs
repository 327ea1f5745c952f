//! Actions that begin with a question to the server ([`crate::plan::Errand`]).

use client::{
    ApiError, Kind,
    objects::{Meta, Object, Pod, Secret, ServiceAccount},
    requests::{Patch, parse},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    driver::{Failure, Shell},
    plan::Errand,
    volumes::uses,
};

const REVIEWS: Kind = Kind::of_cluster("authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews");

/// A token that is kept in a secret ends with the secret: this is as long as the server grants, 136 years.
const TOKEN_SECONDS: i64 = 1 << 32;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Answer {
    metadata: Meta,
    status: AnswerStatus,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AnswerStatus {
    allowed: bool,
    token: String,
}

#[derive(Deserialize)]
struct Page {
    metadata: PageMeta,
    #[serde(default)]
    items: Vec<Pod>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PageMeta {
    #[serde(rename = "continue")]
    continue_token: String,
}

impl Shell {
    pub(crate) async fn run_errand(&self, errand: &Errand) -> Result<(), Failure> {
        match errand {
            Errand::IfGone { kind, key, uid, then } => {
                let path = kind.object(key.namespace(), key.name(), "");
                match self.requests.read::<Answer>(&path).await {
                    Ok(found) if uid.as_ref().is_none_or(|uid| found.metadata.uid == *uid) => Ok(()),
                    Err(error) if !error.is_not_found() => Err(Failure::new("get", kind, &error)),
                    _ => {
                        for action in then {
                            self.act(action).await?;
                        }
                        Ok(())
                    }
                }
            }
            Errand::IfUnused { claim, then } => {
                let mut from = String::new();
                loop {
                    let path = format!("{}?limit=500{from}", Pod::KIND.collection(claim.namespace()));
                    let page: Page =
                        self.requests.read(&path).await.map_err(|error| Failure::new("list", &Pod::KIND, &error))?;
                    // The pod's end leads here again.
                    if page.items.iter().any(|pod| uses(pod, claim)) {
                        return Ok(());
                    }
                    if page.metadata.continue_token.is_empty() {
                        return self.act(then).await;
                    }
                    from = format!("&continue={}", page.metadata.continue_token);
                }
            }
            Errand::FirstAllowed { choices } => {
                for (review, action) in choices {
                    let answer = self.requests.create(&REVIEWS, "", review).await;
                    let answer: Answer = read("create", &REVIEWS, answer)?;
                    if answer.status.allowed {
                        return self.act(action).await;
                    }
                }
                let message = "subject access review was not approved".to_owned();
                Err(Failure {
                    verb: "create",
                    resource: REVIEWS.plural.to_string(),
                    reason: "Forbidden".into(),
                    message,
                    is_away: false,
                })
            }
            Errand::FillToken { account, secret, patch } => {
                let bound = json!({"apiVersion": "v1", "kind": "Secret", "name": secret.key.name(), "uid": secret.uid});
                let request = json!({
                    "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                    "spec": {"audiences": [], "expirationSeconds": TOKEN_SECONDS, "boundObjectRef": bound},
                });
                let accounts = ServiceAccount::KIND;
                let answer = self.requests.create_part(&accounts, account, "token", &request).await;
                let answer: Answer = read("create", &accounts, answer)?;
                let mut patch: Value = patch.clone();
                patch["stringData"]["token"] = json!(answer.status.token);
                let written = self.requests.patch(&Secret::KIND, &secret.key, "", (Patch::Merge, &patch)).await;
                match written {
                    Ok(answer) => self.caches.observe_answer(&Secret::KIND, &answer),
                    Err(error) if error.is_not_found() => {}
                    Err(error) => return Err(Failure::new("patch", &Secret::KIND, &error)),
                }
                Ok(())
            }
        }
    }
}

fn read(verb: &'static str, kind: &Kind, answer: Result<bytes::Bytes, ApiError>) -> Result<Answer, Failure> {
    answer.and_then(|answer| parse(&answer)).map_err(|error| Failure::new(verb, kind, &error))
}
