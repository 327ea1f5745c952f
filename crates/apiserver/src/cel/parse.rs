//! From source to tree: precedence climbing, and the macros by which CEL writes its loops.

use super::{
    SyntaxError,
    syntax::{Access, Bind, Entry, Expression, Item, Kind, Literal, Loop, LoopKind, OptionalMap},
    token::{Token, tokens},
};

/// Levels a tree may have.
const MAX_DEPTH: u16 = 120;
/// Bytes an expression may have.
const MAX_SOURCE_BYTES: usize = 100_000;

/// Words that the language keeps for itself.
pub(super) const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Binary operators by rising precedence: what is written, and the function it calls.
const OPERATORS: [&[(&str, &str)]; 3] = [
    &[("==", "_==_"), ("!=", "_!=_"), ("<", "_<_"), ("<=", "_<=_"), (">", "_>_"), (">=", "_>=_"), ("in", "@in")],
    &[("+", "_+_"), ("-", "_-_")],
    &[("*", "_*_"), ("/", "_/_"), ("%", "_%_")],
];

type Parsed = Result<Expression, SyntaxError>;

/// `has_bind`: `cel.bind` is a macro, not a call of something unknown.
pub fn parse(source: &str, has_bind: bool) -> Parsed {
    if source.len() > MAX_SOURCE_BYTES {
        return Err(SyntaxError {
            at: 0,
            message: format!(
                "expression code point size exceeds limit: size: {}, limit {MAX_SOURCE_BYTES}",
                source.len()
            ),
        });
    }
    let mut parser = Parser { tokens: tokens(source)?, next: 0, open: 0, has_bind };
    let expression = parser.expression()?;
    match parser.peek() {
        Token::End => Ok(expression),
        _ => parser.unexpected(),
    }
}

/// What an operand begins with, as the reference implementation lists it.
const OPERAND: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, \
                       STRING, BYTES, IDENTIFIER}";

struct Parser {
    tokens: Vec<(Token, usize)>,
    next: usize,
    /// Expressions being parsed inside each other.
    open: u16,
    has_bind: bool,
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.next].0
    }

    fn at(&self) -> usize {
        self.tokens[self.next].1
    }

    fn advance(&mut self) -> Token {
        let token = self.tokens[self.next].0.clone();
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        token
    }

    fn accept(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Token::Punctuation(known) if *known == word);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, word: &str) -> Result<(), SyntaxError> {
        if self.accept(word) { Ok(()) } else { self.unexpected() }
    }

    fn unexpected<T>(&self) -> Result<T, SyntaxError> {
        let shown = match self.peek() {
            Token::End => "<EOF>".to_owned(),
            Token::Identifier(word) => word.to_string(),
            Token::Punctuation(word) => (*word).to_owned(),
            Token::Int(value) | Token::Uint(value) => value.to_string(),
            Token::Double(value) => value.to_string(),
            Token::String(text) => format!("{text:?}"),
            Token::Bytes(_) => "bytes".to_owned(),
        };
        let message = match self.peek() {
            Token::End => "Syntax error: mismatched input '<EOF>'".to_owned(),
            _ => format!("Syntax error: extraneous input '{shown}'"),
        };
        Err(SyntaxError { at: self.at(), message })
    }

    /// A node over `children` levels; too high a tree is refused here, for every kind of node.
    fn node(&self, kind: Kind, at: usize, below: u16) -> Parsed {
        if below >= MAX_DEPTH {
            let message = format!("expression recursion limit exceeded: {MAX_DEPTH}");
            return Err(SyntaxError { at, message });
        }
        Ok(Expression { kind, at, depth: below + 1 })
    }

    fn expression(&mut self) -> Parsed {
        let at = self.at();
        if self.open >= MAX_DEPTH {
            let message = format!("expression recursion limit exceeded: {MAX_DEPTH}");
            return Err(SyntaxError { at, message });
        }
        self.open += 1;
        let parsed = self.conditional();
        self.open -= 1;
        parsed
    }

    fn conditional(&mut self) -> Parsed {
        let condition =
            self.logic("||", Kind::Or, |parser| parser.logic("&&", Kind::And, |parser| parser.binary(0)))?;
        let at = self.at();
        if !self.accept("?") {
            return Ok(condition);
        }
        let yes = self.expression()?;
        self.expect(":")?;
        let no = self.expression()?;
        let below = deepest([&condition, &yes, &no]);
        self.node(Kind::Conditional(Box::new([condition, yes, no])), at, below)
    }

    /// A chain of one logical operator, as one node.
    fn logic(&mut self, word: &str, make: fn(Vec<Expression>) -> Kind, term: fn(&mut Self) -> Parsed) -> Parsed {
        let at = self.at();
        let first = term(self)?;
        let mut terms = vec![first];
        while self.accept(word) {
            terms.push(term(self)?);
        }
        let below = deepest(&terms);
        match terms.pop() {
            Some(only) if terms.is_empty() => Ok(only),
            Some(last) => {
                terms.push(last);
                self.node(make(terms), at, below)
            }
            None => self.unexpected(),
        }
    }

    fn binary(&mut self, level: usize) -> Parsed {
        let Some(operators) = OPERATORS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        loop {
            let found = operators.iter().find(|(word, _)| match self.peek() {
                Token::Punctuation(known) => known == word,
                Token::Identifier(known) => **known == **word,
                _ => false,
            });
            let Some((_, function)) = found else { return Ok(left) };
            let at = self.at();
            self.advance();
            let right = self.binary(level + 1)?;
            left = self.call(function, None, vec![left, right], at)?;
        }
    }

    fn unary(&mut self) -> Parsed {
        let at = self.at();
        let (word, function) = match self.peek() {
            Token::Punctuation("!") => ("!", "!_"),
            Token::Punctuation("-") => ("-", "-_"),
            _ => return self.member(),
        };
        let mut times = 0;
        while self.accept(word) {
            times += 1;
        }
        if word == "-" {
            let negated = match self.peek() {
                Token::Int(magnitude) => 0_i64.checked_sub_unsigned(*magnitude).map(Literal::Int),
                Token::Double(value) => Some(Literal::Double(-value)),
                _ => None,
            };
            if let Some(literal) = negated {
                times -= 1;
                self.advance();
                let mut literal = self.node(Kind::Literal(literal), at, 0)?;
                literal = self.postfix(literal)?;
                return if times % 2 == 1 { self.call(function, None, vec![literal], at) } else { Ok(literal) };
            }
        }
        let operand = self.member()?;
        if times % 2 == 1 { self.call(function, None, vec![operand], at) } else { Ok(operand) }
    }

    fn member(&mut self) -> Parsed {
        let primary = self.primary()?;
        self.postfix(primary)
    }

    fn postfix(&mut self, mut of: Expression) -> Parsed {
        loop {
            let at = self.at();
            if self.accept(".") {
                let field = self.field_name()?;
                if self.accept("(") {
                    let arguments = self.arguments(")")?;
                    of = self.method(of, &field, arguments, at)?;
                } else {
                    of = self.select(of, field, Access::Value, at)?;
                }
            } else if self.accept(".?") {
                let field = self.field_name()?;
                of = self.select(of, field, Access::Optional, at)?;
            } else if self.accept("[") {
                of = self.index(of, false, at)?;
            } else if self.accept("[?") {
                of = self.index(of, true, at)?;
            } else {
                return Ok(of);
            }
        }
    }

    fn select(&self, of: Expression, field: Box<str>, access: Access, at: usize) -> Parsed {
        let below = of.depth;
        self.node(Kind::Select { of: Box::new(of), field, access }, at, below)
    }

    fn index(&mut self, of: Expression, optional: bool, at: usize) -> Parsed {
        let index = self.expression()?;
        self.expect("]")?;
        let below = deepest([&of, &index]);
        self.node(Kind::Index { of: Box::new(of), index: Box::new(index), optional }, at, below)
    }

    fn field_name(&mut self) -> Result<Box<str>, SyntaxError> {
        match self.peek() {
            Token::Identifier(name) if !matches!(&**name, "in" | "true" | "false" | "null") => {
                let name = name.clone();
                self.advance();
                Ok(name)
            }
            _ => self.unexpected(),
        }
    }

    fn arguments(&mut self, close: &str) -> Result<Vec<Expression>, SyntaxError> {
        let mut arguments = Vec::new();
        while !self.accept(close) {
            if !arguments.is_empty() {
                self.expect(",")?;
            }
            arguments.push(self.expression()?);
        }
        Ok(arguments)
    }

    fn primary(&mut self) -> Parsed {
        let at = self.at();
        let literal = match self.peek().clone() {
            Token::Punctuation("(") => {
                self.advance();
                let inner = self.expression()?;
                self.expect(")")?;
                return Ok(inner);
            }
            Token::Punctuation("[" | "[?") => return self.list(at),
            Token::Punctuation("{" | "{?") => return self.map(at),
            Token::Punctuation(".") => {
                self.advance();
                return self.named(at);
            }
            Token::Int(value) => match i64::try_from(value) {
                Ok(value) => Literal::Int(value),
                Err(_) => return Err(SyntaxError { at, message: "invalid int literal".to_owned() }),
            },
            Token::Uint(value) => Literal::Uint(value),
            Token::Double(value) => Literal::Double(value),
            Token::String(text) => Literal::String(text),
            Token::Bytes(bytes) => Literal::Bytes(bytes),
            Token::Identifier(name) => match &*name {
                "true" => Literal::Bool(true),
                "false" => Literal::Bool(false),
                "null" => Literal::Null,
                _ => return self.named(at),
            },
            Token::End => {
                let message = format!("Syntax error: mismatched input '<EOF>' expecting {OPERAND}");
                return Err(SyntaxError { at, message });
            }
            Token::Punctuation(_) => return self.unexpected(),
        };
        self.advance();
        self.node(Kind::Literal(literal), at, 0)
    }

    fn named(&mut self, at: usize) -> Parsed {
        let Token::Identifier(name) = self.peek().clone() else { return self.unexpected() };
        self.advance();
        if RESERVED.contains(&&*name) {
            return Err(SyntaxError { at, message: format!("reserved identifier: {name}") });
        }
        if !self.accept("(") {
            return self.node(Kind::Name(name), at, 0);
        }
        let mut arguments = self.arguments(")")?;
        if &*name == "has" && arguments.len() == 1 {
            return match arguments.pop() {
                Some(Expression { kind: Kind::Select { of, field, access: Access::Value }, .. }) => {
                    self.select(*of, field, Access::Test, at)
                }
                _ => Err(SyntaxError { at, message: "invalid argument to has() macro".to_owned() }),
            };
        }
        self.call(&name, None, arguments, at)
    }

    fn list(&mut self, at: usize) -> Parsed {
        let mut items = Vec::new();
        let mut optional = matches!(self.advance(), Token::Punctuation("[?"));
        while !self.accept("]") {
            optional |= self.accept("?");
            items.push(Item { value: self.expression()?, optional });
            optional = false;
            if !self.accept(",") {
                self.expect("]")?;
                break;
            }
        }
        let below = deepest(items.iter().map(|item| &item.value));
        self.node(Kind::List(items), at, below)
    }

    fn map(&mut self, at: usize) -> Parsed {
        let mut entries = Vec::new();
        let mut optional = matches!(self.advance(), Token::Punctuation("{?"));
        while !self.accept("}") {
            optional |= self.accept("?");
            let key = self.expression()?;
            self.expect(":")?;
            entries.push(Entry { key, value: self.expression()?, optional });
            optional = false;
            if !self.accept(",") {
                self.expect("}")?;
                break;
            }
        }
        let below = deepest(entries.iter().flat_map(|entry| [&entry.key, &entry.value]));
        self.node(Kind::Map(entries), at, below)
    }

    fn call(&self, name: &str, target: Option<Expression>, arguments: Vec<Expression>, at: usize) -> Parsed {
        let below = deepest(&arguments).max(target.as_ref().map_or(0, |target| target.depth));
        let target = target.map(Box::new);
        self.node(Kind::Call { name: name.into(), target, arguments, function: None }, at, below)
    }

    /// A call on a value, or a macro that looks like one.
    fn method(&self, of: Expression, name: &str, mut arguments: Vec<Expression>, at: usize) -> Parsed {
        if self.has_bind
            && name == "bind"
            && arguments.len() == 3
            && matches!(&of.kind, Kind::Name(root) if **root == *"cel")
        {
            return self.bind(arguments, at);
        }
        let kind = match (name, arguments.len()) {
            ("all", 2 | 3) => LoopKind::All,
            ("exists", 2 | 3) => LoopKind::Exists,
            ("exists_one" | "existsOne", 2 | 3) => LoopKind::ExistsOne,
            ("filter", 2) => LoopKind::Filter,
            ("map", 2 | 3) | ("transformList", 3 | 4) => LoopKind::List,
            ("transformMap", 3 | 4) => LoopKind::Map,
            ("transformMapEntry", 3 | 4) => LoopKind::MapEntry,
            ("sortBy", 2) => LoopKind::SortBy,
            ("optMap" | "optFlatMap", 2) => {
                let (Some(body), Some(variable)) = (arguments.pop(), arguments.pop()) else { return self.unexpected() };
                let below = deepest([&of, &body]);
                let map = OptionalMap { of, name: variable_name(variable)?, body, flat: name == "optFlatMap" };
                return self.node(Kind::OptionalMap(Box::new(map)), at, below);
            }
            _ => return self.call(name, Some(of), arguments, at),
        };
        let two_variables = name.starts_with("transform")
            || (arguments.len() == 3 && matches!(kind, LoopKind::All | LoopKind::Exists | LoopKind::ExistsOne));
        let Some(body) = arguments.pop() else { return self.unexpected() };
        let filter = (arguments.len() > 1 + usize::from(two_variables)).then(|| arguments.pop()).flatten();
        let names = arguments.into_iter().map(variable_name).collect::<Result<Vec<_>, _>>()?;
        let below = deepest([&of, &body]).max(filter.as_ref().map_or(0, |filter| filter.depth));
        self.node(Kind::Loop(Box::new(Loop { kind, range: of, names, filter, body })), at, below)
    }

    /// `cel.bind(name, value, body)`
    fn bind(&self, mut arguments: Vec<Expression>, at: usize) -> Parsed {
        let (Some(body), Some(value), Some(name)) = (arguments.pop(), arguments.pop(), arguments.pop()) else {
            return self.unexpected();
        };
        let below = deepest([&value, &body]);
        let bind = Bind { name: variable_name(name)?, value, body };
        self.node(Kind::Bind(Box::new(bind)), at, below)
    }
}

fn variable_name(expression: Expression) -> Result<Box<str>, SyntaxError> {
    match expression.kind {
        Kind::Name(name) => Ok(name),
        _ => Err(SyntaxError { at: expression.at, message: "argument must be a simple name".to_owned() }),
    }
}

fn deepest<'a>(expressions: impl IntoIterator<Item = &'a Expression>) -> u16 {
    expressions.into_iter().map(|expression| expression.depth).max().unwrap_or(0)
}
