//! One policy over one request with one parameter: a pure function, but for the time it says it took.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    time::Duration,
};

use tokio::time::Instant;

use super::compiled::{Policy, Validation};
use crate::{
    admission::expressions::{Facts, Verdict},
    cel::{Budget, Failure, OBJECT_LIMIT, Program, Record, Value},
};

const MAX_MESSAGE_BYTES: usize = 5 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Admit,
    Deny { message: String, reason: Option<String> },
}

#[derive(Debug, Default)]
pub struct Judged {
    /// One for each validation.
    pub decisions: Vec<Decision>,
    /// How each of them was reached.
    pub checks: Vec<Check>,
    /// Keys and values, or why there is none.
    pub annotations: Vec<(String, Result<String, String>)>,
}

/// How long a validation took, and what went wrong, in the words of upstream's metrics.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    pub elapsed: Duration,
    pub error_type: &'static str,
}

pub fn judge(policy: &Policy, facts: &Facts<'_>) -> Judged {
    let failed = |message: String| {
        if policy.fails_closed { Decision::Deny { message, reason: None } } else { Decision::Admit }
    };
    match policy.conditions.evaluate(facts) {
        Verdict::Excludes(_) => return Judged::default(),
        Verdict::Fails(message) => return Judged { decisions: vec![failed(message)], ..Judged::default() },
        Verdict::Matches => {}
    }
    let budget = Budget::new(OBJECT_LIMIT);
    let variables = Variables {
        programs: &policy.variables,
        facts: facts.variables(),
        budget: &budget,
        known: RefCell::default(),
        open: Cell::new(0),
    };
    let mut seen = variables.facts.clone();
    seen.push(("variables", Value::Record(&variables)));
    let mut judged = Judged::default();
    for validation in &policy.validations {
        let started = Instant::now();
        let result = run(&validation.program, &seen, &budget);
        let error_type = result.as_ref().err().map_or("no_error", Problem::kind);
        judged.checks.push(Check { elapsed: started.elapsed(), error_type });
        let decision = match result {
            Ok(Value::Bool(true)) => Decision::Admit,
            Ok(_) => Decision::Deny {
                message: message(validation, &seen, &budget),
                reason: validation.reason.as_deref().map(str::to_owned),
            },
            Err(problem) => failed(match problem {
                Problem::Compilation(text) => text,
                Problem::Evaluation(failure) => failure.in_expression(&validation.expression),
            }),
        };
        judged.decisions.push(decision);
    }
    for (key, program) in &policy.annotations {
        match run(program, &seen, &budget) {
            Ok(Value::String(text)) if !text.trim().is_empty() => {
                judged.annotations.push((key.to_string(), Ok(text.trim().to_owned())));
            }
            Ok(_) => {}
            Err(_) if !policy.fails_closed => {}
            Err(Problem::Compilation(problem)) => judged.annotations.push((key.to_string(), Err(problem))),
            Err(Problem::Evaluation(failure)) => judged.annotations.push((key.to_string(), Err(failure.to_string()))),
        }
    }
    judged
}

enum Problem {
    Compilation(String),
    Evaluation(Failure),
}

impl Problem {
    fn kind(&self) -> &'static str {
        match self {
            Self::Compilation(_) => "compile_error",
            Self::Evaluation(Failure::OutOfBudget | Failure::CallLimit) => "out_of_budget",
            Self::Evaluation(_) => "invalid_error",
        }
    }
}

fn run<'a>(
    program: &'a Result<Program, String>,
    variables: &[(&str, Value<'a>)],
    budget: &Budget,
) -> Result<Value<'a>, Problem> {
    let program = program.as_ref().map_err(|problem| Problem::Compilation(problem.clone()))?;
    program.evaluate(variables, budget).map_err(Problem::Evaluation)
}

/// The message that is computed, else the one that is written, else the expression.
fn message<'a>(validation: &'a Validation, variables: &[(&str, Value<'a>)], budget: &Budget) -> String {
    if let Some(program) = &validation.message_program
        && let Ok(Value::String(text)) = run(program, variables, budget)
    {
        let text = text.trim();
        if !text.is_empty() && text.len() <= MAX_MESSAGE_BYTES && !text.contains('\n') {
            return text.to_owned();
        }
    }
    match &*validation.message {
        "" => format!("failed expression: {}", validation.expression),
        message => message.to_owned(),
    }
}

/// The `variables` of a policy: each is computed when it is first looked at, and then known.
#[derive(Debug)]
struct Variables<'a> {
    programs: &'a [(Box<str>, Result<Program, String>)],
    facts: Vec<(&'static str, Value<'a>)>,
    budget: &'a Budget,
    known: RefCell<HashMap<usize, Result<Value<'a>, Failure>>>,
    /// Variables being computed for each other.
    open: Cell<usize>,
}

/// Levels of expressions that may be open at once where variables are computed from each other.
const MAX_OPEN_LEVELS: usize = 240;

impl<'a> Record<'a> for Variables<'a> {
    fn field(&'a self, name: &str) -> Result<Value<'a>, Failure> {
        let position = self.programs.iter().rposition(|(known, _)| **known == *name);
        let position = position.ok_or_else(|| Failure::error(format!("no such key: {name}")))?;
        if let Some(known) = self.known.borrow().get(&position) {
            return known.clone();
        }
        let program = match &self.programs[position].1 {
            Ok(program) => program,
            Err(problem) => return Err(Failure::error(problem.clone())),
        };
        let open = self.open.get();
        if open + program.depth() > MAX_OPEN_LEVELS {
            return Err(Failure::error(format!("composited variable {name:?} is nested too deeply")));
        }
        let mut variables = self.facts.clone();
        variables.push(("variables", Value::Record(self)));
        self.open.set(open + program.depth());
        let value = program.evaluate_inside(&variables, self.budget);
        self.open.set(open);
        let value = value.map_err(|failure| match failure {
            Failure::Error(text) => Failure::Error(format!("composited variable {name:?} fails to evaluate: {text}")),
            other => other,
        });
        self.known.borrow_mut().insert(position, value.clone());
        value
    }
}
