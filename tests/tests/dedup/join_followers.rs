//! What followers see of an execution, and what they cost.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use tokio::sync::Notify;
use tower::{Layer, Service, ServiceBuilder, limit::ConcurrencyLimitLayer};
use tower_keep::{
    BoxError, CancelLayer, DedupLayer, Event, EventKind, Job, LogLayer, Observer, ProgressLayer,
    RetryLayer, progress::JobState,
};
use tower_keep_test::{Polled, Recorder, Scripted};
use tower_keep_tests::*;

/// Says how far it is each second, and begins a step in the middle.
async fn reports(job: Job, seconds: u32) -> Result<u32, BoxError> {
    for second in 0..seconds {
        if second == seconds / 2 {
            let step = job.step("half", async { Ok::<_, BoxError>(()) });
            step.await?;
        }
        job.progress(f64::from(second) / f64::from(seconds));
        tokio::time::sleep(secs(1)).await;
    }
    Ok(seconds)
}

fn fractions(kinds: &[EventKind]) -> Vec<f64> {
    kinds
        .iter()
        .filter_map(|kind| match kind {
            EventKind::Progress(report) => report.fraction(),
            _ => None,
        })
        .collect()
}

fn assert_in_order(recorder: &Recorder) {
    for job in recorder.jobs() {
        let numbers: Vec<_> = recorder
            .events_of(job)
            .iter()
            .map(|event| event.seq)
            .collect();
        assert!(
            numbers.iter().copied().eq(0..numbers.len() as u64),
            "{numbers:?}"
        );
    }
}

/// R40b, R51: a follower sees what the work reports, from the moment it joins, the last report at
/// once; and it never starts.
#[tokio::test(start_paused = true)]
async fn followers_see_what_the_work_reports() {
    let (log, recorder) = recording();
    let progress = ProgressLayer::new();
    let board = progress.handle();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(progress)
        .layer(DedupLayer::new(|key: &u32| Some(*key)).join())
        .service(code(reports));
    let first = tokio::spawn(begin(&mut service, 4).await);
    let early = tokio::spawn(begin(&mut service, 4).await);
    tokio::time::sleep(ms(2500)).await;
    let late = begin(&mut service, 4).await;
    let [first_job, early_job, late_job] = recorder.jobs()[..] else {
        panic!("three jobs")
    };
    // At once: without a poll.
    recorder.assert_names_of(
        late_job,
        [
            "dispatched",
            "duplicate",
            "step_started",
            "step_succeeded",
            "progress",
        ],
    );
    for job in [early_job, late_job] {
        let view = board.find(job).unwrap();
        assert_eq!(
            (view.state, view.report.fraction().unwrap()),
            (JobState::Joined, 0.5)
        );
    }
    assert_eq!(board.find(first_job).unwrap().state, JobState::Running);
    assert_eq!(late.await.unwrap(), 4);
    assert_eq!(early.await.unwrap().unwrap(), 4);
    assert_eq!(first.await.unwrap().unwrap(), 4);

    assert_eq!(fractions(&recorder.kinds_of(late_job)), [0.5, 0.75]);
    let reported = |job| {
        let events = recorder.events_of(job).into_iter();
        let reports = events.filter(|event| {
            let names = ["progress", "step_started", "step_succeeded"];
            names.contains(&event.kind.name())
        });
        reports
            .map(|event| (event.kind, event.step))
            .collect::<Vec<_>>()
    };
    assert_eq!(reported(early_job), reported(first_job));
    assert_eq!(reported(first_job).len(), 6);
    let steps: Vec<_> = reported(late_job)
        .into_iter()
        .filter_map(|(_, step)| step.map(|step| step.name))
        .collect();
    assert_eq!(
        steps.iter().map(|name| &**name).collect::<Vec<_>>(),
        ["half", "half"]
    );
    for job in [early_job, late_job] {
        assert!(!recorder.names_of(job).contains(&"started"));
    }
    assert_in_order(&recorder);
    recorder.assert_one_terminal_each();
}

/// R54b: the work's reports reach the followers that wait when the leader, whose job has ended, is
/// gone; a follower that left gets none.
#[tokio::test(start_paused = true)]
async fn reports_go_on_when_the_first_caller_left() {
    let (log, recorder) = recording();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(DedupLayer::new(|key: &u32| Some(*key)).join())
        .service(code(reports));
    let mut callers = Vec::new();
    for _ in 0..3 {
        callers.push(tokio::spawn(begin(&mut service, 4).await));
    }
    for caller in &callers[..2] {
        tokio::time::sleep(ms(1010)).await;
        caller.abort();
    }
    // Joins an execution whose own job is over.
    let late = tokio::spawn(begin(&mut service, 4).await);
    assert_eq!(callers.pop().unwrap().await.unwrap().unwrap(), 4);
    assert_eq!(late.await.unwrap().unwrap(), 4);
    let told: Vec<_> = recorder
        .jobs()
        .into_iter()
        .map(|job| fractions(&recorder.kinds_of(job)))
        .collect();
    let expected: [&[f64]; 4] = [
        &[0.0, 0.25],
        &[0.0, 0.25, 0.5],
        &[0.0, 0.25, 0.5, 0.75],
        &[0.5, 0.75],
    ];
    assert_eq!(told, expected);
    assert_in_order(&recorder);
    recorder.assert_one_terminal_each();
}

/// A follower of the second execution does not get what the first execution reported, though one
/// job leads both.
#[tokio::test(start_paused = true)]
async fn another_attempt_is_another_execution() {
    let (log, recorder) = recording();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(RetryLayer::new())
        .layer(DedupLayer::new(|key: &u32| Some(*key)).join())
        .service(code(|job, n| async move {
            if job.attempt() == 1 {
                job.progress(0.9);
                return Err("again".into());
            }
            tokio::time::sleep(secs(1)).await;
            job.progress(0.1);
            Ok(n)
        }));
    let first = tokio::spawn(begin(&mut service, 1).await);
    tokio::time::sleep(ms(1500)).await;
    assert_eq!(begin(&mut service, 1).await.await.unwrap(), 1);
    assert_eq!(first.await.unwrap().unwrap(), 1);
    let [first, second] = recorder.jobs()[..] else {
        panic!("two jobs")
    };
    assert_eq!(fractions(&recorder.kinds_of(first)), [0.9, 0.1]);
    assert_eq!(fractions(&recorder.kinds_of(second)), [0.1]);
}

/// Where a follower has followers of its own, they see the work too.
#[tokio::test(start_paused = true)]
async fn followers_of_followers_see_it_too() {
    let (log, recorder) = recording();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(DedupLayer::new(|key: &u32| Some(*key)).join())
        .layer(DedupLayer::new(|key: &u32| Some(*key % 10)).join())
        .service(code(|job, _| reports(job, 2)));
    let mut callers = Vec::new();
    for request in [1, 11, 11] {
        callers.push(tokio::spawn(begin(&mut service, request).await));
        tokio::task::yield_now().await;
    }
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap(), 2);
    }
    let jobs = recorder.jobs();
    assert_eq!(jobs.len(), 3);
    for job in jobs {
        assert_eq!(fractions(&recorder.kinds_of(job)), [0.0, 0.5]);
    }
    assert_in_order(&recorder);
}

/// An observer may call what it observes: an observer that reports in a follower's job, in the job
/// that works, or joins once more, does not hang, and each job's events stay in order.
#[tokio::test(start_paused = true)]
async fn an_observer_of_a_follower_may_report_and_join() {
    let recorder = Recorder::new();
    let seen = recorder.clone();
    let work: Arc<OnceLock<Job>> = Arc::default();
    let working = work.clone();
    let service: Arc<OnceLock<Mutex<Stack>>> = Arc::default();
    let calls: Arc<Mutex<Vec<_>>> = Arc::default();
    let (again, joined) = (service.clone(), calls.clone());
    let observer = move |event: &Event| {
        seen.on_event(event);
        let EventKind::Progress(report) = &event.kind else {
            return;
        };
        if report.fraction() != Some(0.0) || work.get().unwrap().id() == Some(event.job) {
            return;
        }
        if joined.lock().unwrap().len() < 3 {
            let call = again.get().unwrap().lock().unwrap().call(2);
            let mut joined = joined.lock().unwrap();
            joined.push(call);
            let further = 0.1 * joined.len() as f64;
            drop(joined);
            work.get().unwrap().progress(further);
        }
    };
    let stack = ServiceBuilder::new()
        .layer(LogLayer::to(observer))
        .layer(DedupLayer::new(|key: &u32| Some(*key)).join())
        .service(code(move |job, n| {
            let _ = working.set(job.clone());
            reports(job, n)
        }));
    let mut caller = stack.clone();
    assert!(service.set(Mutex::new(Stack::new(stack))).is_ok());
    let first = tokio::spawn(begin(&mut caller, 2).await);
    assert_eq!(begin(&mut caller, 2).await.await.unwrap(), 2);
    assert_eq!(first.await.unwrap().unwrap(), 2);
    let joined = std::mem::take(&mut *calls.lock().unwrap());
    assert!(!joined.is_empty());
    for call in joined {
        assert_eq!(call.await.unwrap(), 2);
    }
    for job in recorder.jobs() {
        let told = fractions(&recorder.kinds_of(job));
        assert!(told.len() > 2, "{told:?}");
        assert!(told.is_sorted_by(|one, next| one < next), "{told:?}");
    }
    assert_in_order(&recorder);
    recorder.assert_one_terminal_each();
}

/// No follower gets a report where the job begins inside the layer, or no layer tracks it. The
/// calls get their results.
#[tokio::test(start_paused = true)]
async fn a_job_inside_has_no_followers() {
    let (log, recorder) = recording();
    let mut service = DedupLayer::new(|key: &u32| Some(*key))
        .join()
        .layer(log.layer(code(reports)));
    let (first, second) = (begin(&mut service, 2).await, begin(&mut service, 2).await);
    let (first, second) = tokio::join!(first, second);
    assert_eq!((first.unwrap(), second.unwrap()), (2, 2));
    assert_eq!(recorder.jobs().len(), 1);
    assert_in_order(&recorder);
}

/// Counts its polls.
struct Counted<F> {
    future: Pin<Box<F>>,
    polls: Arc<AtomicUsize>,
}

impl<F> Counted<F> {
    fn new(future: F) -> (Self, Arc<AtomicUsize>) {
        let polls = Arc::new(AtomicUsize::new(0));
        let counted = Self {
            future: Box::pin(future),
            polls: polls.clone(),
        };
        (counted, polls)
    }
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        self.future.as_mut().poll(cx)
    }
}

/// R51, R64: a follower is polled once for each wake of the work, and never between: three times at
/// most in an hour of work that is not woken, and it sees each report.
#[tokio::test(start_paused = true)]
async fn a_follower_is_left_alone_for_an_hour() {
    let (log, recorder) = recording();
    let mut service = ServiceBuilder::new()
        .layer(log)
        .layer(CancelLayer::new())
        .layer(DedupLayer::new(|key: &u32| Some(*key)).join())
        .service(code(|job, wakes| async move {
            // The reports come from elsewhere, and wake nobody.
            let reporter = tokio::spawn({
                let job = job.clone();
                async move {
                    for second in 0..3600 {
                        tokio::time::sleep(secs(1)).await;
                        job.progress(f64::from(second) / 3600.0);
                    }
                }
            });
            for _ in 0..wakes {
                tokio::time::sleep(secs(60)).await;
            }
            reporter.await?;
            Ok(wakes)
        }));
    for wakes in [0, 10] {
        let first = tokio::spawn(begin(&mut service, wakes).await);
        let (second, polls) = Counted::new(begin(&mut service, wakes).await);
        assert_eq!(tokio::spawn(second).await.unwrap().unwrap(), wakes);
        assert_eq!(first.await.unwrap().unwrap(), wakes);
        let polls = polls.load(Ordering::Relaxed);
        assert!(polls <= 3 + wakes as usize, "{polls} polls");
        let jobs = recorder.jobs();
        let follower = jobs[jobs.len() - 1];
        assert_eq!(fractions(&recorder.kinds_of(follower)).len(), 3600);
    }
}

/// Counts its clones.
#[derive(Debug)]
struct Answer(Arc<AtomicUsize>);

impl Clone for Answer {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

/// R54, R64: ten thousand callers of one key are one execution; each gets the result, which is
/// cloned only for the followers; each is polled when it calls and once for each wake of the
/// execution, and in between the thread is free.
#[tokio::test(start_paused = true)]
async fn ten_thousand_followers() {
    const CALLERS: usize = 10_000;
    let executions = Arc::new(AtomicUsize::new(0));
    let clones = Arc::new(AtomicUsize::new(0));
    let landing = Arc::new(Notify::new());
    let (executed, answers, lands) = (executions.clone(), clones.clone(), landing.clone());
    let inner = tower::service_fn(move |_: u32| {
        executed.fetch_add(1, Ordering::Relaxed);
        let (answer, lands) = (Answer(answers.clone()), lands.clone());
        async move {
            for second in 0..3 {
                Job::current().progress(f64::from(second) / 3.0);
                tokio::time::sleep(secs(1)).await;
            }
            lands.notify_waiters();
            Ok::<_, BoxError>(answer)
        }
    });
    let dedup = DedupLayer::new(|key: &u32| Some(*key)).join();
    let mut service = ServiceBuilder::new()
        .layer(CancelLayer::new())
        .layer(dedup.clone())
        .service(inner);
    assert_eq!(clones.load(Ordering::Relaxed), 0);
    begin(&mut service, 1).await.await.unwrap();
    assert_eq!(clones.load(Ordering::Relaxed), 0, "nobody joined");

    let mut callers = Vec::new();
    let mut polls = Vec::new();
    for _ in 0..CALLERS {
        let (caller, polled) = Counted::new(begin(&mut service, 1).await);
        callers.push(tokio::spawn(caller));
        polls.push(polled);
    }
    // Another task of the thread: how many polls of callers it finds each time it is given a turn.
    let polls_so_far = {
        let polls = polls.clone();
        move || {
            polls
                .iter()
                .map(|polls| polls.load(Ordering::Relaxed))
                .sum::<usize>()
        }
    };
    let other = tokio::spawn(async move {
        let mut turns = Vec::new();
        for _ in 0..29 {
            tokio::time::sleep(ms(100)).await;
            turns.push(polls_so_far());
        }
        landing.notified().await;
        turns.push(polls_so_far());
        tokio::task::yield_now().await;
        turns.push(polls_so_far());
        turns
    });
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    let turns = other.await.unwrap();
    let of_followers = |turns: &[usize]| turns.last().unwrap() - turns[0];
    // Between two wakes of the work, which come each second, no caller is polled.
    for second in [&turns[..9], &turns[10..19], &turns[20..29]] {
        assert_eq!(of_followers(second), 0, "{turns:?}");
    }
    // What is due as it is woken waits for one poll of each at most.
    for wake in [&turns[8..11], &turns[18..21], &turns[28..30], &turns[29..]] {
        assert!(of_followers(wake) <= CALLERS, "{turns:?}");
    }
    assert_eq!(executions.load(Ordering::Relaxed), 2);
    assert_eq!(clones.load(Ordering::Relaxed), CALLERS - 1);
    let polls: Vec<_> = polls
        .iter()
        .map(|polls| polls.load(Ordering::Relaxed))
        .collect();
    assert!(polls.iter().all(|polls| *polls <= 5), "{polls:?}");
    assert_eq!(dedup.in_flight(), 0);
}

/// R51: followers hold nothing of the inner service: with one place, the next key's call gets it
/// when the execution ends; with two, at once.
#[tokio::test(start_paused = true)]
async fn followers_hold_no_readiness() {
    for places in [1, 2] {
        let inner = Scripted::<u32, u32>::new()
            .answer_after(secs(2), 1)
            .answer_after(secs(1), 2);
        let calls = inner.calls();
        let mut service = ServiceBuilder::new()
            .layer(DedupLayer::new(|key: &u32| Some(*key)).join())
            .layer(ConcurrencyLimitLayer::new(places))
            .service(inner.strict());
        let first = tokio::spawn(begin(&mut service, 1).await);
        tokio::task::yield_now().await;
        let mut followers = Vec::new();
        for _ in 0..10 {
            let mut follower = Polled::new(begin(&mut service, 1).await);
            follower.assert_waiting();
            followers.push(follower);
        }
        let other = begin(&mut service, 2).await;
        let start = tokio::time::Instant::now();
        assert_eq!(other.await.unwrap(), 2);
        let took = if places == 1 { secs(3) } else { secs(1) };
        assert_eq!(start.elapsed(), took);
        assert_eq!(first.await.unwrap().unwrap(), 1);
        for follower in followers {
            assert_eq!(follower.await.unwrap(), 1);
        }
        assert_eq!(calls.count(), 2);
    }
}
