//! CEL's words: identifiers, literals with their escapes already resolved, and punctuation.

use super::SyntaxError;

#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    Identifier(Box<str>),
    /// The magnitude; a sign before it is an operator.
    Int(u64),
    Uint(u64),
    Double(f64),
    String(Box<str>),
    Bytes(Box<[u8]>),
    Punctuation(&'static str),
    End,
}

/// Longest first, so that the first that matches is the right one.
const PUNCTUATION: [&str; 27] = [
    "==", "!=", "<=", ">=", "&&", "||", "[?", "{?", "?.", ".?", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", ".",
    ",", "(", ")", "[", "]", "{",
];

/// The words of an expression with the byte offset of each; the last is [`Token::End`].
pub fn tokens(source: &str) -> Result<Vec<(Token, usize)>, SyntaxError> {
    let mut lexer = Lexer { source, at: 0 };
    let mut found = Vec::new();
    loop {
        lexer.skip_blanks();
        let start = lexer.at;
        let token = lexer.next().map_err(|message| SyntaxError { at: start, message })?;
        let last = token == Token::End;
        found.push((token, start));
        if last {
            return Ok(found);
        }
    }
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.source[self.at..]
    }

    fn skip_blanks(&mut self) {
        loop {
            self.at += self.rest().len() - self.rest().trim_start().len();
            if !self.rest().starts_with("//") {
                return;
            }
            self.at += self.rest().find('\n').unwrap_or(self.rest().len());
        }
    }

    fn next(&mut self) -> Result<Token, String> {
        let Some(first) = self.rest().chars().next() else { return Ok(Token::End) };
        if let Some(token) = self.quoted()? {
            return Ok(token);
        }
        let starts_fraction = first == '.' && self.rest()[1..].starts_with(|c: char| c.is_ascii_digit());
        if first.is_ascii_digit() || starts_fraction {
            return self.number();
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let end = self.rest().find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest().len());
            let word = self.rest()[..end].into();
            self.at += end;
            return Ok(Token::Identifier(word));
        }
        if first == '}' {
            self.at += 1;
            return Ok(Token::Punctuation("}"));
        }
        // `a ?.b : c` is a conditional with a leading dot in it; CEL writes optional selection `.?`.
        let found = PUNCTUATION.iter().filter(|word| **word != "?.").find(|word| self.rest().starts_with(**word));
        let Some(word) = found else { return Err(format!("Syntax error: token recognition error at: '{first}'")) };
        self.at += word.len();
        Ok(Token::Punctuation(word))
    }

    fn number(&mut self) -> Result<Token, String> {
        let rest = self.rest();
        if let Some(digits) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
            let length = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
            let value = u64::from_str_radix(&digits[..length], 16).map_err(|_| "invalid int literal".to_owned())?;
            self.at += 2 + length;
            return Ok(self.whole(value));
        }
        let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let mut length = digits(rest);
        let mut fractional = false;
        if rest[length..].starts_with('.') && rest[length + 1..].starts_with(|c: char| c.is_ascii_digit()) {
            length += 1 + digits(&rest[length + 1..]);
            fractional = true;
        }
        if rest[length..].starts_with(['e', 'E']) {
            let signed = usize::from(rest[length + 1..].starts_with(['+', '-']));
            let exponent = digits(&rest[length + 1 + signed..]);
            if exponent > 0 {
                length += 1 + signed + exponent;
                fractional = true;
            }
        }
        let text = &rest[..length];
        let token = if fractional {
            Token::Double(text.parse().map_err(|_| "invalid double literal".to_owned())?)
        } else {
            Token::Int(text.parse().map_err(|_| "invalid int literal".to_owned())?)
        };
        self.at += length;
        Ok(match token {
            Token::Int(value) => self.whole(value),
            other => other,
        })
    }

    fn whole(&mut self, value: u64) -> Token {
        if self.rest().starts_with(['u', 'U']) {
            self.at += 1;
            Token::Uint(value)
        } else {
            Token::Int(value)
        }
    }

    /// A string or bytes literal: any order of the prefixes `r` and `b`, one or three quotes.
    fn quoted(&mut self) -> Result<Option<Token>, String> {
        let rest = self.rest();
        let prefix_length = rest.find(|c: char| !matches!(c, 'r' | 'R' | 'b' | 'B')).unwrap_or(rest.len());
        let (prefix, body) = rest.split_at(prefix_length);
        let prefix = prefix.to_ascii_lowercase();
        if prefix.len() > 2 || !body.starts_with(['"', '\'']) || prefix == "rr" || prefix == "bb" {
            return Ok(None);
        }
        let (raw, bytes) = (prefix.contains('r'), prefix.contains('b'));
        let quote = &body[..1];
        let triple = quote.repeat(3);
        let quote = if body.starts_with(&triple) { triple.as_str() } else { quote };
        let mut content: Vec<u8> = Vec::new();
        let mut position = quote.len();
        loop {
            let here = &body[position..];
            let Some(next) = here.chars().next() else { return Err("Syntax error: unterminated string".to_owned()) };
            if here.starts_with(quote) {
                position += quote.len();
                break;
            }
            if next == '\n' && quote.len() == 1 {
                return Err("Syntax error: unterminated string".to_owned());
            }
            if next == '\\' && !raw {
                position += escape(here, bytes, &mut content)?;
            } else {
                // A backslash of a raw literal keeps the quote after it from ending the literal.
                let taken = if next == '\\' && here[1..].starts_with(['"', '\'']) { 2 } else { next.len_utf8() };
                content.extend_from_slice(&here.as_bytes()[..taken]);
                position += taken;
            }
        }
        self.at += prefix_length + position;
        if bytes {
            return Ok(Some(Token::Bytes(content.into())));
        }
        let text = String::from_utf8(content).map_err(|_| "Syntax error: invalid UTF-8 in string".to_owned())?;
        Ok(Some(Token::String(text.into())))
    }
}

/// Resolves the escape at the start of `text` and says how long it was.
fn escape(text: &str, bytes: bool, content: &mut Vec<u8>) -> Result<usize, String> {
    let invalid = || "Syntax error: invalid escape sequence".to_owned();
    let letter = text.chars().nth(1).ok_or_else(invalid)?;
    let simple = match letter {
        'a' => Some(7),
        'b' => Some(8),
        'f' => Some(12),
        'n' => Some(b'\n'),
        'r' => Some(b'\r'),
        't' => Some(b'\t'),
        'v' => Some(11),
        '\\' | '\'' | '"' | '`' | '?' => Some(letter as u8),
        _ => None,
    };
    if let Some(byte) = simple {
        content.push(byte);
        return Ok(2);
    }
    let (skip, digits, radix) = match letter {
        'x' | 'X' => (2, 2, 16),
        'u' => (2, 4, 16),
        'U' => (2, 8, 16),
        '0'..='3' => (1, 3, 8),
        _ => return Err(invalid()),
    };
    let number = text.get(skip..skip + digits).ok_or_else(invalid)?;
    let code = u32::from_str_radix(number, radix).map_err(|_| invalid())?;
    if bytes && (radix == 8 || digits == 2) {
        content.push(u8::try_from(code).map_err(|_| invalid())?);
    } else {
        let character = char::from_u32(code).ok_or_else(invalid)?;
        content.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Ok(skip + digits)
}
