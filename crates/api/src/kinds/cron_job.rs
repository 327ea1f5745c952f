//! Cron jobs.

use serde_json::Value;

use super::{
    check::{Node, check, elements},
    columns::{self, NONE, age, name, since, text_or_none, wide},
    edit::at_mut,
    job, pod, rules,
    schedule::{Schedule, is_time_zone},
    workload::{CONTAINERS, IMAGES, SELECTOR, containers_of, images_of, non_negative},
};
use crate::{field::FieldErrors, resource::Column, strategy::Strategy};

pub const STRATEGY: Strategy = Strategy {
    default: |object| {
        at_mut(object, &["spec", "jobTemplate", "spec"]).into_iter().for_each(job::default_template);
    },
    prepare_create: rules::drop_status,
    validate: |object, errors| check(object, errors, |object| rules(&object.get("spec"))),
    validate_create: |object, errors| {
        check(object, errors, |object| {
            let spec = object.get("spec");
            no_time_zone_in_schedule(&spec);
            time_zone(&spec.get("timeZone"));
            let metadata = object.get("metadata");
            let name = metadata.get("name");
            if name.text().len() > 52 {
                name.invalid("must be no more than 52 characters");
            }
        });
    },
    validate_update,
    warnings: |object| {
        let mut warnings = pod::name_warning(object, "this is used in Pod names and hostnames");
        let template = &object["spec"]["jobTemplate"]["spec"]["template"];
        warnings.extend(pod::template_warnings(template, "spec.jobTemplate.spec.template."));
        warnings
    },
    counts_generation: true,
    ..Strategy::DEFAULT
};

fn rules(spec: &Node<'_>) {
    let schedule = spec.get("schedule");
    if schedule.require()
        && let Err(error) = Schedule::parse(schedule.text())
    {
        schedule.invalid(error);
    }
    non_negative(spec, &["startingDeadlineSeconds"]);
    spec.get("concurrencyPolicy").word(&["Allow", "Forbid", "Replace"]);
    job::job_template(&spec.get("jobTemplate"));
    non_negative(spec, &["successfulJobsHistoryLimit", "failedJobsHistoryLimit"]);
}

fn no_time_zone_in_schedule(spec: &Node<'_>) {
    let schedule = spec.get("schedule");
    if schedule.text().contains("TZ") {
        schedule.invalid("cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
    }
}

/// Old cron jobs may keep a time zone in the schedule, and one that is no longer known.
fn validate_update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    check(new, errors, |new| {
        let (spec, old) = (new.get("spec"), &old["spec"]);
        let had_zone = old["schedule"].as_str().is_some_and(|schedule| schedule.contains("TZ"));
        let schedule = spec.get("schedule");
        if !had_zone {
            no_time_zone_in_schedule(&spec);
        } else if schedule.text().contains("TZ") && spec.get("timeZone").is_set() {
            schedule.invalid("cannot use both timeZone field and TZ or CRON_TZ in schedule");
        }
        if *spec.get("timeZone").value != old["timeZone"] {
            time_zone(&spec.get("timeZone"));
        }
    });
}

fn time_zone(zone: &Node<'_>) {
    if !zone.is_set() {
        return;
    }
    let name = zone.text();
    let is_part = |part: &str| {
        (1..=14).contains(&part.len())
            && !matches!(part, "." | "..")
            && !part.starts_with('-')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_+".contains(&byte))
    };
    if name.is_empty() {
        zone.invalid("timeZone must be nil or non-empty string");
    } else if name.eq_ignore_ascii_case("local") {
        zone.invalid("timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones");
    } else if !name.split('/').all(is_part) || !is_time_zone(name) {
        zone.invalid(format!("unknown time zone {name}"));
    }
}

pub fn columns() -> Vec<Column> {
    vec![
        name(),
        columns::text("Schedule", "When jobs are started.", |object, _| text_or_none(&object["spec"]["schedule"])),
        columns::text("Timezone", "The time zone of the schedule.", |object, _| {
            object["spec"]["timeZone"].as_str().unwrap_or(NONE).into()
        }),
        columns::boolean("Suspend", "No jobs are started.", |object, _| match &object["spec"]["suspend"] {
            Value::Bool(true) => "True".into(),
            Value::Bool(false) => "False".into(),
            _ => "<unset>".into(),
        }),
        columns::integer("Active", "Jobs that are running.", |object, _| {
            elements(&object["status"]["active"]).len().into()
        }),
        columns::text("Last Schedule", "When a job was last started.", |object, now| {
            match &object["status"]["lastScheduleTime"] {
                Value::Null => NONE.into(),
                time => since(time, now).into(),
            }
        }),
        age(),
        wide(columns::text("Containers", CONTAINERS, |object, _| containers_of(job_of(object, "template")))),
        wide(columns::text("Images", IMAGES, |object, _| images_of(job_of(object, "template")))),
        wide(columns::text("Selector", SELECTOR, |object, _| columns::selector(job_of(object, "selector")).into())),
    ]
}

fn job_of<'a>(object: &'a Value, field: &str) -> &'a Value {
    &object["spec"]["jobTemplate"]["spec"][field]
}
