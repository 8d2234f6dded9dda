//! 81,000 jobs with few keys, in all modes at once: callers that leave, are cancelled, run into
//! limits and are retried.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tower::{Layer, ServiceBuilder, ServiceExt, util::BoxCloneSyncService};
use tower_keep::{
    BoxError, CancelLayer, CancelReason, DedupLayer, Event, JobId, LogLayer, ProgressLayer,
    RetryLayer, TimeoutLayer, cancel::CancelHandle, dedup::Duplicate, find,
};
use tower_keep_tests::*;

const JOBS: usize = 81_000;
const MODES: usize = 5;
const KEYS: u32 = 300;

type Keyed = BoxCloneSyncService<u32, u32, BoxError>;

/// How often each key is executed right now.
#[derive(Clone)]
struct Executions {
    running: Arc<Mutex<HashMap<u32, u32>>>,
    /// A newer call may begin before the older call that it replaces is dropped.
    replaces: bool,
}

struct Executing {
    all: Executions,
    key: u32,
}

impl Executions {
    fn new(replaces: bool) -> Self {
        let running = Arc::default();
        Self { running, replaces }
    }

    fn begin(&self, key: u32) -> Executing {
        let running = {
            let mut all = self.running.lock().unwrap();
            let running = all.entry(key).or_default();
            *running += 1;
            *running
        };
        assert!(
            running == 1 || self.replaces,
            "key {key} is executed {running} times at once"
        );
        Executing {
            all: self.clone(),
            key,
        }
    }
}

impl Drop for Executing {
    fn drop(&mut self) {
        let mut all = self.all.running.lock().unwrap();
        if let Some(running) = all.get_mut(&self.key) {
            *running -= 1;
        }
    }
}

/// Answers with the key, after a while; some attempts fail, and some never end.
fn service(executions: &Executions, seed: u64) -> Keyed {
    let executions = executions.clone();
    let chance = Arc::new(Mutex::new(fastrand::Rng::with_seed(seed)));
    let service = tower::service_fn(move |key: u32| {
        let (takes, fails) = {
            let mut chance = chance.lock().unwrap();
            (chance.u64(0..4_000), chance.u8(0..10))
        };
        let executing = executions.begin(key);
        async move {
            let _executing = executing;
            if takes > 100 {
                tokio::time::sleep(ms(takes)).await;
            }
            match fails {
                0 | 1 => Err(BoxError::from("busy")),
                2 => std::future::pending().await,
                _ => Ok(key),
            }
        }
    });
    BoxCloneSyncService::new(service)
}

fn attempts(inner: Keyed) -> Keyed {
    let stack = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(8)))
        .layer(RetryLayer::new().max_retries(2).base_delay(ms(100)))
        .layer(TimeoutLayer::new(secs(3)).per_attempt())
        .service(inner);
    BoxCloneSyncService::new(stack)
}

/// Whether each job had one beginning and one end.
#[derive(Clone, Default)]
struct Ends(Arc<Mutex<HashMap<JobId, (u32, u32)>>>);

impl Ends {
    fn see(&self, event: &Event) {
        let mut all = self.0.lock().unwrap();
        let (began, ended) = all.entry(event.job).or_default();
        *began += u32::from(event.seq == 0);
        *ended += u32::from(event.kind.is_terminal());
    }
}

/// One mode's stack, and what has to be empty at its end.
struct Stack {
    service: Keyed,
    cancel: CancelHandle,
    left: Box<dyn Fn() -> [usize; 3]>,
}

/// Around `dedup`, which has a handle.
macro_rules! stack {
    ($dedup:expr, $ends:expr, $seed:expr) => {
        stack!($dedup, $ends, $seed, false)
    };
    ($dedup:expr, $ends:expr, $seed:expr, $replaces:expr) => {{
        let (dedup, ends) = ($dedup, $ends.clone());
        let (progress, cancel) = (ProgressLayer::new(), CancelLayer::new());
        let (keys, board, handle) = (dedup.handle(), progress.handle(), cancel.handle());
        let stopping = handle.clone();
        let inner = attempts(service(&Executions::new($replaces), $seed));
        let service = ServiceBuilder::new()
            .layer(LogLayer::to(move |event: &Event| ends.see(event)))
            .layer(progress)
            .layer(cancel)
            .service(dedup.layer(inner));
        Stack {
            service: BoxCloneSyncService::new(service),
            cancel: handle,
            left: Box::new(move || {
                [
                    keys.in_flight().len(),
                    board.jobs().len(),
                    stopping.jobs().len(),
                ]
            }),
        }
    }};
}

/// R1, R2, R4, R64 Each call that stays gets the result of its key or an error that says why not,
/// no key is executed twice at once, and nothing is left behind.
#[tokio::test(start_paused = true)]
async fn many_jobs_come_to_their_ends() {
    let ends = Ends::default();
    let key = |key: &u32| Some(*key);
    let stacks = [
        stack!(DedupLayer::new(key), ends, 1),
        stack!(DedupLayer::new(key).join(), ends, 2),
        stack!(DedupLayer::new(key).join().cache(secs(5)), ends, 3),
        stack!(DedupLayer::new(key).latest(), ends, 4, true),
        stack!(DedupLayer::new(key).debounce(ms(300)), ends, 5),
    ];
    let mut chance = fastrand::Rng::with_seed(81);
    let mut callers = Vec::with_capacity(JOBS);
    for number in 0..JOBS {
        let stack = &stacks[number % MODES];
        let key = chance.u32(0..KEYS);
        let begins = ms(chance.u64(0..200_000));
        let leaves = (chance.u8(0..5) == 0).then(|| ms(chance.u64(0..3_000)));
        let cancels = chance.u8(0..20) == 0;
        let (service, cancel) = (stack.service.clone(), stack.cancel.clone());
        callers.push(tokio::spawn(async move {
            tokio::time::sleep(begins).await;
            if cancels {
                if let Some(job) = cancel.jobs().first() {
                    cancel.cancel_because(job.job, CancelReason::Requested);
                }
            }
            let call = service.oneshot(key);
            match leaves {
                Some(after) => tokio::time::timeout(after, call).await.ok(),
                None => Some(call.await),
            }
            .map(|result| (key, result))
        }));
    }
    let (mut answered, mut duplicates, mut failed, mut left) = (0, 0, 0, 0);
    for caller in callers {
        match caller.await.expect("nothing panics") {
            Some((key, Ok(answer))) => {
                assert_eq!(answer, key, "the result of another key");
                answered += 1;
            }
            Some((_, Err(error))) if find::<Duplicate>(&*error).is_some() => duplicates += 1,
            Some((_, Err(error))) => {
                assert!(!error.to_string().is_empty());
                failed += 1;
            }
            None => left += 1,
        }
    }
    for stack in &stacks {
        assert_eq!(
            (stack.left)(),
            [0; 3],
            "keys, jobs shown, jobs to be cancelled"
        );
    }
    assert_eq!(answered + duplicates + failed + left, JOBS);
    // Each end is there often, or the run shows little.
    for count in [answered, duplicates, failed, left] {
        assert!(count > JOBS / 50, "{answered} {duplicates} {failed} {left}");
    }
    let ends = ends.0.lock().unwrap();
    // A call that was dropped before its first poll is no job.
    assert!(
        ends.len() <= JOBS && ends.len() > JOBS * 9 / 10,
        "{}",
        ends.len()
    );
    for (job, seen) in ends.iter() {
        assert_eq!(*seen, (1, 1), "job {job}: beginnings and ends");
    }
}
