//! The stacks that the cases run over, as words for [`Stack::new`](crate::stack::Stack::new).

use crate::stack::Stack;

/// Each layer alone.
const ALONE: [&str; 22] = [
    "N", "L", "P", "C", "c", "D", "M", "M*", "E", "W", "B", "T", "R", "A", "I", "i", "G", "g", "K",
    "Q", "H", "h",
];

/// Each layer that can stop a call, failing with the user's own error.
const FAILING: [&str; 13] = [
    "C!", "c!", "D!", "M!", "E!", "W!", "B!", "T!", "A!", "I!", "g!", "K!", "Q!",
];

/// Each layer that can stop a call, answering with a response.
const RESPONDING: [&str; 13] = [
    "C?", "c?", "D?", "M?", "E?", "W?", "B?", "T?", "A?", "i?", "G?", "K?", "Q?",
];

/// All seven layers. `=` is composed without a box in between.
const ORDERS: [&str; 81] = [
    // With a hook before each attempt.
    "LPCDBTHA",
    "LPCMBTHA",
    "LPCEBTHA",
    "LPCDBThA",
    "AHTBDCPL",
    "AhTBMCPL",
    "HALPCDBT",
    "HLPCMBTA",
    "BLHCTDPA",
    "GHgLPCMB",
    // With circuits by key, and with places reserved.
    "LPCDKTRA",
    "LPCMQTRA",
    "ARTKMCPL",
    "ARTQDCPL",
    "TRKALPCD",
    "QRLCTMPA",
    // As documented, and its reverse.
    "=LPCDBTRA",
    "=LPCMBTRA",
    "=ARTBDCPL",
    "=ARTBMCPL",
    "LPCDBTRA",
    "LPCMBTRA",
    "LPcDBTRA",
    "ARTBDCPL",
    "ARTBMCPL",
    // The ways to stop a call, all alike and mixed.
    "LPC!D!B!T!RA!",
    "LPC?D?B?T?RA?",
    "LPC!M!B!T!RA!",
    "LPC?M?B?T?RA?",
    "A?RT!BD?C!PL",
    // The rotations.
    "PCDBTRAL",
    "CDBTRALP",
    "DBTRALPC",
    "BTRALPCD",
    "TRALPCDB",
    "RALPCDBT",
    "ALPCDBTR",
    // Shuffles.
    "BLRCTDPA",
    "TDLARPBC",
    "RBDATLCP",
    "CPLBRDAT",
    "DLTPARBC",
    // With callers that join.
    "MBTRALPC",
    "RALPCMBT",
    "BLRCTMPA",
    "CPLBRMAT",
    // With callers that take the place of others, or wait for it.
    "=LPCEBTRA",
    "=LPCWBTRA",
    "=ARTBECPL",
    "=ARTBWCPL",
    "LPcEBTRA",
    "LPcWBTRA",
    "EBTRALPC",
    "WBTRALPC",
    "RALPCEBT",
    "BLRCTWPA",
    "LPC!E!B!T!RA!",
    "LPC?W?B?T?RA?",
    "A?RT!BE?C!PL",
    "NLPCWBTRA",
    "LPCEBGRg",
    "gRGBWCPL",
    "LPCEBIRi",
    "TRKALPEC",
    // With results that are kept.
    "LPCM*BTRA",
    "ARTBM*CPL",
    "M*BTRALPC",
    // With a named job outermost, and with a circuit that counts attempts.
    "NLPCDBTRA",
    "LPCMTRBA",
    // With limits that watch the work, in the places of the others and next to them.
    "LPCDBGRg",
    "LPCMBGRg",
    "LPCDBIRi",
    "LPCMBIRi",
    "LPcDBGRg",
    "gRGBDCPL",
    "iRIBMCPL",
    "LPC!M!B!G!Rg!",
    "i?RI?BD?C!PL",
    "GRgLPCMB",
    "ITLPCDBGRiAg",
    "gIRcLBDi",
];

fn words<'a>(lists: impl IntoIterator<Item = &'a [&'a str]>) -> Vec<String> {
    lists
        .into_iter()
        .flatten()
        .map(|word| (*word).to_owned())
        .collect()
}

/// Every stack.
pub(crate) fn all() -> Vec<String> {
    words([&ALONE[..], &FAILING, &RESPONDING, &ORDERS])
}

/// Every stack with a log that records: around and inside each layer alone, around, between and
/// inside each two of them, and in every order.
pub(crate) fn watched() -> Vec<String> {
    let alone = words([&ALONE[..], &FAILING, &RESPONDING]);
    let around = alone.iter().map(|word| format!("L{word}"));
    let inside = alone.iter().map(|word| format!("{word}L"));
    let mut watched: Vec<_> = around.chain(inside).collect();
    let others = "PCDMEWBTRHAIiGg";
    for outer in others.chars() {
        for inner in others.chars().filter(|inner| *inner != outer) {
            // Both share their keys, so that the inner one would find those of the outer.
            if !("DMEW".contains(outer) && "DMEW".contains(inner)) {
                watched.push(format!("L{outer}{inner}"));
                watched.push(format!("{outer}L{inner}"));
                watched.push(format!("{outer}{inner}L"));
            }
        }
    }
    // Layers that begin no job, around a Dedup that lets one begin only in its future.
    let plain = "BTRHA";
    for outer in plain.chars() {
        for inner in plain.chars().filter(|inner| *inner != outer) {
            for dedup in "DMEW".chars() {
                watched.push(format!("{outer}{inner}{dedup}L"));
            }
        }
    }
    watched.extend(words([&ORDERS[..]]));
    watched
}

/// Those of the stacks for which this holds.
pub(crate) fn that(words: Vec<String>, holds: impl Fn(&Stack) -> bool) -> Vec<String> {
    words
        .into_iter()
        .filter(|word| holds(&Stack::new(word)))
        .collect()
}

/// Every stack with a log, with and without layers of tower's own.
pub(crate) fn everything() -> Vec<String> {
    let mut words = watched();
    words.extend(foreign());
    words
}

/// Layers of tower's own between ours, which call at once or call again.
fn foreign() -> Vec<String> {
    let mut foreign: Vec<String> = Vec::new();
    for layer in "PCcDMEWBTRHAig".chars() {
        for between in ["l", "t", "s", "m", "r", "rr", "mrs"] {
            foreign.push(format!("{layer}{between}L"));
            foreign.push(format!("{layer}{between}LP"));
            foreign.push(format!("L{between}{layer}"));
            foreign.push(format!("T{layer}{between}L"));
            foreign.push(format!("L{layer}{between}P"));
        }
    }
    let words = [
        "lLtPsCmDlBtTrRsA",
        "ArRsTtBlDmCsPtL",
        "tTmLlDrPsBrC",
        "LrPCrDBTRA",
        "BTPrLrC",
        "LPCMlBrTRA",
    ];
    foreign.extend(words.map(str::to_owned));
    foreign
}
