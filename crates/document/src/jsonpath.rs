//! JSONPath as Kubernetes writes it: printer columns, scale paths, selectable fields.
//!
//! This is the dialect of one action of a kubectl template, without its braces: `.spec.replicas`,
//! `.metadata.labels['a\.b']`, `.status.conditions[?(@.type=="Ready")].status`. Not here: templates with
//! text, `range` and `end`.

use serde_json::Value;

#[cfg(test)]
mod tests;

/// No step may yield more values than this: `..a..a..a` would otherwise multiply them.
const MAX_VALUES: usize = 10_000;
/// Filters and unions compile their parts recursively.
const MAX_DEPTH: usize = 8;

/// A compiled path.
#[derive(Debug, Clone)]
pub struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

#[derive(Debug, Clone)]
enum Step {
    Field(Box<str>),
    Slice(Slice),
    Wildcard,
    /// Every container below and including the current values.
    Recursive,
    Union(Vec<JsonPath>),
    Filter(Box<Filter>),
    /// A value written in the path itself: the right side of a filter.
    Literal(Value),
    /// A bare word. It parses, as in Kubernetes, and finds nothing.
    Identifier,
}

#[derive(Debug, Clone)]
struct Slice {
    start: Option<i64>,
    end: End,
    step: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Open,
    At(i64),
    /// `[n]`: one past the start.
    AfterStart,
}

#[derive(Debug, Clone)]
struct Filter {
    left: JsonPath,
    comparison: Option<(Comparison, JsonPath)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Comparison {
    Less,
    Greater,
    Equal,
    NotEqual,
    LessEqual,
    GreaterEqual,
    Unknown,
}

/// Compiles a path; `.` at the front is usual and not required after `$` or `@`.
pub fn compile(text: &str) -> Result<JsonPath, Error> {
    compile_at(text, 0)
}

fn compile_at(text: &str, depth: usize) -> Result<JsonPath, Error> {
    if depth > MAX_DEPTH {
        return Err(Error("path is nested too deeply".to_owned()));
    }
    let mut parser = Parser { text, at: 0, steps: Vec::new(), depth };
    parser.run()?;
    Ok(JsonPath { steps: parser.steps })
}

/// The values did not fit the path (an index out of range, a filter on something that is no list).
struct Mismatch;

impl JsonPath {
    /// All values the path leads to, in document order; none where the document does not fit the path.
    pub fn find<'a>(&'a self, document: &'a Value) -> Vec<&'a Value> {
        self.walk(vec![document]).unwrap_or_default()
    }

    pub fn first<'a>(&'a self, document: &'a Value) -> Option<&'a Value> {
        self.find(document).into_iter().next()
    }

    /// The field names, where the path is nothing but fields (`.spec.replicas`).
    pub fn fields<'a>(&'a self) -> Option<Vec<&'a str>> {
        let name = |step: &'a Step| match step {
            Step::Field(name) => Some(&**name),
            _ => None,
        };
        self.steps.iter().map(name).collect()
    }

    fn walk<'a>(&'a self, mut values: Vec<&'a Value>) -> Result<Vec<&'a Value>, Mismatch> {
        for step in &self.steps {
            values = step.walk(values)?;
            if values.len() > MAX_VALUES {
                return Err(Mismatch);
            }
        }
        Ok(values)
    }
}

impl Step {
    fn walk<'a>(&'a self, values: Vec<&'a Value>) -> Result<Vec<&'a Value>, Mismatch> {
        let mut found = Vec::new();
        match self {
            Step::Field(name) => found.extend(values.iter().filter_map(|value| value.as_object()?.get(&**name))),
            Step::Slice(slice) => {
                for value in values {
                    match value {
                        Value::Null => {}
                        Value::Array(items) => slice.select(items, &mut found)?,
                        _ => return Err(Mismatch),
                    }
                }
            }
            Step::Wildcard => values.iter().for_each(|value| children(value, &mut found)),
            Step::Recursive => values.iter().try_for_each(|value| containers(value, &mut found))?,
            Step::Union(parts) => {
                for part in parts {
                    found.extend(part.walk(values.clone())?);
                }
            }
            Step::Filter(filter) => {
                for value in values {
                    for item in value.as_array().ok_or(Mismatch)? {
                        if filter.keeps(item)? {
                            found.push(item);
                        }
                    }
                }
            }
            Step::Literal(literal) => found.extend(values.iter().map(|_| literal)),
            Step::Identifier => return Err(Mismatch),
        }
        Ok(found)
    }
}

fn children<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    match value {
        Value::Array(items) => found.extend(items),
        Value::Object(fields) => found.extend(fields.values()),
        _ => {}
    }
}

fn containers<'a>(value: &'a Value, found: &mut Vec<&'a Value>) -> Result<(), Mismatch> {
    let mut below = Vec::new();
    children(value, &mut below);
    if below.is_empty() {
        return Ok(());
    }
    if found.len() >= MAX_VALUES {
        return Err(Mismatch);
    }
    found.push(value);
    below.into_iter().try_for_each(|child| containers(child, found))
}

impl Slice {
    fn select<'a>(&self, items: &'a [Value], found: &mut Vec<&'a Value>) -> Result<(), Mismatch> {
        let length = i64::try_from(items.len()).map_err(|_| Mismatch)?;
        let written = self.start.unwrap_or(0);
        let start = if written < 0 { written + length } else { written };
        let end = match self.end {
            End::Open => length,
            End::At(end) if end < 0 => end + length,
            End::At(end) => end,
            End::AfterStart => start.saturating_add(1),
        };
        if start == end {
            return Ok(());
        }
        let step = self.step.unwrap_or(1);
        if !(0..length).contains(&start) || end > length || start > end || step <= 0 {
            return Err(Mismatch);
        }
        let bound = |index: i64| usize::try_from(index).map_err(|_| Mismatch);
        found.extend(items[bound(start)?..bound(end)?].iter().step_by(bound(step)?));
        Ok(())
    }
}

impl Filter {
    fn keeps(&self, item: &Value) -> Result<bool, Mismatch> {
        let left = self.left.walk(vec![item]);
        let Some((comparison, right)) = &self.comparison else {
            return Ok(left.is_ok_and(|values| !values.is_empty()));
        };
        let (left, right) = (left?, right.walk(vec![item])?);
        match (&left[..], &right[..]) {
            ([], _) | (_, []) => Ok(false),
            ([left], [right]) => comparison.holds(left, right),
            _ => Err(Mismatch),
        }
    }
}

impl Comparison {
    const WRITTEN: [(&'static str, Comparison); 6] = [
        ("<", Comparison::Less),
        (">", Comparison::Greater),
        ("==", Comparison::Equal),
        ("!=", Comparison::NotEqual),
        ("<=", Comparison::LessEqual),
        (">=", Comparison::GreaterEqual),
    ];

    fn holds(self, left: &Value, right: &Value) -> Result<bool, Mismatch> {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let order = match (left, right) {
            (Value::String(left), Value::String(right)) => left.cmp(right),
            (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
                (Some(left), Some(right)) => left.cmp(&right),
                _ => left.as_f64().partial_cmp(&right.as_f64()).ok_or(Mismatch)?,
            },
            (Value::Bool(left), Value::Bool(right)) if matches!(self, Comparison::Equal | Comparison::NotEqual) => {
                left.cmp(right)
            }
            _ => return Err(Mismatch),
        };
        match self {
            Comparison::Less => Ok(order == Less),
            Comparison::Greater => Ok(order == Greater),
            Comparison::Equal => Ok(order == Equal),
            Comparison::NotEqual => Ok(order != Equal),
            Comparison::LessEqual => Ok(order != Greater),
            Comparison::GreaterEqual => Ok(order != Less),
            Comparison::Unknown => Err(Mismatch),
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    steps: Vec<Step>,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn run(&mut self) -> Result<(), Error> {
        while let Some(next) = self.rest().chars().next() {
            if self.take("[?(") {
                self.filter()?;
            } else if self.take("..") {
                self.recursive()?;
            } else {
                match next {
                    ' ' | '@' | '$' => self.at += 1,
                    '[' => self.brackets()?,
                    '"' | '\'' => self.quoted(next)?,
                    '.' => {
                        self.at += 1;
                        self.field();
                    }
                    '+' | '-' => self.number()?,
                    digit if digit.is_numeric() => self.number()?,
                    letter if is_word(letter) => self.word(),
                    '\r' | '\n' => return Err(Error("unclosed action".to_owned())),
                    other => {
                        let point = u32::from(other);
                        return Err(Error(format!("unrecognized character in action: U+{point:04X} '{other}'")));
                    }
                }
            }
        }
        Ok(())
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn take(&mut self, prefix: &str) -> bool {
        let found = self.rest().starts_with(prefix);
        if found {
            self.at += prefix.len();
        }
        found
    }

    /// The text up to a terminator; a backslash takes the next character as it is.
    fn until_terminator(&mut self) -> &'a str {
        let rest = self.rest();
        let mut escaped = false;
        let end = rest.find(|char| {
            let ends = !escaped && is_terminator(char);
            escaped = !escaped && char == '\\';
            ends
        });
        let word = &rest[..end.unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    fn field(&mut self) {
        let name = self.until_terminator();
        self.steps.push(match name {
            "*" => Step::Wildcard,
            name => Step::Field(name.replace('\\', "").into()),
        });
    }

    fn recursive(&mut self) -> Result<(), Error> {
        if matches!(self.steps.last(), Some(Step::Recursive)) {
            return Err(Error("invalid multiple recursive descent".to_owned()));
        }
        self.steps.push(Step::Recursive);
        if self.rest().starts_with(is_word) {
            self.field();
        }
        Ok(())
    }

    fn word(&mut self) {
        let rest = self.rest();
        let word = &rest[..rest.find(is_terminator).unwrap_or(rest.len())];
        self.at += word.len();
        self.steps.push(match word {
            "true" => Step::Literal(true.into()),
            "false" => Step::Literal(false.into()),
            _ => Step::Identifier,
        });
    }

    fn number(&mut self) -> Result<(), Error> {
        let rest = self.rest();
        let signed = usize::from(rest.starts_with(['+', '-']));
        let digits = rest[signed..].find(|char: char| char != '.' && !char.is_numeric());
        let written = &rest[..digits.map_or(rest.len(), |length| signed + length)];
        self.at += written.len();
        let plain = written.strip_prefix('+').unwrap_or(written);
        let value = plain.parse::<i64>().map(Value::from).or_else(|_| plain.parse::<f64>().map(Value::from));
        let value = value.map_err(|_| Error(format!("cannot parse number {written}")))?;
        self.steps.push(Step::Literal(value));
        Ok(())
    }

    fn quoted(&mut self, quote: char) -> Result<(), Error> {
        let body = &self.rest()[1..];
        let mut text = String::new();
        let mut chars = body.char_indices();
        while let Some((index, char)) = chars.next() {
            match char {
                '\n' => break,
                '\\' => match chars.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, escaped)) => text.push(escaped),
                    None => break,
                },
                end if end == quote => {
                    self.at += index + 2;
                    self.steps.push(Step::Literal(text.into()));
                    return Ok(());
                }
                other => text.push(other),
            }
        }
        Err(Error("unterminated quoted string".to_owned()))
    }

    /// `[0]`, `[1:3]`, `[*]`, `['name']`, `[0,2]`.
    fn brackets(&mut self) -> Result<(), Error> {
        let end = self.rest().find([']', '\n']).filter(|end| self.rest().as_bytes()[*end] == b']');
        let end = end.ok_or_else(|| Error("unterminated array".to_owned()))?;
        let inside = &self.rest()[1..end];
        self.at += end + 1;
        if inside.contains(',') {
            let part = |part: &str| compile_at(&format!("[{}]", part.trim_matches(' ')), self.depth + 1);
            let parts = inside.split(',').map(part).collect::<Result<_, _>>()?;
            self.steps.push(Step::Union(parts));
            return Ok(());
        }
        let key = inside.strip_prefix('\'').and_then(|key| key.strip_suffix('\''));
        match key.filter(|key| !key.contains('\'')) {
            Some(key) => self.steps.extend(compile_at(&format!(".{key}"), self.depth + 1)?.steps),
            None => self.steps.push(Step::Slice(parse_slice(inside)?)),
        }
        Ok(())
    }

    /// What follows `[?(`, to `)]`.
    fn filter(&mut self) -> Result<(), Error> {
        let unterminated = || Error("unterminated filter".to_owned());
        let rest = self.rest();
        let (mut quote, mut closed, mut before) = (None, false, ' ');
        let mut end = None;
        for (index, char) in rest.char_indices() {
            match (char, quote) {
                ('\n', _) => return Err(unterminated()),
                ('"' | '\'', None) => quote = Some(char),
                ('"' | '\'', Some(open)) if char == open && before != '\\' => closed = true,
                (')', quote) if quote.is_some() == closed => {
                    end = Some(index);
                    break;
                }
                _ => {}
            }
            before = char;
        }
        let inside = &rest[..end.ok_or_else(unterminated)?];
        self.at += inside.len() + 1;
        if !self.take("]") {
            return Err(Error("unclosed array expect ]".to_owned()));
        }
        let filter = match split_comparison(inside) {
            None => Filter { left: compile_at(inside, self.depth + 1)?, comparison: None },
            Some((left, operator, right)) => {
                let known = Comparison::WRITTEN.iter().find(|(written, _)| *written == operator);
                let comparison = known.map_or(Comparison::Unknown, |(_, comparison)| *comparison);
                let right = compile_at(right, self.depth + 1)?;
                Filter { left: compile_at(left, self.depth + 1)?, comparison: Some((comparison, right)) }
            }
        };
        self.steps.push(Step::Filter(Box::new(filter)));
        Ok(())
    }
}

fn split_comparison(text: &str) -> Option<(&str, &str, &str)> {
    let is_operator = |char: char| matches!(char, '!' | '<' | '>' | '=');
    let start = text.find(is_operator).filter(|start| *start > 0)?;
    let length = text[start..].find(|char| !is_operator(char))?;
    Some((&text[..start], &text[start..start + length], &text[start + length..]))
}

fn parse_slice(text: &str) -> Result<Slice, Error> {
    let text = if text == "*" { ":" } else { text };
    let invalid = || Error(format!("invalid array index {text}"));
    if !text.chars().all(|char| char.is_ascii_digit() || matches!(char, '-' | ':')) {
        return Err(invalid());
    }
    let mut parts = text.split(':').map(|part| match part {
        "" => Ok(None),
        part if part.rfind('-').unwrap_or(0) > 0 => Err(invalid()),
        part => part.parse().map(Some).map_err(|_| Error(format!("array index {part} is not a number"))),
    });
    let start = parts.next().transpose()?.flatten();
    let end = match parts.next().transpose()? {
        None => End::AfterStart,
        Some(None) => End::Open,
        Some(Some(end)) => End::At(end),
    };
    let step = parts.next().transpose()?.flatten();
    if parts.next().is_some() { Err(invalid()) } else { Ok(Slice { start, end, step }) }
}

fn is_word(char: char) -> bool {
    char == '_' || char.is_alphanumeric()
}

fn is_terminator(char: char) -> bool {
    matches!(char, ' ' | '\t' | '\r' | '\n' | '.' | ',' | '[' | ']' | '$' | '@' | '{' | '}')
}
