//! Tests of a flight and its callers.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    task::{Wake, Waker},
};

use proptest::prelude::*;

use super::*;

/// An output that counts its clones.
#[derive(Debug, Default)]
struct Counted(Arc<AtomicUsize>);

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

/// An execution that ends when the test says so, and records wakes and its drop.
#[derive(Clone, Default)]
struct Scripted {
    state: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    output: Option<Counted>,
    panics: bool,
    polls: usize,
    waker: Option<Waker>,
    dropped: bool,
}

struct Running(Scripted);

impl Future for Running {
    type Output = Counted;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Counted> {
        let mut script = self.0.state.lock().unwrap();
        script.polls += 1;
        assert!(!std::mem::take(&mut script.panics), "the execution panics");
        match script.output.take() {
            Some(output) => Poll::Ready(output),
            None => {
                script.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After a panic in `poll` the mutex is poisoned.
        self.0
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .dropped = true;
    }
}

fn launched(
    future: impl Future<Output = Counted> + Send + 'static,
) -> (Arc<Flight<Counted>>, Caller<Counted>) {
    let flight = Flight::new();
    let first = flight.leader();
    first.launch(|| Box::pin(future));
    (flight, first)
}

impl Scripted {
    fn fly(&self) -> (Arc<Flight<Counted>>, Caller<Counted>) {
        launched(Running(self.clone()))
    }

    fn finish(&self) -> Arc<AtomicUsize> {
        let output = Counted::default();
        let clones = output.0.clone();
        let waker = {
            let mut script = self.state.lock().unwrap();
            script.output = Some(output);
            script.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
        clones
    }

    fn dropped(&self) -> bool {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .dropped
    }
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A caller and its task's wakes.
struct Task {
    caller: Caller<Counted>,
    woken: Arc<Woken>,
}

impl Task {
    fn new(caller: Caller<Counted>) -> Self {
        Self {
            caller,
            woken: Arc::default(),
        }
    }

    fn poll(&mut self) -> Poll<Counted> {
        self.woken.0.store(0, Ordering::Relaxed);
        let waker = Waker::from(self.woken.clone());
        let polled = self.caller.poll(&mut Context::from_waker(&waker));
        polled.map(|output| output.expect("the joined execution panicked"))
    }

    fn is_woken(&self) -> bool {
        self.woken.0.load(Ordering::Relaxed) > 0
    }
}

#[test]
fn one_caller_gets_the_output_itself() {
    let execution = Scripted::default();
    let (_, first) = execution.fly();
    let mut first = Task::new(first);
    assert!(first.poll().is_pending());
    let clones = execution.finish();
    assert!(first.is_woken());
    assert!(first.poll().is_ready());
    assert!(execution.dropped());
    assert_eq!(clones.load(Ordering::Relaxed), 0);
}

#[test]
fn a_flight_that_is_over_cannot_be_joined() {
    let execution = Scripted::default();
    let (flight, first) = execution.fly();
    let second = flight.join();
    assert!(second.is_some());
    drop(first);
    assert!(!execution.dropped());
    drop(second);
    assert!(execution.dropped());
    assert!(flight.join().is_none());

    let execution = Scripted::default();
    let (flight, first) = execution.fly();
    let mut first = Task::new(first);
    let _waiting = flight.join();
    execution.finish();
    assert!(first.poll().is_ready());
    assert!(flight.join().is_none());
}

#[test]
fn a_panic_reaches_those_that_wait() {
    let execution = Scripted::default();
    let (flight, first) = execution.fly();
    let mut first = Task::new(first);
    let mut second = Task::new(flight.join().unwrap());
    assert!(first.poll().is_pending());
    assert!(second.poll().is_pending());
    let waker = {
        let mut script = execution.state.lock().unwrap();
        script.panics = true;
        script.waker.take()
    };
    waker.into_iter().for_each(Waker::wake);
    // As if another caller were polling it.
    let future = flight.state().future.take();
    assert!(second.poll().is_pending() && !second.is_woken());
    flight.state().future = future;
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || first.poll()));
    assert!(panicked.is_err());
    assert!(second.is_woken());
    let waits = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        second.poll().is_pending()
    }));
    assert!(waits.is_err(), "it does not wait for ever");
}

/// R64 A caller that leaves wakes no other caller, as each of them can drive the execution.
#[test]
fn a_caller_that_leaves_wakes_no_other() {
    const FOLLOWERS: usize = 10_000;
    type Order = fn(&mut Vec<Task>) -> Option<Task>;
    let from_the_end: Order = Vec::pop;
    let from_the_front: Order = |tasks| (!tasks.is_empty()).then(|| tasks.swap_remove(0));
    for order in [from_the_end, from_the_front] {
        let execution = Scripted::default();
        let (flight, first) = execution.fly();
        let mut first = Task::new(first);
        assert!(first.poll().is_pending());
        let mut others: Vec<_> = (0..FOLLOWERS)
            .map(|_| Task::new(flight.join().unwrap()))
            .collect();
        assert!(others.iter_mut().all(|other| other.poll().is_pending()));
        assert_eq!(flight.followers(), FOLLOWERS);
        // An execution that is not woken is polled once, however many callers wait for it.
        assert_eq!(execution.state.lock().unwrap().polls, 1);
        let woken: Vec<_> = others.iter().map(|other| other.woken.clone()).collect();
        drop(first);
        while let Some(other) = order(&mut others) {
            drop(other);
        }
        assert!(
            woken
                .iter()
                .all(|woken| woken.0.load(Ordering::Relaxed) == 0)
        );
        assert!(execution.dropped());
        assert_eq!(flight.followers(), 0);
    }
}

/// R64 Each wake of the execution wakes every caller, and one of them polls it.
#[test]
fn a_wake_wakes_every_caller() {
    let execution = Scripted::default();
    let (flight, first) = execution.fly();
    let mut tasks = vec![Task::new(first)];
    tasks.extend((0..10).map(|_| Task::new(flight.join().unwrap())));
    assert!(tasks.iter_mut().all(|task| task.poll().is_pending()));
    for polls in 2..5 {
        let waker = execution.state.lock().unwrap().waker.take();
        waker.into_iter().for_each(Waker::wake);
        assert!(tasks.iter().all(Task::is_woken));
        assert!(tasks.iter_mut().all(|task| task.poll().is_pending()));
        assert_eq!(execution.state.lock().unwrap().polls, polls);
    }
}

/// R64 Callers that join before the launch wait for it, and learn of its success or failure.
#[test]
fn callers_wait_for_the_launch() {
    for fails in [false, true] {
        let execution = Scripted::default();
        let flight = Flight::new();
        let first = flight.leader();
        let mut second = Task::new(flight.join().unwrap());
        assert!(second.poll().is_pending());
        let launch = || {
            first.launch(|| {
                assert!(!fails, "there is none");
                Box::pin(Running(execution.clone()))
            });
        };
        let launched = std::panic::catch_unwind(std::panic::AssertUnwindSafe(launch));
        assert_eq!(launched.is_err(), fails);
        assert!(second.is_woken());
        if fails {
            let poll = std::panic::AssertUnwindSafe(|| second.poll());
            assert!(std::panic::catch_unwind(poll).is_err());
            assert!(flight.join().is_none());
        } else {
            execution.finish();
            assert!(second.poll().is_ready());
        }
    }
}

/// An execution that wakes itself in its first polls.
struct Restless(usize);

impl Future for Restless {
    type Output = Counted;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Counted> {
        if self.0 == 0 {
            return Poll::Ready(Counted::default());
        }
        self.0 -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// R64 A wake during a poll is not lost, and does not cause endless polling.
#[test]
fn an_execution_may_wake_itself() {
    let (flight, first) = launched(Restless(3));
    let mut first = Task::new(first);
    let mut second = Task::new(flight.join().unwrap());
    assert!(first.poll().is_pending());
    assert!(first.is_woken());
    // The first caller is set aside.
    assert!(second.poll().is_pending());
    assert!(second.is_woken());
    assert!(second.poll().is_pending());
    assert!(second.is_woken());
    assert!(second.poll().is_ready());
    assert!(first.is_woken() && first.poll().is_ready());
}

/// A waker that tries to lock the flight when it is woken and when it is dropped.
struct TriesLock {
    flight: Arc<Flight<Counted>>,
    locked: Arc<AtomicUsize>,
}

impl TriesLock {
    fn try_lock(&self) {
        if self.flight.state.try_lock().is_err() {
            self.locked.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Wake for TriesLock {
    fn wake(self: Arc<Self>) {
        self.try_lock();
    }
}

impl Drop for TriesLock {
    fn drop(&mut self) {
        self.try_lock();
    }
}

#[test]
fn wakers_are_woken_and_dropped_without_the_lock() {
    let locked = Arc::new(AtomicUsize::new(0));
    let execution = Scripted::default();
    let (flight, mut first) = execution.fly();
    let waker = || {
        Waker::from(Arc::new(TriesLock {
            flight: flight.clone(),
            locked: locked.clone(),
        }))
    };
    let mut others: Vec<_> = (0..4).map(|_| flight.join().unwrap()).collect();
    assert!(first.poll(&mut Context::from_waker(&waker())).is_pending());
    for _ in 0..2 {
        for other in &mut others {
            // A new waker each time, which replaces the previous one.
            assert!(other.poll(&mut Context::from_waker(&waker())).is_pending());
        }
    }
    drop(others.pop());
    drop(first);
    assert!(
        others[0]
            .poll(&mut Context::from_waker(&waker()))
            .is_pending()
    );
    execution.finish();
    for mut other in others {
        assert!(other.poll(&mut Context::from_waker(&waker())).is_ready());
    }
    assert_eq!(locked.load(Ordering::Relaxed), 0);
}

/// An execution that ends at once, and panics when it is dropped.
struct Ugly;

impl Future for Ugly {
    type Output = Counted;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Counted> {
        Poll::Ready(Counted::default())
    }
}

impl Drop for Ugly {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("in a drop"));
    }
}

#[test]
fn those_that_wait_get_the_output_though_the_execution_panics_when_it_is_dropped() {
    let (flight, first) = launched(Ugly);
    let mut first = Task::new(first);
    let mut waits = Task::new(flight.join().unwrap());
    // As if another caller were polling it.
    let future = flight.state().future.take();
    assert!(waits.poll().is_pending());
    flight.state().future = future;
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| first.poll()));
    assert!(panicked.is_err());
    assert!(waits.is_woken());
    assert!(waits.poll().is_ready());
}

#[derive(Clone, Debug)]
enum Action {
    Join,
    Poll(usize),
    Leave(usize),
    Wake,
    Finish,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => Just(Action::Join),
        8 => any::<usize>().prop_map(Action::Poll),
        3 => any::<usize>().prop_map(Action::Leave),
        2 => Just(Action::Wake),
        1 => Just(Action::Finish),
    ]
}

proptest! {
    /// R64 Callers come, are polled and leave in any order. The execution is dropped exactly when
    /// the last caller left, and each remaining caller gets the output, though all others are set
    /// aside.
    #[test]
    fn any_order(actions in proptest::collection::vec(action(), 0..60), one in any::<usize>()) {
        let execution = Scripted::default();
        let (flight, first) = execution.fly();
        let mut tasks = vec![Task::new(first)];
        let mut finished = false;
        for action in actions {
            match action {
                Action::Join => {
                    if let Some(caller) = flight.join() {
                        tasks.push(Task::new(caller));
                    }
                }
                Action::Poll(index) if !tasks.is_empty() => {
                    let index = index % tasks.len();
                    if tasks[index].poll().is_ready() {
                        prop_assert!(finished);
                        tasks.swap_remove(index);
                    }
                }
                Action::Leave(index) if !tasks.is_empty() => {
                    let index = index % tasks.len();
                    tasks.swap_remove(index);
                }
                Action::Wake => {
                    let waker = execution.state.lock().unwrap().waker.take();
                    waker.into_iter().for_each(Waker::wake);
                }
                Action::Finish if !finished => {
                    finished = true;
                    execution.finish();
                }
                _ => {}
            }
            if tasks.is_empty() {
                prop_assert!(execution.dropped());
            } else if !finished {
                prop_assert!(!execution.dropped());
            }
        }
        if !finished {
            execution.finish();
        }
        if tasks.is_empty() {
            return Ok(());
        }
        // One caller is polled as by a runtime: if it was woken, or was never polled. The others
        // are set aside.
        let one = one % tasks.len();
        let never_polled = Arc::strong_count(&tasks[one].woken) == 1;
        prop_assert!(never_polled || tasks[one].is_woken(), "it waits, and nothing wakes it");
        prop_assert!(tasks[one].poll().is_ready());
        tasks.swap_remove(one);
        for task in &mut tasks {
            let never_polled = Arc::strong_count(&task.woken) == 1;
            prop_assert!(never_polled || task.is_woken());
            prop_assert!(task.poll().is_ready());
        }
        prop_assert!(execution.dropped());
    }
}

/// A finished flight is reused once no caller and no waker has it, and keeps no state of its
/// previous execution.
#[test]
fn a_flight_is_reused_once_it_is_unreferenced() {
    let unusable = |flight: &Arc<Flight<Counted>>| {
        Flight::<Counted>::reuse(Arc::clone(flight) as Arc<dyn AnyFlight>).is_err()
    };
    let older = Scripted::default();
    let (flight, first) = older.fly();
    let (mut first, mut second) = (Task::new(first), Task::new(flight.join().unwrap()));
    assert!(first.poll().is_pending() && second.poll().is_pending());
    let waker = older.state.lock().unwrap().waker.clone().unwrap();
    let clones = older.finish();
    assert!(second.poll().is_ready() && first.poll().is_ready());
    assert_eq!(clones.load(Ordering::Relaxed), 1);
    let address = Arc::as_ptr(&flight);
    assert!(unusable(&flight), "its callers have it");
    drop((first, second));
    let flight = Flight::<()>::reuse(flight).err().expect("of another type");
    let flight = flight.downcast::<Flight<Counted>>().unwrap();
    assert!(unusable(&flight), "a waker has it");
    drop(waker);
    let Ok(flight) = Flight::<Counted>::reuse(flight) else {
        panic!("it has no other reference")
    };
    assert_eq!(Arc::as_ptr(&flight), address);

    let newer = Scripted::default();
    let first = flight.leader();
    first.launch(|| Box::pin(Running(newer.clone())));
    assert_eq!(flight.followers(), 0);
    let (mut first, mut second) = (Task::new(first), Task::new(flight.join().unwrap()));
    assert!(second.poll().is_pending() && first.poll().is_pending());
    newer.finish();
    assert!(first.is_woken() && second.is_woken());
    drop(first);
    assert!(second.poll().is_ready());
    assert!(newer.dropped() && flight.join().is_none());
}

/// A closed flight without an execution can be reused once its only caller left.
#[test]
fn a_closed_flight_is_reused() {
    let flight = Flight::<Counted>::new();
    let first = flight.leader();
    assert!(first.close() && flight.join().is_none());
    drop(first);
    let Ok(flight) = Flight::<Counted>::reuse(flight) else {
        panic!("it has no other reference")
    };
    let first = flight.leader();
    assert!(flight.join().is_some());
    assert_eq!(flight.followers(), 0);
    drop(first);
    assert!(flight.join().is_none());
}
