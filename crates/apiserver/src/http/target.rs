//! What a request asks for: the path and method as verb, group, version, resource and name.
//!
//! The grammar is regular for every kind (apiserver, `pkg/endpoints/request`):
//! `/api/v1` or `/apis/GROUP/VERSION`, then optionally `namespaces/NS`, then `RESOURCE[/NAME[/SUB[/REST]]]`.

use api::selector::FieldSelector;
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
    let trimmed = path.strip_prefix('/').unwrap_or(path);
    let mut segments = trimmed.strip_suffix('/').unwrap_or(trimmed).split('/').map(decode);
    let (group, version) = match segments.next().as_deref() {
        Some("api") => (String::new(), segments.next()),
        Some("apis") => match segments.next() {
            Some(group) if !group.is_empty() => (group, segments.next()),
            _ => return Target::Path,
        },
        _ => return Target::Path,
    };
    let Some(version) = version else { return Target::Path };
    let mut rest: Vec<String> = segments.collect();
    if rest.is_empty() || version.is_empty() {
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
    // An empty segment names nothing, but for the namespace that is all of them.
    if rest.iter().take(3).any(String::is_empty) {
        return Target::Path;
    }
    let mut rest = rest.into_iter();
    target.resource = rest.next().unwrap_or_default();
    target.name = rest.next().unwrap_or_default();
    target.subresource = rest.next().unwrap_or_default();
    target.rest = rest.collect::<Vec<_>>().join("/");
    target.verb = verb(method, &target, query, watch_prefix);
    // A list or watch narrowed to one name is authorized as that name.
    if target.name.is_empty()
        && matches!(target.verb, "list" | "watch")
        && let Some(selector) = query.get("fieldSelector")
        && let Ok(selector) = FieldSelector::parse(selector)
        && let Some(name) = selector.exact("metadata.name")
    {
        target.name = name.to_owned();
    }
    Target::Resource(target)
}

fn verb(method: &Method, target: &ResourceTarget, query: &Query, watch_prefix: bool) -> &'static str {
    let collection = target.name.is_empty();
    match *method {
        Method::POST => "create",
        Method::GET if target.subresource.is_empty() => {
            let watching = watch_prefix || query.is_true("watch");
            match (collection, watching) {
                (_, true) if collection || watch_prefix => "watch",
                (true, _) => "list",
                (false, _) => "get",
            }
        }
        Method::GET => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if collection => "deletecollection",
        Method::DELETE => "delete",
        _ => "",
    }
}

/// Whether each percent sign begins the escape of a byte.
pub fn is_well_escaped(path: &str) -> bool {
    let mut parts = path.split('%');
    parts.next();
    parts.all(|part| part.len() >= 2 && part.bytes().take(2).all(|byte| byte.is_ascii_hexdigit()))
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
            GET /api/v1/namespaces//pods                       list  |v1|pods|||
            GET /api/v1/pods/                                  list  |v1|pods|||
            HEAD /api/v1/pods                                  |v1|pods|||
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
            assert_eq!(format!("{} {actual}", t.verb).trim_start(), expect, "{uri}");
        }
    }

    #[test]
    fn an_escape_has_two_digits() {
        assert!(is_well_escaped("/api/a%2Fb%20") && is_well_escaped("/"));
        assert!(!is_well_escaped("/%zz") && !is_well_escaped("/a%2") && !is_well_escaped("/%"));
    }

    #[test]
    fn the_rest_is_a_path() {
        for path in [
            "//api/v1/pods",
            "/api//pods",
            "/api/v1//pods",
            "/api/v1/namespaces/a//pods",
            "/api/v1/watch/namespaces/a//pods",
            "/api/v1/namespaces/a/pods/x//log",
            "/apis//v1/pods",
            "/",
            "/api",
            "/apis",
            "/api/v1",
            "/apis/apps",
            "/apis/apps/v1",
            "/healthz",
            "/openapi/v2",
        ] {
            assert_eq!(resolve(&Method::GET, path, &Query::parse("")), Target::Path, "{path}");
        }
    }
}
