//! Random attempts against a naive model.

use proptest::prelude::*;

use super::*;

/// A step of the script that can be cloned.
#[derive(Clone, Debug)]
enum Item {
    Data(Vec<u8>),
    Pending,
    Error,
    Trailers,
}

#[derive(Clone, Debug)]
enum Action {
    Clone(usize),
    Poll(usize),
    Drop(usize),
}

/// What an attempt has sent.
#[derive(Default)]
struct Attempt {
    /// Its place among the attempts that began, from 1.
    begun: Option<usize>,
    at: usize,
    sent_trailers: bool,
    over: Option<Sent>,
}

/// The body as a list of what it has still to send.
struct Model {
    left: VecDeque<Item>,
    cap: usize,
    total: usize,
    read: Vec<u8>,
    trailers: bool,
    ended: bool,
    failed: bool,
    begun: usize,
    sealed: bool,
}

impl Model {
    fn poll(&mut self, attempt: &mut Attempt) -> Expected {
        if attempt.over.is_some() {
            return Expected::Is(End);
        }
        let is_newest = match attempt.begun {
            None if self.sealed && self.begun > 0 => return Expected::Is(Sent::NotReplayable),
            None => {
                self.begun += 1;
                attempt.begun = Some(self.begun);
                true
            }
            Some(number) => number == self.begun,
        };
        if attempt.at < self.read.len() {
            return match (self.sealed, is_newest) {
                (false, _) => Expected::Some(self.read[attempt.at..].to_vec()),
                (true, false) => Expected::Is(Sent::Superseded),
                (true, true) => Expected::Is(Sent::NotReplayable),
            };
        }
        if self.ended {
            let sends_trailers = self.trailers && !attempt.sent_trailers;
            return Expected::Is(match sends_trailers {
                true => Sent::Trailers(trailers()),
                false => End,
            });
        }
        if !is_newest {
            return Expected::Is(Sent::Superseded);
        }
        if self.failed {
            return Expected::Is(Sent::NotReplayable);
        }
        Expected::Is(match self.left.pop_front() {
            Some(Item::Data(data)) => {
                self.read.extend_from_slice(&data);
                self.sealed |= self.read.len() > self.cap;
                Sent::Data(data)
            }
            Some(Item::Pending) => Pending,
            Some(Item::Error) => {
                self.failed = true;
                self.sealed = true;
                Sent::Error
            }
            Some(Item::Trailers) => {
                self.trailers = true;
                self.ended = true;
                Sent::Trailers(trailers())
            }
            None => {
                self.ended = true;
                End
            }
        })
    }
}

enum Expected {
    Is(Sent),
    /// A beginning of this data, and not nothing.
    Some(Vec<u8>),
}

fn items() -> impl Strategy<Value = (Vec<Item>, bool)> {
    let item = prop_oneof![
        6 => proptest::collection::vec(any::<u8>(), 0..12).prop_map(Item::Data),
        2 => Just(Item::Pending),
        1 => Just(Item::Error),
    ];
    // Errors are rare, so that most bodies end.
    let items = proptest::collection::vec(item, 0..40).prop_map(|mut items| {
        let errors = items
            .iter()
            .filter(|item| matches!(item, Item::Error))
            .count();
        if errors % 3 != 1 {
            items.retain(|item| !matches!(item, Item::Error));
        }
        items
    });
    (items, any::<bool>()).prop_map(|(mut items, has_trailers)| {
        if has_trailers {
            items.push(Item::Trailers);
        }
        (items, has_trailers)
    })
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        1 => any::<usize>().prop_map(Action::Clone),
        8 => any::<usize>().prop_map(Action::Poll),
        1 => any::<usize>().prop_map(Action::Drop),
    ];
    proptest::collection::vec(action, 0..120)
}

proptest! {
    /// R83 Random frames, caps and trailers; clones that begin, and attempts that are dropped, at
    /// any point: each poll gives what a naive model gives, and size and end are exact.
    #[test]
    fn attempts_are_as_in_the_model(
        (items, _) in items(),
        cap in 0_usize..120,
        is_sized: bool,
        knows_end: bool,
        actions in actions(),
    ) {
        let steps = items.clone().into_iter().map(|item| match item {
            Item::Data(data) => Step::Data(data.into()),
            Item::Pending => Step::Pending,
            Item::Error => Step::Error,
            Item::Trailers => Step::Trailers(trailers()),
        });
        let mut script = Script::new(steps);
        script.is_sized = is_sized;
        let script_size = script.left() as usize;
        script.knows_end = knows_end;
        let alive = Arc::clone(&script.alive);
        let mut model = Model {
            left: items.into(),
            cap,
            total: script_size,
            read: Vec::new(),
            trailers: false,
            ended: false,
            failed: false,
            begun: 0,
            sealed: false,
        };
        model.sealed = is_sized && model.total > cap;
        model.ended = knows_end && model.left.is_empty();
        let mut attempts = vec![(ReplayBody::new(script, cap), Attempt::default())];
        for action in actions {
            if attempts.is_empty() {
                break;
            }
            let len = attempts.len();
            match action {
                Action::Clone(index) => {
                    let clone = attempts[index % len].0.clone();
                    attempts.push((clone, Attempt::default()));
                }
                Action::Drop(index) => {
                    let (body, attempt) = attempts.swap_remove(index % len);
                    drop(body);
                    let was_newest = attempt.begun == Some(model.begun);
                    if was_newest && model.sealed && !model.ended {
                        model.failed = true;
                        prop_assert_eq!(Arc::strong_count(&alive), 1);
                    }
                }
                Action::Poll(index) => {
                    let (body, attempt) = &mut attempts[index % len];
                    let expected = model.poll(attempt);
                    // After a frame, the body says whether it was the last one.
                    if matches!(expected, Expected::Is(Sent::Data(_))) {
                        model.ended = knows_end && model.left.is_empty();
                    }
                    let sent = poll(body);
                    match expected {
                        Expected::Is(expected) => prop_assert_eq!(&sent, &expected),
                        Expected::Some(data) => match &sent {
                            Sent::Data(sent) => prop_assert!(!sent.is_empty() && data.starts_with(sent)),
                            other => prop_assert!(false, "{:?}", other),
                        },
                    }
                    match sent {
                        Sent::Data(data) => attempt.at += data.len(),
                        Sent::Trailers(_) => attempt.sent_trailers = true,
                        Pending => {}
                        over => attempt.over = attempt.over.take().or(Some(over)),
                    }
                }
            }
            for (body, attempt) in &attempts {
                prop_assert_eq!(body.is_replayable(), !model.sealed || model.begun == 0);
                let is_done = model.ended
                    && attempt.at == model.read.len()
                    && (attempt.sent_trailers || !model.trailers);
                match &attempt.over {
                    Some(over) => prop_assert_eq!(body.is_end_stream(), *over == End),
                    None => prop_assert_eq!(body.is_end_stream(), is_done),
                }
                if attempt.over.is_none() {
                    let left = (model.total - attempt.at) as u64;
                    prop_assert_eq!(body.size_hint().exact(), is_sized.then_some(left));
                }
            }
        }
        drop(attempts);
        prop_assert_eq!(Arc::strong_count(&alive), 1);
    }
}
