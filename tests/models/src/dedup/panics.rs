//! A panic of the execution leaves nobody waiting.
//!
//! A task's runtime catches the panic, and drops the caller thereafter. So do the models.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use super::{Task, coalesce::flight::Flight};
use crate::run::{explore, spawn};

/// Panics when it is polled, without a word.
struct Panicking;

impl Future for Panicking {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        resume_unwind(Box::new("the execution panics"));
    }
}

/// Whether a poll panicked, in the end.
fn panics(mut task: Task<()>) -> bool {
    loop {
        match catch_unwind(AssertUnwindSafe(|| task.poll())) {
            Ok(Poll::Ready(())) => return false,
            Ok(Poll::Pending) => task.sleeper.sleep(),
            Err(_) => return true,
        }
    }
}

/// All that wait learn of it, and nobody can join any more.
pub fn a_panic_reaches_everybody() {
    explore(|| {
        let flight = Flight::new();
        let first = flight.leader();
        first.launch(|| Box::pin(Panicking));
        let tasks = [first, flight.join().unwrap()].map(Task::new);
        let threads = tasks.map(|task| spawn(move || panics(task)));
        for thread in threads {
            assert!(thread.join());
        }
        assert!(flight.join().is_none());
    });
}

/// Who joins as it panics learns of it too, or finds the flight over.
pub fn a_panic_reaches_who_joins() {
    let seen = explore(|| {
        let flight = Flight::new();
        let first = flight.leader();
        first.launch(|| Box::pin(Panicking));
        let driving = spawn(move || panics(Task::new(first)));
        let joined = flight.join().map(|caller| panics(Task::new(caller)));
        assert!(driving.join());
        joined
    });
    assert_eq!(seen, [None, Some(true)].into());
}
