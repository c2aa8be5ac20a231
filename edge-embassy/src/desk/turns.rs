//! Whose turn it is: first come, first served, and who gives up holds nobody up.

use core::task::{Poll, Waker};

/// Tasks that may wait, besides the one whose turn it is.
const WAITING: usize = 8;

/// A line of tasks.
#[derive(Debug)]
pub(super) struct Turns {
    /// It is somebody's turn.
    taken: bool,
    /// The number of who comes next.
    next: u64,
    line: [Option<(u64, Waker)>; WAITING],
}

/// There is no room in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Turns {
    pub(super) const fn new() -> Self {
        Self { taken: false, next: 0, line: [const { None }; WAITING] }
    }

    /// Takes the turn, if it is free and nobody has come before; else joins the line, with a number
    /// that is kept in `number`. Who got the turn has to [`end`](Self::end) it, who has a number to
    /// [`leave`](Self::leave).
    pub(super) fn take(
        &mut self,
        number: &mut Option<u64>,
        waker: &Waker,
    ) -> Poll<Result<(), Full>> {
        let first = self.first().map(|(number, _)| *number);
        if !self.taken && (first.is_none() || first == *number) {
            self.forget(number.take());
            self.taken = true;
            return Poll::Ready(Ok(()));
        }
        let mine = number.unwrap_or(self.next);
        let is_mine = |place: &&mut Option<(u64, Waker)>| match place {
            Some((number, _)) => *number == mine,
            None => false,
        };
        let place = match self.line.iter_mut().find(is_mine) {
            Some(place) => Some(place),
            None => self.line.iter_mut().find(|place| place.is_none()),
        };
        let Some(place) = place else { return Poll::Ready(Err(Full)) };
        *place = Some((mine, waker.clone()));
        if number.replace(mine).is_none() {
            self.next += 1;
        }
        Poll::Pending
    }

    /// Ends a turn that was taken.
    pub(super) fn end(&mut self) {
        self.taken = false;
        self.wake_first();
    }

    /// Leaves the line.
    pub(super) fn leave(&mut self, number: Option<u64>) {
        self.forget(number);
        // Who left may have been woken, and then somebody else's turn has come.
        if !self.taken {
            self.wake_first();
        }
    }

    fn forget(&mut self, number: Option<u64>) {
        for place in &mut self.line {
            if place.as_ref().is_some_and(|(known, _)| Some(*known) == number) {
                *place = None;
            }
        }
    }

    fn first(&self) -> Option<&(u64, Waker)> {
        self.line.iter().flatten().min_by_key(|(number, _)| *number)
    }

    fn wake_first(&self) {
        if let Some((_, waker)) = self.first() {
            waker.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A task, its number, and how often it was woken.
    #[derive(Default)]
    struct Task(Option<u64>, Arc<Count>);

    impl Task {
        fn take(&mut self, turns: &mut Turns) -> Poll<Result<(), Full>> {
            turns.take(&mut self.0, &Waker::from(self.1.clone()))
        }

        fn woken(&self) -> u32 {
            self.1.0.load(Ordering::Relaxed)
        }
    }

    const YES: Poll<Result<(), Full>> = Poll::Ready(Ok(()));

    #[test]
    fn who_came_first_is_first_even_before_the_one_who_just_had_it() {
        let (mut turns, mut tasks) = (Turns::new(), [(); 3].map(|()| Task::default()));
        let [a, b, c] = &mut tasks;
        assert_eq!(a.take(&mut turns), YES);
        assert!(b.take(&mut turns).is_pending() && c.take(&mut turns).is_pending());
        turns.end();
        assert!(a.take(&mut turns).is_pending() && c.take(&mut turns).is_pending());
        assert_eq!((b.woken(), c.woken(), b.take(&mut turns)), (1, 0, YES));
        turns.end();
        assert_eq!((c.woken(), c.take(&mut turns)), (1, YES));
        turns.end();
        assert_eq!(a.take(&mut turns), YES);
    }

    #[test]
    fn who_leaves_when_it_is_their_turn_passes_it_on() {
        let (mut turns, mut tasks) = (Turns::new(), [(); 3].map(|()| Task::default()));
        let [a, b, c] = &mut tasks;
        assert_eq!(a.take(&mut turns), YES);
        assert!(b.take(&mut turns).is_pending() && c.take(&mut turns).is_pending());
        turns.end();
        turns.leave(b.0);
        assert_eq!((c.woken(), c.take(&mut turns)), (1, YES));
    }

    #[test]
    fn a_line_has_an_end_and_room_again_when_somebody_leaves() {
        let mut turns = Turns::new();
        assert_eq!(Task::default().take(&mut turns), YES);
        let mut tasks = [(); WAITING].map(|()| Task::default());
        assert!(tasks.iter_mut().all(|task| task.take(&mut turns).is_pending()));
        let mut late = Task::default();
        assert_eq!(late.take(&mut turns), Poll::Ready(Err(Full)));
        turns.leave(tasks[3].0);
        assert!(late.take(&mut turns).is_pending());
    }
}
