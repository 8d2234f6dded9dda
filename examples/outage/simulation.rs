//! A day under one policy, on a clock that only moves when there is nothing left to do.

use std::io;

use crate::{account::Account, backend::Backend, books::Books, day::Day, policies::Policy};

/// Plays the day once for each policy, all at the same time: each has a thread, a runtime and a
/// clock of its own. Tells of each that is done.
pub(crate) fn all(day: Day, done: impl Fn(Policy) + Sync) -> io::Result<Vec<Account>> {
    let done = &done;
    std::thread::scope(|scope| {
        let days = Policy::ALL.map(|policy| {
            scope.spawn(move || {
                let account = one(policy, day);
                done(policy);
                account
            })
        });
        days.into_iter()
            .map(|day| {
                day.join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    })
}

/// One thread, so that what happens at the same moment happens in the same order each time.
pub(crate) fn one(policy: Policy, day: Day) -> io::Result<Account> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    Ok(runtime.block_on(async {
        let books = Books::open(day);
        let backend = Backend::start(day, books.clone());
        policy.live_through(day, backend, &books).await;
        Account::new(policy, day, books.close())
    }))
}
