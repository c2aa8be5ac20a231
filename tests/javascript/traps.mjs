// What JavaScript programs do that no conformance case has: one program for Node and Deno, run with
// `--expose-gc`. It ends well or says why not.

import { Client, clientSecret, connect, managedIdentity, RedisError } from 'redis-entraid-js';
import { streamingCredentials, TokenManager } from 'redis-entraid-js/tokens';
import { connectWorkers } from 'redis-entraid-js/workers';

import { connector, env, say, serve, sleep } from '#host';

const failures = [];
const check = (holds, rule) => {
  if (!holds) failures.push(rule);
  say(`${holds ? 'ok' : 'NOT OK'} ${rule}`);
};
const failure = async (promise) => {
  try {
    await promise;
    return undefined;
  } catch (error) {
    return error;
  }
};
const thrown = (does) => {
  try {
    does();
    return undefined;
  } catch (error) {
    return error;
  }
};
/** What `promise` comes to, if that is soon. */
const soon = (promise, millis = 30_000) => {
  let timer;
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, millis, 'late');
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
};

/** Whether something comes to be so. */
const until = async (holds) => {
  for (const end = performance.now() + 30_000; !holds() && performance.now() < end; ) await sleep(20);
  return holds();
};

/** Gives the collector time, and reason. */
const collect = async () => {
  for (let round = 0; round < 10; round += 1) {
    globalThis.gc?.();
    await sleep(20);
  }
};

const uncaught = [];
globalThis.process?.on('unhandledRejection', (error) => uncaught.push(error));
globalThis.process?.on('uncaughtException', (error) => uncaught.push(error));

const host = env.REDIS_HOSTNAME;
const dial = await connector({ pem: env.REDIS_CA_PEM });
const imds = managedIdentity({ imds: env.AZURE_POD_IDENTITY_AUTHORITY_HOST });
// One that nobody has to wait for.
const instant = async () => ({ token: 'x', user: 'y', expiresIn: 3600 });
const common = { host, port: Number(env.REDIS_PORT), connect: dial, provider: imds };

// Whatever a provider throws or gives.
for (const [what, provider] of [
  ['nothing', () => Promise.reject()],
  ['null', () => Promise.reject(null)],
  ['a string', () => { throw 'no token'; }],
  ['a symbol', () => { throw Symbol('no token'); }],
  ['an object that is no text', () => { throw Object.create(null); }],
  ['an error whose message is no text', () => { throw Object.assign(new Error(), { message: Object.create(null), kind: 5 }); }],
]) {
  const error = await soon(failure(connect({ ...common, provider, startTimeout: 1500 })));
  check(error?.kind === 'token' && !/timed out/.test(error.message), `a provider may throw ${what}: ${String(error?.message ?? error)}`);
}
for (const [what, given] of [
  ['nothing', undefined], ['null', null], ['a number', 5], ['an empty text', ''], ['an object', {}],
  ['a token that is none', { token: 5 }], ['a time that is a bigint', { token: 'x', expiresOnTimestamp: 5n }],
]) {
  const error = await soon(failure(connect({ ...common, provider: async () => given, startTimeout: 1500 })));
  check(error instanceof RedisError && !/timed out/.test(error.message), `a provider may give ${what}: ${String(error?.message ?? error)}`);
}
let wasAborted = false;
const never = ({ signal }) => {
  signal.addEventListener('abort', () => { wasAborted = true; });
  return new Promise(() => {});
};
const unsettled = await soon(failure(connect({ ...common, provider: never, startTimeout: 300 })));
await until(() => wasAborted);
check(unsettled?.kind === 'token' && wasAborted, `a provider may never settle, and is told: ${unsettled?.message} ${wasAborted}`);

// Workers verify the name that they dial.
{
  const dialed = [];
  const fake = ({ hostname, port }) => {
    dialed.push(`${hostname}:${port}`);
    return { opened: Promise.resolve(), closed: new Promise(() => {}), close() {} };
  };
  const target = { address: '10.0.0.1', port: 8501, serverName: 'cache' };
  await connectWorkers(fake)({ ...target, redirected: true });
  check(dialed.join() === 'cache:8501', `a redirection is dialed by the name: ${dialed}`);
  const unlike = await soon(failure(connect({ ...common, address: '10.0.0.1', connect: connectWorkers(fake) })));
  const says = /Workers verify the name that they dial/.test(unlike?.message);
  check(says && dialed.length === 1, `an address of one's own is refused: ${unlike?.message}`);
}

// Hooks that call back.
{
  let client;
  const heard = [];
  const onEvent = ({ name }) => {
    heard.push(name);
    if (!client) return;
    client.health();
    client.pull();
    client.changedSnapshot();
    client.command('PING').catch(() => {});
    if (name === 'logged-in') client.close();
  };
  client = new Client({ ...common, onEvent });
  const error = await soon(failure(client.command('BLPOP', 'none', 0)));
  check(error instanceof RedisError && heard.includes('logged-in'), `a hook may use the client: ${String(error)} ${heard}`);
}

// Garbage collection.
{
  let opened = 0;
  let closed = 0;
  const counted = async (...given) => {
    const transport = await dial(...given);
    opened += 1;
    const { readable, writable } = transport;
    return { readable, writable, close: () => (closed += 1, transport.close()) };
  };
  const reply = (async () => (await connect({ ...common, connect: counted })).command('BLPOP', 'gc', 0))();
  const other = await connect({ ...common });
  await collect();
  await other.command('RPUSH', 'gc', 'x');
  const got = await soon(reply.catch((error) => error));
  check(String(got) === 'gc,x', `a command outlives the last reference to its client: ${got}`);
  // The collector takes its time.
  await until(() => (globalThis.gc?.(), closed > 0));
  check(opened === 1 && closed === 1, `and its connection doesn't: ${opened} opened, ${closed} closed`);
  other.close();
}
{
  const slow = async () => {
    await sleep(300);
    return { token: 'x', user: 'y', expiresIn: 3600 };
  };
  const token = new TokenManager({ provider: slow }).token();
  await collect();
  const got = await soon(token.catch((error) => error));
  check(got?.token === 'x', `so does a token that is waited for: ${got}`);
}

// Wrong options.
for (const wrong of [
  { port: 70_000 }, { port: 0.5 }, { port: 'redis' }, { host: 5 }, { name: 5 }, { commandTimeout: NaN }, { commandTimeout: -1 },
  { startTimeout: '1s' }, { deadline: {} }, { maxReply: 2 ** 32 }, { pingInterval: 5n }, { address: {} },
  { policy: { lowerRefreshBound: 'x' } }, { policy: { expirationRefreshRatio: '0.5' } },
  { policy: { retry: { maxAttempts: 0.5 } } }, { policy: { retry: { slowDelay: -1 } } }, { snapshot: 'x' }, { connect: 5 }, { onEvent: 5 },
]) {
  const error = thrown(() => new Client({ ...common, ...wrong }).close());
  check(error instanceof TypeError, `${JSON.stringify(wrong, (_, value) => typeof value === 'bigint' ? `${value}n` : value)} is a mistake: ${error?.message}`);
}
{
  const patient = await connect({ ...common, commandTimeout: Infinity, startTimeout: Infinity, pingInterval: 2 ** 40 });
  check((await soon(patient.command('PING'))) === 'PONG', 'patience may be without end');
  const before = patient.changedSnapshot();
  patient.close();
  const never = () => Promise.reject(new Error('it is not asked'));
  const restored = connect({ ...common, fetch: never, snapshot: before.buffer });
  const kept = await soon(failure(restored.then((client) => client.close())));
  check(kept === undefined, `a snapshot may be an ArrayBuffer: ${kept?.message}`);
  const other = await soon(failure(connect({ ...common, provider: never, startTimeout: 2000, snapshot: before })));
  check(other?.message.includes('it is not asked'), `and is of no use for another identity: ${other?.message}`);
}

for (const [wrong, meant] of [
  [{ commandTimout: 5 }, 'commandTimeout'], [{ hosst: 'x' }, 'host'], [{ policy: { retries: {} } }, 'retry'],
  [{ policy: { retry: { maxAttempt: 5 } } }, 'maxAttempts'], [{ onevent: () => {} }, 'onEvent'],
]) {
  const error = thrown(() => new Client({ ...common, ...wrong }).close());
  const says = error instanceof TypeError && error.message.includes(meant);
  check(says, `an unknown option is a mistake, and ${meant} may be meant: ${error?.message}`);
}
for (const [what, does] of [
  ['a manager', () => new TokenManager({ provider: imds, startTimout: 5 })],
  ['a provider', () => streamingCredentials({ provider: imds, polic: {} })],
  ['an identity', () => managedIdentity({ clientID: 'x' })],
  ['a principal', () => clientSecret({ tenant: 'x' })],
  ['an adapter', () => connectWorkers(() => {}, { plan: true })],
]) {
  const error = thrown(does);
  check(error instanceof TypeError && /meant\?$/.test(error.message), `so it is of ${what}: ${error?.message}`);
}

// A principal without its secret must not become the identity of the machine.
for (const missing of ['tenantId', 'clientId', 'clientSecret']) {
  const whole = { tenantId: 't', clientId: 'c', clientSecret: 's' };
  const error = thrown(() => clientSecret({ ...whole, [missing]: undefined }));
  check(error instanceof TypeError && error.message.includes(missing), `a principal needs its ${missing}: ${error?.message}`);
}

// Whatever a token endpoint answers.
{
  let parts = 0;
  const endless = (status, headers) => async () => {
    const pull = (controller) => {
      parts += 1;
      controller.enqueue(new Uint8Array(16 * 1024).fill(60));
    };
    return new Response(new ReadableStream({ pull }), { status, headers });
  };
  const asked = async (fetch) => {
    const manager = new TokenManager({ provider: managedIdentity({ fetch }), startTimeout: 2500 });
    const error = await soon(failure(manager.token()));
    manager.close();
    return error;
  };
  const large = await asked(endless(200, {}));
  check(large instanceof RedisError && parts < 40, `a token response is read to a limit: ${large?.message} ${parts}`);
  parts = 0;
  const times = [];
  const throttled = endless(503, { 'retry-after': '1' });
  const late = await asked((...all) => (times.push(performance.now()), throttled(...all)));
  check(times.length > 1 && /503/.test(late?.message) && parts < 40, `a large page says no more than its status: ${late?.message} ${times.length} ${parts}`);
}

// Arguments.
{
  const redis = await connect({ ...common });
  check((await soon(failure(redis.command())))?.kind === 'usage', 'a command has a name');
  check((await soon(redis.pipeline([])))?.length === 0, 'a pipeline may be empty');
  check((await failure(redis.pipeline('PING'))) instanceof TypeError, 'a pipeline is an array');
  check((await failure(redis.pipeline(['PING']))) instanceof TypeError, 'of arrays');
  const typo = await failure(redis.command('GET', 'k', { timout: 5 }));
  check(typo instanceof TypeError && /timeout meant/.test(typo.message), `an option of a call is known: ${typo?.message}`);
  check(/NaN/.test((await failure(redis.command('SET', 'k', NaN)))?.message), 'what is no number is named');
  redis.close();
  redis.close();
  check((await soon(failure(redis.command('PING'))))?.kind !== undefined && redis.health().isConnected === false, 'a client may be closed twice');
  check((await soon(failure(redis.refreshIfDue()))) !== 'late', 'and asked');
  check(await soon(failure(redis.connected())) !== 'late', 'and waited for');
}

// Transports.
{
  const bad = (transport) => soon(failure(connect({ ...common, provider: instant, connect: async () => transport, startTimeout: 1000 })));
  for (const [what, transport] of [['nothing', undefined], ['no streams', {}]]) {
    const error = await bad(transport);
    check(error?.kind === 'connect' && /readable/.test(error.message), `a transport may be ${what}: ${error?.message}`);
  }
  let closed = 0;
  const locked = new ReadableStream();
  locked.getReader();
  await bad({ readable: locked, writable: new WritableStream(), close: () => { closed += 1; } });
  check(closed > 0, 'a transport that can’t be used is closed');
  closed = 0;
  let dials = 0;
  const texts = async () => {
    dials += 1;
    const readable = new ReadableStream({ start: (controller) => controller.enqueue('+OK\r\n') });
    return { readable, writable: new WritableStream() };
  };
  const talking = new Client({ ...common, provider: instant, startTimeout: 3000, connect: texts });
  const error = await soon(failure(talking.loggedIn()));
  check(error instanceof RedisError && dials > 1, `a stream of something else than bytes is broken: ${error?.message ?? error}`);
  talking.close();
  class Closing {
    #closed = 0;
    readable = new ReadableStream();
    writable = new WritableStream();
    close() { this.#closed += 1; }
    get closed() { return this.#closed; }
  }
  const mine = new Closing();
  const client = await connect({ ...common, connect: async () => mine });
  client.close();
  await until(() => mine.closed > 0);
  check(mine.closed === 1, 'a transport is closed as a method');
}

// A name with several addresses, which may be far.
if (!globalThis.Deno) {
  const { default: net } = await import('node:net');
  const { connectNode } = await import('redis-entraid-js/node');
  const original = net.connect;
  let given;
  net.connect = (options) => {
    given = options;
    return original(options);
  };
  const target = { address: '127.0.0.1', port: 1, serverName: 'cache' };
  await failure(connectNode({ plain: true })(target));
  net.connect = original;
  const time = given?.autoSelectFamilyAttemptTimeout;
  check(time >= 2000, `an address that takes longer than a quarter of a second isn't given up: ${time}`);
  // One may let everybody connect and say nothing more.
  const both = net.createServer((socket) => socket.destroy()).listen(0, '0.0.0.0');
  await until(() => both.listening);
  const lookup = (name, { all }, done) => {
    const [one, other] = ['127.0.0.1', '127.0.0.2'].map((address) => ({ address, family: 4 }));
    return all ? done(null, [one, other]) : done(null, one.address, one.family);
  };
  const reached = async (turn) => {
    const dial = connectNode({ plain: true, tls: { lookup } });
    const open = await dial({ address: 'cache', port: both.address().port, serverName: 'cache', turn });
    open.close();
    return open.remoteAddress;
  };
  const all = [await reached(0), await reached(1), await reached(2), await reached(undefined)];
  check(String(all) === '127.0.0.1,127.0.0.2,127.0.0.1,127.0.0.1', `another address has its turn: ${all}`);
  both.close();
}
{
  const turns = [];
  const client = new Client({
    ...common,
    provider: instant,
    connect: async ({ turn, begins }) => {
      turns.push(turn);
      // Nobody is there any more the fourth time.
      if (turns.length < 4) begins('tls');
      await sleep(1);
      throw new Error('nobody says anything');
    },
  });
  await until(() => turns.length > 4);
  client.close();
  check(String(turns.slice(0, 5)) === '0,1,2,3,3', `where nobody could log in is not tried again at once: ${turns}`);
}

// Servers that say nothing.
{
  const accepted = [];
  const { port, close } = await serve((socket) => accepted.push(socket));
  const error = await soon(failure(connect({ ...common, provider: instant, port, startTimeout: 2000 })));
  check(error instanceof RedisError, `a server may accept and say nothing: ${error?.message ?? error}`);
  const named = 'no answer to the TLS handshake';
  check(error?.message.includes(named), `and it is named what was waited for: ${error?.message}`);
  await until(() => accepted.length > 0);
  // Deno 2.9 gives the handshake up, but keeps its socket until the server closes it.
  const left = globalThis.Deno || (await until(() => accepted.every((socket) => socket.isClosed())));
  check(accepted.length > 0 && left, 'and is left');
  accepted.forEach((socket) => socket.close());
  close();
}

// How a connection broke, by the names that Node and Deno have for it.
for (const [code, how] of [
  ['ECONNRESET', 'connection reset'],
  ['BrokenPipe', 'connection reset'],
  ['ETIMEDOUT', 'timed out, no acknowledgement'],
  ['ERR_STREAM_PREMATURE_CLOSE', 'unexpected end of stream'],
  ['ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR', 'TLS alert'],
  ['ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC', 'bad TLS record'],
]) {
  // Answers the login, and breaks at what comes next.
  let dials = 0;
  const breaking = async () => {
    dials += 1;
    if (dials > 1) return new Promise(() => {});
    let answers;
    const readable = new ReadableStream({ start: (controller) => void (answers = controller) });
    let writes = 0;
    const write = () => {
      writes += 1;
      const hello = new TextEncoder().encode('%1\r\n+proto\r\n:3\r\n');
      if (writes === 1) answers.enqueue(hello);
      else answers.error(Object.assign(new Error('a socket says so'), { code }));
    };
    return { readable, writable: new WritableStream({ write }) };
  };
  const client = await connect({ ...common, provider: instant, connect: breaking });
  await client.loggedIn();
  const error = await soon(failure(client.command('GET', 'k')));
  const named = `the connection broke: ${how} (a socket says so)`;
  check(error?.message?.includes(named), `${code} breaks a connection with words: ${error?.message ?? error}`);
  client.close();
}

// Token managers.
{
  let number = 0;
  const provider = async () => ({ token: `token-${(number += 1)}`, user: 'u', expiresIn: 3600 });
  const manager = new TokenManager({ provider, policy: {} });
  const first = await manager.token();
  manager.rejected(first);
  const second = await soon(manager.after(first));
  check(second.token === 'token-2', `a refused token is followed by another one: ${second.token}`);
  manager.close();
  const third = await soon(manager.after(second));
  check(third.token === 'token-3', `what was closed begins anew: ${third.token ?? third}`);
  manager.rejected(first);
  await sleep(200);
  check(number === 3, 'an old token is no news');
  manager.close();
  const waiting = new TokenManager({ provider: () => new Promise(() => {}) });
  const token = failure(waiting.token());
  waiting.close();
  check((await soon(token)) instanceof RedisError, 'close ends who waits');
}
{
  let number = 0;
  const provider = async () => ({ token: `token-${(number += 1)}`, user: 'u', expiresIn: 3600 });
  const credentials = streamingCredentials({ provider });
  const heard = [];
  const [, one] = await credentials.subscribe({ onNext: () => { throw new Error('mine'); }, onError: () => {} });
  const [, two] = await credentials.subscribe({ onNext: ({ password }) => heard.push(password), onError: () => {} });
  for (let round = 0; round < 2; round += 1) {
    credentials.onReAuthenticationError(new Error('Re-authentication with latest credentials failed: WRONGPASS invalid username-password pair'));
    await until(() => heard.length > round);
  }
  check(String(heard) === 'token-2,token-3', `a subscriber that throws harms no other: ${heard}`);
  credentials.onReAuthenticationError(new Error('Re-authentication with latest credentials failed: The client is closed'));
  await sleep(6000);
  check(number === 3, 'a client that is closed says nothing of a token');
  one.dispose();
  two.dispose();
  two.dispose();
}

// Secrets.
{
  const secret = 'the-secret-itself';
  const principal = clientSecret({ tenantId: 't', clientId: 'c', clientSecret: secret });
  const inspect = globalThis.Deno?.inspect ?? (await import('node:util')).inspect;
  const options = { ...common, provider: principal };
  const shown = inspect(options, { depth: 9, showHidden: false }) + JSON.stringify(options);
  check(!shown.includes(secret), 'options may be logged');
}

check(uncaught.length === 0, `nothing is uncaught: ${uncaught.map(String)}`);
for (const rule of failures) say(`it isn't so: ${rule}`);
if (failures.length === 0) say('done');
