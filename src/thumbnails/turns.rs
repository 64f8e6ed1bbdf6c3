//! Whose thumbnail is made next: that of the newest request, because what was asked for last is what somebody looks at; after a
//! fast scroll everything before it has left the screen. So that nobody waits for ever, every fourth turn goes to the oldest.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Of so many turns in a row, one goes to whoever waits longest.
const OLDEST_EVERY: u32 = 4;

/// A number of turns at something that is told apart by a `Key`.
pub(super) struct Turns<Key> {
    line: Mutex<Line<Key>>,
}

struct Line<Key> {
    free: usize,
    /// The newest last.
    waiting: VecDeque<Waiter<Key>>,
    since_oldest: u32,
}

struct Waiter<Key> {
    key: Key,
    place: oneshot::Sender<Turn<Key>>,
}

/// Leave to work until it is dropped, which lets the next one in.
pub(super) struct Turn<Key> {
    /// None once it was handed on.
    turns: Option<Arc<Turns<Key>>>,
}

impl<Key> Turns<Key> {
    pub(super) fn new(at_once: usize) -> Self {
        let line = Line { free: at_once, waiting: VecDeque::new(), since_oldest: 0 };
        Self { line: Mutex::new(line) }
    }

    /// Waits for a turn. Who stops waiting leaves the line.
    pub(super) async fn take(self: &Arc<Self>, key: Key) -> Turn<Key> {
        let turn = || Turn { turns: Some(self.clone()) };
        let called = {
            let mut line = self.line.lock();
            if line.free > 0 {
                line.free -= 1;
                return turn();
            }
            line.waiting.retain(|waiter| !waiter.place.is_closed());
            let (place, called) = oneshot::channel();
            line.waiting.push_back(Waiter { key, place });
            called
        };
        // Fails only if the line is gone, and we hold it.
        called.await.unwrap_or_else(|_| turn())
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.line.lock().waiting.len()
    }

    fn hand_on(self: Arc<Self>) {
        let mut line = self.line.lock();
        let mut turn = Turn { turns: Some(self.clone()) };
        while let Some(next) = line.next() {
            match next.place.send(turn) {
                Ok(()) => return,
                // Nobody waits there any more.
                Err(unwanted) => turn = unwanted,
            }
        }
        turn.turns = None;
        line.free += 1;
    }
}

impl<Key: PartialEq> Turns<Key> {
    /// Somebody asked once more for what is waited for: it counts as new.
    pub(super) fn renew(&self, key: &Key) {
        let mut line = self.line.lock();
        let found = line.waiting.iter().position(|waiter| waiter.key == *key);
        if let Some(waiter) = found.and_then(|at| line.waiting.remove(at)) {
            line.waiting.push_back(waiter);
        }
    }
}

impl<Key> Line<Key> {
    fn next(&mut self) -> Option<Waiter<Key>> {
        self.waiting.retain(|waiter| !waiter.place.is_closed());
        self.since_oldest += 1;
        if self.since_oldest < OLDEST_EVERY {
            return self.waiting.pop_back();
        }
        self.since_oldest = 0;
        self.waiting.pop_front()
    }
}

impl<Key> Drop for Turn<Key> {
    fn drop(&mut self) {
        if let Some(turns) = self.turns.take() {
            turns.hand_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;

    use futures::FutureExt;

    use super::*;

    type Asked = Pin<Box<dyn Future<Output = Turn<u32>>>>;

    /// Asks, and is in the line from then on, or has its turn.
    fn ask(turns: &Arc<Turns<u32>>, key: u32) -> (u32, Asked) {
        let turns = turns.clone();
        let mut asked: Asked = Box::pin(async move { turns.take(key).await });
        assert!((&mut asked).now_or_never().is_none(), "somebody else has the turn");
        (key, asked)
    }

    /// Who gets the turn, one after the other, until nobody waits.
    fn order(first: Turn<u32>, mut waiting: Vec<(u32, Asked)>) -> Vec<u32> {
        let (mut turn, mut order) = (first, Vec::new());
        while !waiting.is_empty() {
            drop(turn);
            let ready = |(at, (_, asked)): (usize, &mut (u32, Asked))| {
                Some((at, asked.as_mut().now_or_never()?))
            };
            let (at, next) = waiting.iter_mut().enumerate().find_map(ready).expect("one is called");
            order.push(waiting.remove(at).0);
            turn = next;
        }
        order
    }

    fn taken(turns: &Arc<Turns<u32>>) -> Turn<u32> {
        turns.take(0).now_or_never().expect("free")
    }

    #[test]
    fn the_newest_is_next_and_every_fourth_turn_is_the_oldest_ones() {
        let turns = Arc::new(Turns::new(1));
        let first = taken(&turns);
        let waiting = (1..=10).map(|key| ask(&turns, key)).collect();
        assert_eq!(order(first, waiting), [10, 9, 8, 1, 7, 6, 5, 2, 4, 3]);
        assert_eq!(turns.line.lock().free, 1);
    }

    #[test]
    fn what_is_asked_for_again_counts_as_new() {
        let turns = Arc::new(Turns::new(1));
        let first = taken(&turns);
        let waiting = (1..=3).map(|key| ask(&turns, key)).collect();
        turns.renew(&2);
        turns.renew(&7);
        assert_eq!(order(first, waiting), [2, 3, 1]);
    }

    #[test]
    fn who_hangs_up_is_passed_over_and_takes_no_turn_along() {
        let turns = Arc::new(Turns::new(2));
        let (first, second) = (taken(&turns), taken(&turns));
        let mut waiting: Vec<_> = (1..=4).map(|key| ask(&turns, key)).collect();
        drop(waiting.remove(3));
        // This one is called and hangs up before it hears of it.
        drop(second);
        assert_eq!(waiting.remove(2).0, 3);
        let called = waiting.remove(1).1.now_or_never().expect("called in its place");
        drop(first);
        let last = waiting.remove(0).1.now_or_never().expect("the last one");
        drop((called, last));
        assert_eq!(turns.line.lock().free, 2);
        assert!(turns.line.lock().waiting.is_empty());
    }
}
