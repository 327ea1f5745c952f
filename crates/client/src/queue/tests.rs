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
        assert!(queue.retry("b") <= LONGEST_RETRY);
    }
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
