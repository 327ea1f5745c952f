//! DefaultTolerationSeconds: how long a pod stays on a node that is gone, where it does not say.

use api::status::Status;
use serde_json::{Value, json};

use super::{Operation, Plugin, Request, list_at, text};
use crate::cluster::Cluster;

const SECONDS: u32 = 300;
const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

pub struct DefaultTolerationSeconds;

#[async_trait::async_trait]
impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    async fn mutate(&self, request: &mut Request<'_>, _cluster: &dyn Cluster) -> Result<(), Status> {
        if request.is_on("", "pods")
            && matches!(request.operation, Operation::Create | Operation::Update)
            && let Some(tolerations) = request.object.get_mut("spec").and_then(|spec| list_at(spec, "tolerations"))
        {
            add_missing(tolerations);
        }
        Ok(())
    }
}

fn add_missing(tolerations: &mut Vec<Value>) {
    for taint in TAINTS {
        let tolerates = |toleration: &Value| {
            ["", taint].contains(&text(&toleration["key"])) && ["", "NoExecute"].contains(&text(&toleration["effect"]))
        };
        if !tolerations.iter().any(tolerates) {
            tolerations.push(json!({
                "key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS,
            }));
        }
    }
}

/// Of two lists, what neither covers twice: a toleration goes where another of the list tolerates all it does.
pub fn merge(first: &Value, second: &Value) -> Vec<Value> {
    let all: Vec<&Value> = super::elements(first).iter().chain(super::elements(second)).collect();
    let mut kept: Vec<&Value> = Vec::new();
    for (index, toleration) in all.iter().enumerate() {
        let covered = kept.iter().any(|other| covers(other, toleration))
            || all[index + 1..].iter().any(|other| other != toleration && covers(other, toleration));
        if !covered {
            kept.push(toleration);
        }
    }
    kept.into_iter().cloned().collect()
}

/// Whether `wide` tolerates everything that `narrow` does.
fn covers(wide: &Value, narrow: &Value) -> bool {
    let field = |toleration: &'_ Value, name: &str| text(&toleration[name]).to_owned();
    if wide == narrow {
        return true;
    }
    let (key, effect) = (field(wide, "key"), field(wide, "effect"));
    if !key.is_empty() && key != field(narrow, "key") || !effect.is_empty() && effect != field(narrow, "effect") {
        return false;
    }
    if let Some(seconds) = wide["tolerationSeconds"].as_i64() {
        let narrow = narrow["tolerationSeconds"].as_i64();
        if narrow.is_none_or(|narrow| seconds < narrow) {
            return false;
        }
    }
    match text(&wide["operator"]) {
        "" | "Equal" => text(&narrow["operator"]) != "Exists" && field(wide, "value") == field(narrow, "value"),
        "Exists" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::testing::{Case, cluster};

    #[tokio::test]
    async fn pods_leave_after_five_minutes() {
        let added =
            |taint: &str| json!({"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
        let [not_ready, unreachable] = TAINTS.map(added);
        let own = json!({"key": TAINTS[0], "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5});
        let all = json!({"operator": "Exists"});
        let other = json!({"key": TAINTS[1], "operator": "Exists", "effect": "NoSchedule"});
        let cases = [
            (json!({}), json!([not_ready, unreachable])),
            (json!({"tolerations": [own]}), json!([own, unreachable])),
            (json!({"tolerations": [all]}), json!([all])),
            (json!({"tolerations": [other]}), json!([other, not_ready, unreachable])),
        ];
        for (spec, expect) in cases {
            let case = Case::create("pods", json!({"spec": spec}));
            let (pod, _) = case.admit(&DefaultTolerationSeconds, &cluster()).await.unwrap();
            assert_eq!(pod["spec"]["tolerations"], expect);
        }
    }

    #[test]
    fn merging_drops_what_another_covers() {
        let all = json!({"operator": "Exists"});
        let gpu = json!({"key": "gpu", "operator": "Equal", "value": "a", "effect": "NoSchedule"});
        let any_gpu = json!({"key": "gpu", "operator": "Exists"});
        let short = json!({"key": "gone", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5});
        let long = json!({"key": "gone", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 50});
        let check = |first: Value, second: Value, expect: Value| {
            assert_eq!(Value::from(merge(&first, &second)), expect, "{first} {second}");
        };
        check(json!([gpu]), json!([gpu]), json!([gpu]));
        check(json!([gpu]), json!([any_gpu]), json!([any_gpu]));
        check(json!([any_gpu]), json!([gpu]), json!([any_gpu]));
        check(json!([gpu]), json!([all]), json!([all]));
        check(json!([short]), json!([long]), json!([long]));
        check(json!([gpu]), json!([short]), json!([gpu, short]));
        check(Value::Null, json!([short]), json!([short]));
    }
}
