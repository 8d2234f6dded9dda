//! Callers share an execution: each caller that stays gets the output, and the last one to leave
//! drops it.

use std::{sync::Arc, task::Poll};

use super::{Running, Script, Task, coalesce::flight::Flight};
use crate::run::{explore, spawn};

/// A driver and another that waits, each in a thread of its own, get the output; it is cloned for
/// no third.
pub fn everybody_gets_the_output() {
    let seen = explore(|| {
        let script = Script::new();
        let (flight, first) = script.fly();
        let tasks = [first, flight.join().unwrap()].map(Task::new);
        let threads = tasks.map(|task| {
            spawn(move || {
                let output = task.output();
                // What the other does with its own share is to be seen from here.
                output.clones();
                output
            })
        });
        script.finish();
        let [first, second] = threads.map(|thread| thread.join());
        assert!(Arc::ptr_eq(&first.0, &second.0));
        assert_eq!(script.drops(), 1);
        assert!(flight.join().is_none());
        first.clones()
    });
    // Who takes it while another clones it cannot wait for that one to be done.
    assert_eq!(seen, [1, 2].into());
}

/// Two who wait are both woken when it lands.
pub fn everybody_who_waits_is_woken() {
    let seen = explore(|| {
        let script = Script::new();
        let (flight, first) = script.fly();
        let mut first = Task::new(first);
        let mut waiting = [(); 2].map(|()| Task::new(flight.join().unwrap()));
        assert!(first.poll().is_pending());
        assert!(waiting.iter_mut().all(|task| task.poll().is_pending()));
        let threads = waiting.map(|task| spawn(move || task.woken()));
        script.finish();
        let output = first.woken();
        for thread in threads {
            thread.join();
        }
        assert_eq!(script.drops(), 1);
        output.clones()
    });
    assert_eq!(seen, [2, 3].into());
}

/// Who comes as it lands joins it or finds it over.
pub fn joining_comes_before_or_after_the_landing() {
    let seen = explore(|| {
        let script = Script::done();
        let (flight, first) = script.fly();
        let driving = spawn(move || Task::new(first).output());
        let joined = flight.join().map(|caller| Task::new(caller).output());
        driving.join();
        assert_eq!(script.drops(), 1);
        joined.is_some()
    });
    assert_eq!(seen, [false, true].into());
}

/// The caller that polled it last leaves as it lands: a caller that waits gets the output.
pub fn one_that_polled_it_leaves() {
    explore(|| {
        let script = Script::new();
        let (flight, first) = script.fly();
        let mut first = Task::new(first);
        let mut second = Task::new(flight.join().unwrap());
        assert!(first.poll().is_pending());
        assert!(second.poll().is_pending());
        let leaving = spawn(move || drop(first));
        let waiting = spawn(move || second.woken());
        script.finish();
        leaving.join();
        assert!(waiting.join().clones() < 2);
        assert_eq!(script.drops(), 1);
    });
}

/// So does a caller that comes as it leaves.
pub fn one_that_polled_it_leaves_as_another_comes() {
    explore(|| {
        let script = Script::new();
        let (flight, first) = script.fly();
        let mut first = Task::new(first);
        let second = Task::new(flight.join().unwrap());
        assert!(first.poll().is_pending());
        let leaving = spawn(move || drop(first));
        let waiting = spawn(move || second.output());
        script.finish();
        leaving.join();
        waiting.join();
        assert_eq!(script.drops(), 1);
    });
}

/// R64 A caller gets the output by itself, though the caller that polled it last is set aside.
pub fn a_caller_gets_it_by_itself() {
    explore(|| {
        let script = Script::new();
        let (flight, first) = script.fly();
        let mut aside = Task::new(first);
        let polled = Task::new(flight.join().unwrap());
        assert!(aside.poll().is_pending());
        let going_on = spawn(move || polled.output());
        script.finish();
        going_on.join();
        assert_eq!(script.drops(), 1);
        aside.woken();
    });
}

/// Who joins before the execution is there waits for it.
pub fn joining_comes_before_or_after_the_launch() {
    explore(|| {
        let script = Script::done();
        let flight = Flight::new();
        let first = flight.leader();
        let second = Task::new(flight.join().unwrap());
        let waiting = spawn(move || second.output());
        let running = Arc::clone(&script);
        first.launch(|| Box::pin(Running(running)));
        Task::new(first).output();
        waiting.join();
        assert_eq!(script.drops(), 1);
    });
}

/// A caller that waits may leave as it lands.
pub fn one_that_waits_leaves() {
    explore(|| {
        let script = Script::done();
        let (flight, first) = script.fly();
        let mut leaving = Task::new(flight.join().unwrap());
        let waiting = Task::new(flight.join().unwrap());
        let leaving = spawn(move || {
            let polled = leaving.poll();
            matches!(polled, Poll::Ready(_))
        });
        let waiting = spawn(move || waiting.output());
        let output = Task::new(first).output();
        leaving.join();
        waiting.join();
        assert!(output.clones() <= 3);
        assert_eq!(script.drops(), 1);
    });
}

/// R64 Of three that wait one is set aside for good, and one leaves as the execution is woken: the
/// third is woken, and needs no other.
pub fn one_is_set_aside_and_one_leaves() {
    explore(|| {
        let script = Script::new();
        let (flight, first) = script.fly();
        let [mut aside, mut leaving, mut waiting] =
            [first, flight.join().unwrap(), flight.join().unwrap()].map(Task::new);
        assert!(waiting.poll().is_pending());
        assert!(leaving.poll().is_pending());
        assert!(aside.poll().is_pending());
        let leaving = spawn(move || drop(leaving));
        let waiting = spawn(move || waiting.woken());
        script.finish();
        waiting.join();
        leaving.join();
        assert_eq!(script.drops(), 1);
        assert!(aside.poll().is_ready());
    });
}

/// The last one drops it, once, and never while another polls it.
pub fn the_last_to_leave_drops_it() {
    explore(|| {
        let script = Script::new();
        let (flight, first) = script.fly();
        let mut tasks = [first, flight.join().unwrap(), flight.join().unwrap()].map(Task::new);
        assert!(tasks[0].poll().is_pending());
        let [first, mut second, mut third] = tasks;
        let threads = [
            spawn(move || drop(first)),
            spawn(move || {
                assert!(second.poll().is_pending());
            }),
        ];
        assert!(third.poll().is_pending());
        assert_eq!(script.drops(), 0);
        drop(third);
        for thread in threads {
            thread.join();
        }
        assert_eq!(script.drops(), 1);
        assert!(flight.join().is_none());
    });
}

/// Who joins as the last one leaves keeps it, or finds it dropped.
pub fn joining_comes_before_or_after_the_last_left() {
    let seen = explore(|| {
        let script = Script::new();
        let (flight, first) = script.fly();
        let mut first = Task::new(first);
        assert!(first.poll().is_pending());
        let leaving = spawn(move || drop(first));
        let joined = flight.join();
        let kept = joined.is_some();
        if let Some(caller) = joined {
            assert_eq!(script.drops(), 0);
            script.finish();
            Task::new(caller).output();
        }
        leaving.join();
        assert_eq!(script.drops(), 1);
        kept
    });
    assert_eq!(seen, [false, true].into());
}

/// A waker of an older execution wakes a flight. The flight serves another execution after that, or
/// not at all.
pub fn serving_again_comes_before_or_after_an_older_waker() {
    let seen = explore(|| {
        let older = Script::new();
        let (flight, first) = older.fly();
        let mut first = Task::new(first);
        assert!(first.poll().is_pending());
        let waking = spawn(move || {
            older.finish();
            older.drops()
        });
        drop(first);
        let used = Flight::reuse(flight);
        let again = used.is_ok();
        let flight = used.unwrap_or_else(|_| Flight::new());
        let newer = Script::new();
        let first = flight.leader();
        let running = Arc::clone(&newer);
        first.launch(|| Box::pin(Running(running)));
        let mut first = Task::new(first);
        assert!(first.poll().is_pending());
        let second = Task::new(flight.join().unwrap());
        let waiting = spawn(move || second.output());
        newer.finish();
        first.woken();
        waiting.join();
        assert!(waking.join() <= 1);
        assert_eq!(newer.drops(), 1);
        again
    });
    assert_eq!(seen, [false, true].into());
}
