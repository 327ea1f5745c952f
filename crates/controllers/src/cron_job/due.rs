//! Which of a cron job's times is due now, and when the next one comes.

use api::kinds::schedule::{Schedule, time_zone, zone_before_fields};
use client::objects::{CronJob, batch::CronJobStatus};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

/// Starts that were missed since the last one; more are worth a warning.
const MANY: i64 = 100;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub start: Start,
    pub next: Option<Timestamp>,
    /// So many starts were missed that a clock may be wrong.
    pub missed_many: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    Nothing,
    At(Timestamp),
    /// The schedule has no times.
    Never,
}

/// Why a cron job cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unclear {
    TimeZone(Box<str>),
    Schedule(String),
}

/// The zone in whose clock a schedule is read. Without one it is UTC: what starts when is not to depend on the machine.
pub fn zone(cron_job: &CronJob) -> Result<TimeZone, Unclear> {
    let spec = &cron_job.spec;
    if let Some(name) = &spec.time_zone {
        return time_zone(name).ok_or_else(|| Unclear::TimeZone(name.clone()));
    }
    Ok(zone_before_fields(&spec.schedule).and_then(time_zone).unwrap_or(TimeZone::UTC))
}

impl Due {
    /// Of the times that were missed only the last is made up for, and only within the deadline for starts.
    pub fn of(cron_job: &CronJob, status: &CronJobStatus, zone: &TimeZone, now: Timestamp) -> Result<Self, Unclear> {
        let schedule = Schedule::parse(&cron_job.spec.schedule).map_err(Unclear::Schedule)?;
        let known = status.last_schedule_time.or(cron_job.metadata.creation_timestamp).unwrap_or(now);
        let deadline = cron_job.spec.starting_deadline_seconds;
        let too_early = deadline.and_then(|seconds| now.checked_sub(SignedDuration::from_secs(seconds)).ok());
        let since = known.max(too_early.unwrap_or(known));
        let last = schedule.last_between(zone, since, now);
        let next = schedule.next_after(zone, last.unwrap_or(since));
        let start = match last {
            Some(last) => Start::At(last),
            None if next.is_none() => Start::Never,
            None => Start::Nothing,
        };
        Ok(Self { start, next, missed_many: missed(&schedule, zone, since, now) > MANY })
    }
}

/// About how many times have passed, by the first interval between two of them.
fn missed(schedule: &Schedule, zone: &TimeZone, since: Timestamp, now: Timestamp) -> i64 {
    let Some(first) = schedule.next_after(zone, since).filter(|first| *first <= now) else { return 0 };
    let Some(second) = schedule.next_after(zone, first) else { return 1 };
    (now.as_second() - first.as_second()) / (second.as_second() - first.as_second()).max(1) + 1
}
