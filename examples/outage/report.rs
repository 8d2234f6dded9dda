//! What the example prints.

use std::fmt::Write;

use tower_keep_examples::{self as table, Side};

use crate::{
    account::{Account, Sums},
    day::{BROWN_OUT, Day, OUTAGE, Phase, clock},
    policies::{ATTEMPT, CALLS_PER_RETRY, Policy, WINDOW},
};

/// The minutes around the brown-out.
const AROUND: Phase = Phase::minutes(-10, 50);

/// Each of the marks in a curve is an eighth higher than the one before.
const MARKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The whole report.
pub(crate) fn render(day: Day, accounts: &[Account]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "{} h around noon, {} clients, seed {}. From {} to {} the backend browns out, from {} to {} it is down.\n\n",
        day.hours,
        day.clients,
        day.seed,
        clock(BROWN_OUT.from),
        clock(BROWN_OUT.to),
        clock(OUTAGE.from),
        clock(OUTAGE.to),
    );
    text.push_str(&totals(accounts));
    text.push('\n');
    text.push_str(&troubles(accounts));
    text.push_str(&why_a_budget_is_not_enough(accounts));

    let around = format!(
        "{} to {}, a minute a mark",
        clock(AROUND.from),
        clock(AROUND.to)
    );
    curves(
        &mut text,
        &format!("Goodput, {around}; full: every call succeeds"),
        accounts,
        |account| account.spans(AROUND, 60).map(Sums::goodput).collect(),
    );
    let most = accounts.iter().flat_map(|account| {
        let minutes = account.spans(AROUND, 60);
        minutes.map(|sums| sums.attempts).max()
    });
    let most = most.max().unwrap_or(1).max(1);
    curves(
        &mut text,
        &format!("Load, {around}; full: {} attempts a second", most / 60),
        accounts,
        |account| {
            let minutes = account.spans(AROUND, 60);
            let share = |sums: Sums| sums.attempts as f64 / most as f64;
            minutes.map(share).collect()
        },
    );
    let whole = day.whole();
    let span = whole.seconds() / 72;
    curves(
        &mut text,
        &format!(
            "Goodput, {} to {}, {} min a mark",
            clock(whole.from),
            clock(whole.to),
            span as f64 / 60.0
        ),
        accounts,
        |account| account.spans(whole, span).map(Sums::goodput).collect(),
    );
    text
}

fn totals(accounts: &[Account]) -> String {
    let rows: Vec<_> = accounts
        .iter()
        .map(|account| {
            let day = account.over(account.day.whole());
            let again = account.recovered_after().map_or_else(
                || "not that day".to_owned(),
                |minutes| format!("{minutes} min"),
            );
            [
                account.policy.name().to_owned(),
                day.calls.to_string(),
                day.fulfilled.to_string(),
                percent(day.goodput()),
                percent(account.over(BROWN_OUT).goodput()),
                percent(account.over(OUTAGE).goodput()),
                again,
            ]
        })
        .collect();
    let headings = [
        ("policy", Side::Left),
        ("calls", Side::Right),
        ("succeeded", Side::Right),
        ("share, whole day", Side::Right),
        ("share, brown-out", Side::Right),
        ("share, backend down", Side::Right),
        ("normal again after", Side::Right),
    ];
    format!(
        "Goodput: how many of the clients' calls succeed\n{}",
        table::render(headings, &rows)
    )
}

fn troubles(accounts: &[Account]) -> String {
    let rows: Vec<_> = accounts
        .iter()
        .map(|account| {
            let (brown_out, outage) = (account.over(BROWN_OUT), account.over(OUTAGE));
            [
                account.policy.name().to_owned(),
                format!("{:.1}/s", account.peak_load()),
                format!("{:.2}", brown_out.load_per_call()),
                format!("{:.2}", outage.load_per_call()),
                format!("{:.2}", brown_out.amplification()),
                format!("{:.2}", outage.amplification()),
            ]
        })
        .collect();
    let headings = [
        ("policy", Side::Left),
        ("peak per second", Side::Right),
        ("per call, brown-out", Side::Right),
        ("per call, backend down", Side::Right),
        ("per admitted call, brown-out", Side::Right),
        ("per admitted call, backend down", Side::Right),
    ];
    format!(
        "Load: attempts that reach the backend; a call is admitted if no open circuit rejects it\n{}",
        table::render(headings, &rows)
    )
}

/// Says why the budget alone does worse than no policy in the brown-out, where it does.
fn why_a_budget_is_not_enough(accounts: &[Account]) -> String {
    let in_brown_out = |policy| {
        let mut accounts = accounts.iter();
        let account = accounts.find(|account| account.policy == policy)?;
        Some(account.over(BROWN_OUT))
    };
    let (Some(none), Some(budget)) = (in_brown_out(Policy::OneTry), in_brown_out(Policy::Budget))
    else {
        return String::new();
    };
    if budget.goodput() >= none.goodput() {
        return String::new();
    }
    format!(
        "\nA retry budget alone does worse than no policy in the brown-out. It bounds the extra load, but a backend\n\
         without spare capacity still gets {:.2} attempts for each call. An attempt that its limit cuts off after {} s\n\
         has cost the backend work that nobody uses. The circuit breaker takes that load away.\n",
        budget.load_per_call(),
        ATTEMPT.as_secs(),
    )
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// One line of marks for each policy.
fn curves(
    text: &mut String,
    title: &str,
    accounts: &[Account],
    shares: impl Fn(&Account) -> Vec<f64>,
) {
    let _ = write!(text, "\n{title}\n");
    let widest = accounts
        .iter()
        .map(|account| account.policy.name().len())
        .max()
        .unwrap_or(0);
    for account in accounts {
        let marks: String = shares(account).into_iter().map(mark).collect();
        let _ = writeln!(text, "{:widest$}  |{marks}|", account.policy.name());
    }
}

fn mark(share: f64) -> char {
    let eighths = (share * 8.0).round() as usize;
    // What is small is still something.
    let least = usize::from(share > 0.0);
    MARKS[eighths.clamp(least, 8)]
}

/// Whether the budgets kept their word, and what says so.
pub(crate) fn verdict(accounts: &[Account]) -> (String, bool) {
    let mut all_kept = true;
    let budgets = accounts
        .iter()
        .filter(|account| account.policy.has_budget());
    let rows: Vec<_> = budgets
        .map(|account| {
            // What is granted first is granted for the calls just before.
            let paid_in = Phase {
                from: OUTAGE.from - (WINDOW as i64 - 1),
                ..OUTAGE
            };
            let retries = account.over(OUTAGE).retries_granted;
            let calls = account.over(paid_in).first_attempts;
            let overdrafts = account.overdrafts().len();
            let kept = retries * u64::from(CALLS_PER_RETRY) <= calls && overdrafts == 0;
            all_kept &= kept;
            [
                account.policy.name().to_owned(),
                retries.to_string(),
                calls.to_string(),
                percent(retries as f64 / calls.max(1) as f64),
                percent(1.0 / f64::from(CALLS_PER_RETRY)),
                overdrafts.to_string(),
                if kept { "kept" } else { "BROKEN" }.to_owned(),
            ]
        })
        .collect();
    let headings = [
        ("policy", Side::Left),
        ("retries granted", Side::Right),
        ("first attempts", Side::Right),
        ("retries per first attempt", Side::Right),
        ("allowed", Side::Right),
        ("seconds past the bound, whole day", Side::Right),
        ("the budget's word", Side::Left),
    ];
    let text = format!(
        "Retry budgets while the backend is down: retries of any {WINDOW} s, against the first attempts in them\n{}",
        table::render(headings, &rows)
    );
    (text, all_kept)
}
