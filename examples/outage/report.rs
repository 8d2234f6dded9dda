//! What the example prints.

use std::fmt::Write;

use tower_keep_examples::table::{self, Side};

use crate::{
    account::{Account, Sums},
    day::{BROWN_OUT, Day, OUTAGE, Phase, clock},
};

/// The most attempts that a budget of a fifth allows for each first attempt.
pub(crate) const BOUND: f64 = 1.2;

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
        ("goodput", Side::Left),
        ("calls", Side::Right),
        ("succeeded", Side::Right),
        ("all day", Side::Right),
        ("brown-out", Side::Right),
        ("of it down", Side::Right),
        ("normal again after", Side::Right),
    ];
    table::render(headings, &rows)
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
        ("load", Side::Left),
        ("peak", Side::Right),
        ("per call, brown-out", Side::Right),
        ("down", Side::Right),
        ("per first attempt, brown-out", Side::Right),
        ("down", Side::Right),
    ];
    table::render(headings, &rows)
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

/// Whether the budgets kept their word: one line for each that did, or what speaks against it.
pub(crate) fn verdict(accounts: &[Account]) -> (String, bool) {
    let mut text = String::new();
    let mut holds = true;
    for account in accounts {
        if !account.policy.has_budget() {
            continue;
        }
        let amplification = account.over(OUTAGE).amplification();
        let overdrafts = account.overdrafts();
        let kept = amplification <= BOUND && overdrafts.is_empty();
        holds &= kept;
        let name = account.policy.name();
        let _ = if kept {
            writeln!(
                text,
                "{name}: kept. {amplification:.3} attempts for each first attempt while the backend was down, {BOUND:.3} allowed; \
                 in no 10 s of the day more retries than a fifth of the first attempts."
            )
        } else {
            writeln!(
                text,
                "{name}: BROKEN. {amplification:.3} attempts for each first attempt while the backend was down, {BOUND:.3} allowed; \
                 {} retries too many were granted, in these seconds: {overdrafts:?}",
                overdrafts.len()
            )
        };
    }
    (text, holds)
}
