//! Faults by a seed and by a script.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    thread,
};

use tokio::{task::coop::consume_budget, time::Instant};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use tower_keep_test::{Fault, FaultLayer, Faulty, InjectedFault, Polled, Scripted, ms, secs};

type Echo = tower::util::ServiceFn<fn(u32) -> std::future::Ready<Result<u32, BoxError>>>;

fn echo() -> Echo {
    service_fn(|request| std::future::ready(Ok(request + 1)))
}

fn around(layer: &FaultLayer) -> Faulty<Echo> {
    layer.layer(echo())
}

fn one(fault: Fault) -> FaultLayer {
    let layer = FaultLayer::seeded(7).delays(secs(2)..=secs(2));
    if fault.is_of_readiness() {
        layer.readiness_script([Some(fault)])
    } else {
        layer.script([Some(fault)])
    }
}

#[track_caller]
fn is(error: &BoxError, kind: Fault, number: usize) {
    let fault = InjectedFault::find(&**error).expect("an injected fault");
    assert_eq!(
        (fault.kind(), fault.number(), fault.seed()),
        (kind, number, 7)
    );
}

#[tokio::test(start_paused = true)]
async fn errors_say_which_fault_they_are() {
    for kind in [Fault::Error, Fault::ReadinessError] {
        let layer = one(kind);
        let faults = layer.faults();
        let service = around(&layer);
        is(&service.clone().oneshot(1).await.unwrap_err(), kind, 0);
        assert_eq!(service.oneshot(1).await.unwrap(), 2);
        assert_eq!(faults.injected(kind), 1);
        let calls = if kind == Fault::Error { 2 } else { 1 };
        assert_eq!((faults.count(), faults.completed()), (calls, calls));
        faults.assert_idle();
    }
}

#[tokio::test(start_paused = true)]
async fn panics_carry_the_fault() {
    let layer = one(Fault::PanicInCall);
    let mut service = around(&layer);
    let caught = catch_unwind(AssertUnwindSafe(|| drop(service.call(1)))).unwrap_err();
    let fault = InjectedFault::of_panic(&*caught).unwrap();
    assert_eq!((fault.kind(), fault.number()), (Fault::PanicInCall, 0));
    assert_eq!(layer.faults().panicked(), 1);
    assert_eq!(service.ready().await.unwrap().call(1).await.unwrap(), 2);

    let layer = one(Fault::PanicInPoll);
    let task = tokio::spawn(around(&layer).oneshot(1));
    let caught = task.await.unwrap_err().into_panic();
    assert_eq!(
        InjectedFault::of_panic(&*caught).unwrap().kind(),
        Fault::PanicInPoll
    );
    assert_eq!(layer.faults().panicked(), 1);
    layer.faults().assert_idle();
}

#[tokio::test(start_paused = true)]
async fn what_never_comes_is_dropped_and_seen() {
    let layer = one(Fault::Hang);
    let faults = layer.faults();
    let mut call = Polled::new(around(&layer).oneshot(1));
    call.assert_waiting();
    tokio::time::advance(secs(1000)).await;
    call.assert_waiting();
    assert_eq!(faults.in_flight(), 1);
    let failed = catch_unwind(AssertUnwindSafe(|| faults.assert_idle())).unwrap_err();
    let message = failed.downcast_ref::<String>().unwrap();
    assert!(message.contains("call 0: hang, in flight"), "{message}");
    drop(call);
    assert_eq!((faults.in_flight(), faults.dropped()), (0, 1));

    let layer = one(Fault::NeverReady);
    let service = around(&layer);
    let mut stuck = service.clone();
    let mut ready = Polled::new(poll_fn(|cx| stuck.poll_ready(cx)));
    ready.assert_waiting();
    // The fault is of one instance.
    assert_eq!(service.oneshot(1).await.unwrap(), 2);
    ready.assert_waiting();
}

#[tokio::test(start_paused = true)]
async fn what_is_slow_takes_its_delay() {
    for kind in [
        Fault::SlowReadiness,
        Fault::SlowResponse,
        Fault::LateWake,
        Fault::StaleWake,
    ] {
        let began = Instant::now();
        assert_eq!(around(&one(kind)).oneshot(1).await.unwrap(), 2);
        assert_eq!(began.elapsed(), secs(2), "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn wakes_come_late_or_for_nothing_or_to_the_wrong_task() {
    // Late: a caller that asks meanwhile has the answer.
    let mut call = Polled::new(around(&one(Fault::LateWake)).call(1));
    call.assert_waiting();
    assert_eq!(call.assert_ready().unwrap(), 2);

    let mut call = Polled::new(around(&one(Fault::SpuriousWakes)).call(1));
    for _ in 0..3 {
        call.assert_pending();
        call.assert_woken();
    }
    assert_eq!(call.assert_ready().unwrap(), 2);

    // Stale: a task that takes the call over is not woken.
    let mut call = Box::pin(around(&one(Fault::StaleWake)).call(1));
    let mut first = Polled::new(poll_fn(|cx| call.as_mut().poll(cx)));
    first.assert_waiting();
    drop(first);
    let mut second = Polled::new(call);
    second.assert_waiting();
    tokio::time::sleep(secs(3)).await;
    assert!(!second.is_woken());
    assert_eq!(second.assert_ready().unwrap(), 2);
}

/// A task that has used up its budget by the first poll, so that tokio's own futures put it off,
/// waits for the delay all the same.
#[tokio::test(start_paused = true)]
async fn a_busy_task_waits_for_the_delay() {
    for kind in [Fault::SlowResponse, Fault::StaleWake] {
        let began = Instant::now();
        let mut call = Box::pin(around(&one(kind)).call(1));
        let mut is_first = true;
        let busy = poll_fn(|cx| {
            while is_first && pin!(consume_budget()).poll(cx).is_ready() {}
            is_first = false;
            call.as_mut().poll(cx)
        });
        let answer = tokio::time::timeout(secs(100), busy).await;
        assert_eq!(answer.expect("it hangs").unwrap(), 2);
        assert_eq!(began.elapsed(), secs(2), "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_service_sees_only_the_requests_that_reach_it() {
    let inner = Scripted::<u32, u32, InjectedFault>::new()
        .answer(1)
        .answer(2);
    let calls = inner.calls();
    let script = [
        Some(Fault::Error),
        None,
        Some(Fault::Hang),
        Some(Fault::SlowResponse),
    ];
    let layer = FaultLayer::seeded(1).script(script);
    let mut service = layer.layer(inner.strict());
    for _ in 0..4 {
        let call = service.ready().await.unwrap().call(0);
        let _ = tokio::time::timeout(secs(9), call).await;
    }
    calls.assert_finished();
    assert_eq!(layer.faults().calls(), script);
    assert_eq!((calls.completed(), layer.faults().completed()), (2, 3));
}

/// What a thousand calls have, made through this many clones.
async fn faults_of(layer: &FaultLayer, clones: usize) -> Vec<Option<Fault>> {
    let services: Vec<_> = (0..clones).map(|_| around(layer)).collect();
    for number in 0..1000 {
        let mut service = services[number % clones].clone();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(service.call(0))));
    }
    layer.faults().calls()
}

#[tokio::test(start_paused = true)]
async fn the_nth_call_has_the_nth_fault_in_any_thread() {
    let seeded = |seed| FaultLayer::seeded(seed).inject_all(0.1);
    let first = faults_of(&seeded(3), 1).await;
    assert_eq!(faults_of(&seeded(3), 7).await, first);
    assert_ne!(faults_of(&seeded(4), 1).await, first);

    let layer = seeded(3);
    let service = around(&layer);
    thread::scope(|scope| {
        for _ in 0..4 {
            let service = service.clone();
            scope.spawn(move || {
                for _ in 0..250 {
                    let mut service = service.clone();
                    let _ = catch_unwind(AssertUnwindSafe(|| drop(service.call(0))));
                }
            });
        }
    });
    assert_eq!(layer.faults().calls(), first);

    // Readiness is counted apart, and changes no call.
    let layer = seeded(3);
    for _ in 0..100 {
        let mut service = around(&layer);
        let _ = Polled::new(poll_fn(|cx| service.poll_ready(cx))).poll();
    }
    assert_eq!(faults_of(&layer, 1).await, first);
    assert_eq!(layer.faults().readiness().len(), 100);
}

#[tokio::test(start_paused = true)]
async fn chances_are_kept_and_counted() {
    let layer = FaultLayer::seeded(5).inject_all(0.1);
    let calls = faults_of(&layer, 1).await;
    let faults = layer.faults();
    let counts = faults.by_kind();
    for fault in Fault::ALL
        .into_iter()
        .filter(|fault| !fault.is_of_readiness())
    {
        let count = calls.iter().filter(|call| **call == Some(fault)).count();
        assert!((70..130).contains(&count), "{fault}: {count}");
        assert_eq!((counts[&fault], faults.injected(fault)), (count, count));
    }
    assert_eq!(faults.count(), 1000);
    let ended = faults.completed() + faults.dropped() + faults.panicked();
    assert_eq!((ended, faults.in_flight()), (1000, 0));
    assert_eq!(faults.panicked(), faults.injected(Fault::PanicInCall));
    assert!(faults.to_string().starts_with("seed 5, 1000 calls\ncall "));

    // What is set first makes no difference.
    let two = FaultLayer::seeded(5)
        .inject(Fault::Hang, 0.3)
        .inject(Fault::Error, 0.3);
    let same = two.clone().inject(Fault::Hang, 0.3);
    assert_eq!(faults_of(&same, 1).await, faults_of(&two, 1).await);

    let certain = FaultLayer::seeded(5).inject(Fault::Error, 1.0);
    assert_eq!(faults_of(&certain, 1).await, [Some(Fault::Error); 1000]);
    let none = FaultLayer::seeded(5)
        .inject(Fault::Error, 1.0)
        .inject(Fault::Error, 0.0);
    assert_eq!(faults_of(&none, 1).await, [None; 1000]);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_layer_injects_nothing() {
    let layer = FaultLayer::seeded(5)
        .inject(Fault::Error, 1.0)
        .inject(Fault::ReadinessError, 1.0);
    let (faults, service) = (layer.faults(), around(&layer));
    service.clone().oneshot(1).await.unwrap_err();
    faults.stop();
    assert_eq!(service.oneshot(1).await.unwrap(), 2);
    assert_eq!(
        (faults.injected(Fault::ReadinessError), faults.count()),
        (1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn delays_are_within_their_range_and_differ() {
    let layer = FaultLayer::seeded(5)
        .inject(Fault::SlowResponse, 1.0)
        .delays(ms(10)..=ms(500));
    let mut took = Vec::new();
    for _ in 0..50 {
        let began = Instant::now();
        around(&layer).oneshot(1).await.unwrap();
        took.push(began.elapsed());
    }
    assert!(took.iter().all(|took| (ms(10)..=ms(501)).contains(took)));
    took.sort();
    took.dedup();
    assert!(took.len() > 40, "{took:?}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused: [fn() -> FaultLayer; 6] = [
        || FaultLayer::seeded(1).inject(Fault::Error, 1.1),
        || FaultLayer::seeded(1).inject(Fault::Error, f64::NAN),
        || {
            FaultLayer::seeded(1)
                .inject(Fault::Error, 0.6)
                .inject(Fault::Hang, 0.6)
        },
        || FaultLayer::seeded(1).script([Some(Fault::NeverReady)]),
        || FaultLayer::seeded(1).readiness_script([Some(Fault::Hang)]),
        || FaultLayer::seeded(1).delays(ms(2)..=ms(1)),
    ];
    for make in refused {
        assert!(catch_unwind(make).is_err());
    }
    // Those of readiness and of a call exclude each other no more than they meet.
    let _ = FaultLayer::seeded(1)
        .inject(Fault::Error, 1.0)
        .inject(Fault::NeverReady, 1.0);
}
