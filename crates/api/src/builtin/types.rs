//! Reads the structure of the built-in types, which the build script wrote, into their arena. Once; all
//! rows share it.

use std::{
    collections::HashMap,
    iter::Peekable,
    str::{Lines, SplitWhitespace},
    sync::{Arc, LazyLock},
};

use document::{
    TypeId, Types,
    types::{Field, List, ListPatch, ListTopology, Map, Null, Object, ObjectPatch, Scalar, Shape},
};

const SOURCE: &str = include_str!(concat!(env!("OUT_DIR"), "/types.txt"));

/// All built-in types.
pub fn types() -> Arc<Types> {
    static TYPES: LazyLock<Arc<Types>> = LazyLock::new(|| Arc::new(read(SOURCE)));
    Arc::clone(&TYPES)
}

/// Changes with the types and their defaults; the same for one build everywhere (FNV-1a).
pub(super) fn hash() -> u64 {
    static HASH: LazyLock<u64> = LazyLock::new(|| {
        SOURCE.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    });
    *HASH
}

/// The form is described at its writer, `build/structure.rs`. It is ours, so what is wrong is a bug.
pub(super) fn read(text: &str) -> Types {
    let mut reader = Reader::default();
    let heads = || text.lines().filter(|line| !line.starts_with(' ')).filter_map(|line| line.split_once(' '));
    for _ in heads() {
        let id = reader.types.add(Shape::Any);
        reader.numbered.push(id);
    }
    for (number, (name, words)) in heads().enumerate() {
        if let Ok(other) = words.parse::<usize>() {
            reader.numbered[number] = reader.numbered[other];
        }
        reader.types.name(name, reader.numbered[number]);
    }
    let mut lines = text.lines().peekable();
    let mut number = 0;
    while let Some(head) = lines.next() {
        let (_, words) = head.split_once(' ').unwrap_or_default();
        let id = reader.numbered[number];
        number += 1;
        match words {
            "object" | "atomic" => {
                let mut object = Object::new(reader.fields(&mut lines));
                object.atomic = words == "atomic";
                reader.types.set(id, Shape::Object(object));
            }
            "any" => {}
            number if number.parse::<usize>().is_ok() => {}
            word => reader.types.set(id, Shape::Scalar(scalar(word))),
        }
    }
    reader.close_overrides();
    reader.types
}

#[derive(Default)]
struct Reader<'a> {
    types: Types,
    /// The types by their number in the file.
    numbered: Vec<TypeId>,
    /// Types without a name, by the words that describe them: each is in the arena once.
    anonymous: HashMap<&'a str, TypeId>,
    /// A type that is the object of another with `atomic` set otherwise.
    overrides: Vec<(TypeId, TypeId, bool)>,
}

impl<'a> Reader<'a> {
    fn fields(&mut self, lines: &mut Peekable<Lines<'a>>) -> Vec<Field> {
        let mut fields = Vec::new();
        while let Some(line) = lines.next_if(|line| line.starts_with(' ')) {
            let (line, default) = match line.split_once(" = ") {
                Some((line, default)) => (line, serde_json::from_str(default).ok()),
                None => (line, None),
            };
            let (name, rest) = line.trim_start().split_once(' ').unwrap_or_default();
            let (flags, words) = rest.split_once(' ').unwrap_or_default();
            let mut field = Field::new(name, self.anonymous(words));
            field.omit_empty = flags.contains('o');
            field.always_there = flags.contains('s');
            field.default = default;
            field.patch = match flags {
                flags if flags.contains('k') => ObjectPatch::RetainKeys,
                flags if flags.contains('r') => ObjectPatch::Replace,
                _ => ObjectPatch::Merge,
            };
            fields.push(field);
        }
        fields
    }

    fn anonymous(&mut self, words: &'a str) -> TypeId {
        if let Ok(number) = words.parse::<usize>() {
            return self.numbered[number];
        }
        if let Some(id) = self.anonymous.get(words) {
            return *id;
        }
        let id = self.parse(&mut words.split_whitespace());
        self.anonymous.insert(words, id);
        id
    }

    fn parse(&mut self, words: &mut SplitWhitespace<'a>) -> TypeId {
        let shape = match words.next().unwrap_or_default() {
            "any" => Shape::Any,
            "list" => {
                let (topology, patch) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                Shape::List(List {
                    topology: list_topology(topology),
                    patch: list_patch(patch),
                    item: self.parse(words),
                })
            }
            "map" => {
                let atomic = words.next() == Some("atomic");
                Shape::Map(Map { atomic, value: self.parse(words), null: Null::Kept })
            }
            word @ ("atomic" | "granular") => {
                let target = self.parse(words);
                let id = self.types.add(Shape::Any);
                self.overrides.push((id, target, word == "atomic"));
                return id;
            }
            word => match word.parse::<usize>() {
                Ok(number) => return self.numbered[number],
                Err(_) => Shape::Scalar(scalar(word)),
            },
        };
        self.types.add(shape)
    }

    fn close_overrides(&mut self) {
        for (id, target, atomic) in std::mem::take(&mut self.overrides) {
            let mut shape = self.types.get(target).shape().clone();
            if let Shape::Object(object) = &mut shape {
                object.atomic = atomic;
            }
            self.types.set(id, shape);
        }
    }
}

fn list_topology(word: &str) -> ListTopology {
    match word.split_once(':') {
        Some((_, keys)) => ListTopology::Map(keys.split(',').map(Into::into).collect()),
        None if word == "set" => ListTopology::Set,
        None => ListTopology::Atomic,
    }
}

fn list_patch(word: &str) -> ListPatch {
    match word.split_once(':') {
        Some((_, key)) => ListPatch::MergeByKey(key.into()),
        None if word == "merge" => ListPatch::MergeValues,
        None => ListPatch::Replace,
    }
}

fn scalar(word: &str) -> Scalar {
    match word {
        "boolean" => Scalar::Boolean,
        "int32" => Scalar::Int32,
        "int64" => Scalar::Int64,
        "number" => Scalar::Number,
        "string" => Scalar::String,
        "bytes" => Scalar::Bytes,
        "int-or-string" => Scalar::IntOrString,
        "quantity" => Scalar::Quantity,
        "time" => Scalar::Time,
        "microtime" => Scalar::MicroTime,
        other => unreachable!("the build script knows no type {other:?}"),
    }
}
