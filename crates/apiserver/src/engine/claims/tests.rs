//! Writers of Services at the same time: none waits for another's admission, and none gets what another has.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use api::status::Status;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};

use crate::{
    admission::{Plugin, Request},
    cluster::Cluster,
    engine::{
        Engine,
        allocation::Allocation,
        testing::{create, delete, engine, replace},
    },
};

/// Stops the first write of the Service `slow`, once it has told what it looks like.
struct Gate {
    reached: mpsc::UnboundedSender<Value>,
    open: Arc<Notify>,
    is_passed: AtomicBool,
}

#[async_trait::async_trait]
impl Plugin for Gate {
    fn name(&self) -> &'static str {
        "Gate"
    }

    async fn validate(&self, request: &mut Request<'_>, _: &dyn Cluster) -> Result<(), Status> {
        if request.object["metadata"]["name"] == "slow" && !self.is_passed.swap(true, Ordering::SeqCst) {
            self.reached.send(request.object.clone().into_inner()).unwrap();
            self.open.notified().await;
        }
        Ok(())
    }
}

/// A creation of the Service `slow` that admission holds up.
struct Held {
    engine: Arc<Engine>,
    /// As admission saw it.
    seen: Value,
    open: Arc<Notify>,
    creation: tokio::task::JoinHandle<Result<Value, Status>>,
}

impl Held {
    async fn new(spec: Value, dry_run: bool) -> Self {
        let (reached, mut seen) = mpsc::unbounded_channel();
        let open = Arc::new(Notify::new());
        let gate = Gate { reached, open: Arc::clone(&open), is_passed: AtomicBool::new(false) };
        let engine = engine(vec![Box::new(gate)]).await;
        let creator = Arc::clone(&engine);
        let creation =
            tokio::spawn(async move { create(&creator, "", "services", service("slow", spec), dry_run).await });
        let seen = seen.recv().await.unwrap();
        Self { engine, seen, open, creation }
    }

    async fn create(&self, name: &str, spec: Value) -> Result<Value, Status> {
        create(&self.engine, "", "services", service(name, spec), false).await
    }

    async fn go_on(self) -> Result<Value, Status> {
        self.open.notify_one();
        self.creation.await.unwrap()
    }
}

fn service(name: &str, mut spec: Value) -> Value {
    if spec["ports"].is_null() {
        spec["ports"] = json!([{"port": 80}]);
    }
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

fn node_port(port: i64) -> Value {
    json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]})
}

fn local(health_check: i64) -> Value {
    json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": health_check})
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_the_admission_of_another_service() {
    let held = Held::new(json!({"type": "NodePort"}), false).await;
    let other = held.create("other", json!({"type": "NodePort"}));
    let other = tokio::time::timeout(std::time::Duration::from_secs(1), other).await.expect("is done at once").unwrap();
    let changed = json!({"type": "LoadBalancer"});
    let changed = replace(&held.engine, "services", service("other", changed));
    tokio::time::timeout(std::time::Duration::from_secs(1), changed).await.expect("is done at once").unwrap();
    let seen = held.seen.clone();
    let slow = held.go_on().await.unwrap();
    assert_eq!(slow["spec"], seen["spec"], "what is stored is what admission saw");
    assert_ne!(slow["spec"]["clusterIP"], other["spec"]["clusterIP"]);
    assert_ne!(slow["spec"]["ports"][0]["nodePort"], other["spec"]["ports"][0]["nodePort"]);
}

#[tokio::test]
async fn what_a_write_under_way_has_is_given_to_nobody_else() {
    let held = Held::new(local(30_001), false).await;
    let (address, port) = (&held.seen["spec"]["clusterIP"], &held.seen["spec"]["ports"][0]["nodePort"]);
    let port = port.as_i64().unwrap();
    let cases = [
        (json!({"clusterIP": address}), format!("failed to allocate IP {}: provided IP", address.as_str().unwrap())),
        (node_port(port), format!("Invalid value: {port}: provided port")),
        (node_port(30_001), "Invalid value: 30001: provided port".to_owned()),
        (local(30_001), "failed to allocate requested HealthCheck NodePort 30001: provided port".to_owned()),
    ];
    for (spec, why) in cases {
        let refused = held.create("other", spec).await.unwrap_err().message;
        assert!(refused.ends_with(&format!("{why} is already allocated")), "{refused}");
    }
    held.creation.abort();
    assert!(held.creation.await.unwrap_err().is_cancelled());
    create(&held.engine, "", "services", service("other", local(30_001)), false).await.unwrap();
}

#[tokio::test]
async fn a_dry_run_claims_nothing() {
    let held = Held::new(node_port(30_001), true).await;
    held.create("other", node_port(30_001)).await.unwrap();
    held.go_on().await.unwrap();
}

#[tokio::test]
async fn a_creation_gets_another_address_where_a_client_takes_its_own_meanwhile() {
    for is_asked in [false, true] {
        let spec = if is_asked { json!({"clusterIP": "10.96.0.9"}) } else { json!({}) };
        let held = Held::new(spec, false).await;
        let address = held.seen["spec"]["clusterIP"].clone();
        let object = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", "metadata": {"name": address},
            "spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "another"}},
        });
        create(&held.engine, "networking.k8s.io", "ipaddresses", object, false).await.unwrap();
        match held.go_on().await {
            Ok(slow) => assert!(!is_asked && slow["spec"]["clusterIP"] != address, "{slow}"),
            Err(status) => assert!(is_asked && status.message.ends_with("provided IP is already allocated")),
        }
    }
}

/// Lets others go first, some more than others.
struct Detour;

#[async_trait::async_trait]
impl Plugin for Detour {
    fn name(&self) -> &'static str {
        "Detour"
    }

    async fn validate(&self, request: &mut Request<'_>, _: &dyn Cluster) -> Result<(), Status> {
        let name = request.object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        for _ in 0..name.bytes().map(usize::from).sum::<usize>() % 7 {
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_two_services_get_one_address_or_port() {
    let engine = engine(vec![Box::new(Detour)]).await;
    let writers = (0..120).map(|index: i64| {
        let (engine, contested) = (Arc::clone(&engine), index / 6 % 5);
        let spec = match index % 6 {
            0 => json!({}),
            1 => json!({"clusterIP": format!("10.96.0.{}", 100 + contested)}),
            2 => json!({"type": "NodePort"}),
            3 => node_port(30_000 + contested),
            4 => local(0),
            _ => local(30_000 + contested),
        };
        tokio::spawn(async move {
            let name = format!("s{index}");
            create(&engine, "", "services", service(&name, spec), false).await?;
            replace(&engine, "services", service(&name, node_port(30_010 + contested))).await
        })
    });
    for written in join_all(writers).await {
        if let Err(status) = written.unwrap() {
            assert!(status.message.ends_with("is already allocated"), "{}", status.message);
        }
    }
    let mut had = BTreeMap::<String, Vec<Value>>::new();
    for service in engine.list("services", None) {
        let spec = &service["spec"];
        let numbers = [&spec["clusterIP"], &spec["ports"][0]["nodePort"], &spec["healthCheckNodePort"]];
        for number in numbers.into_iter().filter(|number| !number.is_null()) {
            had.entry(number.to_string()).or_default().push(service["metadata"]["name"].clone());
        }
    }
    assert!(had.values().all(|services| services.len() == 1), "{had:?}");
    let contested = (30_010..30_015).filter(|port| had.contains_key(&port.to_string()));
    assert!(contested.count() > 0, "somebody got what many asked for");
}

#[tokio::test]
async fn what_is_no_node_port_is_refused() {
    let engine = engine(Vec::new()).await;
    let why = "provided port is not in the valid range. The range of valid ports is 30000-32767";
    for port in [-1, 29_999, 70_000] {
        let status = create(&engine, "", "services", service("web", local(port)), false).await.unwrap_err();
        let start = "Internal error occurred: failed to allocate requested HealthCheck NodePort";
        assert_eq!((status.code, status.message), (500, format!("{start} {port}: {why}")));
        let status = create(&engine, "", "services", service("web", node_port(port)), false).await.unwrap_err();
        let start = "Service \"web\" is invalid: spec.ports[0].nodePort: Invalid value:";
        assert_eq!((status.code, status.message), (422, format!("{start} {port}: {why}")));
    }
    let web = create(&engine, "", "services", service("web", local(0)), false).await.unwrap();
    assert!((30_000..=32_767).contains(&web["spec"]["healthCheckNodePort"].as_i64().unwrap()));
}

/// One node port serves all protocols, and belongs to one Service.
#[tokio::test]
async fn node_ports_are_given_by_number() {
    let engine = engine(Vec::new()).await;
    let port = |name: &str, number: i64, protocol: &str, node_port: i64| json!({"name": name, "port": number, "protocol": protocol, "nodePort": node_port});
    let of = |ports: &[Value]| json!({"type": "NodePort", "ports": ports});
    let given = |service: &Value| -> Vec<i64> {
        service["spec"]["ports"].as_array().unwrap().iter().map(|port| port["nodePort"].as_i64().unwrap()).collect()
    };
    let new = async |name: &str, ports: &[Value]| {
        create(&engine, "", "services", service(name, of(ports)), false).await.map_err(|status| status.message)
    };
    // Asked for by one, by none, and by another of another number.
    let dns = given(&new("dns", &[port("u", 53, "UDP", 0), port("t", 53, "TCP", 30_053)]).await.unwrap());
    assert_eq!(dns, [30_053, 30_053]);
    let mixed = [port("u", 53, "UDP", 0), port("t", 53, "TCP", 0), port("w", 80, "TCP", 0)];
    let mixed = given(&new("mixed", &mixed).await.unwrap());
    assert!(mixed[0] == mixed[1] && mixed[1] != mixed[2], "{mixed:?}");
    let apart = [port("u", 53, "UDP", 30_060), port("t", 53, "TCP", 30_061), port("s", 53, "SCTP", 0)];
    assert_eq!(given(&new("apart", &apart).await.unwrap()), [30_060, 30_061, 30_060]);
    let why = |index: usize, port: i64| {
        format!("spec.ports[{index}].nodePort: Invalid value: {port}: provided port is already allocated")
    };
    let both = new("both", &[port("u", 53, "UDP", 30_070), port("t", 54, "TCP", 30_070)]).await.unwrap_err();
    assert!(both.ends_with(&why(1, 30_070)), "{both}");
    let other = new("other", &[port("u", 53, "UDP", 30_053)]).await.unwrap_err();
    assert!(other.ends_with(&why(0, 30_053)), "whatever the protocol: {other}");

    // A change keeps what is there; what comes to it is given a number of its own.
    let changed = [port("u", 53, "UDP", 30_053), port("t", 54, "TCP", 30_053), port("s", 53, "SCTP", 0)];
    let changed = given(&replace(&engine, "services", service("dns", of(&changed))).await.unwrap());
    assert!(changed[..2] == [30_053, 30_053] && changed[2] != 30_053, "{changed:?}");
}

#[tokio::test]
async fn what_a_service_gave_up_is_free_again() {
    let engine = engine(Vec::new()).await;
    let new = async |name: &str, spec: Value| create(&engine, "", "services", service(name, spec), false).await;
    let asked = json!({"type": "NodePort", "clusterIP": "10.96.0.9", "ports": [{"port": 80, "nodePort": 30_001}]});
    new("first", asked.clone()).await.unwrap();
    new("second", asked.clone()).await.unwrap_err();
    let given_up = json!({"type": "ExternalName", "externalName": "a.example"});
    replace(&engine, "services", service("first", given_up)).await.unwrap();
    new("second", asked.clone()).await.unwrap();
    new("third", asked.clone()).await.unwrap_err();
    delete(&engine, "services", "second").await.unwrap();
    new("third", asked).await.unwrap();
}

#[tokio::test]
async fn a_service_keeps_what_it_has_where_the_ranges_have_been_others_since() {
    let mut engine = engine(Vec::new()).await;
    let web = create(&engine, "", "services", service("web", node_port(30_001)), false).await.unwrap();
    let other = Allocation::parse("10.97.0.0/24", 31_000..=31_010).unwrap();
    Arc::get_mut(&mut engine).unwrap().allocation = other;
    let mut changed = web.clone();
    changed["metadata"]["labels"] = json!({"x": "1"});
    changed["spec"]["ports"].as_array_mut().unwrap().push(json!({"name": "more", "port": 81}));
    changed["spec"]["ports"][0]["name"] = "web".into();
    let changed = replace(&engine, "services", changed).await.unwrap();
    assert_eq!(changed["spec"]["clusterIP"], web["spec"]["clusterIP"]);
    assert_eq!(changed["spec"]["ports"][0]["nodePort"], 30_001);
    assert!((31_000..=31_010).contains(&changed["spec"]["ports"][1]["nodePort"].as_i64().unwrap()), "{changed}");
    let refused = create(&engine, "", "services", service("new", json!({"clusterIP": "10.96.0.77"})), false).await;
    assert!(refused.unwrap_err().message.ends_with("does not match the current range 10.97.0.0/24"));
}
