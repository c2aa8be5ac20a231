// How long a flood of commands takes that nobody awaited one by one, with our client and with ioredis:
// each in a process of its own, as often as it takes for the machine not to be busy with something else.

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect as dial, createServer } from 'node:net';
import { promisify } from 'node:util';

import Redis from 'ioredis';
import { connect } from 'redis-entraid-js';
import { connectNode } from 'redis-entraid-js/node';

const clients = {
  async ours(port) {
    const client = await connect({
      host: '127.0.0.1',
      port,
      connect: connectNode({ plain: true }),
      provider: async () => ({ token: 'flood', user: 'flood', expiresIn: 3600 }),
      commandTimeout: 120_000,
    });
    return { command: () => client.command('INCR', 'ours'), close: () => client.close() };
  },
  async ioredis(port) {
    const client = new Redis(port, '127.0.0.1', { username: 'flood', password: 'flood' });
    return { command: () => client.call('INCR', 'theirs'), close: () => client.disconnect() };
  },
};

/** What a child process does. */
const flood = async (name, port, count) => {
  const { command, close } = await clients[name](port);
  await command();
  const begun = performance.now();
  const replies = [];
  for (let number = 0; number < count; number += 1) replies.push(command());
  const last = (await Promise.all(replies)).at(-1);
  if (!Number.isInteger(last)) throw new Error(`no reply: ${last}`);
  console.log(performance.now() - begun);
  close();
};

/** Has a server, and says where. */
const served = async () => {
  const free = createServer().listen(0, '127.0.0.1');
  await once(free, 'listening');
  const { port } = free.address();
  free.close();
  const user = ['--user', 'flood', 'on', '>flood', '~*', '+@all'];
  const server = spawn('redis-server', ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', ...user]);
  for (let isUp = false; !isUp; ) {
    const probe = dial(port, '127.0.0.1');
    isUp = await new Promise((resolve) => {
      probe.once('connect', () => resolve(true)).once('error', () => resolve(false));
    });
    probe.destroy();
  }
  return { port, end: () => server.kill() };
};

const compared = async () => {
  const { port, end } = await served();
  const took = async (name, count) => {
    const args = [process.argv[1], name, port, count];
    for (let crashes = 0; ; crashes += 1) {
      try {
        const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 120_000 });
        return Number(stdout);
      } catch (error) {
        // V8 of Node 20 ends about one in twenty of these processes: "unreachable code", in its
        // Deoptimizer. All other ends are ours.
        if (error.signal !== 'SIGTRAP' || !error.stderr.includes('Deoptimizer') || crashes === 4) throw error;
        console.log(`V8 of Node ${process.version} has crashed`);
      }
    }
  };
  try {
    for (const count of [50_000, 200_000]) {
      let [ours, theirs] = [Infinity, Infinity];
      for (let round = 0; round < 5 && !(ours <= 2 * theirs && round > 0); round += 1) {
        ours = Math.min(ours, await took('ours', count));
        theirs = Math.min(theirs, await took('ioredis', count));
      }
      console.log(`${count} commands: ${Math.round(ours)} ms, ioredis ${Math.round(theirs)} ms`);
      if (ours > 2 * theirs) throw new Error('that is more than twice');
    }
  } finally {
    end();
  }
  console.log('done');
};

const [, , name, port, count] = process.argv;
await (name ? flood(name, Number(port), Number(count)) : compared());
