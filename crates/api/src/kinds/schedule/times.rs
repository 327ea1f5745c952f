//! When a schedule's times come.
//!
//! Fields speak of the clock on the wall: a time is due at every instant at which the clock of the zone shows it. Where
//! clocks are put forward, times in between do not come that day; where they are put back, they come twice. Between two
//! changes of its clock a zone is a fixed offset, in which the search is plain arithmetic on digits.

use jiff::{
    SignedDuration, Timestamp,
    civil::{Date, DateTime},
    tz::TimeZone,
};

use super::{Fields, Schedule};

/// Calendars repeat: what does not come within so many years counts as never.
const YEARS: i16 = 5;

impl Schedule {
    /// The first time after an instant; none if there is none within the next years.
    pub fn next_after(&self, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
        let second = whole_second(after)?;
        match self {
            Self::EverySeconds(seconds) => second.checked_add(SignedDuration::from_secs(*seconds)).ok(),
            Self::Fields(fields) => fields.first_from(zone, second.checked_add(SignedDuration::from_secs(1)).ok()?),
        }
    }

    /// The last time after one instant and not after another. A period counts from `after`.
    pub fn last_between(&self, zone: &TimeZone, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        match self {
            Self::EverySeconds(seconds) => {
                let after = whole_second(after)?;
                let periods = (until.as_second() - after.as_second()).div_euclid(*seconds);
                let passed = SignedDuration::from_secs(periods.checked_mul(*seconds)?);
                (periods > 0).then(|| after.checked_add(passed).ok())?
            }
            Self::Fields(fields) => fields.last_until(zone, whole_second(until)?).filter(|time| *time > after),
        }
    }
}

fn whole_second(instant: Timestamp) -> Option<Timestamp> {
    Timestamp::from_second(instant.as_nanosecond().div_euclid(1_000_000_000).try_into().ok()?).ok()
}

impl Fields {
    fn first_from(&self, zone: &TimeZone, mut from: Timestamp) -> Option<Timestamp> {
        let years = zone.to_datetime(from).year() + YEARS;
        loop {
            let offset = zone.to_offset(from);
            let found = offset.to_timestamp(self.first_shown_from(offset.to_datetime(from), years)?).ok()?;
            match zone.following(from).next() {
                Some(change) if change.timestamp() <= found => from = change.timestamp(),
                _ => return Some(found),
            }
        }
    }

    fn last_until(&self, zone: &TimeZone, mut until: Timestamp) -> Option<Timestamp> {
        let years = zone.to_datetime(until).year() - YEARS;
        loop {
            let offset = zone.to_offset(until);
            let found = offset.to_timestamp(self.last_shown_until(offset.to_datetime(until), years)?).ok()?;
            // The clock of an instant of change is already the new one.
            let second = SignedDuration::from_secs(1);
            match zone.preceding(until.checked_add(second).ok()?).next() {
                Some(change) if change.timestamp() > found => until = change.timestamp().checked_sub(second).ok()?,
                _ => return Some(found),
            }
        }
    }

    /// Of a clock that is never changed, the first time from the given one on.
    fn first_shown_from(&self, from: DateTime, last_year: i16) -> Option<DateTime> {
        let from = if from.second() == 0 { from } else { from.checked_add(SignedDuration::from_mins(1)).ok()? };
        let (hour, minute) = (from.hour().cast_unsigned().into(), from.minute().cast_unsigned().into());
        if self.has_day(from.date())
            && let Some(time) = self.first_time_from(hour, minute)
        {
            return at(from.date(), time);
        }
        let first = self.first_time_from(0, 0)?;
        let mut date = from.date().tomorrow().ok()?;
        while date.year() <= last_year {
            if self.has_day(date) {
                return at(date, first);
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    fn last_shown_until(&self, until: DateTime, first_year: i16) -> Option<DateTime> {
        let (hour, minute) = (until.hour().cast_unsigned().into(), until.minute().cast_unsigned().into());
        if self.has_day(until.date())
            && let Some(time) = self.last_time_until(hour, minute)
        {
            return at(until.date(), time);
        }
        let last = self.last_time_until(23, 59)?;
        let mut date = until.date().yesterday().ok()?;
        while date.year() >= first_year {
            if self.has_day(date) {
                return at(date, last);
            }
            date = date.yesterday().ok()?;
        }
        None
    }

    fn has_day(&self, date: Date) -> bool {
        let has = |bits: u64, value: i8| bits & (1 << value) != 0;
        let day_of_month = has(self.days_of_month, date.day());
        let day_of_week = has(self.days_of_week, date.weekday().to_sunday_zero_offset());
        has(self.months, date.month())
            && if self.both_days { day_of_month && day_of_week } else { day_of_month || day_of_week }
    }

    fn first_time_from(&self, hour: u32, minute: u32) -> Option<(u32, u32)> {
        let in_this_hour = lowest(self.hours & (1 << hour)).and(lowest(self.minutes & (u64::MAX << minute)));
        match in_this_hour {
            Some(minute) => Some((hour, minute)),
            None => Some((lowest(self.hours & (u64::MAX << (hour + 1)))?, lowest(self.minutes)?)),
        }
    }

    fn last_time_until(&self, hour: u32, minute: u32) -> Option<(u32, u32)> {
        let below = |count: u32| (1_u64 << count) - 1;
        let in_this_hour = lowest(self.hours & (1 << hour)).and(highest(self.minutes & below(minute + 1)));
        match in_this_hour {
            Some(minute) => Some((hour, minute)),
            None => Some((highest(self.hours & below(hour))?, highest(self.minutes)?)),
        }
    }
}

fn lowest(bits: u64) -> Option<u32> {
    (bits != 0).then(|| bits.trailing_zeros())
}

fn highest(bits: u64) -> Option<u32> {
    (bits != 0).then(|| bits.ilog2())
}

fn at(date: Date, (hour, minute): (u32, u32)) -> Option<DateTime> {
    let digits = |number: u32| i8::try_from(number).ok();
    Some(date.at(digits(hour)?, digits(minute)?, 0, 0))
}
