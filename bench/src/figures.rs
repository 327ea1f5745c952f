//! What is measured, what is good enough, and the table that says so.

use std::fmt::Write;

/// One measured quantity of a scenario.
#[derive(Debug)]
pub struct Figure {
    pub name: &'static str,
    pub unit: Unit,
    pub goal: Goal,
}

#[derive(Debug, Clone, Copy)]
pub enum Unit {
    /// Measured in seconds, shown in milliseconds.
    Time,
    /// Measured in bytes, shown in megabytes (10⁶).
    Memory,
    PerSecond,
    PerCpuSecond,
    /// Measured as a share of one core, shown in hundredths.
    Share,
}

/// What is asked of a figure.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// So many times less than the peer.
    TimesLess(f64),
    /// So many times more than the peer.
    TimesMore(f64),
    /// Less than this, whatever the peer has.
    Under(f64),
    /// At least this, whatever the peer has.
    AtLeast(f64),
    /// Told for its own sake; less is better.
    None,
}

/// The values of one figure on both sides.
pub struct Row {
    pub figure: &'static Figure,
    pub ours: f64,
    /// `None`: never measured.
    pub peer: Option<f64>,
}

impl Row {
    /// How many times better we are.
    fn ratio(&self) -> Option<f64> {
        let peer = self.peer?;
        Some(match self.figure.goal {
            Goal::TimesMore(_) | Goal::AtLeast(_) => self.ours / peer,
            Goal::TimesLess(_) | Goal::Under(_) | Goal::None => peer / self.ours,
        })
    }

    /// `None` where there is nothing to compare with, or no goal.
    fn is_met(&self) -> Option<bool> {
        match self.figure.goal {
            Goal::TimesLess(times) | Goal::TimesMore(times) => Some(self.ratio()? >= times),
            Goal::Under(limit) => Some(self.ours < limit),
            Goal::AtLeast(limit) => Some(self.ours >= limit),
            Goal::None => None,
        }
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Unit::Time => format!("{} ms", rounded(value * 1e3)),
            Unit::Memory => format!("{} MB", rounded(value / 1e6)),
            Unit::PerSecond => format!("{} /s", rounded(value)),
            Unit::PerCpuSecond => format!("{} /CPU s", rounded(value)),
            Unit::Share => format!("{} %", rounded(value * 100.0)),
        }
    }
}

/// About three digits that mean something.
fn rounded(value: f64) -> String {
    let decimals = if value >= 100.0 { 0 } else { usize::from(value < 100.0) + usize::from(value < 10.0) };
    format!("{value:.decimals$}")
}

impl Figure {
    fn goal(&self) -> String {
        match self.goal {
            Goal::TimesLess(times) | Goal::TimesMore(times) => format!("{times} ×"),
            Goal::Under(limit) => format!("< {}", self.unit.show(limit)),
            Goal::AtLeast(limit) => self.unit.show(limit),
            Goal::None => String::new(),
        }
    }
}

/// The middle of the values of several rounds.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

pub fn table(title: &str, ours: &str, peer: &str, rows: &[Row]) -> String {
    let head = ["", ours, peer, "ratio", "at least", ""].map(str::to_owned);
    let lines = rows.iter().map(|row| {
        let unit = row.figure.unit;
        let ratio = row.ratio().map_or("–".to_owned(), |ratio| format!("{} ×", rounded(ratio)));
        let verdict = row.is_met().map_or("", |met| if met { "met" } else { "MISSED" });
        let peer = row.peer.map_or("–".to_owned(), |value| unit.show(value));
        [row.figure.name.to_owned(), unit.show(row.ours), peer, ratio, row.figure.goal(), verdict.to_owned()]
    });
    let lines: Vec<_> = std::iter::once(head).chain(lines).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = format!("{title}\n");
    for line in &lines {
        let mut row = String::new();
        for (index, (cell, width)) in line.iter().zip(widths).enumerate() {
            let _ = if index == 0 { write!(row, "  {cell:width$}") } else { write!(row, "  {cell:>width$}") };
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    static LESS: Figure = Figure { name: "time", unit: Unit::Time, goal: Goal::TimesLess(10.0) };
    static MORE: Figure = Figure { name: "rate", unit: Unit::PerSecond, goal: Goal::TimesMore(3.0) };
    static UNDER: Figure = Figure { name: "empty", unit: Unit::Memory, goal: Goal::Under(40e6) };

    #[test]
    fn a_row_knows_whether_its_goal_is_met() {
        let cases = [
            (&LESS, 0.05, Some(0.6), Some(12.0), Some(true)),
            (&LESS, 0.1, Some(0.6), Some(6.0), Some(false)),
            (&LESS, 0.1, None, None, None),
            (&MORE, 3000.0, Some(1000.0), Some(3.0), Some(true)),
            (&UNDER, 41e6, None, None, Some(false)),
            (&UNDER, 31e6, Some(310e6), Some(10.0), Some(true)),
        ];
        for (figure, ours, peer, ratio, met) in cases {
            let row = Row { figure, ours, peer };
            assert_eq!(row.ratio().map(f64::round), ratio, "{} {ours} {peer:?}", figure.name);
            assert_eq!(row.is_met(), met, "{} {ours} {peer:?}", figure.name);
        }
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn a_table_aligns_its_columns() {
        let rows =
            [Row { figure: &LESS, ours: 0.0521, peer: Some(0.6) }, Row { figure: &UNDER, ours: 41e6, peer: None }];
        let expect = "\
list
            coracle    peer   ratio   at least
  time      52.1 ms  600 ms  11.5 ×       10 ×     met
  empty     41.0 MB       –       –  < 40.0 MB  MISSED
";
        let text = table("list", "coracle", "peer", &rows);
        let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeeze(&text), squeeze(expect));
        let ends: Vec<usize> = text.lines().skip(2).map(|line| line.chars().count()).collect();
        assert_eq!(ends[0], ends[1], "{text}");
    }
}
