//! Golden cases of the collector's core: what is told, and what is done about it. Adding one needs no Rust.
//!
//! Every file `cases/garbage_collector/<name>.txt` is a story, a line an event, and below each, behind `>`, what follows
//! from it. `UPDATE_CASES=1` writes down what follows now, to be read before it is committed.
//!
//! ```text
//! see Pod shop/web-1 p deleting final=foregroundDeletion owner=ReplicaSet,web,r,block
//! end r
//! absent ReplicaSet shop/web r      exists, impossible: the server's other answers
//! lose Sail                         a kind is no longer served
//! look p                            as if there were news of it
//! ```
//! The kinds are those of `KINDS`. An object's revision is the line's number, unless `at=` says otherwise.

use std::{fmt::Write, fs, path::PathBuf, sync::Arc};

use client::{
    Kind,
    objects::{Meta, OwnerReference},
};

use super::{
    decide::{Action, Target},
    graph::{Answer, Graph},
    reference::Identity,
};

const KINDS: &[Kind] = &[
    Kind::namespaced("", "v1", "Pod", "pods"),
    Kind::namespaced("", "v1", "ConfigMap", "configmaps"),
    Kind::of_cluster("", "v1", "Node", "nodes"),
    Kind::namespaced("apps", "v1", "ReplicaSet", "replicasets"),
    Kind::namespaced("apps", "v1", "Deployment", "deployments"),
    Kind::namespaced("example.com", "v1", "Sail", "sails"),
    Kind::of_cluster("example.com", "v1", "Port", "ports"),
];

#[test]
fn every_story_goes_as_it_says() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cases/garbage_collector");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 20, "only {} cases: were files lost?", files.len());
    let mut failures = String::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let told = play(&text);
        if std::env::var_os("UPDATE_CASES").is_some() {
            fs::write(&file, told).unwrap();
        } else if told != text {
            write!(failures, "\n== {}\n-- expected\n{text}-- happened\n{told}", file.display()).unwrap();
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

fn play(text: &str) -> String {
    let (mut graph, mut told) = (Graph::default(), String::new());
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with("  >")) {
        writeln!(told, "{line}").unwrap();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let forced = tell(&mut graph, line, number as u64 + 1);
        let news = graph.take_news();
        let mut look = news.look;
        look.extend(forced.map(Into::into));
        look.sort();
        look.dedup();
        for event in news.events {
            writeln!(told, "  > event {} {} {}", event.about.key, event.reason, event.message).unwrap();
        }
        for uid in look {
            for (at, step) in graph.decide(&uid).iter().enumerate() {
                for action in step {
                    writeln!(told, "  > {}{}", if at > 0 { "then " } else { "" }, shown(action)).unwrap();
                }
            }
        }
    }
    told
}

fn tell(graph: &mut Graph, line: &str, number: u64) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let kind =
        |name: &str| Arc::new(KINDS.iter().find(|kind| kind.kind == name).unwrap_or_else(|| panic!("{name}?")).clone());
    let identity = || {
        let (namespace, name) = words[2].split_once('/').unwrap_or(("", words[2]));
        Identity {
            api_version: kind(words[1]).api_version().into(),
            kind: words[1].into(),
            namespace: namespace.into(),
            name: name.into(),
            uid: words[3].into(),
        }
    };
    match words[0] {
        "see" => graph.see(&kind(words[1]), &meta(&words[2..], number, &kind)),
        "end" => graph.end(words[1]),
        "absent" => {
            let everywhere = !kind(words[1]).namespaced;
            graph.answer(&identity(), Answer::Absent { everywhere });
        }
        "exists" => graph.answer(&identity(), Answer::Exists),
        "impossible" => graph.answer(&identity(), Answer::Impossible),
        "lose" => graph.lose(&kind(words[1])),
        "look" => return Some(words[1].to_owned()),
        other => panic!("{other}?"),
    }
    None
}

fn meta(words: &[&str], number: u64, kind: &dyn Fn(&str) -> Arc<Kind>) -> Meta {
    let key = words[0].split_once('/').unwrap_or(("", words[0]));
    let mut meta = Meta {
        namespace: key.0.into(),
        name: key.1.into(),
        uid: words[1].into(),
        resource_version: number,
        ..Meta::default()
    };
    for word in &words[2..] {
        match word.split_once('=') {
            None if *word == "deleting" => meta.deletion_timestamp = Some(jiff::Timestamp::UNIX_EPOCH),
            Some(("at", revision)) => meta.resource_version = revision.parse().unwrap(),
            Some(("final", finalizer)) => meta.finalizers.push(finalizer.into()),
            Some(("owner", owner)) => {
                let parts: Vec<&str> = owner.split(',').collect();
                let owner = OwnerReference {
                    api_version: kind(parts[0]).api_version().into(),
                    kind: parts[0].into(),
                    name: parts[1].into(),
                    uid: parts[2].into(),
                    block_owner_deletion: parts.get(3) == Some(&"block"),
                    ..OwnerReference::default()
                };
                meta.owner_references = meta.owner_references.iter().cloned().chain([owner]).collect();
            }
            _ => panic!("{word}?"),
        }
    }
    meta
}

fn shown(action: &Action) -> String {
    let at = |target: &Target| format!("{} {}", target.kind.kind, target.key);
    match action {
        Action::Ask(Identity { kind, namespace, name, uid, .. }) => format!("ask for {kind} {namespace}/{name} {uid}"),
        Action::Delete(target, how) => format!("delete {} {how:?}", at(target)),
        Action::Release(target, owners) => format!("release {} from {}", at(target), owners.join(" ")),
        Action::Unblock(target, owners) => format!("unblock {} for {}", at(target), owners.join(" ")),
        Action::Finalize(target, finalizer) => format!("finalize {} {finalizer}", at(target)),
    }
}
