//! What an invalidation means: the same in every mode of a dedup layer.

use std::time::Duration;

use tower::Layer;
use tower_keep::{DedupLayer, dedup::DedupHandle};
use tower_keep_test::{Calls, Gate, Polled, Scripted, Step};
use tower_keep_tests::*;

/// Both ways to invalidate.
#[derive(Clone, Copy, Debug)]
enum How {
    ByKey,
    All,
}

const BOTH: [How; 2] = [How::ByKey, How::All];

impl How {
    fn invalidate(self, handle: &DedupHandle<u32>) {
        match self {
            Self::ByKey => assert!(!handle.invalidate(&0), "nothing is kept"),
            Self::All => handle.invalidate_all(),
        }
    }
}

/// Each mode around a service of its own.
fn each_mode(inner: impl Fn(&Gate) -> Scripted<u32, u32>) -> Vec<(&'static str, Mode)> {
    fn mode<L>(
        layer: &L,
        handle: DedupHandle<u32>,
        inner: impl Fn(&Gate) -> Scripted<u32, u32>,
    ) -> Mode
    where
        L: Layer<tower_keep_test::Strict<Scripted<u32, u32>>>,
        L::Service: tower::Service<u32, Response = u32, Error = tower_keep::BoxError, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        let gate = Gate::new();
        let inner = inner(&gate);
        let calls = inner.calls();
        Mode {
            gate,
            service: Stack::new(layer.layer(inner.strict())),
            handle,
            calls,
        }
    }
    let reject = by_tens();
    let join = by_tens().join();
    let keep = by_tens().join().cache(secs(1000));
    let latest = by_tens().latest();
    let debounce = by_tens().debounce(Duration::ZERO);
    vec![
        ("reject", mode(&reject, reject.handle(), &inner)),
        ("join", mode(&join, join.handle(), &inner)),
        ("keep", mode(&keep, keep.handle(), &inner)),
        ("latest", mode(&latest, latest.handle(), &inner)),
        ("debounce", mode(&debounce, debounce.handle(), &inner)),
    ]
}

struct Mode {
    gate: Gate,
    service: Stack,
    handle: DedupHandle<u32>,
    calls: Calls<u32>,
}

/// R52, R54b: in every mode, a call that begins after an invalidation is executed at once, and what
/// ran before goes on for the caller it has and is not kept.
#[tokio::test(start_paused = true)]
async fn an_invalidated_key_is_free_in_every_mode() {
    for how in BOTH {
        let modes = each_mode(|gate| Scripted::new().step(Step::answer(1).when(gate)).answer(2));
        for (name, mut mode) in modes {
            let mut old = Polled::new(begin(&mut mode.service, 1).await);
            old.assert_waiting();
            assert_eq!(mode.handle.in_flight().len(), 1, "{name}");
            how.invalidate(&mode.handle);
            assert!(mode.handle.in_flight().is_empty(), "{name}");

            let mut new = Polled::new(begin(&mut mode.service, 2).await);
            assert_eq!(new.assert_ready().unwrap(), 2, "{name}");
            assert_eq!(
                (mode.calls.count(), mode.calls.in_flight()),
                (2, 1),
                "{name}"
            );
            let kept = mode.handle.cached();
            mode.gate.open();
            assert_eq!(old.assert_ready().unwrap(), 1, "{name}");
            assert_eq!(mode.handle.cached(), kept, "{name}");
            assert_eq!(mode.handle.counts().replaced, 0, "{name}");
        }
    }
}

/// R52, R54b: in every mode, the end of what was invalidated changes nothing for what runs after
/// it: duplicates of that are rejected, join, replace it or wait for it, as ever.
#[tokio::test(start_paused = true)]
async fn the_end_of_an_invalidated_execution_frees_no_other() {
    for how in BOTH {
        for dropped in [false, true] {
            let modes = each_mode(|_| Scripted::new().never().never().never());
            for (name, mut mode) in modes {
                let mut old = Polled::new(begin(&mut mode.service, 1).await);
                old.assert_waiting();
                how.invalidate(&mode.handle);
                let mut new = Polled::new(begin(&mut mode.service, 2).await);
                new.assert_waiting();
                let _old = (!dropped).then_some(old);
                assert_eq!(mode.handle.in_flight().len(), 1, "{name}");
                let mut duplicate = Polled::new(begin(&mut mode.service, 3).await);
                match name {
                    "reject" => drop(duplicate.assert_ready().unwrap_err()),
                    "join" | "keep" | "debounce" => {
                        duplicate.assert_waiting();
                        assert_eq!(mode.calls.count(), 2, "{name}");
                    }
                    _ => {
                        duplicate.assert_waiting();
                        assert_eq!(mode.calls.count(), 3, "{name}");
                        new.assert_woken();
                        replaced(&new.assert_ready().unwrap_err());
                    }
                }
            }
        }
    }
}

/// R54b: callers that joined before an invalidation have their result, later callers share another.
#[tokio::test(start_paused = true)]
async fn joined_callers_are_on_their_side_of_an_invalidation() {
    for how in BOTH {
        let dedup = by_tens().join();
        let handle = dedup.handle();
        let inner = Scripted::<u32, u32>::new()
            .answer_after(secs(2), 1)
            .answer_after(secs(2), 2);
        let calls = inner.calls();
        let mut service = dedup.layer(inner.strict());
        let mut joined = Vec::new();
        for invalidates in [true, false] {
            for _ in 0..2 {
                let mut call = Polled::new(begin(&mut service, 1).await);
                call.assert_pending();
                joined.push(call);
            }
            if invalidates {
                how.invalidate(&handle);
            }
        }
        assert_eq!((calls.count(), dedup.in_flight()), (2, 1));
        tokio::time::sleep(secs(2)).await;
        let results: Vec<_> = joined
            .iter_mut()
            .map(|call| call.assert_ready().unwrap())
            .collect();
        assert_eq!(results, [1, 1, 2, 2]);
        assert_eq!((handle.counts().joined, dedup.in_flight()), (2, 0));
    }
}

/// R54: a call that waited in `debounce` for the running call does not wait for it after an
/// invalidation; a call that waits for quiet waits on.
#[tokio::test(start_paused = true)]
async fn a_waiting_call_does_not_wait_for_what_is_invalidated() {
    for how in BOTH {
        let dedup = by_tens().debounce(secs(1));
        let handle = dedup.handle();
        let inner = Scripted::<u32, u32>::new().never().answer(2);
        let calls = inner.calls();
        let mut service = dedup.layer(inner.strict());
        let mut old = Polled::new(begin(&mut service, 1).await);
        old.assert_waiting();
        tokio::time::sleep(secs(1)).await;
        old.assert_pending();
        assert_eq!(calls.count(), 1);
        let mut waiting = Polled::new(begin(&mut service, 2).await);
        waiting.assert_waiting();
        how.invalidate(&handle);
        waiting.assert_waiting();
        let seen = handle.in_flight();
        assert_eq!(seen.len(), 1);
        assert!(seen[0].is_waiting());
        tokio::time::sleep(secs(1)).await;
        assert_eq!(waiting.assert_ready().unwrap(), 2);
        old.assert_pending();

        // A call that waits for nothing but the running call is woken.
        let inner = Scripted::<u32, u32>::new().never().answer(3);
        let mut service = dedup.layer(inner.strict());
        let mut old = Polled::new(begin(&mut service, 1).await);
        old.assert_waiting();
        tokio::time::sleep(secs(1)).await;
        old.assert_pending();
        let mut due = Polled::new(begin(&mut service, 3).await);
        due.assert_waiting();
        tokio::time::sleep(secs(1)).await;
        due.assert_pending();
        how.invalidate(&handle);
        due.assert_woken();
        assert_eq!(due.assert_ready().unwrap(), 3);
        assert_eq!((dedup.in_flight(), handle.counts().replaced), (0, 0));
    }
}

/// R52: an invalidation reaches one key, or all of them, whatever the modes of the layer's clones.
#[tokio::test(start_paused = true)]
async fn an_invalidation_reaches_its_keys_only() {
    let never = || Scripted::<u32, u32>::new().never().never().strict();
    for how in BOTH {
        let reject = by_tens();
        let (join, latest) = (by_tens().join(), by_tens().latest());
        let debounce = by_tens().debounce(Duration::ZERO);
        let modes = [
            (reject.handle(), Stack::new(reject.layer(never()))),
            (join.handle(), Stack::new(join.layer(never()))),
            (latest.handle(), Stack::new(latest.layer(never()))),
            (debounce.handle(), Stack::new(debounce.layer(never()))),
        ];
        for (handle, mut service) in modes {
            let mut calls = Vec::new();
            for request in [1, 11] {
                let mut call = Polled::new(begin(&mut service, request).await);
                call.assert_waiting();
                calls.push(call);
            }
            assert_eq!(handle.in_flight().len(), 2);
            how.invalidate(&handle);
            let left: Vec<_> = handle.in_flight().iter().map(|seen| *seen.key()).collect();
            match how {
                How::ByKey => assert_eq!(left, [1]),
                How::All => assert!(left.is_empty()),
            }
            for call in &mut calls {
                call.assert_pending();
            }
        }
        let layers = reject.in_flight() + join.in_flight() + latest.in_flight();
        assert_eq!(layers + debounce.in_flight(), 0);
    }
}

/// R50, R52: a handle that is made late invalidates what ran before it was made.
#[tokio::test(start_paused = true)]
async fn a_late_handle_invalidates_too() {
    let dedup = DedupLayer::new(|_: &u32| Some(0));
    let mut service = dedup.layer(Scripted::<u32, u32>::new().never().answer(2).strict());
    let mut old = Polled::new(begin(&mut service, 1).await);
    old.assert_waiting();
    begin(&mut service, 2).await.await.unwrap_err();
    dedup.handle().invalidate(&0);
    assert_eq!(begin(&mut service, 2).await.await.unwrap(), 2);
    assert_eq!(dedup.in_flight(), 0);
}
