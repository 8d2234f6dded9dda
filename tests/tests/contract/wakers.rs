//! Which calls are woken, and which are not.

use tower_keep_test::{Polled, Scripted, ms, secs};
use tower_keep_tests::running_ids;

use crate::{
    reasons::{Why, stopped},
    run::{call_of, over, settle, silent, slow_echo},
    stack::{GRACE, Stack},
    stacks::{all, that},
};

/// A call that waits for its service does not wake itself, and time that passes before its limit
/// does not either.
#[test]
fn a_waiting_call_is_left_alone() {
    over(all(), async |stack| {
        let service = stack.around(silent().strict());
        let mut response = Polled::new(call_of(&service, 1));
        response.assert_waiting();
        for _ in 0..9 {
            tokio::time::advance(secs(1)).await;
            settle().await;
        }
        assert_eq!(response.wakes(), 0);
        response.assert_waiting();
    });
}

/// A limit wakes its call when it expires, once, and no earlier.
#[test]
fn a_limit_wakes_once() {
    let limited = |stack: &Stack| stack.has("TAIi") && !stack.has("RHhcGg");
    over(that(all(), limited), async |stack| {
        let limit = if stack.has("Ai") { secs(10) } else { secs(60) };
        let service = stack.around(silent().strict());
        let mut response = Polled::new(call_of(&service, 1));
        response.assert_waiting();
        tokio::time::advance(limit - ms(1)).await;
        assert_eq!(response.wakes(), 0);
        tokio::time::advance(ms(1)).await;
        assert_eq!(response.wakes(), 1);
        assert_eq!(stopped(&response.assert_ready()), Some(Why::TimedOut));
    });
}

/// A limit with a grace period wakes its call when it expires and when the grace period does.
#[test]
fn a_grace_period_wakes_once_more() {
    let graced = |stack: &Stack| stack.has("Gg") && !stack.has("RHhc");
    over(that(all(), graced), async |stack| {
        let limit = if stack.has("g") { secs(10) } else { secs(60) };
        let service = stack.around(silent().strict());
        let mut response = Polled::new(call_of(&service, 1));
        response.assert_waiting();
        tokio::time::advance(limit).await;
        assert_eq!(response.wakes(), 1);
        response.assert_waiting();
        tokio::time::advance(GRACE - ms(1)).await;
        assert_eq!(response.wakes(), 1);
        tokio::time::advance(ms(1)).await;
        assert_eq!(response.wakes(), 2);
        assert_eq!(stopped(&response.assert_ready()), Some(Why::TimedOut));
    });
}

/// A call that waits for its next attempt is woken when that is due, once.
#[test]
fn a_retry_wakes_when_it_is_due() {
    let retries = |stack: &Stack| stack.has("RHh") && !stack.has("c");
    over(that(all(), retries), async |stack| {
        let inner = Scripted::script([Err("first"), Err("second"), Ok(3)]);
        let service = stack.around(inner.strict());
        let mut response = Polled::new(call_of(&service, 1));
        response.assert_waiting();
        for (wakes, wait) in [secs(1), secs(2)].into_iter().enumerate() {
            tokio::time::advance(wait - ms(1)).await;
            assert_eq!(response.wakes(), wakes);
            tokio::time::advance(ms(1)).await;
            assert_eq!(response.wakes(), wakes + 1);
            if wakes == 0 {
                response.assert_waiting();
            }
        }
        assert_eq!(response.assert_ready().unwrap(), 3);
        assert_eq!(response.polls(), 3);
    });
}

/// R64 Each wake of a joined execution wakes every caller, and none of them wakes itself. A caller
/// that was set aside has its share when it is polled again.
#[test]
fn a_wake_of_the_execution_wakes_every_caller() {
    over(that(all(), |stack| stack.has("M")), async |stack| {
        let inner = Scripted::new().otherwise(|| {
            tower_keep_test::Step::run(|request: u32| async move {
                for _ in 0..5 {
                    tokio::time::sleep(secs(1)).await;
                }
                Ok(request + 1)
            })
        });
        let service = stack.around(inner.strict());
        let mut leader = Polled::new(call_of(&service, 1));
        leader.assert_waiting();
        let mut follower = Polled::new(call_of(&service, 1));
        follower.assert_waiting();
        let mut aside = Polled::new(call_of(&service, 1));
        aside.assert_waiting();
        for _ in 0..4 {
            tokio::time::advance(secs(1)).await;
            leader.assert_woken();
            leader.assert_waiting();
            follower.assert_woken();
            follower.assert_waiting();
            // Once, as it was not polled since.
            assert_eq!(aside.wakes(), 1);
        }
        tokio::time::advance(secs(1)).await;
        assert_eq!(follower.assert_ready().unwrap(), 2);
        leader.assert_woken();
        assert_eq!(leader.assert_ready().unwrap(), 2);
        assert_eq!(aside.assert_ready().unwrap(), 2);
        assert_eq!((leader.polls(), aside.polls()), (6, 2));
    });
}

/// R64 Any caller goes on alone with a joined execution: the others may be set aside or gone, the
/// first one too.
#[test]
fn any_caller_goes_on_alone() {
    over(that(all(), |stack| stack.has("M")), async |stack| {
        for leader_leaves in [false, true] {
            for alone in 0..3 {
                let service = stack.around(slow_echo(5).strict());
                let mut leader = Some(Polled::new(call_of(&service, 1)));
                leader.iter_mut().for_each(Polled::assert_waiting);
                let mut others: Vec<_> =
                    (0..3).map(|_| Polled::new(call_of(&service, 1))).collect();
                others.iter_mut().for_each(Polled::assert_waiting);
                leader.take_if(|_| leader_leaves);
                assert_eq!(others.remove(alone).await.unwrap(), 2);
                for mut other in others.into_iter().chain(leader) {
                    other.assert_woken();
                    assert_eq!(other.assert_ready().unwrap(), 2);
                }
            }
        }
    });
}

/// A call that takes the place of another wakes that call, at once, and no other.
#[test]
fn a_replaced_call_is_woken() {
    over(that(all(), |stack| stack.has("E")), async |stack| {
        let service = stack.around(silent().strict());
        let mut old = Polled::new(call_of(&service, 1));
        old.assert_waiting();
        settle().await;
        let mut new = Polled::new(call_of(&service, 1));
        new.assert_waiting();
        settle().await;
        old.assert_woken();
        assert!(stopped(&old.assert_ready()).is_some());
        tokio::time::advance(secs(1)).await;
        settle().await;
        // A Cancel layer around the place wakes its call too.
        assert!(old.wakes() <= 2, "{}", old.wakes());
        assert_eq!(new.wakes(), 0);
    });
}

/// A call that waits for the running call is woken when that is over, and not before.
#[test]
fn a_call_that_waits_for_its_place_wakes_once() {
    let attached = |stack: &Stack| stack.has("W") && !stack.has("c");
    over(that(all(), attached), async |stack| {
        let service = stack.around(slow_echo(5).strict());
        let mut first = Polled::new(call_of(&service, 1));
        first.assert_waiting();
        let mut second = Polled::new(call_of(&service, 1));
        second.assert_waiting();
        for _ in 0..4 {
            tokio::time::advance(secs(1)).await;
            assert_eq!(second.wakes(), 0);
        }
        tokio::time::advance(secs(1)).await;
        assert_eq!(first.assert_ready().unwrap(), 2);
        assert_eq!(second.wakes(), 1);
        assert_eq!(second.await.unwrap(), 2);
    });
}

/// Cancelling one job wakes its call and no other.
#[test]
fn a_cancellation_wakes_its_call_only() {
    over(that(all(), |stack| stack.has("Cc")), async |stack| {
        let cancel = stack.cancel.handle();
        let service = stack.around(silent().strict());
        let mut first = Polled::new(call_of(&service, 1));
        first.assert_waiting();
        let mut second = Polled::new(call_of(&service, 2));
        second.assert_waiting();
        settle().await;
        let running = running_ids(&cancel);
        assert_eq!(running.len(), 2);

        assert!(cancel.cancel(running[0]));
        assert!(!cancel.cancel(running[0]), "it is cancelled already");
        settle().await;
        assert_eq!((first.wakes(), second.wakes()), (1, 0));
        assert_eq!(stopped(&first.assert_ready()), Some(Why::Cancelled));
        second.assert_waiting();
        assert_eq!(running_ids(&cancel), running[1..]);

        assert!(cancel.cancel(running[1]));
        settle().await;
        assert_eq!(second.wakes(), 1);
        assert_eq!(stopped(&second.assert_ready()), Some(Why::Cancelled));
        stack.assert_idle();
    });
}

/// A cancellation reaches a call that waits for its next attempt at once.
#[test]
fn a_cancellation_ends_a_backoff() {
    let both = |stack: &Stack| stack.has("C") && stack.has("RHh");
    over(that(all(), both), async |stack| {
        let cancel = stack.cancel.handle();
        let inner = Scripted::<u32, u32>::script([Err("first")]);
        let service = stack.around(inner.strict());
        let mut response = Polled::new(call_of(&service, 1));
        response.assert_waiting();
        if stack.outside("C", "RHh") {
            let [job] = running_ids(&cancel)[..] else {
                panic!("one job runs")
            };
            cancel.cancel(job);
            assert_eq!(response.wakes(), 1);
            assert_eq!(stopped(&response.assert_ready()), Some(Why::Cancelled));
        } else {
            // Inside the retry it knows the job of an attempt only while that runs.
            assert_eq!(running_ids(&cancel), []);
        }
        drop(response);
        stack.assert_idle();
    });
}
