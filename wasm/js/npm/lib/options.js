import { onlyKnown } from './names.js';

const POLICY = ['expirationRefreshRatio', 'lowerRefreshBound', 'tokenRequestTimeout', 'retry'];
const RETRY = ['maxAttempts', 'initialDelay', 'maxDelay', 'backoffMultiplier', 'slowDelay'];

/** What tokens are got with. */
export const TOKEN_OPTIONS = ['provider', 'policy', 'startTimeout', 'onEvent', 'fetch'];

/** What a client may be told, besides. */
export const CLIENT_OPTIONS = [
  ...TOKEN_OPTIONS,
  'host', 'port', 'address', 'connect', 'transport', 'protocol', 'name', 'dedicated', 'oneRequest', 'deadline',
  'queueTimeout', 'commandTimeout', 'pingInterval', 'maxReply', 'replacement', 'backlog', 'onPush', 'snapshot',
];

const wrong = (name, wanted) => new TypeError(`${name} is ${wanted}`);

const ratio = (share) => {
  if (share === undefined) return undefined;
  if (!(typeof share === 'number' && share >= 0 && share <= 1)) {
    throw wrong('policy.expirationRefreshRatio', 'a number from 0 to 1');
  }
  return Math.round(share * 1e6);
};

const checked = (kind, name, value) => {
  if (value != null && typeof value !== kind) throw wrong(name, `a ${kind}`);
  return value ?? undefined;
};

/** Milliseconds; `Infinity` is no limit. */
const millis = (name, value) => {
  if (checked('number', name, value) !== undefined && !(value >= 0)) {
    throw wrong(name, 'a number of milliseconds');
  }
  return value;
};

const whole = (name, value, most) => {
  if (value === undefined || (Number.isInteger(value) && value > 0 && value <= most)) return value;
  throw wrong(name, `a whole number up to ${most}`);
};

/** A token that was kept, as bytes; or as what KV gives. */
export const snapshotOf = (given) => {
  if (given == null || given instanceof Uint8Array) return given ?? undefined;
  if (given instanceof ArrayBuffer) return new Uint8Array(given);
  throw wrong('snapshot', 'a Uint8Array');
};

/** The options as the module takes them; others than those that are `known` are a mistake. */
export const rawOptions = (options, known) => {
  const { provider, policy = {} } = onlyKnown(options, known);
  const { retry = {} } = onlyKnown(policy, POLICY, 'a part of policy');
  onlyKnown(retry, RETRY, 'a part of policy.retry');
  if (typeof provider !== 'function' && typeof provider?.variable !== 'function') {
    throw new TypeError('`provider` is missing: an async function that yields a token, or an identity');
  }
  const text = (name) => checked('string', name, options[name]);
  const time = (name) => millis(name, options[name]);
  const host = text('host') ?? 'localhost';
  checked('function', 'connect', options.connect);
  checked('function', 'onEvent', options.onEvent);
  checked('function', 'onPush', options.onPush);
  checked('function', 'fetch', options.fetch);
  return {
    host,
    port: whole('port', options.port, 65_535),
    address: text('address'),
    name: text('name'),
    resp2: options.protocol === 2,
    dedicated: !!options.dedicated,
    oneRequest: !!options.oneRequest,
    idle: time('pingInterval'),
    queueTimeout: time('queueTimeout'),
    commandTimeout: time('commandTimeout'),
    startTimeout: time('startTimeout'),
    deadline: time('deadline'),
    maxReply: whole('maxReply', options.maxReply, 2 ** 32 - 1),
    backlog: whole('backlog', options.backlog, 2 ** 32 - 1),
    once: !options.connect,
    overlap: options.replacement === 'overlap',
    hearsPushes: !!options.onPush,
    refreshRatio: ratio(policy.expirationRefreshRatio),
    lowerRefreshBound: millis('policy.lowerRefreshBound', policy.lowerRefreshBound),
    tokenRequestTimeout: millis('policy.tokenRequestTimeout', policy.tokenRequestTimeout),
    maxAttempts: whole('policy.retry.maxAttempts', retry.maxAttempts, 2 ** 32 - 1),
    backoffMultiplier: whole('policy.retry.backoffMultiplier', retry.backoffMultiplier, 2 ** 32 - 1),
    initialDelay: millis('policy.retry.initialDelay', retry.initialDelay),
    maxDelay: millis('policy.retry.maxDelay', retry.maxDelay),
    slowDelay: millis('policy.retry.slowDelay', retry.slowDelay),
    seed: Math.floor(Math.random() * 2 ** 53),
    hasProvider: typeof provider === 'function',
    hasProof: typeof provider.prove === 'function',
    hasFile: (path) => !!provider.hasFile?.(path),
    variable: (name) => {
      const value = name === 'REDIS_HOSTNAME' ? host : provider.variable(name);
      // The server is said elsewhere.
      return name === 'REDIS_ENDPOINT' || value == null ? undefined : String(value);
    },
  };
};
