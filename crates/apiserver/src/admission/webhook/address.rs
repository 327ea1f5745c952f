//! Where a webhook is: the server name that its certificate must have, and the address to dial.

use std::net::IpAddr;

use http::Uri;
use serde_json::Value;

use super::configuration::Place;
use crate::{
    admission::{elements, text},
    cluster::Cluster,
};

/// What is needed to call a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// As messages show it: `https://hook.default.svc:443/path?timeout=10s`.
    pub url: String,
    /// `Host` header.
    pub authority: String,
    pub path_and_query: String,
    /// The name in the certificate.
    pub server_name: String,
    /// Host and port to connect to; the host is an address or, of a URL, a name.
    pub dial: (String, u16),
}

/// Finds the webhook; a service by an endpoint that is ready, else by its cluster address.
pub fn resolve(place: &Place, timeout_seconds: u64, cluster: &dyn Cluster) -> Result<Address, String> {
    match place {
        Place::Url(url) => of_url(url, timeout_seconds),
        Place::Service { namespace, name, port, path } => {
            let server_name = format!("{name}.{namespace}.svc");
            let authority = format!("{server_name}:{port}");
            let separator = if path.contains('?') { '&' } else { '?' };
            let path_and_query = format!("{path}{separator}timeout={timeout_seconds}s");
            let url = format!("https://{authority}{path_and_query}");
            let dial = dial(namespace, name, *port, cluster).map_err(|problem| format!("Post {url:?}: {problem}"))?;
            Ok(Address { url, authority, path_and_query, server_name, dial })
        }
    }
}

fn of_url(url: &str, timeout_seconds: u64) -> Result<Address, String> {
    if url.is_empty() {
        return Err("webhook configuration must have either service or URL".to_owned());
    }
    let uri: Uri = url.parse().map_err(|error| format!("Unparsable URL: {error}"))?;
    let host = uri.host().unwrap_or_default();
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    let separator = if uri.query().is_some() { '&' } else { '?' };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let path_and_query = format!("{path}{separator}timeout={timeout_seconds}s");
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(Address {
        url: format!("https://{authority}{path_and_query}"),
        authority,
        path_and_query,
        server_name: bare.clone(),
        dial: (bare, uri.port_u16().unwrap_or(443)),
    })
}

fn dial(namespace: &str, name: &str, port: u16, cluster: &dyn Cluster) -> Result<(String, u16), String> {
    let service =
        cluster.get("services", Some(namespace), name).ok_or_else(|| format!("service {name:?} not found"))?;
    let spec = &service["spec"];
    if spec["type"] == "ExternalName" {
        return Ok((text(&spec["externalName"]).to_owned(), port));
    }
    let service_port = elements(&spec["ports"])
        .iter()
        .find(|known| known["port"] == port)
        .ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
    let slices = cluster.list("endpointslices.discovery.k8s.io", Some(namespace));
    let slices = slices.iter().filter(|slice| slice["metadata"]["labels"]["kubernetes.io/service-name"] == name);
    let mut any = false;
    for slice in slices {
        any = true;
        if let Some(found) = ready_endpoint(slice, text(&service_port["name"])) {
            return Ok(found);
        }
    }
    match text(&spec["clusterIP"]).parse::<IpAddr>() {
        Ok(address) if !any => Ok((address.to_string(), port)),
        _ => Err(format!("no endpoints available for service {name:?}")),
    }
}

fn ready_endpoint(slice: &Value, port_name: &str) -> Option<(String, u16)> {
    let port = elements(&slice["ports"]).iter().find(|port| text(&port["name"]) == port_name)?;
    let port = port["port"].as_u64().and_then(|port| u16::try_from(port).ok())?;
    let ready = elements(&slice["endpoints"]).iter().find(|endpoint| endpoint["conditions"]["ready"] != false)?;
    Some((text(elements(&ready["addresses"]).first()?).to_owned(), port))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::FixedCluster;

    fn service() -> Place {
        Place::Service { namespace: "default".into(), name: "hook".into(), port: 443, path: "/v".into() }
    }

    fn with_service(spec: Value) -> FixedCluster {
        FixedCluster::default()
            .with("services", json!({"metadata": {"name": "hook", "namespace": "default"}, "spec": spec}))
    }

    fn slice(ready: bool) -> Value {
        json!({
            "metadata": {"name": "hook-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "hook"}},
            "ports": [{"name": "web", "port": 8443}],
            "endpoints": [{"addresses": ["10.1.0.9"], "conditions": {"ready": ready}}],
        })
    }

    #[test]
    fn services_are_dialled_at_a_ready_endpoint_or_their_address() {
        let check = |cluster: FixedCluster, expect: Result<(&str, u16), &str>| {
            let found = resolve(&service(), 10, &cluster).map(|address| address.dial);
            let post = "Post \"https://hook.default.svc:443/v?timeout=10s\": ";
            assert_eq!(
                found,
                expect.map(|(host, port)| (host.to_owned(), port)).map_err(|text| format!("{post}{text}"))
            );
        };
        let spec = json!({"clusterIP": "10.0.0.7", "ports": [{"name": "web", "port": 443}]});
        let slices = "endpointslices.discovery.k8s.io";
        check(with_service(spec.clone()), Ok(("10.0.0.7", 443)));
        check(with_service(spec.clone()).with(slices, slice(true)), Ok(("10.1.0.9", 8443)));
        let none = r#"no endpoints available for service "hook""#;
        check(with_service(spec).with(slices, slice(false)), Err(none));
        check(with_service(json!({"clusterIP": "None", "ports": [{"port": 443}]})), Err(none));
        check(
            with_service(json!({"clusterIP": "10.0.0.7", "ports": [{"port": 80}]})),
            Err(r#"no service port 443 found for service "hook""#),
        );
        check(FixedCluster::default(), Err(r#"service "hook" not found"#));
        check(
            with_service(json!({"type": "ExternalName", "externalName": "hook.example.com"})),
            Ok(("hook.example.com", 443)),
        );
    }

    #[test]
    fn urls_say_where_they_are() {
        let found = resolve(&Place::Url("https://hook.example.com/a?b=c".into()), 5, &FixedCluster::default()).unwrap();
        assert_eq!(found.url, "https://hook.example.com/a?b=c&timeout=5s");
        assert_eq!(found.dial, ("hook.example.com".to_owned(), 443));
        let found = resolve(&Place::Url("https://[::1]:9443".into()), 5, &FixedCluster::default()).unwrap();
        assert_eq!((found.server_name.as_str(), found.dial.clone()), ("::1", ("::1".to_owned(), 9443)));
        assert_eq!(found.path_and_query, "/?timeout=5s");
    }
}
