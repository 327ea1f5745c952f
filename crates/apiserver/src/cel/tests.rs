//! Expressions over one document, as lines of `cases/cel/expressions.txt`.

use std::path::Path;

use serde_json::Value as Json;

use super::*;
use crate::crd::{declare, schema::Schema};

fn shown(value: &Value<'_>) -> String {
    value.to_json().map_or_else(|| format!("{value:?}"), |json| json.to_string())
}

#[test]
fn expressions_give_what_the_cases_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/cel");
    let document: Json = serde_json::from_str(&std::fs::read_to_string(folder.join("self.json")).unwrap()).unwrap();
    let declared = declare::root(&Schema::read(&document["schema"]));
    let variables = [("self".into(), declared.clone())];
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in std::fs::read_to_string(folder.join("expressions.txt")).unwrap().lines() {
        let Some((source, expect)) = line.rsplit_once(" => ").filter(|_| !line.starts_with('#')) else { continue };
        count += 1;
        let program = compile(source, &variables);
        let result = match &program {
            Err(error) => format!("? {}", error.message),
            Ok(program) => {
                let values = [("self", Value::read(&document["value"], &declared.ty))];
                match program.evaluate(&values, &Budget::new(OBJECT_LIMIT)) {
                    Ok(value) => shown(&value),
                    Err(failure) => format!("! {failure}"),
                }
            }
        };
        let expected = match expect.trim() {
            failure if failure.starts_with(['!', '?']) => failure.to_owned(),
            json => serde_json::from_str::<Json>(json).map_or(json.to_owned(), |json| json.to_string()),
        };
        let fits = if expected.starts_with(['!', '?']) { result.starts_with(&expected) } else { result == expected };
        if !fits {
            wrong.push(format!("{source}\n    expected {expected}\n    got      {result}"));
        }
    }
    assert!(count > 150, "{count} cases");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The figures are those of a stock server, found out by how often a definition may repeat a rule.
#[test]
fn costs_are_estimated_as_by_kubernetes() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/cel/costs.json");
    let cases: Json = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let variables = [("self".into(), declare::declared(&Schema::read(&cases["schema"]), "object"))];
    let mut wrong = Vec::new();
    for case in cases["costs"].as_array().unwrap() {
        let (source, expected) = (case[0].as_str().unwrap(), case[1].as_u64().unwrap());
        match compile(source, &variables) {
            Ok(program) if program.max_cost == expected => {}
            Ok(program) => wrong.push(format!("{source}: expected {expected}, got {}", program.max_cost)),
            Err(error) => wrong.push(format!("{source}: {}", error.message)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn deep_expressions_are_refused_and_the_deepest_allowed_run() {
    let nested = |levels: usize| format!("{}1{}", "(".repeat(levels), ")".repeat(levels));
    assert!(compile(&nested(100), &[]).is_ok());
    assert!(compile(&nested(5000), &[]).is_err());
    assert!(compile(&"!".repeat(50_000), &[]).is_err());
    assert!(compile(&format!("1{}", " + 1".repeat(5000)), &[]).is_err());
    let chain = format!("1{}", " + 1".repeat(100));
    let program = compile(&chain, &[]).unwrap();
    assert!(matches!(program.evaluate(&[], &Budget::new(OBJECT_LIMIT)), Ok(Value::Int(101))));
}

#[test]
fn complaints_point_at_their_place() {
    let source = "1 ==\n  nobody";
    let error = compile(source, &[]).unwrap_err();
    let expect = "ERROR: <input>:2:3: undeclared reference to 'nobody' (in container '')\n |   nobody\n | ..^";
    assert_eq!(error.describe(source), expect);
}
