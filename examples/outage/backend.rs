//! The service that everybody calls: a number of workers behind a queue.
//!
//! It is made as services are that fail this way. It works off its queue in order, and it does not
//! know when a client has given up: the work is done all the same, for nobody. So where more comes
//! than it can do, and what comes waits longer than its client does, it works as hard as ever and
//! everything it does is in vain. Nothing in here says how long that lasts.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use fastrand::Rng;
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep},
};
use tower::Service;

use crate::{
    books::Books,
    chance::{self, Thrower},
    day::{Day, Health},
    failure::Failure,
};

/// The number of clients for each worker: at noon a bit less than half of the workers are busy.
const CLIENTS_PER_WORKER: u32 = 750;

/// How many may wait for each worker; the next one is sent away.
const QUEUE_PER_WORKER: usize = 20;

/// How long a request takes where nothing else is going on, give or take a half.
const WORK: Duration = Duration::from_secs(1);

/// By how much it takes longer when all workers are busy.
const CROWDED: f64 = 0.25;

/// How many times as long it takes in the brown-out.
const BROWN_OUT: f64 = 3.0;

/// The share of requests that fail on the best of days.
const BAD_LUCK: f64 = 0.005;

/// How long it takes to be refused.
const REFUSAL: Duration = Duration::from_millis(10);

/// What a client asks for. What it is makes no difference here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request;

type Answer = Result<(), Failure>;

#[derive(Clone, Debug)]
pub(crate) struct Backend {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    day: Day,
    books: Books,
    workers: usize,
    began: Instant,
    work: Mutex<Work>,
    /// Wakes one worker for each request.
    arrived: Notify,
}

#[derive(Debug)]
struct Work {
    queue: VecDeque<oneshot::Sender<Answer>>,
    busy: usize,
    rng: Rng,
}

impl Backend {
    /// Its workers are tasks of this runtime.
    pub(crate) fn start(day: Day, books: Books) -> Self {
        let workers = day.clients.div_ceil(CLIENTS_PER_WORKER) as usize;
        let shared = Arc::new(Shared {
            day,
            books,
            workers,
            began: Instant::now(),
            work: Mutex::new(Work {
                queue: VecDeque::new(),
                busy: 0,
                rng: Rng::with_seed(chance::seed(day.seed, Thrower::Backend, 0)),
            }),
            arrived: Notify::new(),
        });
        for _ in 0..workers {
            tokio::spawn(Arc::clone(&shared).work_off());
        }
        Self { shared }
    }
}

impl Shared {
    fn health(&self) -> Health {
        self.day.health(self.began.elapsed())
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn work_off(self: Arc<Self>) {
        loop {
            let Some((client, takes)) = self.next() else {
                self.arrived.notified().await;
                continue;
            };
            sleep(takes).await;
            let answer = self.finish();
            // Nobody may be there to hear it.
            let _ = client.send(answer);
        }
    }

    /// The request that came first, and how long it will take.
    fn next(&self) -> Option<(oneshot::Sender<Answer>, Duration)> {
        let mut work = self.work();
        let client = work.queue.pop_front()?;
        work.busy += 1;
        let crowded = 1.0 + CROWDED * work.busy as f64 / self.workers as f64;
        let takes = chance::about(WORK, 0.5, &mut work.rng).mul_f64(crowded);
        let takes = match self.health() {
            Health::Well => takes,
            Health::BrownOut => takes.mul_f64(BROWN_OUT),
            // What was waiting when it went down.
            Health::Down => REFUSAL,
        };
        Some((client, takes))
    }

    fn finish(&self) -> Answer {
        let mut work = self.work();
        work.busy -= 1;
        let is_lucky = work.rng.f64() >= BAD_LUCK;
        if self.health() != Health::Down && is_lucky {
            Ok(())
        } else {
            Err(Failure::Broken)
        }
    }

    /// Puts a request into the queue, if there is room.
    fn accept(&self) -> Result<oneshot::Receiver<Answer>, Failure> {
        self.books.note(|second| second.attempts += 1);
        if self.health() == Health::Down {
            return Err(Failure::Down);
        }
        let mut work = self.work();
        if work.queue.len() >= self.workers * QUEUE_PER_WORKER {
            return Err(Failure::Full);
        }
        let (client, answer) = oneshot::channel();
        work.queue.push_back(client);
        self.arrived.notify_one();
        Ok(answer)
    }
}

impl Service<Request> for Backend {
    type Response = ();
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Answer> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request) -> Self::Future {
        let accepted = self.shared.accept();
        Box::pin(async move {
            match accepted {
                Ok(answer) => answer.await.unwrap_or(Err(Failure::Broken)),
                Err(refused) => {
                    sleep(REFUSAL).await;
                    Err(refused)
                }
            }
        })
    }
}
