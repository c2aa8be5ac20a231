// What the module needs of JavaScript: clocks, timers, streams, tokens and HTTP. Nothing of it
// throws; what fails rejects its promise with `{ kind, message }`.

import { breakKind, networkKind, reasonOf, RedisError } from './errors.js';
import { issued } from './token.js';

const ignored = () => {};

/** Does all of it, whatever becomes of each. */
const tryAll = (...all) => all.forEach((does) => (async () => does())().catch(ignored));

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
  return { promise, cancel: () => tryAll(() => abort.abort()) };
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
    throw reasonOf(error, breakKind);
  };
  const bytes = ({ value, done }) => {
    if (!done && !(value instanceof Uint8Array)) throw new Error('a stream of something else than bytes');
    return done ? undefined : value;
  };
  return {
    read: () => reader.read().then(bytes).catch(failed),
    write: (bytes) => writer.write(bytes).catch(failed),
    close,
    // Deno has it in an object.
    address: given.remoteAddress ?? given.remoteAddr?.hostname,
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

// More than any token takes, and of what is no token as much as people read.
const [LARGEST, SHOWN] = [64 * 1024, 8 * 1024];

/** The beginning of a body: what comes behind it is not wanted, however much it is. */
const beginning = async (response) => {
  const { status, body } = response;
  if (!body?.[Symbol.asyncIterator]) return new Uint8Array(await response.arrayBuffer());
  const most = status === 200 ? LARGEST : SHOWN;
  const parts = [];
  let length = 0;
  try {
    for await (const part of body) {
      parts.push(part);
      length += part.length;
      if (length > most) break;
    }
  } catch (error) {
    // The status says enough.
    if (status === 200) throw error;
  }
  const whole = new Uint8Array(await new Blob(parts).arrayBuffer());
  return status === 200 ? whole : whole.subarray(0, most);
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
    body: await beginning(response),
  };
};

/** Where the module only asks without TLS, metadata is asked for: no proxy may see that, and `fetch`
 * would take the one that the environment names. */
const withoutProxy = (url, { method, headers, body, signal }) => {
  const isWorker = globalThis.navigator?.userAgent === 'Cloudflare-Workers';
  const http = isWorker ? undefined : globalThis.process?.getBuiltinModule?.('node:http');
  if (!http || !url.startsWith('http:')) return undefined;
  return new Promise((resolve, reject) => {
    const agent = new http.Agent({ proxyEnv: {} });
    const asked = http.request(url, { method, headers, signal, agent }, (response) => {
      const get = (name) => response.headers[name] ?? null;
      resolve({ status: response.statusCode, headers: { get }, body: response });
    });
    asked.once('error', reject).end(body);
  });
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
  const fetch =
    provider?.fetch ??
    options.fetch ??
    ((url, init) => withoutProxy(url, init) ?? globalThis.fetch(url, init));
  // What was thrown last: the module only has its words.
  const heard = {};
  const hearing = (what, kindOf, begin) =>
    task(begin, (error) => {
      heard[what] = error;
      return kindOf(error);
    });
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
    dial: (address, port, serverName, turn) => {
      const dialing = {};
      let begins;
      dialing.securing = new Promise((resolve) => {
        begins = (stage) => {
          dialing.stage ??= stage;
          if (stage === 'tls') resolve();
        };
      });
      const begun = hearing('dial', networkKind, async (signal) => {
        // What is neither the name nor what was asked for comes from a cluster.
        const redirected = address !== (options.address ?? serverName);
        const target = { address, port, serverName, redirected, turn, signal, begins };
        return transport(await connect(target), signal);
      });
      return Object.assign(dialing, begun);
    },
    token: () => hearing('token', tokenKind, async (signal) => issued(await provider({ signal }))),
    prove: (isCertificate, path) =>
      hearing('token', tokenKind, async (signal) => {
        const proof = await provider.prove({ isCertificate, path, signal });
        const sign = (data) => hearing('token', tokenKind, (signal) => proof.sign(data, { signal }));
        return { ...proof, sign };
      }),
    fetch: (method, url, lines, body) =>
      hearing('token', networkKind, (signal) => request(fetch, method, url, lines, body, signal)),
    error: (message, code, kind, outcome) => {
      const says = (error) => error && message.includes(reasonOf(error, String).message);
      const cause = [heard.token, heard.dial].find(says);
      return new RedisError(message, code, kind, outcome, cause && { cause });
    },
    number,
    // Later, when the module has nothing in its hands: it may be called back, and what is thrown is
    // the user's to see.
    event: (name, message) => onEvent && queueMicrotask(() => onEvent({ name, message })),
    push: (push) => onPush && queueMicrotask(() => onPush(push)),
  };
};
