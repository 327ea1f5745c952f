//! The text form of label selectors.

use super::{Operator, Requirement, SelectorError, invalid_key};
use crate::field::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    /// A word; `in` and `notin` are words too, told apart by their place.
    Word,
    Not,
    Comma,
    Open,
    Close,
    Binary(Operator),
    /// Symbols that mean nothing together.
    Unknown,
    End,
}

const SYMBOLS: [(&str, Token); 9] = [
    ("!", Token::Not),
    (",", Token::Comma),
    ("(", Token::Open),
    (")", Token::Close),
    ("=", Token::Binary(Operator::Equals)),
    ("==", Token::Binary(Operator::DoubleEquals)),
    ("!=", Token::Binary(Operator::NotEquals)),
    (">", Token::Binary(Operator::GreaterThan)),
    ("<", Token::Binary(Operator::LessThan)),
];

/// Requirements in the order they are written.
pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    let mut parser = Parser { rest: text };
    let mut requirements = Vec::new();
    loop {
        match parser.peek() {
            (Token::Word | Token::Not, _) => {
                let requirement = parser.requirement();
                requirements.push(
                    requirement
                        .map_err(|SelectorError(why)| SelectorError(format!("unable to parse requirement: {why}")))?,
                );
                match parser.next() {
                    (Token::End, _) => return Ok(requirements),
                    (Token::Comma, _) => match parser.peek() {
                        (Token::Word | Token::Not, _) => {}
                        (_, found) => return Err(expected(&found, ", expected: identifier after ','")),
                    },
                    (_, found) => return Err(expected(&found, ", expected: ',' or 'end of string'")),
                }
            }
            (Token::End, _) => return Ok(requirements),
            (_, found) => return Err(expected(&found, ", expected: !, identifier, or 'end of string'")),
        }
    }
}

fn expected(found: &str, what: &str) -> SelectorError {
    SelectorError(format!("found '{found}'{what}"))
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn peek(&self) -> (Token, String) {
        Parser { rest: self.rest }.next()
    }

    fn next(&mut self) -> (Token, String) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        match self.rest.as_bytes().first() {
            None | Some(0) => (Token::End, String::new()),
            Some(byte) if is_symbol(*byte) => self.symbol(),
            Some(_) => {
                let ends = |byte: &u8| *byte == 0 || is_symbol(*byte) || matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
                let length = self.rest.bytes().position(|byte| ends(&byte)).unwrap_or(self.rest.len());
                (Token::Word, self.advance(length))
            }
        }
    }

    /// The longest known symbol; an unknown run is an error token that quotes it.
    fn symbol(&mut self) -> (Token, String) {
        let run = self.rest.bytes().take_while(|byte| is_symbol(*byte)).count();
        let known = |length: &usize| SYMBOLS.iter().find(|(symbol, _)| *symbol == &self.rest[..*length]);
        match (1..=run.min(2)).rev().find_map(|length| known(&length)) {
            Some((symbol, token)) => (*token, self.advance(symbol.len())),
            None => {
                let run = self.advance(run);
                (Token::Unknown, format!("error expected: keyword found '{run}'"))
            }
        }
    }

    fn advance(&mut self, length: usize) -> String {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken.to_owned()
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let (mut token, mut key) = self.next();
        let negated = token == Token::Not;
        if negated {
            (token, key) = self.next();
        }
        if token != Token::Word {
            return Err(expected(&key, ", expected: identifier"));
        }
        if let Some(error) = invalid_key(&key, &Path::ROOT) {
            return Err(SelectorError(error.to_string()));
        }
        if negated {
            return Requirement::new(&key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Requirement::new(&key, Operator::Exists, Vec::new());
        }
        let operator = match self.next() {
            (Token::Word, word) if word == "in" => Operator::In,
            (Token::Word, word) if word == "notin" => Operator::NotIn,
            (Token::Binary(operator), _) => operator,
            (_, found) => return Err(expected(&found, ", expected: in, notin, =, ==, !=, gt, lt")),
        };
        let mut values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.exact_value()?],
        };
        values.sort();
        values.dedup();
        Requirement::new(&key, operator, values.into_iter().map(Box::from).collect())
    }

    /// `(a,b)`; nothing between two separators is the empty value.
    fn values(&mut self) -> Result<Vec<String>, SelectorError> {
        match self.next() {
            (Token::Open, _) => {}
            (_, found) => return Err(expected(&found, " expected: '('")),
        }
        match self.peek() {
            (Token::Word | Token::Comma, _) => {}
            (Token::Close, _) => {
                self.next();
                return Ok(vec![String::new()]);
            }
            (_, found) => return Err(expected(&found, ", expected: ',', ')' or identifier")),
        }
        let mut values = Vec::new();
        loop {
            match self.next() {
                (Token::Word, word) => {
                    values.push(word);
                    match self.peek() {
                        (Token::Comma, _) => {}
                        (Token::Close, _) => break,
                        (_, found) => return Err(expected(&found, ", expected: ',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    let next = self.peek().0;
                    if values.is_empty() || matches!(next, Token::Close | Token::Comma) {
                        values.push(String::new());
                    }
                    if next == Token::Close {
                        break;
                    }
                }
                (_, found) => return Err(expected(&found, ", expected: ',', or identifier")),
            }
        }
        self.next();
        Ok(values)
    }

    fn exact_value(&mut self) -> Result<String, SelectorError> {
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Ok(String::new());
        }
        match self.next() {
            (Token::Word, word) => Ok(word),
            (_, found) => Err(expected(&found, ", expected: identifier")),
        }
    }
}

fn is_symbol(byte: u8) -> bool {
    matches!(byte, b'=' | b'!' | b'(' | b')' | b',' | b'>' | b'<')
}
