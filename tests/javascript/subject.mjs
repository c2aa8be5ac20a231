// The subject of the conformance cases. What the lines mean is said in tests/conformance/src/lib.rs.

import { clientSecret, connect, listen, managedIdentity, RedisError } from 'redis-entraid-js';

import { connector, env, sleep } from '#host';

const clients = new Map();
const begun = new Map();

const identity = (source = 'principal') => {
  const [kind, id] = source.split('/');
  const ids = {
    'client-id': { clientId: env.EMULATOR_CLIENT_ID },
    'object-id': { objectId: env.EMULATOR_OBJECT_ID },
    'resource-id': { resourceId: env.EMULATOR_RESOURCE_ID },
  };
  switch (kind) {
    case 'imds':
      return managedIdentity({ ...ids[id], imds: env.AZURE_POD_IDENTITY_AUTHORITY_HOST });
    case 'app-service': {
      const { IDENTITY_ENDPOINT: endpoint, IDENTITY_HEADER: header } = env;
      return managedIdentity({ ...ids[id], endpoint, header });
    }
    default:
      return clientSecret({
        tenantId: env.AZURE_TENANT_ID,
        clientId: env.AZURE_CLIENT_ID,
        clientSecret: env.AZURE_CLIENT_SECRET,
        authorityHost: env.AZURE_AUTHORITY_HOST,
      });
  }
};

const failure = ({ code, kind, outcome }) => `err ${code ?? '-'} kind=${kind} outcome=${outcome}`;

const shown = (value) => {
  const list = (items, open, close) => open + [...items].map(shown).join(', ') + close;
  if (value === null) return '(nil)';
  if (value instanceof RedisError) return failure(value);
  if (typeof value === 'boolean') return `(${value})`;
  if (typeof value === 'string') return JSON.stringify(value);
  if (Array.isArray(value)) return list(value, '[', ']');
  if (value instanceof Set) return list(value, '<', '>');
  if (value instanceof Map) return list([...value].flat(), '{', '}');
  const whole = typeof value === 'bigint' || Number.isInteger(value);
  return `(${whole ? 'int' : 'double'}) ${value}`;
};

const send = async (client, text, options) => {
  const commands = text.split(' | ').map((command) => command.trim().split(/\s+/));
  try {
    // One command is sent as one: that may be sliced.
    const replies =
      commands.length === 1
        ? [await client.command(...commands[0], ...(options ? [options] : []))]
        : await client.pipeline(commands, options);
    const answers = replies.map(shown).join(' | ');
    return replies[0] instanceof RedisError ? answers : `ok ${answers}`;
  } catch (error) {
    return error === options?.signal.reason ? 'gone' : failure(error);
  }
};

const happened = (client, what) => {
  const { isConnected, isReady, connects, reauths, token } = client.health();
  const times = {
    reauth: reauths,
    reconnect: connects - 1,
    refresh: token.refreshes - 1,
    down: isConnected ? 0 : 1,
    unready: isReady ? 0 : 1,
  };
  return times[what];
};

const optionsOf = async (words) => {
  const { source, resp, idle, replacement } = Object.fromEntries(words.map((word) => word.split('=')));
  return {
    host: env.REDIS_HOSTNAME,
    port: Number(env.REDIS_PORT),
    connect: await connector({ pem: env.REDIS_CA_PEM }),
    provider: identity(source),
    protocol: resp === '2' ? 2 : 3,
    pingInterval: idle && idle * 1000,
    replacement,
    // It has transactions open from line to line.
    dedicated: true,
  };
};

/** Keeps what can be opened under its name. */
const opened = async (name, open) => {
  try {
    clients.set(name, await open());
    return 'ok';
  } catch (error) {
    return failure(error);
  }
};

const verbs = {
  connect: (name, rest) =>
    opened(name, async () => {
      const client = await connect(await optionsOf(rest.split(' ')));
      // The cases want to know whether the login was good.
      try {
        await client.loggedIn();
        return client;
      } catch (error) {
        client.close();
        throw error;
      }
    }),

  subscribe: (name, rest) =>
    opened(name, async () => {
      const [channel, ...words] = rest.split(' ');
      const subscriber = await listen(await optionsOf(words));
      await subscriber.subscribe(channel);
      return subscriber;
    }),

  async hear(name) {
    const timeout = sleep(30_000).then(() => ({ value: { type: 'err timeout' } }));
    try {
      const { value } = await Promise.race([clients.get(name).next(), timeout]);
      return value.type === 'message' ? `message ${value.message}` : value.type;
    } catch (error) {
      return failure(error);
    }
  },

  send: (name, rest) => send(clients.get(name), rest),

  leave(name, rest) {
    const [, millis, text] = rest.match(/^(\S+) (.*)$/);
    const controller = new AbortController();
    sleep(Number(millis)).then(() => controller.abort());
    return send(clients.get(name), text, { signal: controller.signal });
  },

  begin(name, rest) {
    begun.set(name, send(clients.get(name), rest));
    return 'ok';
  },

  end: (name) => begun.get(name),

  async wait(name, rest) {
    const [what, count, seconds] = rest.split(' ');
    const until = performance.now() + parseInt(seconds) * 1000;
    for (;;) {
      if (happened(clients.get(name), what) >= Number(count)) return 'ok';
      if (performance.now() >= until) return 'err timeout';
      await sleep(10);
    }
  },

  close(name) {
    clients.get(name).close();
    clients.delete(name);
    return 'ok';
  },
};

/** Does what a line says, and comes to the answer. */
export const answer = async (line) => {
  const [, verb, name, rest] = line.match(/^(\S+) ?(\S*) ?(.*)$/);
  return verb in verbs ? verbs[verb](name, rest) : 'err not a line';
};
