use serde_json::json;

use super::*;

fn cron_job(schedule: &str, suspended: bool) -> Arc<CronJob> {
    let cron_job = json!({
        "metadata": {"namespace": "shop", "name": "report", "uid": "c-1", "creationTimestamp": "2026-11-01T00:00:00Z"},
        "spec": {"schedule": schedule, "suspend": suspended},
        "status": {"lastScheduleTime": "2026-11-01T03:00:00Z"},
    });
    Arc::new(serde_json::from_value(cron_job).unwrap())
}

/// What is looked at now, and after how long.
fn touched(old: Option<Arc<CronJob>>, new: Option<Arc<CronJob>>) -> (usize, Vec<u64>) {
    let changes = Changes::CronJob(vec![Change { key: Key::new("shop", "report"), old, new }]);
    let (mut now, mut later) = (0, Vec::new());
    CronJobs.touched(&Caches::default(), &changes, &mut |_| now += 1);
    let noon = "2026-11-23T12:00:00Z".parse().unwrap();
    CronJobs.touched_later(&changes, noon, &mut |_, wait| later.push(wait.as_secs()));
    (now, later)
}

#[test]
fn a_new_schedule_is_followed_from_its_next_time_on() {
    let (monthly, daily) = (cron_job("0 3 1 * *", false), cron_job("0 6 * * *", false));
    assert_eq!(touched(Some(monthly), Some(Arc::clone(&daily))), (0, vec![18 * 3600]));
    assert_eq!(touched(None, Some(Arc::clone(&daily))), (1, vec![]), "a new cron job");
    assert_eq!(touched(Some(cron_job("0 6 * * *", true)), Some(Arc::clone(&daily))), (1, vec![]), "another change");
    assert_eq!(touched(Some(daily), None), (1, vec![]), "its end");
}
