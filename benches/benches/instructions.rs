//! The instructions that a call executes, by the same cases as `overhead`, and the limits of ours.
//!
//! `cargo bench -p tower-keep-benches --bench instructions` runs itself under valgrind, whose
//! callgrind counts what is executed between two calls of [`section_boundary`]. It does so twice
//! for each case, the second time with twice as many calls: the difference is what these calls
//! cost, without what surrounds them. Other work of the machine changes nothing, so this may fail
//! where a time may not: if a call of ours takes more than its limit allows.
//!
//! What the kernel does, as for reading the clock, is not seen, and a clone of an `Arc` counts as
//! much as any other addition.

use std::{
    env,
    error::Error,
    fs,
    hint::black_box,
    path::Path,
    process::{Command, ExitCode},
};

use tower_keep_benches::{ADDED, COMPARISONS, Case, quick};

/// Enough that tables have their size.
const WARM_UP: u64 = 500;
const CALLS: u64 = 300;

/// Tells the program that it is being watched.
const WATCHED: &str = "TOWER_KEEP_BENCHES_WATCHED";

/// Case, and how many instructions a call may take with an inner service that is ready at once, and
/// with another that is pending once, which a rejection never reaches, and one retry does not use: a fifth more than was
/// counted, as compilers differ. A change that lowers a count lowers its limit.
const LIMITS: &[(&str, u64, u64)] = &[
    ("timeout", 520, 1_320),
    ("retry", 330, 430),
    ("breaker", 360, 460),
    ("breaker, count window", 750, 850),
    ("dedup, reject", 830, 920),
    ("dedup, join", 1_940, 2_520),
    ("cancel", 1_850, 2_100),
    ("progress", 1_900, 2_100),
    ("log, nobody listens", 1_060, 1_150),
    ("log to a closure", 2_800, 2_880),
    ("log + progress + cancel", 3_590, 4_070),
    ("timeout + retry", 930, 1_870),
    ("breaker + timeout + retry", 1_560, 2_620),
    ("join + breaker + timeout + retry", 4_370, 6_030),
    ("all but dedup", 6_730, 9_130),
    ("seven, no key", 7_910, 10_390),
    ("seven, reject", 8_390, 10_870),
    ("seven, join", 10_030, 13_010),
    ("rejection", 600, 0),
    ("rejection, fail_with", 400, 0),
    ("rejection, seven, no key", 16_820, 0),
    ("rejection, seven, join", 19_090, 0),
    ("dispatcher", 11_960, 12_870),
    ("http log", 2_760, 2_890),
    ("http breaker", 2_940, 3_150),
    ("http retry", 4_450, 4_620),
    ("http log + timeout", 3_840, 5_020),
    ("http client", 19_080, 21_460),
    ("reqwest retry", 8_260, 8_420),
    ("reqwest client", 20_220, 22_300),
    ("reqwest client, send", 21_090, 23_200),
    ("reqwest client, one retry", 31_400, 0),
    ("reqwest retry, JSON", 8_550, 8_710),
    ("reqwest client, JSON", 20_530, 22_600),
    ("reqwest client, send JSON", 21_390, 23_510),
    ("reqwest client, one retry, JSON", 31_840, 0),
    ("frame, job", 180, 260),
    ("frame, log", 180, 260),
    ("frame, progress", 240, 520),
    ("frame, cancel", 260, 440),
    ("frame, breaker", 160, 220),
    ("frame, timeout", 320, 670),
    ("frame, attempt timeout", 250, 650),
    ("frame, client", 1_060, 2_280),
];

/// Valgrind looks for it by its name, and then writes down what was executed since the last time.
#[inline(never)]
fn section_boundary() {
    black_box(());
}

fn make_calls() {
    let mut section = |calls: &mut dyn FnMut()| {
        section_boundary();
        calls();
        section_boundary();
    };
    for mut case in tower_keep_benches::all() {
        for pends in [false, true] {
            if let Some(subject) = case.subject(pends) {
                subject.run(WARM_UP, &mut |calls| calls());
                subject.run(CALLS, &mut section);
                subject.run(2 * CALLS, &mut section);
            }
        }
    }
}

/// What was counted in each section, in their order.
fn counts(dir: &Path) -> Result<Vec<u64>, Box<dyn Error>> {
    let out = dir.join("out");
    let status = Command::new("valgrind")
        .args(["--quiet", "--tool=callgrind"])
        .arg("--dump-before=*section_boundary*")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(env::current_exe()?)
        .env(WATCHED, "1")
        .status()
        .map_err(|error| {
            format!("could not run valgrind, which the Debian package of that name brings: {error}")
        })?;
    if !status.success() {
        return Err(format!("valgrind: {status}").into());
    }
    let mut counts = Vec::new();
    // A file for what came before a section, then another for the section.
    while let Ok(dump) = fs::read_to_string(format!("{}.{}", out.display(), 2 * counts.len() + 2)) {
        let total = dump.lines().find_map(|line| line.strip_prefix("totals:"));
        counts.push(total.ok_or("a dump without totals")?.trim().parse()?);
    }
    Ok(counts)
}

/// For each case what a call takes, ready and pending.
fn by_case(cases: &mut [Case], counts: &[u64]) -> Vec<[Option<u64>; 2]> {
    let mut counts = counts.chunks_exact(2);
    let found = cases
        .iter_mut()
        .map(|case| {
            [false, true].map(|pends| {
                case.subject(pends)?;
                let [once, twice] = counts.next()? else {
                    return None;
                };
                Some((twice - once).div_ceil(CALLS))
            })
        })
        .collect();
    assert!(counts.next().is_none(), "more sections than cases");
    found
}

fn shown(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// Prints them; which of ours take more than they may.
fn judge(cases: &[Case], found: &[[Option<u64>; 2]]) -> Vec<String> {
    let mut faults = Vec::new();
    println!("\nInstructions of a call, and the limits of ours.\n");
    println!("| {:36} |  ready |  limit |  pends |  limit |", "");
    println!("|---|--:|--:|--:|--:|");
    for (case, found) in cases.iter().zip(found) {
        let limit = LIMITS.iter().find(|(name, ..)| *name == case.name);
        let limits = limit.map_or([None; 2], |(_, ready, pends)| [Some(*ready), Some(*pends)]);
        print!("| {:36}", case.name);
        for (found, limit) in found.iter().zip(limits) {
            let limit = found.and(limit);
            print!(" | {:>6} | {:>6}", shown(*found), shown(limit));
            match (found, limit) {
                (Some(found), Some(limit)) if *found > limit => {
                    faults.push(format!(
                        "{}: {found} instructions, {limit} are allowed",
                        case.name
                    ));
                }
                (Some(_), None) if case.ours => faults.push(format!("{}: no limit", case.name)),
                _ => {}
            }
        }
        println!(" |");
    }
    for (name, ..) in LIMITS {
        if !cases.iter().any(|case| case.name == *name) {
            faults.push(format!("{name}: a limit, but no case"));
        }
    }
    faults
}

fn print_ratios(cases: &[Case], found: &[[Option<u64>; 2]]) {
    println!("\nInstructions of ours as multiples of a peer's; around HTTP, of what each adds.\n");
    println!("| {:32} | {:36} | ready | pends |", "ours", "peer");
    println!("|---|---|--:|--:|");
    for compared in COMPARISONS {
        let of = |name: &str| {
            cases
                .iter()
                .position(|case| case.name == name)
                .map(|at| found[at])
        };
        let (Some(ours), Some(peer)) = (of(compared.ours), of(compared.peer)) else {
            continue;
        };
        let bare = compared.over.and_then(of).unwrap_or([Some(0); 2]);
        let ratio = |at: usize| {
            let added = |count: Option<u64>| Some(count? as f64 - bare[at].unwrap_or(0) as f64);
            Some(format!("{:.2}", added(ours[at])? / added(peer[at])?))
        };
        let [ready, pends] = [0, 1].map(|at| shown(ratio(at)));
        println!(
            "| {:32} | {:36} | {ready:>5} | {pends:>5} |",
            compared.ours, compared.peer
        );
    }
    println!();
}

fn print_added(cases: &[Case], found: &[[Option<u64>; 2]]) {
    println!("Instructions that a layer adds to a frame of a body.\n");
    println!("| {:32} | ready | pends |", "");
    println!("|---|--:|--:|");
    for added in ADDED {
        let more = |at: usize| {
            let count = |name: &str| {
                let index = cases.iter().position(|case| case.name == name)?;
                found[index][at]
            };
            Some(count(added.name)?.saturating_sub(count(added.to)?))
        };
        let [ready, pends] = [0, 1].map(|at| shown(more(at)));
        println!("| {:32} | {ready:>5} | {pends:>5} |", added.name);
    }
    println!();
}

fn count_all() -> Result<Vec<String>, Box<dyn Error>> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("instructions");
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    let counts = counts(&dir)?;
    fs::remove_dir_all(&dir)?;
    let mut cases = tower_keep_benches::all();
    let found = by_case(&mut cases, &counts);
    let faults = judge(&cases, &found);
    print_ratios(&cases, &found);
    print_added(&cases, &found);
    Ok(faults)
}

fn main() -> ExitCode {
    if env::var_os(WATCHED).is_some() {
        make_calls();
        return ExitCode::SUCCESS;
    }
    if quick() {
        make_calls();
        println!(
            "The calls were made. They are counted without --quick and --test, by `cargo bench`."
        );
        return ExitCode::SUCCESS;
    }
    match count_all() {
        Err(error) => eprintln!("error: {error}"),
        Ok(faults) if faults.is_empty() => return ExitCode::SUCCESS,
        Ok(faults) => faults.iter().for_each(|fault| eprintln!("error: {fault}")),
    }
    ExitCode::FAILURE
}
