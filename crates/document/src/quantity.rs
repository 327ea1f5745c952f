//! Quantities of resources: `500m`, `1Gi`, `1e3`, exact to a billionth.
//!
//! Follows apimachinery's `resource.Quantity`, whose canonical text clients compare, with one limit of
//! our own: what exceeds ±1.7e29 keeps its text, but counts as that much.

#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    cmp::Ordering,
    fmt::{self, Display},
    hash::{Hash, Hasher},
};

use serde_json::Value;

const NANOS_PER_UNIT: i128 = 1_000_000_000;
/// What all that is larger counts as.
const MOST: i128 = i128::MAX / NANOS_PER_UNIT * NANOS_PER_UNIT;
const NANOS_PER_MILLI: i128 = NANOS_PER_UNIT / 1000;
/// The most digits for which Kubernetes keeps a quantity as it is written.
const MAX_DIGITS_KEPT: usize = 18;
/// Digits of a fraction beyond which none changes the result, whatever the suffix.
const MAX_FRACTION_DIGITS: usize = 27;

#[derive(Debug, Clone, Copy, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// Which family of suffixes a quantity is written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    DecimalSi,
    BinarySi,
    DecimalExponent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

const DECIMAL_SUFFIXES: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
/// By powers of 1024.
const BINARY_SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// The parts of a written quantity, none of them interpreted.
struct Written<'a> {
    negative: bool,
    /// Without leading zeros.
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

/// What a written quantity means.
struct Read {
    quantity: Quantity,
    /// Kubernetes keeps the text as it was written.
    kept: bool,
    /// The canonical text of what is too large to be counted.
    oversized: Option<String>,
}

enum Suffix {
    /// A power of ten, and whether it was written as an exponent.
    Decimal(i32, Format),
    /// A power of two.
    Binary(u32),
}

impl Quantity {
    pub const ZERO: Quantity = Quantity { nanos: 0, format: Format::DecimalSi };

    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        Written::split(text)?.interpret().map(|read| read.quantity)
    }

    /// A string or a number of a document.
    pub fn from_value(value: &Value) -> Result<Self, QuantityError> {
        match value {
            Value::String(text) => Self::parse(text.trim()),
            Value::Number(number) => Self::parse(&number.to_string()),
            _ => Err(QuantityError::Format),
        }
    }

    pub fn from_units(units: i64, format: Format) -> Self {
        Self { nanos: i128::from(units) * NANOS_PER_UNIT, format }
    }

    pub fn from_millis(millis: i64, format: Format) -> Self {
        Self { nanos: i128::from(millis) * NANOS_PER_MILLI, format }
    }

    pub fn format(self) -> Format {
        self.format
    }

    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// -1, 0 or 1.
    pub fn signum(self) -> i32 {
        self.nanos.signum() as i32
    }

    /// In units, rounded away from zero, within the bounds of an `i64`.
    pub fn units(self) -> i64 {
        self.rounded_to(NANOS_PER_UNIT)
    }

    /// In thousandths, rounded away from zero, within the bounds of an `i64`.
    pub fn millis(self) -> i64 {
        self.rounded_to(NANOS_PER_MILLI)
    }

    /// Away from zero, to a whole number of thousandths.
    #[must_use]
    pub fn rounded_to_millis(self) -> Self {
        Self { nanos: divide_away_from_zero(self.nanos, NANOS_PER_MILLI).saturating_mul(NANOS_PER_MILLI), ..self }
    }

    fn rounded_to(self, nanos: i128) -> i64 {
        let rounded = divide_away_from_zero(self.nanos, nanos);
        i64::try_from(rounded).unwrap_or(if rounded < 0 { i64::MIN } else { i64::MAX })
    }

    pub fn as_f64(self) -> f64 {
        self.nanos as f64 / NANOS_PER_UNIT as f64
    }

    /// Saturates. A zero takes the other's format.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self { nanos: self.nanos.saturating_add(other.nanos), format }
    }

    /// Saturates. A zero takes the other's format.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self { nanos: self.nanos.saturating_sub(other.nanos), format }
    }

    /// Saturates.
    #[must_use]
    pub fn times(self, factor: i64) -> Self {
        Self { nanos: self.nanos.saturating_mul(i128::from(factor)), ..self }
    }

    fn write_binary(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut units = self.nanos / NANOS_PER_UNIT;
        let mut power = 0;
        while units % 1024 == 0 && power + 1 < BINARY_SUFFIXES.len() {
            units /= 1024;
            power += 1;
        }
        write!(f, "{units}{}", BINARY_SUFFIXES[power])
    }

    fn write_decimal(self, f: &mut fmt::Formatter<'_>, exponent_form: bool) -> fmt::Result {
        let (mut mantissa, mut exponent) = (self.nanos, -9);
        while mantissa % 1000 == 0 && (exponent_form || exponent < 18) {
            mantissa /= 1000;
            exponent += 3;
        }
        write!(f, "{mantissa}")?;
        match exponent {
            0 => Ok(()),
            exponent if exponent_form => write!(f, "e{exponent}"),
            exponent => {
                let suffix = DECIMAL_SUFFIXES.iter().find(|(_, power)| *power == exponent);
                f.write_str(suffix.map_or("", |(suffix, _)| suffix))
            }
        }
    }
}

/// A quantity as Kubernetes would write it after reading it. Many are kept as they were written.
pub fn canonical(text: &str) -> Result<Cow<'_, str>, QuantityError> {
    let read = Written::split(text)?.interpret()?;
    Ok(read.canonical(text))
}

/// The same in a list of resources, where no part is smaller than a thousandth.
pub fn canonical_in_list(text: &str) -> Result<Cow<'_, str>, QuantityError> {
    let read = Written::split(text)?.interpret()?;
    let rounded = read.quantity.rounded_to_millis();
    Ok(if rounded == read.quantity { read.canonical(text) } else { Cow::Owned(rounded.to_string()) })
}

impl Read {
    fn canonical(self, text: &str) -> Cow<'_, str> {
        if self.kept {
            return Cow::Borrowed(text);
        }
        Cow::Owned(self.oversized.unwrap_or_else(|| self.quantity.to_string()))
    }
}

impl Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let small = self.nanos.unsigned_abs() < 1024 * NANOS_PER_UNIT.unsigned_abs();
        match self.format {
            _ if self.is_zero() => f.write_str("0"),
            Format::BinarySi if !small && self.nanos % NANOS_PER_UNIT == 0 => self.write_binary(f),
            Format::BinarySi | Format::DecimalSi => self.write_decimal(f, false),
            Format::DecimalExponent => self.write_decimal(f, true),
        }
    }
}

/// By value: `1` equals `1000m`.
impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl Hash for Quantity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.nanos.hash(state);
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl std::str::FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        Self::parse(text)
    }
}

impl<'a> Written<'a> {
    fn split(text: &'a str) -> Result<Self, QuantityError> {
        if text.is_empty() {
            return Err(QuantityError::Format);
        }
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let (whole, rest) = take_digits(unsigned.trim_start_matches('0'));
        let (fraction, suffix) = rest.strip_prefix('.').map_or(("", rest), take_digits);
        let letters = suffix.trim_start_matches(|char| "eEinumkKMGTP".contains(char));
        let exponent = letters.strip_prefix(['+', '-']).unwrap_or(letters);
        match take_digits(exponent).1 {
            "" => Ok(Self { negative: text.starts_with('-'), whole, fraction, suffix }),
            _ => Err(QuantityError::Format),
        }
    }

    fn suffix(&self) -> Result<Suffix, QuantityError> {
        if let Some((_, power)) = DECIMAL_SUFFIXES.iter().find(|(suffix, _)| *suffix == self.suffix) {
            return Ok(Suffix::Decimal(*power, Format::DecimalSi));
        }
        if let Some(power) = (1..=6).zip(&BINARY_SUFFIXES[1..]).find(|(_, suffix)| **suffix == self.suffix) {
            return Ok(Suffix::Binary(10 * power.0));
        }
        let exponent = self.suffix.strip_prefix(['e', 'E']).ok_or(QuantityError::Suffix)?;
        let power = exponent.parse().map_err(|_| QuantityError::Suffix)?;
        Ok(Suffix::Decimal(power, Format::DecimalExponent))
    }

    fn interpret(&self) -> Result<Read, QuantityError> {
        let suffix = self.suffix()?;
        let fraction = &self.fraction[..self.fraction.len().min(MAX_FRACTION_DIGITS)];
        let digits = format!("{}{fraction}", self.whole);
        let significant = digits.trim_start_matches('0');
        if self.whole.is_empty() && self.fraction.bytes().all(|digit| digit == b'0') {
            return Ok(Read { quantity: Quantity::ZERO, kept: false, oversized: None });
        }
        // `None`: it has more digits than can be counted with.
        let mantissa = if significant.is_empty() { Some(0) } else { significant.parse::<i128>().ok() };
        let sign = if self.negative { -1 } else { 1 };
        let fraction_digits = fraction.len() as i32;
        // An empty whole part counts as the digit 0.
        let length = self.whole.len().max(1) + self.fraction.len();
        match suffix {
            Suffix::Decimal(power, format) => {
                let scale = power.saturating_sub(fraction_digits);
                let kept = length <= MAX_DIGITS_KEPT
                    && scale >= -9
                    && scale % 3 == 0
                    && !self.whole.is_empty()
                    && !digits.ends_with("000");
                let nanos = mantissa.and_then(|mantissa| scaled(mantissa, scale.saturating_add(9)));
                let oversized = nanos.is_none().then(|| self.oversized(power, format));
                let nanos = sign * nanos.unwrap_or(MOST).max(1);
                Ok(Read { quantity: Quantity { nanos, format }, kept, oversized })
            }
            Suffix::Binary(power) => {
                let nanos = mantissa.and_then(|mantissa| mantissa.checked_mul(1_i128 << power));
                let nanos = nanos.and_then(|nanos| scaled(nanos, 9_i32.saturating_sub(fraction_digits)));
                // Beyond an i64 of units Kubernetes stops counting.
                let limit = i128::from(i64::MAX) * NANOS_PER_UNIT;
                let capped = nanos.map_or(limit, |nanos| nanos.clamp(1, limit));
                let format = if capped < NANOS_PER_UNIT { Format::DecimalSi } else { Format::BinarySi };
                // 15 digits are the precision of the shortcut by which Kubernetes keeps the text.
                let precise = length + (power as usize * 3 / 10) < 15;
                let kept = fraction.is_empty()
                    && precise
                    && mantissa.is_some_and(|mantissa| mantissa & 7 != 0)
                    && nanos == Some(capped)
                    && !self.whole.is_empty();
                Ok(Read { quantity: Quantity { nanos: sign * capped, format }, kept, oversized: None })
            }
        }
    }

    /// The digits themselves, with the largest suffix that they have the zeros for.
    fn oversized(&self, power: i32, format: Format) -> String {
        let smallest = usize::try_from(power.saturating_add(9)).unwrap_or_default();
        let fraction = &self.fraction[..self.fraction.len().min(smallest)];
        let all = format!("{}{fraction}", self.whole);
        let digits = all.trim_start_matches('0').trim_end_matches('0');
        let zeros = all.len() - all.trim_end_matches('0').len();
        let mut exponent = i64::from(power) - fraction.len() as i64 + zeros as i64;
        let mut padding = exponent.rem_euclid(3);
        if format != Format::DecimalExponent {
            padding = padding.max(exponent - 18);
        }
        exponent -= padding;
        let sign = if self.negative { "-" } else { "" };
        let zeros = "0".repeat(usize::try_from(padding).unwrap_or_default());
        let suffix = DECIMAL_SUFFIXES.iter().find(|(_, power)| i64::from(*power) == exponent);
        match suffix {
            _ if format == Format::DecimalExponent => format!("{sign}{digits}{zeros}e{exponent}"),
            Some((suffix, _)) => format!("{sign}{digits}{zeros}{suffix}"),
            None => format!("{sign}{digits}{zeros}"),
        }
    }
}

fn take_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len()))
}

/// `mantissa × 10^power`, rounded away from zero; `None` where it is too large.
fn scaled(mantissa: i128, power: i32) -> Option<i128> {
    let factor = 10_i128.checked_pow(power.unsigned_abs());
    if power >= 0 {
        return if mantissa == 0 { Some(0) } else { mantissa.checked_mul(factor?) };
    }
    Some(factor.map_or(mantissa.signum(), |factor| divide_away_from_zero(mantissa, factor)))
}

fn divide_away_from_zero(value: i128, by: i128) -> i128 {
    let quotient = value / by;
    if value % by == 0 { quotient } else { quotient + value.signum() }
}
