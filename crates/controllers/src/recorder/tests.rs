use super::*;

fn event(uid: &str, message: &str) -> Event {
    let kind = Kind::namespaced("", "v1", "Pod", "pods");
    let about = Reference { kind, key: Key::new("shop", "web"), uid: uid.into(), revision: 3 };
    Event::normal(&about, "Pulled", message.to_owned())
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

#[test]
fn an_event_that_comes_again_is_counted_for_a_while() {
    let mut memory = Memory::default();
    let pulled = event("u", "once");
    assert_eq!(memory.consider(&pulled, at(0)), Writing::New);
    memory.written(&pulled, "web.1".to_owned(), at(0));
    assert_eq!(memory.consider(&pulled, at(1)), Writing::Again("web.1".to_owned(), 2));
    assert_eq!(memory.consider(&pulled, at(599)), Writing::Again("web.1".to_owned(), 3));
    assert_eq!(memory.consider(&event("u", "other"), at(599)), Writing::New);
    assert_eq!(memory.consider(&pulled, at(5000)), Writing::New);
}

#[test]
fn a_flood_about_one_object_is_held_back() {
    let mut memory = Memory::default();
    let written = (0..100).filter(|n| memory.consider(&event("u", &n.to_string()), at(0)) != Writing::Nothing).count();
    assert_eq!(written, 25);
    assert_eq!(memory.consider(&event("other", "x"), at(0)), Writing::New);
    assert_eq!(memory.consider(&event("u", "later"), at(299)), Writing::Nothing);
    assert_eq!(memory.consider(&event("u", "later"), at(301)), Writing::New);
}

#[test]
fn an_event_names_the_object_and_the_moment() {
    let object = object("deployment-controller", &event("u", "m"), ("shop", "web.1"), at(0));
    assert_eq!(object["involvedObject"]["namespace"], "shop");
    assert_eq!(object["involvedObject"]["resourceVersion"], "3");
    assert_eq!(object["firstTimestamp"], "2027-01-15T08:00:00Z");
    assert_eq!((&object["type"], &object["count"]), (&json!("Normal"), &json!(1)));
}
