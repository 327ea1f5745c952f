//! The Common Expression Language as Kubernetes speaks it: compile an expression against typed
//! variables, then run it with a bound on its work.
//!
//! Here because the crates that interpret CEL check no types and meter no work at run time, and an
//! expression comes from a client: an unbounded one would burn a core for everyone. Not here: which
//! variables there are and what a result means (`crd::rules`, `admission::policy`).

pub mod escape;
pub mod library;
pub mod types;
pub mod value;

mod check;
mod cost;
mod evaluate;
mod parse;
mod syntax;
mod token;

#[cfg(test)]
mod tests;

use std::cell::Cell;

use check::Checker;
use syntax::Expression;
use types::{Declared, Type};
pub use value::{Record, Value};

/// Work one evaluation may do (Kubernetes' `PerCallLimit`). A unit is about a node of the tree or ten
/// bytes of a string.
pub const CALL_LIMIT: u64 = 1_000_000;
/// Work all rules over one object may do together (`RuntimeCELCostBudget`).
pub const OBJECT_LIMIT: u64 = 10_000_000;
/// Work the match conditions of one policy or webhook may do together.
pub const CONDITIONS_LIMIT: u64 = 2_500_000;

/// An expression that has been checked.
#[derive(Debug)]
pub struct Program {
    expression: Expression,
    pub result: Type,
    /// The estimated cost at worst.
    pub max_cost: u64,
    /// The variables that the expression mentions.
    used: Vec<Box<str>>,
}

/// What is wrong with an expression, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// Byte offset in the source.
    pub at: usize,
    pub message: String,
}

/// Why an evaluation gave no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("no such overload")]
    NoOverload,
    #[error("{0}")]
    Error(String),
    /// The expression did more than [`CALL_LIMIT`].
    #[error("operation cancelled: actual cost limit exceeded")]
    CallLimit,
    /// The budget of all expressions is spent.
    #[error("validation failed due to running out of cost budget, no further validation rules will be run")]
    OutOfBudget,
}

impl Failure {
    pub fn error(message: impl Into<String>) -> Self {
        Failure::Error(message.into())
    }

    /// As admission tells of it: which expression failed, unless it was only the last straw.
    pub fn in_expression(&self, source: &str) -> String {
        if self.is_final() { self.to_string() } else { format!("expression '{source}' resulted in error: {self}") }
    }

    /// Whether evaluation must stop here, whatever `||` and `&&` make of other errors.
    pub fn is_final(&self) -> bool {
        matches!(self, Failure::CallLimit | Failure::OutOfBudget)
    }
}

/// The work that is left.
#[derive(Debug)]
pub struct Budget {
    total: Cell<u64>,
    call: Cell<u64>,
}

impl Budget {
    pub fn new(total: u64) -> Self {
        Self { total: Cell::new(total), call: Cell::new(CALL_LIMIT) }
    }

    pub fn spend(&self, work: u64) -> Result<(), Failure> {
        self.call.set(self.call.get().checked_sub(work).ok_or(Failure::CallLimit)?);
        self.total.set(self.total.get().checked_sub(work).ok_or(Failure::OutOfBudget)?);
        Ok(())
    }
}

/// The variables of one evaluation.
pub type Variables<'v, 'a> = [(&'v str, Value<'a>)];

/// Compiles `source` where these variables exist.
pub fn compile(source: &str, variables: &[(Box<str>, Declared)]) -> Result<Program, SyntaxError> {
    check(parse::parse(source, false)?, variables)
}

/// The same where `cel.bind` is known, too: only selectors of devices have it.
pub fn compile_with_bind(source: &str, variables: &[(Box<str>, Declared)]) -> Result<Program, SyntaxError> {
    check(parse::parse(source, true)?, variables)
}

fn check(mut expression: Expression, variables: &[(Box<str>, Declared)]) -> Result<Program, SyntaxError> {
    let mut checker = Checker::new(variables);
    let checked = checker.check(&mut expression)?;
    Ok(Program { expression, result: checked.ty, max_cost: checked.cost, used: checker.used })
}

impl Program {
    pub fn uses(&self, variable: &str) -> bool {
        self.used.iter().any(|known| **known == *variable)
    }

    /// Levels of the expression's tree.
    pub fn depth(&self) -> usize {
        usize::from(self.expression.depth)
    }

    /// Runs the program as one call.
    pub fn evaluate<'a>(&'a self, variables: &Variables<'_, 'a>, budget: &Budget) -> Result<Value<'a>, Failure> {
        budget.call.set(CALL_LIMIT);
        self.evaluate_inside(variables, budget)
    }

    /// Runs the program as a part of the call that is going on.
    pub fn evaluate_inside<'a>(&'a self, variables: &Variables<'_, 'a>, budget: &Budget) -> Result<Value<'a>, Failure> {
        evaluate::Evaluation::new(variables, budget).run(&self.expression)
    }
}

impl SyntaxError {
    /// As CEL's reference implementation prints it: position, line, and a mark under the place.
    pub fn describe(&self, source: &str) -> String {
        let before = source.get(..self.at).unwrap_or(source);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        let column = source[line_start..before.len()].chars().count();
        let text = source[line_start..].lines().next().unwrap_or_default();
        let dots = ".".repeat(column);
        format!("ERROR: <input>:{line}:{}: {}\n | {text}\n | {dots}^", column + 1, self.message)
    }
}
