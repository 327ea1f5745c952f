//! Which field a number is: the table `tables/protobuf.txt`, bound to the built-in types. Read when the
//! first message comes: most servers never see one.

use std::{collections::HashMap, iter::Peekable, sync::LazyLock};

use document::{Type, TypeId, Types};

use crate::builtin;

const TABLE: &str = include_str!("../../tables/protobuf.txt");

/// What stands before the names of the table.
const PACKAGES: [&str; 4] = [
    "io.k8s.api.",
    "io.k8s.apimachinery.pkg.apis.",
    "io.k8s.apiextensions-apiserver.pkg.apis.",
    "io.k8s.kube-aggregator.pkg.apis.",
];
const SCHEMA: &str = "apiextensions.v1.JSONSchemaProps";

#[derive(Debug)]
pub struct Numbers {
    messages: HashMap<TypeId, Message>,
    schema: TypeId,
}

/// The fields of a message, by number from 1.
#[derive(Debug, Default)]
pub struct Message {
    slots: Vec<Option<Slot>>,
}

#[derive(Debug)]
pub enum Slot {
    Field {
        name: &'static str,
        of: TypeId,
        form: Form,
    },
    /// A message whose fields stand beside the others in JSON.
    Inlined(Message),
}

/// How a value is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As its type says.
    Typed,
    /// A message of a boolean or a schema.
    OrBoolean,
    /// A message of a schema or a list of them.
    OrList,
    /// A message of a schema or a list of strings.
    OrStrings,
}

pub fn numbers() -> &'static Numbers {
    static NUMBERS: LazyLock<Numbers> =
        LazyLock::new(|| Numbers::read(TABLE, &builtin::types()).expect("a test reads the table"));
    &NUMBERS
}

impl Numbers {
    pub fn message(&self, of: TypeId) -> Option<&Message> {
        self.messages.get(&of)
    }

    /// The type of a schema, for the forms that have one in them.
    pub fn schema(&self) -> TypeId {
        self.schema
    }

    pub fn read(table: &'static str, types: &Types) -> Result<Self, String> {
        let schema = find(types, SCHEMA).ok_or("no schemas")?.id();
        let mut messages = HashMap::new();
        let mut lines = table.lines().filter(|line| !line.starts_with('#')).peekable();
        while let Some(heads) = lines.next() {
            let fields: Vec<&str> = fields(&mut lines);
            for head in heads.split(' ') {
                let of = find(types, head).ok_or_else(|| format!("no type {head:?}"))?;
                let message =
                    Message::read(&mut fields.iter().copied(), of).map_err(|error| format!("{head}: {error}"))?;
                if messages.insert(of.id(), message).is_some() {
                    return Err(format!("{head} stands there twice"));
                }
            }
        }
        Ok(Self { messages, schema })
    }
}

/// The words of the lines below a head.
fn fields(lines: &mut Peekable<impl Iterator<Item = &'static str>>) -> Vec<&'static str> {
    let mut words = Vec::new();
    while let Some(line) = lines.next_if(|line| line.starts_with(' ')) {
        words.extend(line.split_whitespace());
    }
    words
}

fn find<'a>(types: &'a Types, head: &str) -> Option<Type<'a>> {
    let (name, field) = head.split_once('/').map_or((head, None), |(name, field)| (name, Some(field)));
    let of = PACKAGES.iter().find_map(|package| types.named(&format!("{package}{name}")))?;
    match field {
        None => Some(of),
        Some(field) => of.field(field).map(|(_, of)| of),
    }
}

impl Message {
    pub fn slot(&self, number: u32) -> Option<&Slot> {
        self.slots.get(usize::try_from(number).ok()?.checked_sub(1)?)?.as_ref()
    }

    #[cfg(test)]
    pub fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().flatten()
    }

    /// Up to the end of the words, or of the braces that they stand in.
    fn read(words: &mut impl Iterator<Item = &'static str>, of: Type<'_>) -> Result<Self, String> {
        let mut message = Self::default();
        while let Some(word) = words.next() {
            if let Ok(number) = word.parse::<usize>() {
                let next = message.slots.len() + 1;
                if !(next..1000).contains(&number) {
                    return Err(format!("{number} does not come after {next}"));
                }
                message.slots.resize_with(number - 1, || None);
                continue;
            }
            message.slots.push(Some(match word {
                "}" => return Ok(message),
                "{" => Slot::Inlined(Self::read(words, of)?),
                word => Slot::read(word, of)?,
            }));
        }
        Ok(message)
    }
}

impl Slot {
    fn read(word: &'static str, of: Type<'_>) -> Result<Self, String> {
        let (name, form) = match word.split_once(':') {
            None => (word, Form::Typed),
            Some((name, "or-boolean")) => (name, Form::OrBoolean),
            Some((name, "or-list")) => (name, Form::OrList),
            Some((name, "or-strings")) => (name, Form::OrStrings),
            Some((_, form)) => return Err(format!("no form {form:?}")),
        };
        let (_, of) = of.field(name).ok_or_else(|| format!("no field {name:?}"))?;
        Ok(Self::Field { name, of: of.id(), form })
    }
}
