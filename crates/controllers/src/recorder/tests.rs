use jiff::Timestamp;

use super::*;

fn event(uid: &str, message: &str) -> Event {
    let kind = Kind::namespaced("", "v1", "Pod", "pods");
    let about = Reference { kind, key: Key::new("shop", "web"), uid: uid.into(), revision: 3 };
    Event::normal(&about, "Pulled", message.to_owned())
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// The event as it comes out when nothing else waits.
fn through(memory: &mut Memory, event: Event, now: Timestamp) -> Option<Seen> {
    let mut waiting = Waiting::default();
    waiting.push(memory.admit(event, now)?, now);
    waiting.pop()
}

#[test]
fn an_event_that_comes_again_is_counted_for_a_while() {
    let mut memory = Memory::default();
    let mut again = |uid: &str, message: &str, now: Timestamp| {
        let seen = through(&mut memory, event(uid, message), now).unwrap();
        let known = memory.written_as(&seen);
        if known.is_none() {
            memory.written(&seen, format!("{message}.1"));
        }
        known
    };
    assert_eq!(again("u", "once", at(0)), None);
    assert_eq!(again("u", "once", at(1)), Some(("once.1".to_owned(), 2)));
    assert_eq!(again("u", "once", at(599)), Some(("once.1".to_owned(), 3)));
    assert_eq!(again("u", "other", at(599)), None);
    assert_eq!(again("u", "once", at(5000)), None);
}

#[test]
fn an_event_that_comes_again_before_it_is_written_waits_once() {
    let (mut memory, mut waiting) = (Memory::default(), Waiting::default());
    for second in 0..3 {
        waiting.push(memory.admit(event("u", "once"), at(second)).unwrap(), at(second));
        waiting.push(memory.admit(event("v", "once"), at(second)).unwrap(), at(second));
    }
    let seen = waiting.pop().unwrap();
    assert_eq!((&*seen.event.about.uid, seen.count, seen.first, seen.last), ("u", 3, at(0), at(2)));
    waiting.push(memory.admit(event("u", "once"), at(9)).unwrap(), at(9));
    assert_eq!(std::iter::from_fn(|| waiting.pop()).map(|seen| seen.count).collect::<Vec<_>>(), [3, 1]);
}

#[test]
fn a_flood_about_one_object_is_held_back() {
    let mut memory = Memory::default();
    let written = (0..100).filter(|n| memory.admit(event("u", &n.to_string()), at(0)).is_some()).count();
    assert_eq!(written, 25);
    assert!(memory.admit(event("other", "x"), at(0)).is_some());
    assert!(memory.admit(event("u", "later"), at(299)).is_none());
    assert!(memory.admit(event("u", "later"), at(301)).is_some());
}

#[test]
fn many_of_one_sort_become_one() {
    let mut memory = Memory::default();
    let mut messages = |count: usize, now| -> Vec<String> {
        (0..count).map(|n| memory.admit(event("u", &n.to_string()), now).unwrap().0.message).collect()
    };
    let told = messages(12, at(0));
    assert_eq!(&told[..9], ["0", "1", "2", "3", "4", "5", "6", "7", "8"]);
    let combined = ["(combined from similar events): 9", "(combined from similar events): 10"];
    assert_eq!(&told[9..11], combined);
    assert_eq!(messages(1, at(601)), ["0"]);
}

#[test]
fn a_burst_of_pods_is_told_of_in_full_and_warnings_first() {
    let (mut memory, mut waiting) = (Memory::default(), Waiting::default());
    for pod in 0..65_535 {
        assert!(waiting.push(memory.admit(event(&pod.to_string(), "m"), at(0)).unwrap(), at(0)).is_none());
    }
    let warn = |uid: &str| Event { warning: true, ..event(uid, "m") };
    assert!(waiting.push(memory.admit(warn("a"), at(1)).unwrap(), at(1)).is_none());
    let lost = waiting.push(memory.admit(warn("b"), at(1)).unwrap(), at(1)).unwrap();
    assert_eq!(&*lost.event.about.uid, "0");
    let order: Vec<Box<str>> = (0..3).map(|_| waiting.pop().unwrap().event.about.uid).collect();
    assert_eq!(order, ["a", "b", "1"].map(Box::from));
}

#[test]
fn an_event_names_the_object_and_the_moment() {
    let seen = through(&mut Memory::default(), event("u", "m"), at(0)).unwrap();
    let object = object("deployment-controller", &seen, ("shop", "web.1"));
    assert_eq!(object["involvedObject"]["namespace"], "shop");
    assert_eq!(object["involvedObject"]["resourceVersion"], "3");
    assert_eq!(object["firstTimestamp"], "2027-01-15T08:00:00Z");
    assert_eq!((&object["type"], &object["count"]), (&json!("Normal"), &json!(1)));
}
