//! Futures with a waker each, as where each is a task of its own.

use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Waker};
use std::sync::Mutex;
use std::task::Wake;

use super::*;

pub(super) type Task<'t> = Pin<Box<dyn Future<Output = ()> + 't>>;

/// Whether a task was woken, and who runs it.
#[derive(Default)]
struct Woken(AtomicBool, Mutex<Option<Waker>>);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
        if let Some(waker) = self.1.lock().unwrap().take() {
            waker.wake();
        }
    }
}

/// Runs `others` beside `first` until that ends. Each is only polled when it was woken, or when its
/// time has come.
pub(super) async fn apart<T>(
    world: &World,
    first: impl Future<Output = T>,
    others: Vec<Task<'_>>,
) -> T {
    let result = RefCell::new(None);
    let first: Task<'_> = Box::pin(async { *result.borrow_mut() = Some(first.await) });
    let start = Some(Instant::default());
    let mut tasks: Vec<_> = core::iter::once(first)
        .chain(others)
        .map(|task| (Some(task), Arc::<Woken>::default(), start))
        .collect();
    poll_fn(|cx| {
        for (task, woken, next) in &mut tasks {
            let due = next.is_some_and(|next| world.now() >= next);
            let is_woken = woken.0.swap(false, Ordering::Relaxed);
            *woken.1.lock().unwrap() = Some(cx.waker().clone());
            let all = world.next.take();
            if let Some(polled) = task
                && (due || is_woken)
            {
                *next = None;
                let waker = Waker::from(woken.clone());
                if polled.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                    *task = None;
                }
                *next = world.next.take();
            }
            world.next.set(next.iter().copied().chain(all).min());
        }
        if tasks[0].0.is_none() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    drop(tasks);
    result.into_inner().unwrap()
}
