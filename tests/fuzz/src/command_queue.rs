//! Whatever tasks and a connection do to a command queue in lent memory, in any order.

use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};

use redis_entraid_core::args;
use redis_entraid_core::command_queue::{CommandError, CommandQueue, CommandSlot, Limits, Ticket};
use redis_entraid_core::connection::{CloseReason, Lost, Outcome, Output, SubmitError, Tag};
use redis_entraid_core::resp::Value;
use redis_entraid_core::time::Instant;

/// What happens: three bytes say what.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A task enters a command whose reply has so many bytes, with or without a limit.
    Enter { size: u8, limit: u8 },
    /// A task is polled, with so many bytes of room.
    Poll { task: u8, room: u8 },
    /// It goes.
    Drop { task: u8 },
    /// The connection takes commands until it has so many.
    Submit { count: u8 },
    /// The oldest one is answered, or refused for want of a login.
    Answer { noauth: bool },
    /// The connection reports that it took too long.
    Expire { command: u8 },
    /// It breaks, when it has sent so many.
    Break { sent: u8 },
    /// Time passes.
    Pass { millis: u8 },
}

impl Step {
    fn of([what, first, second]: [u8; 3]) -> Self {
        match what % 16 {
            0..=3 => Self::Enter { size: first % 64, limit: second },
            4..=8 => Self::Poll { task: first, room: second.saturating_add(60) },
            9 => Self::Drop { task: first },
            10 | 11 => Self::Submit { count: first % 8 },
            12 | 13 => Self::Answer { noauth: first % 8 == 0 },
            14 if first % 2 == 0 => Self::Expire { command: second },
            14 => Self::Pass { millis: second },
            _ => Self::Break { sent: first % 8 },
        }
    }
}

struct Task {
    id: u64,
    text: String,
    ticket: Ticket,
}

/// A command that the connection has.
struct Sent {
    tag: Tag,
    id: u64,
    size: usize,
    told: bool,
}

const LIMIT: Duration = Duration::from_millis(300);
const BROKEN: CloseReason = CloseReason::ByServer;

fn reply(id: u64, size: usize) -> String {
    format!("+{id}{}\r\n", "-".repeat(size))
}

/// The first bytes say how much memory there is, the others what happens.
pub fn check(data: &[u8]) {
    let Some(([slot_count, command_len, reply_len], steps)) = data.split_first_chunk() else {
        return;
    };
    let mut slots: Vec<_> = (0..slot_count % 8).map(|_| CommandSlot::new()).collect();
    let mut commands = vec![0; usize::from(*command_len)];
    let mut replies = vec![0; usize::from(*reply_len)];
    let capacity = replies.len();
    let limits = Limits { queue: LIMIT, reply: LIMIT };
    let mut queue = CommandQueue::new(&mut slots, &mut commands, &mut replies, limits);
    let cx = &Context::from_waker(Waker::noop());
    let (mut now, mut ids) = (Instant::from_millis(0), 0);
    let (mut tasks, mut sent) = (Vec::<Task>::new(), VecDeque::<Sent>::new());
    let (mut executed, mut not_sent) = (Vec::new(), BTreeSet::new());
    // Between a refusal for want of a login and the login, a connection takes no command.
    let mut draining = false;
    for step in steps.as_chunks().0 {
        draining &= !sent.is_empty();
        match Step::of(*step) {
            Step::Enter { size, limit } => {
                ids += 1;
                let text = format!("{ids} {size}");
                let millis = (limit % 2 == 0).then_some(limit.into());
                let limit = millis.map(Duration::from_millis);
                match queue.enter(now, limit, args!["ECHO", &*text]) {
                    Ok(ticket) => tasks.push(Task { id: ids, text, ticket }),
                    Err(error) => assert_eq!(error.outcome(), Outcome::NotSent),
                }
            }
            Step::Poll { task, room } if !tasks.is_empty() => {
                let at = usize::from(task) % tasks.len();
                let Task { id, text, ticket } = &tasks[at];
                let mut room = vec![0; usize::from(room)];
                let args = args!["ECHO", &**text];
                let Poll::Ready(answer) = queue.poll(now, cx, ticket, args, &mut room) else {
                    continue;
                };
                match answer {
                    Ok(len) if room[..len].starts_with(b"-NOAUTH") => {
                        not_sent.insert(*id);
                    }
                    Ok(len) => {
                        let own = format!("+{id}");
                        assert!(room[..len].starts_with(own.as_bytes()), "somebody else's");
                        assert!(executed.contains(id));
                    }
                    Err(CommandError::ReplyTooLarge(error)) => {
                        assert!(error.size as usize > capacity);
                    }
                    Err(error) if error.outcome() == Outcome::NotSent => {
                        not_sent.insert(*id);
                    }
                    Err(_) => {}
                }
                tasks.remove(at);
            }
            Step::Drop { task } if !tasks.is_empty() => {
                let task = tasks.remove(usize::from(task) % tasks.len());
                queue.withdraw(&task.ticket);
                let is_sent = sent.iter().any(|sent| sent.id == task.id);
                if !is_sent && !executed.contains(&task.id) {
                    not_sent.insert(task.id);
                }
            }
            Step::Submit { count } => queue.submit(now, cx, |until, tag, command| {
                assert!(until > now);
                if draining || sent.len() >= usize::from(count) {
                    return Err(SubmitError::Full);
                }
                let words = Value::new(command.bytes()).ok();
                let word = words.and_then(|words| words.items().nth(1));
                let text = word.and_then(|word| word.str().ok()).unwrap_or_default();
                let (id, size) = text.split_once(' ').unwrap_or_default();
                let (id, size) = (id.parse().unwrap_or_default(), size.parse().unwrap_or_default());
                assert!(tasks.iter().any(|task| task.id == id), "nobody waits for it");
                sent.push_back(Sent { tag, id, size, told: false });
                Ok(())
            }),
            Step::Answer { noauth } => {
                let Some(Sent { tag, id, size, told }) = sent.front() else { continue };
                let raw = match noauth {
                    true => "-NOAUTH no\r\n".to_owned(),
                    false => reply(*id, *size),
                };
                let output = Output::Reply { tag: *tag, reply: Ok(Value::framed(raw.as_bytes())) };
                if !told && queue.poll_room(cx, &output).is_pending() {
                    continue;
                }
                draining |= noauth;
                if !noauth {
                    executed.push(*id);
                }
                if !told {
                    queue.output(&output);
                }
                sent.pop_front();
            }
            Step::Expire { command } => {
                let sent = sent.get_mut(usize::from(command)).filter(|sent| !sent.told);
                if let Some(sent) = sent {
                    sent.told = true;
                    let lost = Lost::new(Outcome::Unknown, None);
                    queue.output(&Output::Lost { tag: sent.tag, lost });
                }
            }
            Step::Break { sent: count } => {
                for (at, sent) in sent.drain(..).enumerate().filter(|(_, sent)| !sent.told) {
                    let is_sent = at < usize::from(count);
                    let outcome = if is_sent { Outcome::Unknown } else { Outcome::NotSent };
                    let lost = Lost::new(outcome, Some(BROKEN));
                    queue.output(&Output::Lost { tag: sent.tag, lost });
                }
                queue.disconnected(BROKEN);
            }
            Step::Pass { millis } => now = now.plus(Duration::from_millis(millis.into())),
            _ => {}
        }
        while queue.next_waker().is_some() {}
    }
    assert!(executed.is_sorted_by(|one, next| one < next), "out of order, or twice: {executed:?}");
    assert!(executed.iter().all(|id| !not_sent.contains(id)), "executed, though not sent");
    tasks.iter().for_each(|task| queue.withdraw(&task.ticket));
    assert!(queue.is_empty() && !queue.is_waiting());
}
