//! What a request asks for: the path and method as verb, group, version, resource and name.
//!
//! The grammar is regular for every kind (apiserver, `pkg/endpoints/request`):
//! `/api/v1` or `/apis/GROUP/VERSION`, then optionally `namespaces/NS`, then `RESOURCE[/NAME[/SUB[/REST]]]`.

use http::Method;

use super::query::Query;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Resource(ResourceTarget),
    /// Discovery, health, OpenAPI and whatever else is not a resource.
    Path,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResourceTarget {
    pub verb: &'static str,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    /// What follows the subresource: `pods/x/proxy/REST`.
    pub rest: String,
    pub namespace: String,
    pub name: String,
}

/// Segments below `namespaces/NS/` that belong to the namespace itself.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

pub fn resolve(method: &Method, path: &str, query: &Query) -> Target {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty()).map(decode);
    let (group, version) = match segments.next().as_deref() {
        Some("api") => (String::new(), segments.next()),
        Some("apis") => (segments.next().unwrap_or_default(), segments.next()),
        _ => return Target::Path,
    };
    let Some(version) = version else { return Target::Path };
    let mut rest: Vec<String> = segments.collect();
    if rest.is_empty() {
        return Target::Path;
    }
    // The deprecated prefix: /api/v1/watch/namespaces/default/pods.
    let watch_prefix = rest[0] == "watch" && rest.len() > 1;
    if watch_prefix {
        rest.remove(0);
    }
    let mut target = ResourceTarget { group, version, ..ResourceTarget::default() };
    let of_namespace = rest[0] == "namespaces"
        && rest.len() > 2
        && !(rest.len() == 3 && NAMESPACE_SUBRESOURCES.contains(&rest[2].as_str()));
    if of_namespace {
        target.namespace = rest[1].clone();
        rest.drain(..2);
    } else if rest[0] == "namespaces" && rest.len() > 1 {
        target.namespace = rest[1].clone();
    }
    let mut rest = rest.into_iter();
    target.resource = rest.next().unwrap_or_default();
    target.name = rest.next().unwrap_or_default();
    target.subresource = rest.next().unwrap_or_default();
    target.rest = rest.collect::<Vec<_>>().join("/");
    target.verb = verb(method, &target, query, watch_prefix);
    if target.name.is_empty() && matches!(target.verb, "list" | "watch" | "deletecollection") {
        // A collection narrowed to one name is authorized as that name.
        if let Some(name) = query.get("fieldSelector").and_then(|selector| selector.strip_prefix("metadata.name="))
            && !name.contains([',', '=', '!', '\\'])
            && target.verb != "deletecollection"
        {
            target.name = name.to_owned();
        }
    }
    Target::Resource(target)
}

fn verb(method: &Method, target: &ResourceTarget, query: &Query, watch_prefix: bool) -> &'static str {
    let collection = target.name.is_empty();
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD if target.subresource.is_empty() => {
            let watching = watch_prefix || query.is_true("watch");
            match (collection, watching) {
                (_, true) if collection || watch_prefix => "watch",
                (true, _) => "list",
                (false, _) => "get",
            }
        }
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if collection => "deletecollection",
        Method::DELETE => "delete",
        _ => "",
    }
}

fn decode(segment: &str) -> String {
    percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_resolve_as_in_kubernetes() {
        // method, path → verb group/version resource/subresource namespace name
        let table = "
            GET /api/v1/pods                                   list  |v1|pods|||
            GET /api/v1/pods?watch=true                        watch |v1|pods|||
            GET /api/v1/watch/namespaces/a/pods                watch |v1|pods||a|
            GET /api/v1/watch/namespaces/a/pods/x              watch |v1|pods||a|x
            GET /api/v1/namespaces                             list  |v1|namespaces|||
            GET /api/v1/namespaces/a                           get   |v1|namespaces||a|a
            PUT /api/v1/namespaces/a/status                    update |v1|namespaces|status|a|a
            PUT /api/v1/namespaces/a/finalize                  update |v1|namespaces|finalize|a|a
            GET /api/v1/namespaces/a/pods                      list  |v1|pods||a|
            GET /api/v1/namespaces/a/pods?fieldSelector=metadata.name=x list |v1|pods||a|x
            GET /api/v1/namespaces/a/pods/x/log                get   |v1|pods|log|a|x
            POST /api/v1/namespaces/a/pods/x/exec              create |v1|pods|exec|a|x
            DELETE /apis/apps/v1/namespaces/a/deployments      deletecollection apps|v1|deployments||a|
            DELETE /apis/apps/v1/namespaces/a/deployments/d    delete apps|v1|deployments||a|d
            PATCH /apis/apps/v1/namespaces/a/deployments/d/scale patch apps|v1|deployments|scale|a|d
            GET /apis/rbac.authorization.k8s.io/v1/clusterroles/system:a%2Fb get rbac.authorization.k8s.io|v1|clusterroles|||system:a/b
        ";
        for line in table.lines().filter(|line| !line.trim().is_empty()) {
            let mut words = line.split_whitespace();
            let (method, uri) = (words.next().unwrap(), words.next().unwrap());
            let expect = words.collect::<Vec<_>>().join(" ");
            let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
            let method: Method = method.parse().unwrap();
            let Target::Resource(t) = resolve(&method, path, &Query::parse(query)) else {
                panic!("{uri}: not a resource")
            };
            let actual = [t.group, t.version, t.resource, t.subresource, t.namespace, t.name].join("|");
            assert_eq!(format!("{} {actual}", t.verb), expect, "{uri}");
        }
    }

    #[test]
    fn the_rest_is_a_path() {
        for path in ["/", "/api", "/apis", "/api/v1", "/apis/apps", "/apis/apps/v1", "/healthz", "/openapi/v2"] {
            assert_eq!(resolve(&Method::GET, path, &Query::parse("")), Target::Path, "{path}");
        }
    }
}
