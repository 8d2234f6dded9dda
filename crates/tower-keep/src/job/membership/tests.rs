//! Tests of the table of phases and kinds of call.

use super::*;
use crate::{event::JobName, job::core::Origin};

const TABLE: [(Phase, [Entry; 3]); 6] = [
    (Phase::Running, [Entry::Adopt, Entry::Begin, Entry::Rejoin]),
    (Phase::Open, [Entry::Adopt, Entry::Begin, Entry::Rejoin]),
    (Phase::Offered, [Entry::Adopt, Entry::Begin, Entry::Rejoin]),
    (
        Phase::Adopting,
        [
            Entry::Untracked,
            Entry::BeginForOwner,
            Entry::RejoinForOwner,
        ],
    ),
    (Phase::Calling, [Entry::Join; 3]),
    (Phase::Rejoined, [Entry::Join; 3]),
];

/// The effects of a layer's call: its role, whether it holds a job, the phase in the service,
/// whether the service had another ambient job, and the phase after the call.
type Seen = (Role, bool, Phase, bool, Phase);

fn call_in(phase: Phase, layer: Layer) -> Seen {
    let id = LayerId::next();
    let around = Core::new(JobName::EMPTY, Origin::Nobody, context::apart);
    if layer == Layer::Known {
        id.join(&around);
    }
    let mut slot = Some(Arc::clone(&around));
    let entered = context::enter(&mut slot, phase);
    let service = || {
        let is_other = !context::is_current(&around);
        (context::phase(), is_other)
    };
    let joining = Joining {
        watcher: Watcher::Nothing,
        layer: id,
    };
    let (membership, (inside, is_other)) = match layer {
        Layer::Plain => Membership::call(service),
        Layer::Tracking | Layer::Known => Membership::track(&joining, service),
    };
    let left = context::phase();
    if phase == Phase::Adopting && left == Phase::Calling {
        // As its owner does.
        drop(context::take_over());
    }
    let seen = (
        membership.role,
        membership.job.is_some(),
        inside,
        is_other,
        left,
    );
    drop(entered);
    seen
}

/// The table at the top of this module, as code and as calls.
#[tokio::test(start_paused = true)]
async fn phase_by_kind_of_call() {
    use Phase::{Adopting, Calling, Rejoined};
    for (phase, entries) in TABLE {
        let layers = [Layer::Plain, Layer::Tracking, Layer::Known];
        for (layer, entry) in layers.into_iter().zip(entries) {
            assert_eq!(Entry::of(phase, layer), entry, "{phase:?}, {layer:?}");
            let expected = match entry {
                Entry::Adopt => (Role::Owner, false, Adopting, false, phase),
                Entry::Begin => (Role::Owner, true, Calling, true, phase),
                Entry::Rejoin => (Role::Member, false, Calling, false, phase),
                Entry::Untracked => (Role::Untracked, false, Adopting, false, Adopting),
                Entry::BeginForOwner => (Role::Member, false, Calling, true, Calling),
                Entry::RejoinForOwner => (Role::Member, false, Rejoined, false, Rejoined),
                Entry::Join => (Role::Member, false, phase, false, phase),
            };
            assert_eq!(call_in(phase, layer), expected, "{phase:?}, {layer:?}");
        }
    }
}
