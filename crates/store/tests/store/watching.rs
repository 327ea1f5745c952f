//! What watchers of the store can rely on, one promise a test.

use std::{sync::Arc, time::Duration};

use store::Watch;

use crate::{commit, drain, in_memory, put};

#[tokio::test]
async fn a_watcher_sees_its_prefix_in_order_and_only_what_can_be_read() {
    let store = in_memory();
    commit(&store, vec![put("pods/a/1", "old")]).await.unwrap();
    let mut watch = store.watch("pods/a/", 0).unwrap();
    let mut later = store.watch("pods/a/", 1).unwrap();
    let reader = tokio::spawn({
        let store = store.clone();
        async move {
            let mut seen = Vec::new();
            while seen.len() < 301 {
                let caught_up = watch.next(&mut seen).await.unwrap();
                assert!(store.revision() >= caught_up);
                assert!(seen.last().unwrap().revision <= caught_up);
            }
            seen
        }
    });
    for i in 0..300 {
        commit(&store, vec![put("pods/b/1", ""), put("pods/a/1", format!("{i}"))]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let seen = reader.await.unwrap();
    assert!(seen.windows(2).all(|pair| pair[0].revision < pair[1].revision));
    assert!(seen.windows(2).all(|pair| pair[1].previous.as_ref() == Some(&pair[0].entry)));
    let again = drain(&mut later);
    assert_eq!(again[..], seen[1..]);
    assert!(Arc::ptr_eq(&again[299], &seen[300]), "an event is stored once");
}

#[tokio::test]
async fn a_full_batch_does_not_tear_a_commit() {
    let store = in_memory();
    for _ in 0..300 {
        commit(&store, vec![put("pods/a", ""), put("pods/b", ""), put("pods/c", "")]).await.unwrap();
    }
    let mut watch = store.watch("pods/", 0).unwrap();
    let mut batch = Vec::new();
    let caught_up = watch.try_next(&mut batch).unwrap();
    assert!(batch.len() < 900 && batch.len() as u64 == 3 * caught_up);
    assert_eq!(batch.len() + drain(&mut watch).len(), 900);
}

#[tokio::test]
async fn a_quiet_watcher_learns_of_progress_without_being_woken() {
    let store = in_memory();
    let mut watch = store.watch("pods/", 0).unwrap();
    for _ in 0..10 {
        commit(&store, vec![put("nodes/n", "")]).await.unwrap();
    }
    let mut events = Vec::new();
    assert!(tokio::time::timeout(Duration::from_millis(50), watch.next(&mut events)).await.is_err());
    assert_eq!(watch.try_next(&mut events), Ok(10));
    assert!(events.is_empty());
}

/// How often one of so many watchers is woken by 100 commits, one a millisecond.
async fn wakes_among(watchers: usize) -> usize {
    let store = in_memory();
    let watch = async |mut watch: Watch| {
        let (mut seen, mut wakes) = (Vec::new(), 0);
        while seen.len() < 100 {
            watch.next(&mut seen).await.unwrap();
            wakes += 1;
        }
        wakes
    };
    let watching = (0..watchers).map(|_| watch(store.watch("pods/", 0).unwrap()));
    let commits = async {
        for i in 0..100 {
            commit(&store, vec![put("pods/a", format!("{i}"))]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let (wakes, ()) = tokio::join!(futures_util::future::join_all(watching), commits);
    wakes.into_iter().max().unwrap()
}

#[tokio::test(start_paused = true)]
async fn few_watchers_are_woken_at_once_and_many_less_often() {
    for (watchers, wakes) in [(1, 100..=100), (16, 100..=100), (116, 4..=6), (1000, 2..=4)] {
        let seen = wakes_among(watchers).await;
        assert!(wakes.contains(&seen), "{watchers} watchers: {seen} wakes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_topic_of_many_watchers_delays_no_other() {
    let store = in_memory();
    let _crowd: Vec<_> = (0..500).map(|_| store.watch("nodes/", 0).unwrap()).collect();
    let mut watch = store.watch("pods/", 0).unwrap();
    let mut seen = Vec::new();
    for i in 1..10 {
        commit(&store, vec![put("nodes/n", format!("{i}"))]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let committed = tokio::time::Instant::now();
        commit(&store, vec![put("pods/a", format!("{i}"))]).await.unwrap();
        watch.next(&mut seen).await.unwrap();
        assert_eq!((seen.len(), committed.elapsed()), (i, Duration::ZERO));
    }
}

#[tokio::test]
async fn a_watcher_that_is_behind_reads_in_small_batches() {
    let store = in_memory();
    let mut watch = store.watch("pods/", 0).unwrap();
    for i in 0..100 {
        commit(&store, vec![put("pods/a", format!("{i:010000}"))]).await.unwrap();
    }
    let mut sizes = Vec::new();
    while sizes.iter().sum::<usize>() < 100 {
        let mut batch = Vec::new();
        watch.next(&mut batch).await.unwrap();
        sizes.push(batch.len());
    }
    assert!(sizes.iter().all(|size| (1..=6).contains(size)), "{sizes:?}");
}
