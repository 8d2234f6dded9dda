//! The closing table.

use std::io::Write;

use tower_keep_examples::{Side, render};

use crate::{
    human::{Size, Took},
    session::Ended,
};

/// One line for each job, on standard output.
pub(crate) fn print_table(ended: &[Ended]) {
    let rows: Vec<_> = ended.iter().map(row).collect();
    let headings = [
        ("job", Side::Left),
        ("outcome", Side::Left),
        ("attempts", Side::Right),
        ("time", Side::Right),
        ("size", Side::Right),
    ];
    say(&format!("\n{}", render(headings, &rows).trim_end()));
}

fn row(ended: &Ended) -> [String; 5] {
    let none = || "-".to_owned();
    let record = &ended.record;
    let mut outcome = match &ended.result {
        Ok(_) => "fetched".to_owned(),
        Err(error) => error.brief(),
    };
    if let Some(other) = &record.joined {
        let number = other.split(' ').next().unwrap_or(other);
        outcome = format!("{outcome}, joined {number}");
    }
    [
        ended.fetch.job.to_string(),
        outcome,
        match record.attempts {
            0 => none(),
            attempts => attempts.to_string(),
        },
        // Otherwise it only waited for its turn.
        if record.attempts > 0 || record.joined.is_some() {
            Took(record.took).to_string()
        } else {
            none()
        },
        match &ended.result {
            Ok(done) => Size(done.bytes).to_string(),
            Err(_) => none(),
        },
    ]
}

/// Text on standard output. Nobody reading it is no error.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
