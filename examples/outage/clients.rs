//! Those who call: half of them people, half of them timed jobs.
//!
//! Each is a task with a service of its own, a clone of the one stack, and calls in a rhythm that
//! follows the day. It waits for an answer as long as its patience lasts. A timed job that failed
//! waits for its next turn; a person comes back once, a minute or two later.

use std::time::Duration;

use fastrand::Rng;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tower::{Service, ServiceExt};

use crate::{
    backend::Request,
    books::Books,
    chance::{self, Thrower},
    day::Day,
    failure::Failure,
};

/// By how much the rhythm varies, each time.
const JITTER: f64 = 0.25;

/// How long a client waits for an answer; each has a patience of its own.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(20));

/// When a person comes back after a failure.
const COME_BACK: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(180));

struct Client<S> {
    stack: S,
    day: Day,
    books: Books,
    began: Instant,
    rng: Rng,
    patience: Duration,
    is_person: bool,
}

/// Lets all clients live through the day.
pub(crate) async fn live_through<S>(day: Day, stack: S, books: &Books)
where
    S: Service<Request, Response = (), Error = Failure, Future: Send> + Clone + Send + 'static,
{
    let mut clients = JoinSet::new();
    for number in 0..day.clients {
        let mut rng = Rng::with_seed(chance::seed(day.seed, Thrower::Client, number));
        let client = Client {
            stack: stack.clone(),
            day,
            books: books.clone(),
            began: Instant::now(),
            patience: chance::between(PATIENCE.0, PATIENCE.1, &mut rng),
            rng,
            is_person: number % 2 == 0,
        };
        clients.spawn(client.live());
    }
    while clients.join_next().await.is_some() {}
}

impl<S> Client<S>
where
    S: Service<Request, Response = (), Error = Failure>,
{
    async fn live(mut self) {
        let end = self.began + self.day.length();
        // Somewhere between two turns when the day begins.
        let mut turn = self.began + self.pause().mul_f64(self.rng.f64());
        while turn < end {
            sleep_until(turn).await;
            if !self.call().await && self.is_person {
                let back = chance::between(COME_BACK.0, COME_BACK.1, &mut self.rng);
                sleep_until((Instant::now() + back).min(end)).await;
                if Instant::now() < end {
                    self.call().await;
                }
            }
            turn = Instant::now() + self.pause();
        }
    }

    /// From one turn to the next.
    fn pause(&mut self) -> Duration {
        let rhythm = self.day.rhythm(self.began.elapsed());
        chance::about(rhythm, JITTER, &mut self.rng)
    }

    /// One call; whether it succeeded.
    async fn call(&mut self) -> bool {
        let made = self.books.note(|second| second.calls += 1);
        let call = async {
            let stack = self.stack.ready().await?;
            stack.call(Request).await
        };
        let succeeded = matches!(timeout(self.patience, call).await, Ok(Ok(())));
        if succeeded {
            self.books.note(|second| second.answered += 1);
            self.books.note_at(made, |second| second.fulfilled += 1);
        }
        succeeded
    }
}
