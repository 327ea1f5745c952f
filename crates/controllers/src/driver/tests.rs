use stdx::{SystemRandom, clock::ManualClock};

use super::*;

/// Knows no better at its first look at a key.
#[derive(Default)]
struct Careless(AtomicU64);

impl Controller for Careless {
    fn name(&self) -> &'static str {
        "careless"
    }

    fn topics(&self) -> &'static [Topic] {
        &[]
    }

    fn touched(&self, _: &Caches, _: &Changes, _: &mut dyn FnMut(Key)) {}

    fn reconcile(&self, _: &Caches, key: &Key, _: &Turn) -> Plan {
        assert_ne!(self.0.fetch_add(1, Ordering::Relaxed), 0, "{key} is more than it can handle");
        Plan::nothing()
    }
}

/// A worker whose server never answers.
fn worker(controller: Arc<dyn Controller>) -> Worker {
    let client = kube::Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
    let requests = Requests::new(client, "test");
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::starting_at(Timestamp::UNIX_EPOCH));
    let (recorder, _) = Recorder::new(requests.clone(), "test", Arc::clone(&clock));
    let random = Arc::new(SystemRandom::default());
    let shell = Shell { caches: Caches::default(), requests, recorder, clock, random };
    Worker { controller, shell, queue: WorkQueue::default(), attempts: Arc::default() }
}

#[tokio::test(start_paused = true)]
async fn a_step_that_panics_is_counted_and_taken_again() {
    let worker = worker(Arc::new(Careless::default()));
    let (before, key) = (panics(), Key::new("shop", "web"));
    assert_eq!(worker.look_at(&key).await, None);
    assert_eq!(panics(), before + 1);
    let again = worker.queue.next().await;
    assert_eq!((&again, worker.look_at(&again).await), (&key, Some(Plan::nothing())));
    assert_eq!(panics(), before + 1);
}

/// Makes an object for every key but `last`, of which it tells.
struct Maker(Notify);

impl Controller for Maker {
    fn name(&self) -> &'static str {
        "maker"
    }

    fn topics(&self) -> &'static [Topic] {
        &[]
    }

    fn touched(&self, _: &Caches, _: &Changes, _: &mut dyn FnMut(Key)) {}

    fn reconcile(&self, _: &Caches, key: &Key, _: &Turn) -> Plan {
        let mut plan = Plan::nothing();
        if key.name() == "last" {
            self.0.notify_one();
        } else {
            let kind = Kind::namespaced("", "v1", "Pod", "pods");
            let object = serde_json::json!({"metadata": {"name": key.name()}});
            plan.then(vec![Action::Create { kind, namespace: key.namespace().into(), object, tell: None }]);
        }
        plan
    }
}

#[tokio::test(start_paused = true)]
async fn keys_whose_requests_get_no_answer_do_not_keep_others_waiting() {
    let maker = Arc::new(Maker(Notify::new()));
    let worker = worker(Arc::<Maker>::clone(&maker));
    for name in ["a", "b", "c", "last"] {
        worker.queue.add(Key::new("shop", name));
    }
    let queue = worker.queue.clone();
    tokio::select! {
        () = worker.run() => {}
        told = timeout(Duration::from_secs(60), maker.0.notified()) => assert!(told.is_ok(), "it waits for the first"),
    }
    assert!(!queue.is_idle(), "the others are still worked on");
}

/// Patches an object, which its server never answers.
struct Patcher;

impl Controller for Patcher {
    fn name(&self) -> &'static str {
        "patcher"
    }

    fn topics(&self) -> &'static [Topic] {
        &[]
    }

    fn touched(&self, _: &Caches, _: &Changes, _: &mut dyn FnMut(Key)) {}

    fn reconcile(&self, _: &Caches, key: &Key, _: &Turn) -> Plan {
        let kind = Kind::namespaced("", "v1", "Pod", "pods");
        let (form, patch) = (client::requests::Patch::Merge, serde_json::json!({}));
        let patch = Action::Patch { kind, key: key.clone(), subresource: "", form, patch };
        Plan { steps: vec![vec![patch]], ..Plan::default() }
    }
}

#[tokio::test(start_paused = true)]
async fn however_long_the_server_is_away_a_key_is_tried_again_soon_after() {
    let worker = worker(Arc::new(Patcher));
    let mut key = Key::new("shop", "web");
    for _ in 0..30 {
        worker.look_at(&key).await;
        let tried = tokio::time::Instant::now();
        key = worker.queue.next().await;
        assert!(tried.elapsed() <= Duration::from_secs(10), "{:?}", tried.elapsed());
        worker.queue.done(&key);
    }
}
