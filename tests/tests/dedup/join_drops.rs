//! Each caller of a joined execution leaves at each await point, in every order: for two and three
//! callers all schedules of joining, polling, leaving and the work's going on are tried, for fifty
//! some at random.

use tokio::runtime::Runtime;

use super::join_model::{Action, Kind, Outcome, Stack, World};

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

/// Tries every schedule of this many actions that goes on from here, and from each wait of the work
/// that comes then. Returns how many there were.
fn all_schedules(runtime: &Runtime, kind: Kind, mut begun: Vec<Action>, actions: usize) -> usize {
    let mut tried = 0;
    loop {
        let mut untried = vec![begun.clone()];
        while let Some(schedule) = untried.pop() {
            let mut world = World::new(runtime, kind);
            schedule.iter().for_each(|action| world.act(*action));
            if schedule.len() - begun.len() < actions {
                for action in world.actions() {
                    untried.push([&schedule[..], &[action]].concat());
                }
            }
            world.finish();
            tried += 1;
        }
        let mut world = World::new(runtime, kind);
        begun.iter().for_each(|action| world.act(*action));
        if world.running().is_none() || !world.can_advance() {
            return tried;
        }
        begun.extend([Action::Poll(0), Action::Advance]);
    }
}

fn each_order(stack: Stack, of_two: usize, of_three: usize) {
    let runtime = runtime();
    let _entered = runtime.enter();
    // The endings differ in the last steps only, so that shorter schedules do for two of them.
    for (outcome, less) in [(Outcome::Ok, 0), (Outcome::Error, 1), (Outcome::Panic, 1)] {
        for (most, actions) in [(2, of_two - less), (3, of_three - less)] {
            let kind = Kind {
                stack,
                outcome,
                most,
            };
            let alone = vec![Action::Call];
            // All wait already, which leaves more room for the ways to leave.
            let mut together = vec![Action::Call; most];
            together.extend((0..most).map(Action::Poll));
            for (begun, actions) in [(alone, actions), (together, actions - 1)] {
                let tried = all_schedules(&runtime, kind, begun, actions);
                assert!(tried > 1 << actions, "{tried} schedules of {most} callers");
            }
        }
    }
}

/// R52, R54b: any callers leave, at any time: one execution, dropped exactly when the last caller
/// leaves; everybody else gets the result and is woken for it; then the key is free.
#[test]
fn each_order_of_leaving() {
    each_order(Stack::Bare, 8, 6);
}

/// R54b, R63: any callers leave, at any time, and each job has one ending.
#[test]
fn each_order_of_leaving_in_a_stack() {
    each_order(Stack::Tracked, 5, 5);
}

/// R54b: any callers leave, at any time, where the work is watched for a cancellation, rather than
/// each caller.
#[test]
fn each_order_of_leaving_around_a_cancel() {
    each_order(Stack::CancelInside, 5, 5);
}

/// R54b, R58: any callers leave, at any time, also while the work waits for its next attempt, and
/// in that.
#[test]
fn each_order_of_leaving_around_a_retry() {
    each_order(Stack::Retried, 5, 4);
}

/// R5, R54b: detached work runs on when the last caller leaves.
#[test]
fn each_order_of_leaving_detached_work() {
    each_order(Stack::Detached, 4, 4);
}

/// R54, R54b: fifty callers that come, are polled and leave at random.
#[test]
fn fifty_callers_at_random() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let stacks = [
        Stack::Bare,
        Stack::Tracked,
        Stack::CancelInside,
        Stack::Retried,
        Stack::Detached,
    ];
    let outcomes = [Outcome::Ok, Outcome::Error, Outcome::Panic];
    for seed in 0..150 {
        let mut random = fastrand::Rng::with_seed(seed);
        let stack = stacks[random.usize(..stacks.len())];
        let outcome = outcomes[random.usize(..outcomes.len())];
        let most = 50;
        let kind = Kind {
            stack,
            outcome,
            most,
        };
        let mut world = World::new(&runtime, kind);
        // In some runs most stay, in others most leave.
        let stay = random.f64();
        for _ in 0..random.usize(50..300) {
            let mut actions = world.actions();
            if random.f64() < stay {
                actions.retain(|action| !matches!(action, Action::Drop(_)));
            }
            if random.u8(..) < 64 {
                actions.retain(|action| !matches!(action, Action::Poll(_) | Action::Drop(_)));
            }
            if let Some(action) = random.choice(actions) {
                world.act(action);
            }
        }
        world.finish();
    }
}
