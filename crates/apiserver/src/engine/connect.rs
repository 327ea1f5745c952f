//! The subresources that connect a client with something that runs: what admission is asked about before, and what is
//! answered as long as no node is there to connect to.

use api::status::Status;
use http::Response;
use serde_json::{Map, Value, json};

use super::{Caller, Target};
use crate::{
    admission::Operation,
    http::{body::Body, query::Query, verbs::Call},
};

/// Parameters by how they are read.
struct Options {
    topic: &'static str,
    subresource: &'static str,
    kind: &'static str,
    texts: &'static [&'static str],
    switches: &'static [&'static str],
    lists: &'static [&'static str],
    numbers: &'static [&'static str],
}

const NONE: Options =
    Options { topic: "", subresource: "", kind: "", texts: &[], switches: &[], lists: &[], numbers: &[] };

const STREAMS: &[&str] = &["stdin", "stdout", "stderr", "tty"];

const OPTIONS: [Options; 6] = [
    Options {
        topic: "pods",
        subresource: "exec",
        kind: "PodExecOptions",
        texts: &["container"],
        switches: STREAMS,
        lists: &["command"],
        ..NONE
    },
    Options {
        topic: "pods",
        subresource: "attach",
        kind: "PodAttachOptions",
        texts: &["container"],
        switches: STREAMS,
        ..NONE
    },
    Options { topic: "pods", subresource: "portforward", kind: "PodPortForwardOptions", numbers: &["ports"], ..NONE },
    Options { topic: "pods", subresource: "proxy", kind: "PodProxyOptions", ..NONE },
    Options { topic: "services", subresource: "proxy", kind: "ServiceProxyOptions", ..NONE },
    Options { topic: "nodes", subresource: "proxy", kind: "NodeProxyOptions", ..NONE },
];

/// Asks admission, and tells that there is nothing to connect to.
pub async fn answer(call: &Call) -> Result<Response<Body>, Status> {
    if let Some(options) = options(&call.target, &call.query, &call.rest) {
        let caller = Caller {
            user: call.user.clone(),
            annotations: call.annotations.clone(),
            warnings: call.warnings.clone(),
            ..Caller::default()
        };
        let (engine, none) = (&*call.engine, Value::Null);
        let mut request = engine.admission_request(Operation::Connect, &call.target, &caller, options, &none);
        engine.admission.mutate(&mut request, engine).await?;
        engine.admission.validate(&mut request, engine).await?;
    }
    if &*call.target.resource.storage.topic != "pods" {
        return Err(Status::unavailable("no node agent is connected to this server, through which to proxy"));
    }
    let (_, pod) = call.engine.current(&call.target)?;
    match pod["spec"]["nodeName"].as_str().filter(|node| !node.is_empty()) {
        None => Err(Status::bad_request(format!("pod {} does not have a host assigned", call.target.name))),
        Some(node) => Err(Status::unavailable(format!("the node {node:?} has no agent connected to this server"))),
    }
}

/// What a client asks for, as the object that admission is shown; logs are only read.
fn options(target: &Target, query: &Query, rest: &str) -> Option<Value> {
    let topic = &*target.resource.storage.topic;
    let known = OPTIONS.iter().find(|known| known.topic == topic && known.subresource == target.subresource)?;
    let mut options = Map::new();
    options.insert("kind".to_owned(), known.kind.into());
    options.insert("apiVersion".to_owned(), "v1".into());
    for name in known.texts {
        options.extend(query.text(name).map(|text| ((*name).to_owned(), text.into())));
    }
    for name in known.switches.iter().filter(|name| query.is_true(name)) {
        options.insert((*name).to_owned(), true.into());
    }
    for name in known.lists {
        let list: Vec<&str> = query.all(name).collect();
        options.insert((*name).to_owned(), json!(list));
    }
    for name in known.numbers {
        let numbers: Vec<i32> = query.all(name).flat_map(|text| text.split(',')).flat_map(str::parse).collect();
        options.extend((!numbers.is_empty()).then(|| ((*name).to_owned(), json!(numbers))));
    }
    if known.subresource == "proxy" && !rest.is_empty() {
        options.insert("path".to_owned(), format!("/{rest}").into());
    }
    Some(Value::Object(options))
}

#[cfg(test)]
mod tests {
    use api::registry::{RuntimeConfig, registry};

    use super::*;

    #[test]
    fn what_is_asked_for_is_an_object() {
        let registry = registry(&RuntimeConfig::default());
        let check = |plural: &str, subresource: &str, query: &str, rest: &str, expect: Value| {
            let resource = registry.find("", "v1", plural).cloned().unwrap();
            let target =
                Target { resource, subresource: subresource.to_owned(), namespace: String::new(), name: "a".into() };
            assert_eq!(options(&target, &Query::parse(query), rest).unwrap_or_default(), expect);
        };
        let exec = "command=sh&command=-c&stdin=true&stdout=1&stderr=false&container=web";
        let expect = json!({
            "kind": "PodExecOptions", "apiVersion": "v1", "command": ["sh", "-c"], "stdin": true, "stdout": true, "container": "web",
        });
        check("pods", "exec", exec, "", expect);
        let expect = json!({"kind": "PodPortForwardOptions", "apiVersion": "v1", "ports": [80, 443]});
        check("pods", "portforward", "ports=80&ports=443", "", expect);
        let expect = json!({"kind": "ServiceProxyOptions", "apiVersion": "v1", "path": "/a/b"});
        check("services", "proxy", "", "a/b", expect);
        check("pods", "log", "", "", Value::Null);
    }
}
