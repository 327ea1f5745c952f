//! The tree of an expression. Macros are nodes of their own: a loop is checked, costed and run as the
//! loop it is.

use super::library::Function;

#[derive(Debug)]
pub struct Expression {
    pub kind: Kind,
    /// Byte offset in the source.
    pub at: usize,
    /// Levels below this one; bounded by the parser, so that walking a tree never exhausts the stack.
    pub depth: u16,
}

#[derive(Debug)]
pub enum Kind {
    Literal(Literal),
    /// A variable; dotted where the environment declares it so (`authorizer.requestResource`).
    Name(Box<str>),
    Select {
        of: Box<Expression>,
        field: Box<str>,
        access: Access,
    },
    Index {
        of: Box<Expression>,
        index: Box<Expression>,
        optional: bool,
    },
    Call {
        name: Box<str>,
        target: Option<Box<Expression>>,
        arguments: Vec<Expression>,
        /// Found by the checker.
        function: Option<&'static Function>,
    },
    List(Vec<Item>),
    Map(Vec<Entry>),
    And(Vec<Expression>),
    Or(Vec<Expression>),
    Conditional(Box<[Expression; 3]>),
    Loop(Box<Loop>),
    /// `optMap` and `optFlatMap`.
    OptionalMap(Box<OptionalMap>),
    /// `cel.bind`.
    Bind(Box<Bind>),
}

#[derive(Debug, Clone)]
pub enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Box<str>),
    Bytes(Box<[u8]>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Value,
    /// `has(a.b)`.
    Test,
    /// `a.?b`.
    Optional,
}

#[derive(Debug)]
pub struct Item {
    pub value: Expression,
    /// `[?a]`: left out where the optional is empty.
    pub optional: bool,
}

#[derive(Debug)]
pub struct Entry {
    pub key: Expression,
    pub value: Expression,
    pub optional: bool,
}

#[derive(Debug)]
pub struct Loop {
    pub kind: LoopKind,
    pub range: Expression,
    /// One variable holds items, or keys of a map; of two the first holds indexes or keys, the second
    /// values.
    pub names: Vec<Box<str>>,
    pub filter: Option<Expression>,
    /// The predicate of `all`, `exists`, `existsOne` and `filter`; the transformation of the others.
    pub body: Expression,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoopKind {
    All,
    Exists,
    ExistsOne,
    Filter,
    /// `map`, `transformList`.
    List,
    /// `transformMap`: the body is the value of the key at hand.
    Map,
    /// `transformMapEntry`: the body is a map of one entry.
    MapEntry,
    SortBy,
}

/// A name for a value.
#[derive(Debug)]
pub struct Bind {
    pub name: Box<str>,
    pub value: Expression,
    pub body: Expression,
}

#[derive(Debug)]
pub struct OptionalMap {
    pub of: Expression,
    pub name: Box<str>,
    pub body: Expression,
    pub flat: bool,
}
