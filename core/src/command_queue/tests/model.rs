//! Everything at random, beside a server that writes down what it executes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::format;

use super::*;

struct Rng(u64);

impl Rng {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A task that waits for the reply to `ECHO id size`.
struct Task {
    id: u64,
    words: [String; 2],
    ticket: Ticket,
    woken: Woken,
    room: usize,
}

/// A command that a connection was given.
struct Sent {
    tag: Tag,
    id: u64,
    size: usize,
    until: Instant,
    offered: bool,
    told: bool,
}

/// A connection as the core has it: one command after the other.
#[derive(Default)]
struct Line {
    sent: VecDeque<Sent>,
    /// The server has forgotten the login: it is sent again when all replies are in.
    out: bool,
    draining: bool,
    /// A reply that waits for room.
    held: Option<(Tag, u64, Vec<u8>)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Delivered {
    Reply(Vec<u8>),
    TooLarge,
}

struct World {
    rng: Rng,
    now: Instant,
    queue: CommandQueue<'static>,
    driver: Woken,
    line: Option<Line>,
    tasks: Vec<Task>,
    ids: u64,
    /// What the server has executed, in order.
    executed: Vec<u64>,
    /// What the queue was given for those that wait.
    delivered: BTreeMap<u64, Delivered>,
    /// What must never be executed, nor have been.
    not_sent: BTreeSet<u64>,
    answered: u64,
}

const RING: usize = 3;

fn reply(id: u64, size: usize) -> Vec<u8> {
    let text = format!("{id}{}", "-".repeat(size));
    format!("${}\r\n{text}\r\n", text.len()).into_bytes()
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let slots = (0..=rng.below(6)).map(|_| CommandSlot::new()).collect::<Vec<_>>().leak();
        let mut memory = |least, more| std::vec![0; least + rng.below(more) as usize].leak();
        let (commands, replies) = (memory(40, 100), memory(40, 60));
        let limits = Limits { queue: SECOND, reply: SECOND };
        let queue = CommandQueue::new(slots, commands, replies, limits);
        let (now, driver) = (Instant::from_millis(0), Woken::new());
        let (line, tasks, ids, answered) = (None, Vec::new(), 0, 0);
        let (executed, delivered, not_sent) = Default::default();
        Self { rng, now, queue, driver, line, tasks, ids, executed, delivered, not_sent, answered }
    }

    fn wake(&mut self) {
        while let Some(waker) = self.queue.next_waker() {
            waker.wake();
        }
    }

    fn enter(&mut self) {
        self.ids += 1;
        let size = self.rng.below(40) as usize + if self.rng.chance(3) { 100 } else { 0 };
        let words = [self.ids.to_string(), size.to_string()];
        let limit = self.rng.chance(30).then(|| SECOND / 10 * self.rng.below(20) as u32);
        let entered = self.queue.enter(self.now, limit, args!["ECHO", &*words[0], &*words[1]]);
        match entered {
            Ok(ticket) => {
                let room = if self.rng.chance(5) { 8 } else { 200 };
                self.tasks.push(Task { id: self.ids, words, ticket, woken: Woken::new(), room });
                // It is polled at once, or a little later.
                if self.rng.chance(80) {
                    self.poll(self.tasks.len() - 1);
                } else if let Some(task) = self.tasks.last() {
                    task.woken.1.wake_by_ref();
                }
            }
            Err(error) => {
                assert_eq!(error, CommandError::Busy);
                self.not_sent.insert(self.ids);
            }
        }
    }

    /// Polls a task. It goes if it has an answer.
    fn poll(&mut self, at: usize) {
        let Task { id, words, ticket, woken, room } = &self.tasks[at];
        woken.take();
        let (id, mut memory) = (*id, std::vec![0; *room]);
        let args = args!["ECHO", &*words[0], &*words[1]];
        let polled = self.queue.poll(self.now, &woken.cx(), ticket, args, &mut memory);
        self.wake();
        let Poll::Ready(answer) = polled else { return };
        let room = memory.len();
        self.tasks.remove(at);
        self.answered += 1;
        let delivered = self.delivered.remove(&id);
        match (answer, delivered) {
            (Ok(len), Some(Delivered::Reply(raw))) => assert_eq!(&memory[..len], raw),
            (Ok(len), None) => {
                assert!(memory[..len].starts_with(b"-NOAUTH"), "{id}");
                self.not_sent.insert(id);
            }
            (Err(CommandError::TooLarge(_)), Some(Delivered::Reply(raw))) => {
                assert!(raw.len() > room);
            }
            (Err(CommandError::ReplyTooLarge(_)), Some(Delivered::TooLarge)) => {}
            (Err(error), None) => {
                if error.outcome() == Outcome::NotSent {
                    self.not_sent.insert(id);
                }
            }
            other => panic!("{id}: {other:?}"),
        }
    }

    /// Drops a task. What a connection doesn't have is not executed any more.
    fn drop(&mut self, at: usize) {
        let task = self.tasks.remove(at);
        self.queue.withdraw(&task.ticket);
        self.wake();
        self.delivered.remove(&task.id);
        let sent = self.line.iter().flat_map(|line| &line.sent).any(|sent| sent.id == task.id);
        if !sent && !self.executed.contains(&task.id) {
            self.not_sent.insert(task.id);
        }
    }

    /// What drives the connection has its turn.
    fn drive(&mut self) {
        let Self { now, queue, driver, line, .. } = self;
        driver.take();
        let cx = &driver.cx();
        let Some(line) = line else {
            queue.poll_waiting(cx);
            return self.wake();
        };
        if line.draining && line.sent.is_empty() && line.held.is_none() {
            (line.draining, line.out) = (false, false);
        }
        queue.submit(*now, cx, |until, tag, command| {
            assert!(until > *now);
            if line.draining || line.sent.len() >= RING {
                return Err(SubmitError::Full);
            }
            let mut words = Value::new(command.bytes()).unwrap().items().skip(1);
            let mut number = || words.next().unwrap().str().unwrap().parse().unwrap();
            let (id, size) = (number(), number() as usize);
            line.sent.push_back(Sent { tag, id, size, until, offered: false, told: false });
            Ok(())
        });
        self.wake();
        self.hand_over();
    }

    /// Gives the queue the reply that the connection has, if there is room.
    fn hand_over(&mut self) {
        let Some(line) = &mut self.line else { return };
        let Some((tag, id, raw)) = line.held.take() else { return };
        let output = Output::Reply { tag, reply: Ok(Value::framed(&raw)) };
        let polled = self.queue.poll_room(&self.driver.cx(), &output);
        if polled.is_pending() {
            line.held = Some((tag, id, raw));
            return self.wake();
        }
        // It may log in again now.
        self.driver.1.wake_by_ref();
        let waits = self.tasks.iter().any(|task| task.id == id);
        self.queue.output(&output);
        self.wake();
        if waits && !raw.starts_with(b"-") {
            let fits = raw.len() <= self.queue.replies.capacity();
            let delivered = if fits { Delivered::Reply(raw) } else { Delivered::TooLarge };
            self.delivered.insert(id, delivered);
        }
    }

    /// The server answers the oldest command.
    fn answer(&mut self) {
        let forgets = self.rng.chance(10);
        let Some(line) = &mut self.line else { return };
        if line.held.is_some() || !line.sent.front().is_some_and(|sent| sent.offered) {
            return;
        }
        // It may know the login again before it is told.
        line.out = (line.out || forgets) && !self.rng.chance(10);
        let Some(sent) = line.sent.pop_front() else { return };
        let raw = match line.out {
            true => NOAUTH.to_vec(),
            false => {
                self.executed.push(sent.id);
                reply(sent.id, sent.size)
            }
        };
        line.draining |= line.out;
        if !sent.told {
            line.held = Some((sent.tag, sent.id, raw));
        }
        self.hand_over();
        self.driver.1.wake_by_ref();
    }

    fn breaks(&mut self) {
        let Some(line) = self.line.take() else { return };
        let mut executes = true;
        for sent in line.sent {
            // Of what is under way, the server still takes a part.
            executes &= sent.offered && !line.out && self.rng.chance(70);
            if executes {
                self.executed.push(sent.id);
            }
            if !sent.told {
                let lost = if sent.offered { UNKNOWN } else { NOT_SENT };
                self.queue.output(&Output::Lost { tag: sent.tag, lost });
            }
        }
        self.queue.disconnected(BROKEN);
        self.wake();
        self.driver.1.wake_by_ref();
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
        for sent in self.line.iter_mut().flat_map(|line| &mut line.sent) {
            if self.now >= sent.until && !sent.told {
                sent.told = true;
                let lost = Lost::new(Outcome::Unknown, None);
                self.queue.output(&Output::Lost { tag: sent.tag, lost });
            }
        }
        self.wake();
    }

    /// The tasks run that were woken, or whose time is over; and the driver, if it was woken.
    fn run(&mut self) -> bool {
        if self.driver.take() {
            self.drive();
            return true;
        }
        let is_due =
            |task: &Task| task.woken.take() || self.queue.deadline(&task.ticket) <= self.now;
        let due = self.tasks.iter().position(is_due);
        if let Some(at) = due {
            self.poll(at);
        }
        due.is_some()
    }

    fn step(&mut self) {
        match self.rng.below(10) {
            0 | 1 => self.enter(),
            2 if !self.tasks.is_empty() && self.rng.chance(30) => {
                let at = self.rng.below(self.tasks.len() as u64) as usize;
                self.drop(at);
            }
            3 if self.line.is_none() => {
                self.line = Some(Line::default());
                self.driver.1.wake_by_ref();
            }
            3 if self.rng.chance(20) => self.breaks(),
            4 => {
                let count = self.rng.below(3) as usize + 1;
                let sent = self.line.iter_mut().flat_map(|line| &mut line.sent);
                sent.take(count).for_each(|sent| sent.offered = true);
            }
            5 | 6 => self.answer(),
            7 if self.rng.chance(30) => {
                let tenths = self.rng.below(8) as u32;
                self.pass(SECOND / 10 * tenths);
            }
            _ => {
                self.run();
            }
        }
    }

    /// All that is under way comes to its end, without the time passing.
    fn settle(&mut self) {
        self.line.get_or_insert_default();
        self.driver.1.wake_by_ref();
        for _ in 0..10_000 {
            if let Some(line) = &mut self.line {
                line.sent.iter_mut().for_each(|sent| sent.offered = true);
            }
            let ran = self.run();
            self.answer();
            let is_idle = self.line.as_ref().is_none_or(|line| line.sent.is_empty());
            if !ran && is_idle && self.tasks.is_empty() {
                break;
            }
        }
        assert!(self.tasks.is_empty(), "{} tasks wait for ever", self.tasks.len());
    }

    fn check(&self) {
        let sorted = self.executed.is_sorted_by(|one, next| one < next);
        assert!(sorted, "out of order, or twice: {:?}", self.executed);
        let executed: BTreeSet<_> = self.executed.iter().copied().collect();
        let both: Vec<_> = executed.intersection(&self.not_sent).collect();
        assert!(both.is_empty(), "executed, though not sent: {both:?}");
        let Self { queue, .. } = self;
        assert!(queue.is_empty() && !queue.is_waiting());
        assert_eq!(queue.commands.free(), queue.commands.capacity());
        assert_eq!(queue.replies.free(), queue.replies.capacity());
    }
}

#[test]
fn nothing_is_lost_doubled_reordered_or_given_to_another_whatever_happens() {
    let (mut answered, mut executed) = (0, 0);
    for seed in 0..5000 {
        let mut world = World::new(seed);
        for _ in 0..300 {
            world.step();
        }
        world.settle();
        world.check();
        answered += world.answered;
        executed += world.executed.len();
    }
    // It would be easy to be right about nothing.
    assert!(answered > 80_000 && executed > 80_000, "{answered} answered, {executed} executed");
}
