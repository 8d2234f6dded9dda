//! The scripted service: steps, readiness, and the record of calls.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    task::Poll,
    time::Duration,
};

use tokio::time::{Instant, advance};
use tower::{Service, ServiceExt};
use tower_keep_test::{Gate, Polled, Readiness, Scripted, ScriptedFuture, Step, ms, secs};

/// The message of a panic.
fn panic_of<T>(work: impl FnOnce() -> T) -> String {
    let payload = catch_unwind(AssertUnwindSafe(work))
        .err()
        .expect("it should have panicked");
    match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => (*payload.downcast::<&str>().unwrap()).to_owned(),
    }
}

fn poll_ready<E>(
    service: &mut Scripted<u32, u32, E>,
) -> Polled<impl Future<Output = Result<(), E>>> {
    Polled::new(poll_fn(|cx| service.poll_ready(cx)))
}

#[tokio::test(start_paused = true)]
async fn steps_are_played_in_order() {
    let mut service = Scripted::script([
        Step::answer(1),
        Step::error("x"),
        Step::with(|request: u32| Ok(request + 1)),
        Step::run(async |request| {
            tokio::time::sleep(secs(1)).await;
            Ok(request + 2)
        }),
    ])
    .answer(5)
    .error("y");

    let start = Instant::now();
    assert_eq!(service.call(10).await, Ok(1));
    assert_eq!(service.call(10).await, Err("x"));
    assert_eq!(service.call(10).await, Ok(11));
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(service.call(10).await, Ok(12));
    assert_eq!(start.elapsed(), secs(1));
    assert_eq!(service.clone().call(10).await, Ok(5));
    assert_eq!(service.call(10).await, Err("y"));
    service.calls().assert_finished();
}

#[tokio::test(start_paused = true)]
async fn results_are_steps() {
    let mut service = Scripted::script([Err("first"), Ok(2)]);
    assert_eq!(service.call(()).await, Err("first"));
    assert_eq!(service.call(()).await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn delays_count_from_the_first_poll() {
    let mut service = Scripted::<(), u32>::new()
        .answer_after(secs(2), 1)
        .error_after(ms(1), "late")
        .step(Step::with(|()| Ok(3)).after(secs(3)));
    let first = service.call(());
    advance(secs(10)).await;

    let start = Instant::now();
    assert_eq!(first.await, Ok(1));
    assert_eq!(start.elapsed(), secs(2));
    assert_eq!(service.call(()).await, Err("late"));
    assert_eq!(start.elapsed(), ms(2001));
    assert_eq!(service.call(()).await, Ok(3));
    assert_eq!(start.elapsed(), ms(5001));
}

#[tokio::test(start_paused = true)]
async fn a_gate_comes_before_the_delay() {
    let gate = Gate::new();
    let mut service = Scripted::<(), u32>::new().step(Step::answer(1).after(secs(1)).when(&gate));
    let mut response = Polled::new(service.call(()));
    response.assert_waiting();
    advance(secs(5)).await;
    response.assert_waiting();
    gate.open();
    response.assert_woken();
    response.assert_waiting();
    advance(secs(1)).await;
    response.assert_woken();
    assert_eq!(response.assert_ready(), Ok(1));
}

#[tokio::test(start_paused = true)]
async fn never_is_for_ever() {
    let mut service = Scripted::<(), u32>::new().never();
    let calls = service.calls();
    let mut response = Polled::new(service.call(()));
    response.assert_waiting();
    advance(secs(1_000_000)).await;
    response.assert_waiting();
    assert_eq!((calls.in_flight(), calls.dropped()), (1, 0));
    drop(response);
    assert_eq!((calls.in_flight(), calls.dropped()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn panics_come_where_the_step_says() {
    let mut service = Scripted::<(), u32>::new()
        .panic("in the future")
        .step(Step::panic("late").after(secs(1)))
        .step(Step::panic_in_call("in call"))
        .step(Step::with(|()| panic!("in a closure")))
        .step(Step::run(async |()| panic!("in async code")));
    let calls = service.calls();

    let mut response = Polled::new(service.call(()));
    assert_eq!(calls.panicked(), 0);
    assert_eq!(panic_of(|| response.poll()), "in the future");
    // The panic ended the call, not the drop of what is left of its future.
    assert_eq!((calls.panicked(), calls.in_flight()), (1, 0));
    drop(response);

    let mut response = Polled::new(service.call(()));
    response.assert_waiting();
    advance(secs(1)).await;
    assert_eq!(panic_of(|| response.poll()), "late");
    assert_eq!(panic_of(|| service.call(())), "in call");
    assert_eq!(
        panic_of(|| Polled::new(service.call(())).poll()),
        "in a closure"
    );
    assert_eq!(
        panic_of(|| Polled::new(service.call(())).poll()),
        "in async code"
    );

    assert_eq!(
        (calls.count(), calls.panicked(), calls.dropped()),
        (5, 5, 0)
    );
    calls.assert_finished();
}

#[test]
fn a_call_after_the_end_panics_and_says_so() {
    let mut service = Scripted::<(), u32>::new().answer(1).answer(2);
    let calls = service.calls();
    drop((service.call(()), service.call(())));
    let message = panic_of(|| service.call(()));
    assert!(
        message.starts_with("this is call 3 and the script ended after 2: add a step"),
        "{message}",
    );
    assert_eq!(
        (calls.count(), calls.dropped(), calls.panicked()),
        (3, 2, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn what_follows_the_end_can_be_said() {
    let mut repeats = Scripted::<(), u32>::new()
        .answer(1)
        .error("last")
        .repeat_last();
    let mut otherwise = Scripted::<u32, u32>::new()
        .answer(1)
        .otherwise(|| Step::with(|request| Ok(request * 2)).after(secs(1)));
    let mut always = Scripted::<u32, u32>::always(|request| request.checked_sub(1).ok_or("zero"));

    assert_eq!(repeats.call(()).await, Ok(1));
    assert_eq!(repeats.calls().unused(), 1);
    for _ in 0..3 {
        assert_eq!(repeats.call(()).await, Err("last"));
        assert_eq!(repeats.calls().unused(), 0);
    }

    assert_eq!(otherwise.call(4).await, Ok(1));
    let start = Instant::now();
    assert_eq!(otherwise.call(4).await, Ok(8));
    assert_eq!(otherwise.call(5).await, Ok(10));
    assert_eq!(start.elapsed(), secs(2));

    assert_eq!(always.call(1).await, Ok(0));
    assert_eq!(always.call(0).await, Err("zero"));
}

#[tokio::test(start_paused = true)]
async fn a_step_added_later_takes_the_repeated_ones_place() {
    let mut service = Scripted::<(), u32>::new().answer(1).repeat_last();
    assert_eq!(service.call(()).await, Ok(1));
    assert_eq!(service.call(()).await, Ok(1));
    let mut service = service.answer(2);
    assert_eq!(service.calls().unused(), 1);
    assert_eq!(service.call(()).await, Ok(2));
    assert_eq!(service.call(()).await, Ok(2));
    assert_eq!(service.calls().unused(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_step_waits_each_time() {
    let mut service = Scripted::<(), u32>::new()
        .answer_after(secs(1), 1)
        .repeat_last();
    let start = Instant::now();
    for done in 1..=3 {
        assert_eq!(service.call(()).await, Ok(1));
        assert_eq!(start.elapsed(), secs(done));
    }
}

#[test]
fn closures_and_nothing_cannot_be_repeated() {
    assert!(panic_of(|| Scripted::<(), u32>::new().repeat_last()).contains("no step to repeat"));
    let service = Scripted::<(), u32>::new().step(Step::with(|()| Ok(1)));
    assert!(panic_of(|| service.repeat_last()).contains("use `otherwise`"));
}

#[tokio::test(start_paused = true)]
async fn times_adds_steps() {
    let mut service = Scripted::<(), u32>::new()
        .times(3, || Step::error("x"))
        .times(1, || Ok(1));
    for _ in 0..3 {
        assert_eq!(service.call(()).await, Err("x"));
    }
    assert_eq!(service.call(()).await, Ok(1));
    service.calls().assert_finished();
}

#[tokio::test(start_paused = true)]
async fn the_record_counts_every_call_once() {
    let service = Scripted::<u32, u32>::new()
        .answer_after(secs(1), 1)
        .answer_after(secs(3), 2)
        .answer_after(secs(5), 3)
        .recording();
    let calls = service.calls();
    let mut other = service.clone();
    let mut service = service;
    let _third = service.clone();

    let mut first = Polled::new(service.call(10));
    first.assert_waiting();
    advance(ms(500)).await;
    let mut second = Polled::new(other.call(20));
    second.assert_waiting();
    assert_eq!((calls.in_flight(), calls.peak()), (2, 2));
    advance(ms(500)).await;
    assert_eq!(first.assert_ready(), Ok(1));
    assert_eq!(
        (calls.in_flight(), calls.peak(), calls.completed()),
        (1, 2, 1)
    );
    drop(first);
    assert_eq!((calls.completed(), calls.dropped()), (1, 0));
    drop(second);
    assert_eq!((calls.in_flight(), calls.dropped()), (0, 1));
    assert!(panic_of(|| calls.assert_finished()).contains("steps unused: 1, calls in flight: 0"));
    let third = service.call(30);
    assert!(panic_of(|| calls.assert_finished()).contains("steps unused: 0, calls in flight: 1"));
    assert_eq!(third.await, Ok(3));
    calls.assert_finished();

    assert_eq!(calls.count(), 3);
    assert_eq!(calls.requests(), [10, 20, 30]);
    assert_eq!(calls.started_at(), [secs(0), ms(500), secs(1)]);
    assert_eq!(calls.gaps(), [ms(500), ms(500)]);
    assert_eq!(
        (calls.completed(), calls.dropped(), calls.panicked()),
        (2, 1, 0)
    );
    assert_eq!((calls.clones(), calls.polls()), (2, 0));
}

#[test]
fn requests_are_kept_on_demand_only() {
    let mut service = Scripted::<u32, u32>::new().answer(1);
    drop(service.call(1));
    assert!(panic_of(|| service.calls().requests()).contains("`.recording()`"));
}

#[tokio::test(start_paused = true)]
async fn until_waits_for_a_change() {
    let mut service = Scripted::<u32, u32>::new()
        .answer(1)
        .answer_after(secs(7), 2);
    let calls = service.calls();
    let start = Instant::now();
    let task = tokio::spawn(async move {
        tokio::time::sleep(secs(1)).await;
        (service.call(1).await, service.call(2).await)
    });
    calls.until(|calls| calls.count() == 2).await;
    assert_eq!(start.elapsed(), secs(1));
    calls.until(|calls| calls.completed() == 2).await;
    assert_eq!(start.elapsed(), secs(8));
    assert_eq!(task.await.unwrap(), (Ok(1), Ok(2)));
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "the awaited condition never came")]
async fn until_does_not_hang() {
    let service = Scripted::<u32, u32>::new();
    service.calls().until(|calls| calls.count() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_gate_can_be_awaited() {
    let gate = Gate::new();
    let mut opened = Polled::new(gate.opened());
    opened.assert_waiting();
    gate.clone().open();
    opened.assert_woken();
    opened.assert_ready();
    assert!(gate.is_open());
}

#[tokio::test(start_paused = true)]
async fn readiness_follows_its_script() {
    let gate = Gate::new();
    let mut service = Scripted::<u32, u32>::always(Ok)
        .readiness(Readiness::ok().after(secs(2)))
        .readiness(Readiness::ok().when(&gate))
        .readiness(Readiness::error("not today").after(secs(1)))
        .readiness(Readiness::never());
    let calls = service.calls();

    let start = Instant::now();
    assert!(service.ready().await.is_ok());
    assert_eq!(start.elapsed(), secs(2));
    // It stays ready, and takes nothing from the script, until it is called.
    assert!(service.ready().await.is_ok());
    assert_eq!(service.call(1).await, Ok(1));

    let mut waiting = poll_ready(&mut service);
    waiting.assert_waiting();
    gate.open();
    waiting.assert_woken();
    assert_eq!(waiting.assert_ready(), Ok(()));
    drop(waiting);
    assert_eq!(service.call(2).await, Ok(2));

    assert_eq!(service.ready().await.err(), Some("not today"));
    assert_eq!(start.elapsed(), secs(3));

    let mut waiting = poll_ready(&mut service);
    waiting.assert_waiting();
    advance(secs(1_000_000)).await;
    waiting.assert_waiting();
    drop(waiting);

    // A clone begins a cycle of its own, and the script has ended.
    assert!(service.clone().ready().await.is_ok());
    assert!(calls.polls() >= 8, "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn never_ready_holds_for_clones() {
    let service = Scripted::<u32, u32>::new()
        .readiness(Readiness::ok())
        .never_ready();
    let (mut one, mut two) = (service.clone(), service);
    assert_eq!(poll_ready(&mut one).assert_ready(), Ok(()));
    poll_ready(&mut two).assert_waiting();
    poll_ready(&mut two.clone()).assert_waiting();
    assert_eq!(two.calls().polls(), 3);
}

#[test]
fn without_delays_no_runtime_is_needed() {
    let mut service = Scripted::<u32, u32>::new().answer(1);
    assert_eq!(poll_ready(&mut service).assert_ready(), Ok(()));
    let mut response = service.call(1);
    assert_eq!(Polled::new(&mut response).assert_ready(), Ok(1));
    let message = panic_of(|| Polled::new(&mut response).poll());
    assert_eq!(message, "a scripted response was polled after it completed");
}

#[test]
fn steps_need_not_be_clone_nor_send() {
    struct Plain;
    let mut service = Scripted::<Rc<u32>, Rc<u32>, Plain>::new()
        .answer(Rc::new(1))
        .step(Step::error(Plain))
        .step(Step::with(Ok));
    assert!(
        matches!(Polled::new(service.call(Rc::new(0))).poll(), Poll::Ready(Ok(answer)) if *answer == 1)
    );
    assert!(matches!(
        Polled::new(service.call(Rc::new(0))).poll(),
        Poll::Ready(Err(Plain))
    ));
    assert!(
        matches!(Polled::new(service.call(Rc::new(7))).poll(), Poll::Ready(Ok(answer)) if *answer == 7)
    );
}

#[test]
fn steps_may_move_what_they_hold() {
    let (send, receive) = tokio::sync::oneshot::channel();
    let mut service = Scripted::<(), u32>::new()
        .step(Step::run(async move |()| receive.await.map_err(|_| "gone")));
    let mut response = Polled::new(service.call(()));
    response.assert_waiting();
    send.send(3).unwrap();
    assert_eq!(response.assert_ready(), Ok(3));
}

#[test]
fn the_service_and_its_future_are_send_and_sync_where_their_parts_are() {
    fn send<T: Send + 'static>() {}
    fn sync<T: Sync>() {}
    send::<Scripted<String, String, String>>();
    sync::<Scripted<String, String, String>>();
    send::<ScriptedFuture<String, String, String>>();
}

#[test]
fn debug_shows_the_script() {
    let service = Scripted::<u32, u32>::new()
        .answer_after(secs(1), 1)
        .step(Step::panic("oh").when(&Gate::new()))
        .readiness(Readiness::never());
    let text = format!("{service:?}");
    assert!(
        text.contains("[answer after 1s, panic \"oh\" when a gate opens (now closed)]"),
        "{text}",
    );
    assert!(text.contains("[never ready]"), "{text}");

    let mut service = service;
    let response = service.call(1);
    assert_eq!(format!("{response:?}"), "ScriptedFuture(answer after 1s)");
    let calls = format!("{:?}", service.calls());
    assert!(calls.contains("in_flight: 1"), "{calls}");
}
