//! Runs `cases/*/*.yaml` against the lists of expectations beside them.
//!
//! A case changes the valid object that its file begins with, and shows what the strategy makes of it.
//! `UPDATE_EXPECT=1` rewrites the expectations.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use serde_json::{Value, json};

use crate::{
    field::FieldErrors,
    kinds::{columns::age_of, pod},
    resource::Cell,
    strategy::Strategy,
};

const NOW_SECONDS: i64 = 1_767_225_600; // 2026-01-01T00:00:00Z

/// Sets the values at slash-separated paths; null removes.
fn change(object: &mut Value, changes: &Value) {
    for (path, value) in changes.as_object().into_iter().flatten() {
        let (parent, field) = path.rsplit_once('/').map_or(("", path.as_str()), |(parent, field)| (parent, field));
        let mut place = &mut *object;
        for step in parent.split('/').filter(|step| !step.is_empty()) {
            place = match step.parse::<usize>() {
                Ok(index) if place.is_array() => &mut place[index],
                _ => &mut place[step.replace("~1", "/")],
            };
        }
        let field = field.replace("~1", "/");
        match (field.parse::<usize>(), &mut *place, value) {
            (Ok(index), Value::Array(list), _) if index == list.len() => list.push(value.clone()),
            (Ok(index), Value::Array(list), _) => list[index] = value.clone(),
            (_, Value::Object(map), Value::Null) => drop(map.remove(&field)),
            (_, place, _) => place[field] = value.clone(),
        }
    }
}

fn created(strategy: &Strategy, mut object: Value) -> Value {
    (strategy.default)(&mut object);
    let once = object.clone();
    (strategy.default)(&mut object);
    assert_eq!(object, once, "defaulting is idempotent");
    object["metadata"]["uid"] = json!("0b5c");
    object["metadata"]["creationTimestamp"] = json!("2025-12-31T23:00:00Z");
    (strategy.prepare_create)(&mut object);
    object
}

fn show_errors(errors: &FieldErrors) -> Vec<String> {
    errors.iter().map(|error| error.to_string().trim_end().replace('\n', "\\n")).collect()
}

fn show_cells(topic: &str, object: &Value) -> Vec<String> {
    let columns = crate::kinds::columns(topic).unwrap_or_default();
    let cell = |cell: &Cell| match cell {
        Cell::Name => object["metadata"]["name"].clone(),
        Cell::Age => age_of(object, NOW_SECONDS).into(),
        Cell::Render(render) => render(object, NOW_SECONDS),
        Cell::Path(_) | Cell::Nothing => panic!("built-in kinds have no JSONPath columns"),
    };
    columns.iter().map(|column| format!("{}={}", column.name, cell(&column.cell))).collect()
}

/// The strategy of a file's topic, as the group serves it that the file may name.
fn strategy_of(file: &Value) -> Strategy {
    let topic = file["topic"].as_str().expect("a topic");
    crate::kinds::strategy_in(file["group"].as_str().unwrap_or_default(), topic).expect("a known topic")
}

fn run(file: &Value, case: &Value) -> Vec<String> {
    let (topic, base) = (file["topic"].as_str().expect("a topic"), &file["base"]);
    let strategy = strategy_of(file);
    let mut errors = FieldErrors::new();
    let mut fresh = base.clone();
    change(&mut fresh, &case["from"]);
    // What is stored, and what is then written; creation drops the status that `from` may give.
    let mut old = created(&strategy, fresh.clone());
    change(&mut old, &case["from"]);
    let mut new = old.clone();
    change(&mut fresh, &case["set"]);
    change(&mut new, &case["set"]);
    match case["at"].as_str().unwrap_or("create") {
        "create" => {
            let object = created(&strategy, fresh);
            (strategy.validate)(&object, &mut errors);
            (strategy.validate_create)(&object, &mut errors);
        }
        "update" => {
            (strategy.default)(&mut new);
            (strategy.prepare_update)(&mut new, &old);
            (strategy.validate)(&new, &mut errors);
            (strategy.validate_update)(&new, &old, &mut errors);
        }
        "status" => {
            (strategy.prepare_status)(&mut new, &old);
            (strategy.validate_status)(&new, &old, &mut errors);
        }
        "resize" => {
            pod::prepare_resize(&mut new, &old);
            pod::validate_resize(&new, &old, &mut errors);
        }
        "ephemeral" => {
            pod::prepare_ephemeral_containers(&mut new, &old);
            pod::validate_ephemeral_containers(&new, &old, &mut errors);
        }
        "default" => {
            let object = created(&strategy, fresh);
            let paths = case["show"].as_array().expect("`show`").iter().filter_map(Value::as_str);
            return paths.map(|path| format!("{path} = {}", object.pointer(path).unwrap_or(&Value::Null))).collect();
        }
        "updated" => {
            (strategy.prepare_update)(&mut new, &old);
            let paths = case["show"].as_array().expect("`show`").iter().filter_map(Value::as_str);
            return paths.map(|path| format!("{path} = {}", new.pointer(path).unwrap_or(&Value::Null))).collect();
        }
        "table" => return show_cells(topic, &new),
        "warn" => return (strategy.warnings)(&fresh),
        "grace" => return vec![format!("{:?}", (strategy.grace_period_seconds)(&new, None))],
        other => panic!("no such place: {other}"),
    }
    show_errors(&errors)
}

#[test]
fn cases_give_what_is_expected() {
    let count = check_cases("cases/workloads");
    assert!(count >= 150, "only {count} cases were found");
}

/// Runs the cases of a folder; says how many there are.
pub fn check_cases(folder: &str) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let is_rewriting = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut wrong = String::new();
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let file: Value = serde_yaml_ng::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let mut shown = String::new();
        let mut names: BTreeMap<&str, ()> = BTreeMap::new();
        for case in file["cases"].as_array().expect("cases") {
            let name = case["name"].as_str().expect("a name");
            assert!(names.insert(name, ()).is_none(), "{}: two cases {name:?}", path.display());
            let _ = writeln!(shown, "{name}");
            for line in run(&file, case) {
                let _ = writeln!(shown, "    {line}");
            }
            count += 1;
        }
        let expected_path = path.with_extension("expected");
        if is_rewriting {
            fs::write(&expected_path, &shown).unwrap();
        } else if fs::read_to_string(&expected_path).unwrap_or_default() != shown {
            let _ = writeln!(wrong, "{}, now:\n{shown}", expected_path.display());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    count
}

/// Whatever a field holds, rules and defaults say what is wrong and do not panic.
#[test]
fn odd_shapes_are_survived() {
    survive_odd_shapes("cases/workloads");
}

pub fn survive_odd_shapes(folder: &str) {
    let odd = [json!(null), json!([]), json!({}), json!(""), json!(-1), json!([null]), json!([{}]), json!({"a": null})];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let file: Value = serde_yaml_ng::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let strategy = strategy_of(&file);
        let mut places = Vec::new();
        collect_places(&file["base"], String::new(), &mut places);
        for place in places {
            for value in &odd {
                let mut object = file["base"].clone();
                *object.pointer_mut(&place).unwrap() = value.clone();
                let mut errors = FieldErrors::new();
                (strategy.default)(&mut object);
                (strategy.prepare_create)(&mut object);
                (strategy.prepare_update)(&mut object, &file["base"]);
                (strategy.validate)(&object, &mut errors);
                (strategy.validate_create)(&object, &mut errors);
                (strategy.validate_update)(&object, &file["base"], &mut errors);
                (strategy.validate_update)(&file["base"], &object, &mut errors);
                (strategy.validate_status)(&object, &file["base"], &mut errors);
                (strategy.warnings)(&object);
                show_cells(file["topic"].as_str().unwrap(), &object);
            }
        }
    }
}

fn collect_places(value: &Value, path: String, places: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                collect_places(value, format!("{path}/{}", key.replace('/', "~1")), places);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                collect_places(value, format!("{path}/{index}"), places);
            }
        }
        _ => {}
    }
    places.push(path);
}
