//! The cache against the orders in which a writer's answers and a watch's news can come.

use serde_json::json;

use super::*;
use crate::{Kind, objects::Meta};

#[derive(Debug, serde::Deserialize)]
struct Thing {
    metadata: Meta,
}

impl Object for Thing {
    const KIND: Kind = Kind::namespaced("", "v1", "Thing", "things");

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn index(&self, add: &mut dyn FnMut(&'static str, &str)) {
        if let Some(color) = self.metadata.labels.get("color") {
            add("color", color);
        }
    }
}

fn thing(name: &str, revision: u64, color: &str) -> Thing {
    let metadata = json!({
        "namespace": "n", "name": name, "uid": format!("uid-{name}"), "resourceVersion": revision.to_string(),
        "labels": {"color": color}, "ownerReferences": [{"uid": "owner"}],
    });
    serde_json::from_value(json!({ "metadata": metadata })).unwrap()
}

fn identity(name: &str, revision: u64) -> ObjectId {
    ObjectId { key: Key::new("n", name), uid: format!("uid-{name}").into(), revision }
}

fn names(things: &[Arc<Thing>]) -> Vec<&str> {
    things.iter().map(|thing| &*thing.metadata.name).collect()
}

#[test]
fn the_later_state_wins() {
    let cache = Cache::<Thing>::default();
    cache.observe(thing("a", 7, "red"));
    cache.observe(thing("a", 5, "blue"));
    assert_eq!(names(&cache.by("color", "red")), ["a"]);
    assert!(cache.by("color", "blue").is_empty());
    cache.observe(thing("a", 8, "blue"));
    assert!(cache.by("color", "red").is_empty());
    assert_eq!(names(&cache.by("color", "blue")), ["a"]);
    assert_eq!(names(&cache.owned_by("owner")), ["a"]);
}

#[test]
fn an_object_this_process_deleted_does_not_come_back_by_a_late_watch() {
    let cache = Cache::<Thing>::default();
    cache.replace(vec![thing("a", 3, "red")], &[], 3);
    cache.forget(&Key::new("n", "a"), "uid-a");
    cache.observe(thing("a", 4, "red"));
    assert!(cache.is_empty());
    cache.ended(&identity("a", 6));
    assert!(cache.is_empty());
    assert_eq!(cache.revision(), 6);
    assert!(cache.state.read().forgotten.is_empty());
}

#[test]
fn an_answer_that_comes_after_the_news_of_the_objects_end_changes_nothing() {
    let cache = Cache::<Thing>::default();
    cache.replace(vec![thing("a", 3, "red")], &[], 3);
    // A write at 4 takes the last finalizer away; the watch tells of both before the writer has its answer.
    cache.observe(thing("a", 4, "blue"));
    cache.ended(&identity("a", 5));
    cache.observe(thing("a", 4, "blue"));
    assert!(cache.is_empty());
    cache.observe(thing("a", 6, "red"));
    assert_eq!(cache.len(), 1);
}

#[test]
fn a_successor_of_the_same_name_is_not_forgotten() {
    let cache = Cache::<Thing>::default();
    cache.observe(thing("a", 3, "red"));
    cache.forget(&Key::new("n", "a"), "uid-of-another");
    assert_eq!(cache.len(), 1);
}

#[test]
fn a_list_removes_what_is_gone_and_keeps_what_was_written_later() {
    let cache = Cache::<Thing>::default();
    cache.replace(vec![thing("a", 1, "red"), thing("b", 2, "red")], &[], 2);
    cache.observe(thing("c", 9, "red"));
    cache.replace(vec![thing("b", 2, "red")], &[], 8);
    assert_eq!(names(&cache.all()), ["b", "c"]);
    assert!(cache.is_synced());
}

#[test]
fn a_subscriber_sees_the_first_and_the_last_state() {
    let cache = Arc::new(Cache::<Thing>::default());
    cache.observe(thing("a", 1, "red"));
    let subscription = cache.subscribe(Arc::default());
    let first = subscription.changes();
    assert_eq!(first.len(), 1);
    assert!(first[0].old.is_none());
    cache.observe(thing("a", 2, "blue"));
    cache.observe(thing("a", 3, "green"));
    cache.observe(thing("b", 4, "red"));
    cache.forget(&Key::new("n", "b"), "uid-b");
    let changes = subscription.changes();
    assert_eq!(changes.len(), 1, "what came and went between two looks is nothing to decide on");
    let color = |state: &Option<Arc<Thing>>| state.as_ref().unwrap().metadata.labels.get("color").unwrap().to_owned();
    assert_eq!((color(&changes[0].old), color(&changes[0].new)), ("red".to_owned(), "green".to_owned()));
    assert!(subscription.changes().is_empty());
}

#[test]
fn a_namespace_ends_where_the_next_begins() {
    let cache = Cache::<Thing>::default();
    for (namespace, name) in [("n", "a"), ("n", "b"), ("n-1", "c"), ("n0", "d"), ("na", "e"), ("m", "f")] {
        let metadata = json!({"namespace": namespace, "name": name, "uid": name, "resourceVersion": "1"});
        cache.observe(serde_json::from_value(json!({ "metadata": metadata })).unwrap());
    }
    assert_eq!(names(&cache.in_namespace("n")), ["a", "b"]);
}

#[test]
fn of_what_cannot_be_read_the_last_that_was_read_stays_until_it_is_gone() {
    let cache = Cache::<Thing>::default();
    cache.replace(vec![thing("a", 1, "red"), thing("b", 2, "red")], &[], 2);
    cache.replace(vec![], &[identity("a", 5)], 5);
    assert_eq!(names(&cache.all()), ["a"]);
    cache.ended(&identity("a", 6));
    assert!(cache.is_empty());
}
