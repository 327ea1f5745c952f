use super::*;

#[tokio::test(start_paused = true)]
async fn a_key_is_given_out_once_however_often_it_is_added() {
    let queue = WorkQueue::default();
    for key in ["a", "b", "a", "a"] {
        queue.add(key);
    }
    assert_eq!((queue.next().await, queue.next().await), ("a", "b"));
    queue.done(&"a");
    queue.done(&"b");
    assert!(queue.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_key_in_work_waits_until_it_is_done() {
    let queue = WorkQueue::default();
    queue.add("a");
    assert_eq!(queue.next().await, "a");
    queue.add("a");
    let early = tokio::time::timeout(Duration::from_secs(3600), queue.next()).await;
    assert!(early.is_err(), "two would work on one key");
    queue.done(&"a");
    assert_eq!(queue.next().await, "a");
}

#[tokio::test(start_paused = true)]
async fn failures_wait_longer_each_time_until_one_goes_well() {
    let queue = WorkQueue::default();
    let waits: Vec<u128> = (0..4).map(|_| queue.retry("a").as_millis()).collect();
    assert_eq!(waits, [5, 10, 20, 40]);
    queue.forget_failures(&"a");
    assert_eq!(queue.retry("a").as_millis(), 5);
    for _ in 0..40 {
        assert!(queue.retry("b") <= Backoff::default().longest);
    }
    let slowly = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(5) };
    let waits: Vec<u64> = (0..5).map(|_| queue.retry_at("c", slowly).as_secs()).collect();
    assert_eq!(waits, [1, 2, 4, 5, 5]);
}

#[tokio::test(start_paused = true)]
async fn while_the_server_is_away_the_wait_stays_short() {
    let queue = WorkQueue::default();
    let refusal = |code| ApiError::Refused {
        code,
        reason: Box::default(),
        cause: Box::default(),
        message: Box::default(),
        retry_after: None,
    };
    let away = [ApiError::Unanswered("connection refused".to_owned()), refusal(429), refusal(503)];
    for error in away.iter().cycle().take(60) {
        assert!(queue.retry_after("a", error) <= Duration::from_secs(10));
    }
    assert_eq!(queue.retry_after("a", &away[0]), Duration::from_secs(10));
    // What is refused then is tried as often as if the wait had grown no further.
    let waits: Vec<u64> = (0..3).map(|_| queue.retry_after("a", &refusal(422)).as_secs()).collect();
    assert_eq!(waits, [10, 20, 40]);
    // And one that has failed for long for another reason waits no longer than the rest while the server is away.
    assert_eq!(queue.retry_after("a", &away[1]), Duration::from_secs(10));
    let slowly = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };
    let waits: Vec<u64> = (0..5).map(|_| queue.retry_at("b", slowly.after(true)).as_secs()).collect();
    assert_eq!(waits, [1, 2, 4, 8, 10]);
}

#[tokio::test(start_paused = true)]
async fn of_two_times_the_earlier_counts() {
    let queue = WorkQueue::default();
    let start = Instant::now();
    queue.add_after("a", Duration::from_secs(10));
    queue.add_after("a", Duration::from_secs(3));
    queue.add_after("a", Duration::from_secs(20));
    assert_eq!(queue.next().await, "a");
    assert_eq!(start.elapsed(), Duration::from_secs(3));
    queue.done(&"a");
    assert!(queue.is_idle());
}

#[tokio::test(start_paused = true)]
async fn every_waiting_worker_gets_a_key() {
    let queue = WorkQueue::default();
    let workers: Vec<_> = (0..3)
        .map(|_| {
            let queue = queue.clone();
            tokio::spawn(async move { queue.next().await })
        })
        .collect();
    tokio::task::yield_now().await;
    for key in ["a", "b", "c"] {
        queue.add(key);
    }
    let mut got = Vec::new();
    for worker in workers {
        got.push(worker.await.unwrap());
    }
    got.sort_unstable();
    assert_eq!(got, ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_queue_tells_what_waits_and_what_is_worked_on() {
    let queues = Queues::default();
    let _forgotten: WorkQueue<u8> = queues.open("job");
    let queue = queues.open("job");
    let _other: WorkQueue<u8> = queues.open("cronjob");
    for key in ["a", "b", "a"] {
        queue.add(key);
    }
    tokio::time::advance(Duration::from_millis(500)).await;
    let key = queue.next().await;
    let told = |expect: &[(&str, f64)]| {
        let mut text = String::new();
        queues.write_metrics(&mut text);
        for (name, value) in expect {
            let series = format!("workqueue_{name}{{name=\"job\"");
            let line = text.lines().find_map(|line| line.strip_prefix(&*series));
            let line = line.unwrap_or_else(|| panic!("no {series}\n{text}"));
            assert_eq!(line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap(), *value, "{name}");
        }
        assert!(text.contains("workqueue_depth{name=\"cronjob\"} 0"), "{text}");
    };
    tokio::time::advance(Duration::from_secs(2)).await;
    let running = [("unfinished_work_seconds", 2.0), ("longest_running_processor_seconds", 2.0)];
    told(&running);
    told(&[("depth", 1.0), ("adds_total", 2.0), ("retries_total", 0.0), ("queue_duration_seconds_sum", 0.5)]);
    told(&[("work_duration_seconds_count", 0.0)]);
    queue.retry(key);
    queue.done(&key);
    told(&running.map(|(name, _)| (name, 0.0)));
    told(&[("retries_total", 1.0), ("work_duration_seconds_sum", 2.0), ("work_duration_seconds_count", 1.0)]);
    assert_eq!(queue.next().await, "b");
    assert_eq!(queue.next().await, key);
    told(&[("depth", 0.0), ("adds_total", 3.0), ("queue_duration_seconds_count", 3.0)]);
}
