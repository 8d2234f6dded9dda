//! Tests of eviction: its cost, and which circuits it evicts.

use super::*;
use crate::{
    circuit_breaker::{
        mode::Mode,
        settings::Settings,
        shared_circuit::SharedCircuit,
        state::{OutcomeEffect, Streak},
        table_entry::TableEntry,
    },
    classify::Outcome,
    sharded::Shard,
};

const NEVER: Duration = Duration::MAX;

/// A table without an index, with its own clock.
struct CircuitTable {
    queues: Queues<u64>,
    now: u64,
    next: u64,
}

impl CircuitTable {
    fn new() -> Self {
        Self {
            queues: Queues::new(),
            now: 0,
            next: 0,
        }
    }

    /// A table with this number of circuits, inserted without eviction.
    fn with(circuits: u64) -> (Self, Vec<CircuitRef>) {
        let mut table = Self::new();
        let shared = (0..circuits).map(|_| table.put()).collect();
        (table, shared)
    }

    fn put(&mut self) -> CircuitRef {
        self.now += 1;
        let table_entry = TableEntry::new(self.next, self.queues.changes());
        let settings = Settings {
            failure_threshold: Some(0),
            ..Settings::default()
        };
        let name = self.next.to_string().into();
        let shared = SharedCircuit::with(settings, name, 0, Arc::default(), Some(table_entry));
        let shared = Shard::single(shared);
        shared.touch(self.now);
        let key = Arc::new(self.next);
        self.queues
            .insert(self.next, key, Arc::clone(&shared), self.now);
        self.next += 1;
        shared
    }

    /// Makes room for a new circuit and inserts it. Returns the evicted keys.
    fn add(&mut self, max: usize, idle: Duration) -> Vec<u64> {
        self.now += 1;
        let removed = self.queues.make_room(max, idle, self.now);
        self.put();
        removed.iter().map(|member| *member.key).collect()
    }

    fn touch(&mut self, shared: &SharedCircuit) {
        self.now += 1;
        shared.touch(self.now);
    }

    fn len(&self) -> usize {
        self.queues.members().count()
    }
}

fn open(shared: &SharedCircuit) {
    let admission = shared.circuit.admit(false, || shared.now()).admission;
    let verdict = (shared.circuit).record(
        &admission.unwrap(),
        Outcome::Failure,
        None,
        Streak::Ends,
        || shared.now(),
    );
    match verdict {
        Some(OutcomeEffect::Trips(trip)) => shared.open_for(trip, "no".into(), None),
        other => panic!("{other:?}"),
    }
}

/// R71 The work of a new key does not grow with the number of circuits, in any state.
#[test]
fn the_cost_of_a_new_key_is_constant() {
    let touch_all = |table: &mut CircuitTable, all: &[CircuitRef]| {
        all.iter().for_each(|shared| table.touch(shared));
    };
    type Prepare<'a> = &'a dyn Fn(&mut CircuitTable, &[CircuitRef]);
    let kinds: [(&str, Prepare<'_>); 6] = [
        ("unused", &|_, _| {}),
        ("used", &touch_all),
        ("open", &|_, all| all.iter().for_each(|shared| open(shared))),
        ("open and used", &|table, all| {
            all.iter().for_each(|shared| open(shared));
            touch_all(table, all);
        }),
        ("forced", &|_, all| {
            all.iter()
                .for_each(|shared| shared.set_mode(Mode::ForcedOpen));
        }),
        ("forced for a time", &|_, all| {
            all.iter()
                .for_each(|shared| shared.force_open_for(Duration::MAX));
        }),
    ];
    for (kind, prepare) in kinds {
        let mut costs = Vec::new();
        for circuits in [100, 10_000] {
            let (mut table, all) = CircuitTable::with(circuits);
            prepare(&mut table, &all);
            // The first new key moves the changed circuits, each once.
            table.add(circuits as usize, NEVER);
            assert!(table.queues.checks <= circuits as usize + 20, "{kind}");
            assert!(table.queues.checks > 0, "{kind}");
            let mut most = 0;
            for _ in 0..50 {
                table.queues.checks = 0;
                // For some of the new keys, all circuits are idle too.
                table.add(circuits as usize, Duration::from_nanos(table.now % 3));
                most = most.max(table.queues.checks);
            }
            costs.push(most);
        }
        assert_eq!(costs[0], costs[1], "{kind}");
        assert!(
            costs[1] <= 2 * IDLE_CHECKS + CHANCES + 2,
            "{kind}: {costs:?}"
        );
    }
}

/// R71 The least recently used closed circuit is evicted first, then the open circuit.
#[test]
fn closed_circuits_go_before_open_ones() {
    let (mut table, all) = CircuitTable::with(5);
    open(&all[0]);
    open(&all[1]);
    all[2].set_mode(Mode::ForcedClosed);
    table.touch(&all[0]);
    table.touch(&all[3]);
    // 3 was used since its arrival, so 4 is evicted first; 5 to 8 are new.
    assert_eq!(table.add(4, NEVER), [4]);
    assert_eq!(table.add(4, NEVER), [3]);
    assert_eq!(table.add(4, NEVER), [5]);
    // No closed circuit is left: the unused open circuit is evicted, the forced circuit stays.
    all[0].touch(table.now);
    assert_eq!(table.add(2, NEVER), [6, 7, 1]);
    assert_eq!(table.len(), 3);
    assert_eq!(table.add(1, NEVER), [8, 0]);
}

/// R71 If all circuits were used since their arrival, one of the first eight is evicted.
#[test]
fn the_least_used_of_eight_goes() {
    let (mut table, all) = CircuitTable::with(20);
    for shared in all.iter().rev() {
        table.touch(shared);
    }
    assert_eq!(table.add(20, NEVER), [7]);
    // The other seven are behind the rest now.
    assert_eq!(table.add(20, NEVER), [15]);
    // After the last four of the rest comes 0, which was not used.
    assert_eq!(table.add(20, NEVER), [0]);
}

/// R71 If circuits were used at the same moment, the first in the queue is evicted.
#[test]
fn the_first_of_equals_goes() {
    let (mut table, all) = CircuitTable::with(10);
    table.now += 1;
    for shared in &all {
        shared.touch(table.now);
    }
    assert_eq!(table.add(10, NEVER), [0]);
}

/// R71 Forced circuits do not count for the maximum, and count again after their release.
#[test]
fn forced_circuits_do_not_count() {
    let (mut table, all) = CircuitTable::with(6);
    for shared in &all[..4] {
        shared.set_mode(Mode::ObserveOnly);
    }
    assert!(table.add(3, NEVER).is_empty());
    assert_eq!(table.add(3, NEVER), [4]);
    for shared in &all[..4] {
        shared.set_mode(Mode::Automatic);
    }
    let removed = table.add(3, NEVER);
    assert_eq!(removed.len(), 5);
    assert_eq!(table.len(), 3);
}

/// R74 A circuit that is forced for a time counts again after that time.
#[tokio::test(start_paused = true)]
async fn a_forced_time_ends() {
    let (mut table, all) = CircuitTable::with(3);
    for shared in &all {
        shared.force_open_for(Duration::from_secs(1));
    }
    for _ in 0..2 {
        assert!(table.add(2, NEVER).is_empty());
    }
    assert_eq!(table.add(2, NEVER), [3]);
    tokio::time::advance(Duration::from_secs(1)).await;
    // Each new key finds one of these circuits.
    for _ in 0..3 {
        assert_eq!(table.add(2, NEVER).len(), 2);
    }
    assert_eq!(table.len(), 2);
}

/// R71 A circuit that changes often is noted once, even after its removal from the table.
#[test]
fn changes_take_bounded_memory() {
    let (table, all) = CircuitTable::with(2);
    let flap = |shared: &SharedCircuit| {
        for _ in 0..100 {
            shared.set_mode(Mode::ForcedOpen);
            shared.set_mode(Mode::Automatic);
        }
    };
    flap(&all[0]);
    flap(&all[1]);
    assert_eq!(table.queues.changes.take(), [0, 1]);
    let (mut table, all) = CircuitTable::with(2);
    drop(table.queues.remove(0));
    flap(&all[0]);
    assert!(table.add(3, NEVER).is_empty());
    flap(&all[0]);
    assert!(table.queues.changes.take().is_empty());
}

/// R71 New keys evict idle circuits; used, open, forced and held circuits stay.
#[test]
fn a_new_key_finds_idle_circuits() {
    let idle = Duration::from_nanos(1000);
    let (mut table, all) = CircuitTable::with(12);
    open(&all[1]);
    all[2].set_mode(Mode::ForcedClosed);
    table.now = 999;
    table.touch(&all[3]);
    drop(all[..4].to_vec());
    let held = Arc::clone(&all[4]);
    let held_by_a_call = Arc::clone(&all[4]);
    drop(all);
    table.now = 1100;
    let mut removed = Vec::new();
    for _ in 0..6 {
        removed.extend(table.add(100, idle));
    }
    removed.sort_unstable();
    assert_eq!(removed, [0, 5, 6, 7, 8, 9, 10, 11]);
    drop((held, held_by_a_call));
}
