//! Webhook configurations, compiled: whom to ask about what, in the order of their names.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::client::Client;
use crate::{
    admission::{elements, expressions::Conditions, matching::Matcher, strings, text},
    cluster::Cluster,
};

pub const MUTATING: &str = "mutatingwebhookconfigurations.admissionregistration.k8s.io";
pub const VALIDATING: &str = "validatingwebhookconfigurations.admissionregistration.k8s.io";

const DEFAULT_SECONDS: u64 = 10;
/// The longest that a configuration may ask for.
const MAX_SECONDS: u64 = 30;

pub struct Webhooks(pub Vec<Arc<Webhook>>);

pub struct Webhook {
    pub name: Box<str>,
    /// The name of the object it stands in.
    pub configuration: Box<str>,
    /// `None` where there are no rules: such a webhook is never asked.
    pub matcher: Option<Result<Matcher, String>>,
    pub conditions: Conditions,
    pub fails_closed: bool,
    pub timeout: Duration,
    /// A dry run changes nothing through this webhook.
    pub is_pure: bool,
    pub reinvokes: bool,
    /// The version of AdmissionReview to speak: the first of those accepted that is known.
    pub review_version: Option<&'static str>,
    pub place: Place,
    pub client: Result<Client, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Url(String),
    Service { namespace: String, name: String, port: u16, path: String },
}

impl Webhooks {
    pub fn mutating(cluster: &dyn Cluster) -> Self {
        Self::compile(cluster, MUTATING)
    }

    pub fn validating(cluster: &dyn Cluster) -> Self {
        Self::compile(cluster, VALIDATING)
    }

    fn compile(cluster: &dyn Cluster, topic: &str) -> Self {
        let configurations = cluster.list(topic, None);
        let webhooks = configurations.iter().flat_map(|configuration| {
            let name = text(&configuration["metadata"]["name"]);
            elements(&configuration["webhooks"]).iter().map(move |webhook| Arc::new(Webhook::compile(name, webhook)))
        });
        Self(webhooks.collect())
    }
}

impl Webhook {
    fn compile(configuration: &str, json: &Value) -> Self {
        let place = Place::read(&json["clientConfig"]);
        let seconds = json["timeoutSeconds"].as_u64().unwrap_or(DEFAULT_SECONDS).clamp(1, MAX_SECONDS);
        let authorities = STANDARD.decode(text(&json["clientConfig"]["caBundle"])).map_err(|error| error.to_string());
        let known = |version: &str| ["v1", "v1beta1"].into_iter().find(|known| *known == version);
        Self {
            name: text(&json["name"]).into(),
            configuration: configuration.into(),
            matcher: (!elements(&json["rules"]).is_empty())
                .then(|| Matcher::read(json).map_err(|error| error.to_string())),
            conditions: Conditions::compile(&json["matchConditions"], false),
            fails_closed: json["failurePolicy"] != "Ignore",
            timeout: Duration::from_secs(seconds),
            is_pure: matches!(text(&json["sideEffects"]), "None" | "NoneOnDryRun"),
            reinvokes: json["reinvocationPolicy"] == "IfNeeded",
            review_version: strings(&json["admissionReviewVersions"]).find_map(known),
            client: authorities.and_then(|pem| Client::new(&pem)),
            place,
        }
    }
}

impl Place {
    fn read(config: &Value) -> Self {
        let service = &config["service"];
        if !service.is_object() {
            return Place::Url(text(&config["url"]).to_owned());
        }
        let path = text(&service["path"]);
        Place::Service {
            namespace: text(&service["namespace"]).to_owned(),
            name: text(&service["name"]).to_owned(),
            port: service["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(443),
            path: if path.starts_with('/') { path.to_owned() } else { format!("/{path}") },
        }
    }
}
