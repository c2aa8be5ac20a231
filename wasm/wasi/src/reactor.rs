//! Waiting, on the one thread that a component has.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};

use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::OutputStream;
use wasip2::sockets::tcp::TcpSocket;

/// What the futures of a component wait for, and those that run beside the main one. Clones are
/// the same one.
#[derive(Clone, Default)]
pub struct Reactor(Rc<Inner>);

#[derive(Default)]
struct Inner {
    waiting: RefCell<Vec<Entry>>,
    tasks: RefCell<Vec<Task>>,
    lingering: RefCell<Vec<Lingering>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The component ends, and what the host would wait for with it.
        self.lingering.get_mut().drain(..).for_each(core::mem::forget);
    }
}

/// A connection that is over, whose peer has stopped reading what was written to it. Until that is
/// read, or the peer has gone, the host can't drop it without waiting.
struct Lingering {
    output: Rc<OutputStream>,
    // Behind the stream: the host wants it gone later.
    _socket: Rc<TcpSocket>,
}

impl Lingering {
    fn is_stuck(&self) -> bool {
        matches!(self.output.check_write(), Ok(0))
    }
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

struct Entry {
    pollable: Rc<Pollable>,
    waker: Waker,
    ready: bool,
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reactor({} waiting)", self.0.waiting.borrow().len())
    }
}

/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// How often futures are polled that wake themselves, before the host is asked what else is ready:
/// one that always has something to do must not keep a timer from its turn.
const ROUNDS: u32 = 16;

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs the main future of a component, with a reactor for all that it waits for.
///
/// What was [spawned](Reactor::spawn) runs as long as the main future does.
pub fn run<T>(main: impl AsyncFnOnce(&Reactor) -> T) -> T {
    let reactor = Reactor::default();
    let output = reactor.block_on(main(&reactor));
    // They hold the reactor, and it holds them.
    let tasks = core::mem::take(&mut *reactor.0.tasks.borrow_mut());
    drop(tasks);
    output
}

impl Reactor {
    /// Runs `task` beside the main future.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.0.tasks.borrow_mut().push(Box::pin(task));
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = Waker::from(woken.clone());
        let mut cx = Context::from_waker(&waker);
        let mut future = pin!(future);
        let mut rounds = 0;
        loop {
            woken.0.store(false, Ordering::Relaxed);
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return output;
            }
            // A task may spawn others.
            let mut tasks = core::mem::take(&mut *self.0.tasks.borrow_mut());
            tasks.retain_mut(|task| task.as_mut().poll(&mut cx).is_pending());
            let fresh = core::mem::replace(&mut *self.0.tasks.borrow_mut(), tasks);
            if !fresh.is_empty() {
                self.0.tasks.borrow_mut().extend(fresh);
                continue;
            }
            let busy = woken.0.load(Ordering::Relaxed);
            rounds = if busy { rounds + 1 } else { 0 };
            if rounds % ROUNDS == 0 {
                self.turn(busy);
            }
        }
    }

    /// Wakes the tasks whose pollables are ready. Waits until one is, unless there is something to do
    /// meanwhile.
    fn turn(&self, busy: bool) {
        self.0.lingering.borrow_mut().retain(Lingering::is_stuck);
        // Whatever is asked here is asked of the host in one go: a pollable that calls itself ready
        // again and again must not keep a timer from its turn.
        // What is ready already waits to be looked at, and not for the host.
        let waiting: Vec<Rc<Pollable>> = {
            let entries = self.0.waiting.borrow();
            let waiting = entries.iter().filter(|entry| !entry.ready);
            waiting.map(|entry| entry.pollable.clone()).collect()
        };
        if waiting.is_empty() {
            if !busy {
                // A future that waits for nothing here; at least it shouldn't keep the host busy.
                subscribe_duration(SECOND / 10).block();
            }
            return;
        }
        let at_once = busy.then(|| subscribe_duration(0));
        let pollables = waiting.iter().map(|pollable| &**pollable);
        let pollables: Vec<&Pollable> = pollables.chain(&at_once).collect();
        let ready = poll(&pollables);
        let mut entries = self.0.waiting.borrow_mut();
        for pollable in ready.iter().filter_map(|index| waiting.get(*index as usize)) {
            let is = |entry: &&mut Entry| Rc::ptr_eq(&entry.pollable, pollable);
            if let Some(entry) = entries.iter_mut().find(is) {
                entry.ready = true;
                entry.waker.wake_by_ref();
            }
        }
    }

    /// Keeps a connection that is over for as long as the host would wait while it drops it.
    pub(crate) fn linger(&self, output: Rc<OutputStream>, socket: Rc<TcpSocket>) {
        let one = Lingering { output, _socket: socket };
        if one.is_stuck() {
            self.0.lingering.borrow_mut().push(one);
        }
    }

    /// How many connections are over whose peers have stopped reading. The host keeps each until the
    /// peer reads on or goes.
    pub fn lingering(&self) -> usize {
        self.0.lingering.borrow().len()
    }

    /// Waits until `pollable` is ready.
    pub async fn wait(&self, pollable: Pollable) {
        let waiting = Waiting { reactor: self, pollable: Rc::new(pollable) };
        poll_fn(|cx| waiting.poll(cx)).await;
    }
}

/// A task waits for a pollable, until this is dropped.
struct Waiting<'r> {
    reactor: &'r Reactor,
    pollable: Rc<Pollable>,
}

impl Waiting<'_> {
    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut entries = self.reactor.0.waiting.borrow_mut();
        match entries.iter_mut().find(|entry| Rc::ptr_eq(&entry.pollable, &self.pollable)) {
            Some(entry) if entry.ready => return Poll::Ready(()),
            Some(entry) => entry.waker.clone_from(cx.waker()),
            None => {
                let (pollable, waker) = (self.pollable.clone(), cx.waker().clone());
                entries.push(Entry { pollable, waker, ready: false });
            }
        }
        Poll::Pending
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // The host wants what was made of a stream gone before the stream goes.
        self.reactor
            .0
            .waiting
            .borrow_mut()
            .retain(|entry| !Rc::ptr_eq(&entry.pollable, &self.pollable));
    }
}
