// What the module needs of JavaScript: clocks, timers, streams, tokens and HTTP. Nothing of it
// throws; what fails rejects its promise with `{ kind, message }`.

import { networkKind, reasonOf, RedisError } from './errors.js';
import { issued } from './token.js';

/** Something that was begun and can be given up. */
const task = (begin, kindOf) => {
  const abort = new AbortController();
  const promise = Promise.resolve()
    .then(() => {
      // Who gave it up before it began hears nothing of that.
      abort.signal.throwIfAborted();
      return begin(abort.signal);
    })
    .catch((error) => {
      throw reasonOf(error, kindOf);
    });
  return { promise, cancel: () => abort.abort() };
};

/** A timer. Given up, it comes at once: nobody listens. */
const timer = (start, stop) => {
  let id, ring;
  const promise = new Promise((resolve) => {
    ring = resolve;
    id = start(resolve);
  });
  return {
    promise,
    cancel: () => {
      stop(id);
      ring();
    },
  };
};

const ignored = () => {};

/** Does all of it, whatever becomes of each. */
const tryAll = (...all) => all.forEach((does) => (async () => does())().catch(ignored));

/** Two streams as the module reads and writes them. */
const transport = (given, signal) => {
  let reader, writer;
  // What was read or is being written is lost with it. A stream that is aborted keeps its socket in
  // workerd, for as long as the request lives: what has a `close` of its own is closed by that.
  const shut = () => (given.close ? given.close() : writer?.abort());
  const close = () => tryAll(() => reader?.cancel(), shut);
  try {
    reader = given.readable.getReader();
    writer = given.writable.getWriter();
    signal.throwIfAborted();
  } catch (error) {
    if (given) close();
    if (given?.readable && given?.writable) throw error;
    const wrong = new Error('what `connect` gave has no `readable` and `writable`');
    throw Object.assign(wrong, { kind: 'host' });
  }
  writer.closed?.catch(ignored);
  reader.closed?.catch(ignored);
  const failed = (error) => {
    throw reasonOf(error, networkKind);
  };
  const bytes = ({ value, done }) => {
    if (!done && !(value instanceof Uint8Array)) throw new Error('a stream of something else than bytes');
    return done ? undefined : value;
  };
  return {
    read: () => reader.read().then(bytes).catch(failed),
    write: (bytes) => writer.write(bytes).catch(failed),
    close,
  };
};

/** One transport for one connection. */
const once = (given) => {
  let left = given;
  return () => {
    if (!left) {
      const error = new Error('the transport is used up: give a `connect` function instead');
      throw Object.assign(error, { kind: 'host' });
    }
    left = undefined;
    return given;
  };
};

const tokenKind = (error) => {
  if (typeof error?.kind === 'string') return error.kind;
  if (error?.statusCode === 429) return 'throttled';
  // What `@azure/identity` throws when a person has to do something.
  const refused = error?.statusCode >= 400 && error.statusCode < 500;
  return refused || error?.name === 'CredentialUnavailableError' ? 'configuration' : 'transient';
};

const request = async (fetch, method, url, lines, body, signal) => {
  const headers = {};
  for (let at = 0; at < lines.length; at += 2) headers[lines[at]] = lines[at + 1];
  const init = { method, headers, redirect: 'manual', signal };
  const response = await fetch(url, body.length ? { ...init, body } : init);
  return {
    status: response.status,
    retryAfter: response.headers.get('retry-after') ?? undefined,
    date: response.headers.get('date') ?? undefined,
    body: new Uint8Array(await response.arrayBuffer()),
  };
};

const number = (text, whole) => {
  if (!whole) {
    const special = { inf: Infinity, '+inf': Infinity, '-inf': -Infinity };
    return special[text] ?? Number(text);
  }
  const value = Number(text);
  if (Number.isSafeInteger(value)) return value;
  // What a server calls a large number may be anything.
  return /^[+-]?\d+$/.test(text) ? BigInt(text.replace('+', '')) : text;
};

/** The host for one client, as far as its options have a say. In the `background`, it is no reason
 * for a process to live on. */
export const makeHost = (options, { background = false } = {}) => {
  const { provider, onEvent, onPush } = options;
  const connect = options.connect ?? (options.transport && once(options.transport));
  const fetch = provider?.fetch ?? options.fetch ?? globalThis.fetch;
  return {
    now: () => performance.now(),
    unixTime: () => Date.now() / 1000,
    sleep: (millis) =>
      timer((ring) => {
        const id = setTimeout(ring, millis);
        if (background) id.unref?.();
        return id;
      }, clearTimeout),
    // What promises are ready for is done before the next of these.
    turn: () =>
      globalThis.setImmediate
        ? timer((ring) => setImmediate(ring), clearImmediate)
        : timer((ring) => setTimeout(ring, 0), clearTimeout),
    dial: (address, port, serverName) => {
      const dialing = {};
      let begins;
      dialing.securing = new Promise((resolve) => {
        begins = (stage) => {
          dialing.stage ??= stage;
          if (stage === 'tls') resolve();
        };
      });
      const begun = task(async (signal) => {
        // What is neither the name nor what was asked for comes from a cluster.
        const redirected = address !== (options.address ?? serverName);
        const target = { address, port, serverName, redirected, signal, begins };
        return transport(await connect(target), signal);
      }, networkKind);
      return Object.assign(dialing, begun);
    },
    token: () => task(async (signal) => issued(await provider({ signal })), tokenKind),
    fetch: (method, url, lines, body) =>
      task((signal) => request(fetch, method, url, lines, body, signal), networkKind),
    error: (message, code, kind, outcome) => new RedisError(message, code, kind, outcome),
    number,
    // Later, when the module has nothing in its hands: it may be called back, and what is thrown is
    // the user's to see.
    event: (name, message) => onEvent && queueMicrotask(() => onEvent({ name, message })),
    push: (push) => onPush && queueMicrotask(() => onPush(push)),
  };
};
