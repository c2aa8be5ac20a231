//! Many commands and many handles: work that grows with them, and no faster.

use std::time::Instant as Stopwatch;

use super::*;

/// Fails if ten times as much takes more than fifty times as long. Squared, it would be a hundred
/// times.
fn is_linear(work: impl Fn(usize)) {
    let best = |size, times| {
        let took = (0..times).map(|_| {
            let start = Stopwatch::now();
            work(size);
            start.elapsed()
        });
        took.min().unwrap()
    };
    let (one, ten) = (best(10_000, 3), best(100_000, 2));
    assert!(ten < one * 50, "100,000 take {ten:?}, 10,000 take {one:?}");
}

/// Begins to wait for `count` commands of one pipeline.
fn long<'h>(
    handle: &'h mut Handle<Shared>,
    clock: &'h Stopped,
    limit: Option<Duration>,
    text: &'static str,
    count: usize,
) -> Pin<Box<dyn Future<Output = Result<(), Error>> + 'h>> {
    let mut waiting = Box::pin(async move {
        let commands = words(text);
        let commands = core::iter::repeat_n(commands[0].as_slice(), count);
        handle.execute_all(clock, limit, commands).await
    });
    assert!(waiting.as_mut().poll(&mut cx()).is_pending());
    waiting
}

#[test]
fn a_long_pipeline_that_fails_behind_its_first_command_costs_linear_time() {
    const LIMIT: Duration = Duration::from_secs(1);
    is_linear(|count| {
        let (mut line, mut handle) = Line::new();
        let clock = Stopped::default();
        let get = "GET a-key-of-some-length";
        let mut waiting = long(&mut handle, &clock, Some(LIMIT), get, count);
        line.take(1).unwrap();
        line.dispatcher.expire_behind(Instant::from_millis(1000));
        line.answer(0, "+OK\r\n");
        assert!(waiting.as_mut().poll(&mut cx()).is_ready());
        drop(waiting);
        assert_eq!(handle.replies(), count);
    });
}

#[test]
fn a_long_pipeline_that_the_connection_refuses_costs_linear_time() {
    is_linear(|count| {
        let (mut line, mut handle) = Line::new();
        let clock = Stopped::default();
        let pop = "BLPOP a-key-of-some-length 0";
        let mut waiting = long(&mut handle, &clock, None, pop, count);
        let refuses = &mut |_, _, _: redis_entraid_core::command::EncodedCommand<'_>| {
            Err(SubmitError::Refused(CommandRefused::Blocking))
        };
        line.dispatcher.submit(&cx(), clock.now(), refuses).unwrap();
        assert!(waiting.as_mut().poll(&mut cx()).is_ready());
        drop(waiting);
        assert_eq!(handle.replies(), count);
    });
}

#[test]
fn handles_that_give_up_one_by_one_cost_linear_time() {
    is_linear(|count| {
        let (mut line, mut handle) = Line::new();
        let clock = Stopped::default();
        let mut others: Vec<_> = (0..count / 10).map(|_| handle.another()).collect();
        let get = "GET a-key-of-some-length";
        let _waiting = long(&mut handle, &clock, None, get, count);
        let waiting: Vec<_> =
            others.iter_mut().map(|other| long(other, &clock, None, get, 1)).collect();
        for waiting in waiting {
            drop(waiting);
            // There is no connection.
            let _ = line.dispatcher.poll_demand(&cx(), QueueDemand::default());
        }
        line.take(usize::MAX / 2).unwrap();
        assert_eq!(line.said.len(), count);
    });
}
