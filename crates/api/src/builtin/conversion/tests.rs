use serde_json::{Value, json};

use super::find;

/// `stored` is shown as `served`, and what is served is stored again without loss.
fn check(topic: &str, api_version: &str, stored: &Value, served: &Value) {
    let conversion = find(topic, api_version).expect(topic);
    let mut object = stored.clone();
    (conversion.from_storage)(&mut object);
    assert_eq!(&object, served, "{topic} as {api_version}");
    (conversion.to_storage)(&mut object);
    assert_eq!(&object, stored, "{topic} from {api_version}");
}

#[test]
fn device_requests_are_flat_in_v1beta1() {
    let alternatives = json!({"name": "b", "firstAvailable": [{"name": "c", "deviceClassName": "x"}]});
    let exact = json!({"name": "a", "exactly": {"deviceClassName": "gpu", "count": 2}});
    let stored = json!({"spec": {"devices": {"requests": [exact, alternatives]}}});
    let flat = json!({"name": "a", "deviceClassName": "gpu", "count": 2});
    let served = json!({"spec": {"devices": {"requests": [flat, alternatives]}}});
    check("resourceclaims.resource.k8s.io", "resource.k8s.io/v1beta1", &stored, &served);
    let templates = (json!({"spec": stored}), json!({"spec": served}));
    check("resourceclaimtemplates.resource.k8s.io", "resource.k8s.io/v1beta1", &templates.0, &templates.1);
}

#[test]
fn devices_are_basic_in_v1beta1() {
    let stored = json!({"spec": {"devices": [{"name": "d", "attributes": {"a": {"int": 1}}, "nodeName": "n"}]}});
    let served =
        json!({"spec": {"devices": [{"name": "d", "basic": {"attributes": {"a": {"int": 1}}, "nodeName": "n"}}]}});
    check("resourceslices.resource.k8s.io", "resource.k8s.io/v1beta1", &stored, &served);
}
