//! The script of an origin: which reply comes next.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use super::{Received, Reply};

/// A closure of the test.
pub(super) type Compute = Arc<dyn Fn(&Received) -> Reply + Send + Sync>;

#[derive(Default)]
pub(super) struct Script {
    replies: VecDeque<Reply>,
    scripted: usize,
    last: Option<Reply>,
    then: Then,
}

/// What follows after the last reply.
#[derive(Default)]
enum Then {
    /// 200 if nothing was scripted, else 500 and a problem.
    #[default]
    Default,
    Repeat,
    Compute {
        reply: Compute,
        at_head: bool,
    },
}

/// The choice that a script makes for a request.
pub(super) enum Choice {
    Reply(Reply),
    /// The script has ended.
    Ended {
        scripted: usize,
    },
    Compute {
        reply: Compute,
        at_head: bool,
    },
}

impl Script {
    pub(super) fn push(&mut self, reply: Reply) {
        self.replies.push_back(reply);
        self.scripted += 1;
    }

    #[track_caller]
    pub(super) fn repeat_last(&mut self) {
        assert!(self.scripted > 0, "there is no reply to repeat");
        self.then = Then::Repeat;
    }

    pub(super) fn compute<F>(&mut self, at_head: bool, reply: F)
    where
        F: Fn(&Received) -> Reply + Send + Sync + 'static,
    {
        self.then = Then::Compute {
            reply: Arc::new(reply),
            at_head,
        };
    }

    pub(super) fn unused(&self) -> usize {
        self.replies.len()
    }

    pub(super) fn next(&mut self) -> Choice {
        if let Some(reply) = self.replies.pop_front() {
            self.last = Some(reply.clone());
            return Choice::Reply(reply);
        }
        match (&self.then, &self.last) {
            (Then::Compute { reply, at_head }, _) => Choice::Compute {
                reply: reply.clone(),
                at_head: *at_head,
            },
            (Then::Repeat, Some(last)) => Choice::Reply(last.clone()),
            _ if self.scripted == 0 => Choice::Reply(Reply::status(200)),
            _ => Choice::Ended {
                scripted: self.scripted,
            },
        }
    }
}

/// Runs a closure of the test. Its panic becomes an error.
pub(super) fn compute(reply: &Compute, request: &Received) -> Result<Reply, String> {
    catch_unwind(AssertUnwindSafe(|| reply(request))).map_err(|payload| {
        let message = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        format!("the closure that computes replies panicked: {message}")
    })
}
