//! Random exchanges between the client stack and an origin: hyper at both ends.
//!
//! A world is a client with its calls, and an origin, both from one seed. A failure names the seed:
//! `EXCHANGES_SEED=7 cargo test -p tower-keep-tests --test http_client exchanges::memory::one_seed` runs
//! its world alone, and prints it.

mod check;
mod client;
mod memory;
mod origin;
mod plan;
mod record;
mod sockets;
mod totals;
mod transport;
mod upload;
mod wire;

use std::{fmt::Write, sync::Arc, time::Duration};

use self::{
    check::{Violation, check},
    client::Client,
    record::World,
};

/// A world after its last call.
struct Done {
    world: Arc<World>,
    violations: Vec<Violation>,
    /// How often circuits opened.
    opened: u64,
}

impl Done {
    /// Panics if a rule was broken.
    #[track_caller]
    fn assert_no_violation(&self) {
        let mut text = String::new();
        for violation in &self.violations {
            writeln!(text, "{violation}").unwrap();
        }
        let settings = &self.world.settings;
        assert!(
            text.is_empty(),
            "seed {}: {settings:#?}\n{text}",
            settings.seed
        );
    }
}

/// Makes all calls of a world, and checks it.
async fn run(world: Arc<World>, client: Client) -> Done {
    let seed = world.settings.seed;
    let client = Arc::new(client);
    let calls = world.calls.iter().cloned().map(|call| {
        let (world, client) = (world.clone(), client.clone());
        tokio::spawn(async move { client.call(world, call).await })
    });
    let all = futures::future::try_join_all(calls.collect::<Vec<_>>());
    let ended = tokio::time::timeout(Duration::from_secs(3600), all).await;
    let ended = ended.unwrap_or_else(|_| panic!("a call of seed {seed} never ends"));
    ended.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let violations = check(&world, &client);
    let circuits = client.circuits.circuits().into_iter();
    Done {
        violations,
        opened: circuits.map(|(_, circuit)| circuit.snapshot().opened).sum(),
        world,
    }
}
