//! Field selectors: `metadata.name=a,status.phase!=Running`.

use std::fmt::{self, Display};

use super::SelectorError;

/// All requirements must hold. The empty selector matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSelector {
    /// Sorted.
    pub requirements: Vec<FieldRequirement>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldRequirement {
    pub field: Box<str>,
    pub value: Box<str>,
    /// `=` and `==`; otherwise `!=`.
    pub equal: bool,
}

impl FieldSelector {
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut terms = split_terms(text);
        terms.sort_unstable();
        let parsed = terms.into_iter().filter(|term| !term.is_empty()).map(|term| {
            parse_term(term)?
                .ok_or_else(|| SelectorError(format!("invalid selector: '{text}'; can't understand '{term}'")))
        });
        let mut requirements: Vec<_> = parsed.collect::<Result<_, _>>()?;
        requirements.sort();
        Ok(Self { requirements })
    }

    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// `value_of` gives a field's value; an absent field is an empty string.
    pub fn matches<T: AsRef<str>>(&self, value_of: impl Fn(&str) -> T) -> bool {
        self.requirements.iter().all(|term| (value_of(&term.field).as_ref() == &*term.value) == term.equal)
    }

    /// The fields that are compared.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.requirements.iter().map(|term| &*term.field)
    }

    /// Demands that `field` have this value, beside what is demanded already.
    pub fn require(&mut self, field: &str, value: &str) {
        self.requirements.push(FieldRequirement { field: field.into(), value: value.into(), equal: true });
        self.requirements.sort();
    }

    /// The value that `field` must have, where the selector demands one.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.requirements.iter().find(|term| term.equal && *term.field == *field).map(|term| &*term.value)
    }
}

/// Splits at commas that no backslash precedes.
fn split_terms(text: &str) -> Vec<&str> {
    let mut escaped = false;
    text.split(|char| {
        let splits = char == ',' && !escaped;
        escaped = char == '\\' && !escaped;
        splits
    })
    .collect()
}

fn parse_term(term: &str) -> Result<Option<FieldRequirement>, SelectorError> {
    let operator = term.char_indices().find_map(|(at, _)| {
        let rest = &term[at..];
        ["!=", "==", "="].into_iter().find(|operator| rest.starts_with(operator)).map(|operator| (at, operator))
    });
    let Some((at, operator)) = operator else { return Ok(None) };
    let value = unescape(&term[at + operator.len()..])?;
    Ok(Some(FieldRequirement { field: term[..at].into(), value, equal: operator != "!=" }))
}

fn unescape(text: &str) -> Result<Box<str>, SelectorError> {
    let invalid = |what: String| SelectorError(format!("invalid field selector: {what}"));
    let mut value = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => match chars.next() {
                Some(escaped @ ('\\' | ',' | '=')) => value.push(escaped),
                Some(other) => return Err(invalid(format!("invalid escape sequence: \\{other}"))),
                None => return Err(invalid("invalid escape sequence: \\".to_owned())),
            },
            // The number is how Kubernetes prints the character.
            ',' | '=' => return Err(invalid(format!("unescaped character in value: {}", u32::from(char)))),
            other => value.push(other),
        }
    }
    Ok(value.into())
}

impl Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.requirements.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let operator = if term.equal { "=" } else { "!=" };
            write!(f, "{comma}{}{operator}", term.field)?;
            for char in term.value.chars() {
                if matches!(char, '\\' | ',' | '=') {
                    f.write_str("\\")?;
                }
                write!(f, "{char}")?;
            }
        }
        Ok(())
    }
}
