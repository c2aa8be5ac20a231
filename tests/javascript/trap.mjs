// One client takes more memory than there is; another one goes on. Run with little memory for modules.

import { connect, managedIdentity } from 'redis-entraid-js';

import { connector, env, say, sleep } from '#host';

const uncaught = [];
process.on('uncaughtException', (error) => uncaught.push(error));
process.on('unhandledRejection', (error) => uncaught.push(error));

const options = {
  host: env.REDIS_HOSTNAME,
  port: Number(env.REDIS_PORT),
  connect: await connector({ pem: env.REDIS_CA_PEM }),
  provider: managedIdentity({ imds: env.AZURE_POD_IDENTITY_AUTHORITY_HOST }),
};
const [one, other] = await Promise.all([connect(options), connect(options)]);
await other.command('SET', 'k', 'v');
const piece = 'x'.repeat(1 << 20);
for (let n = 0; n < 40; n += 1) await other.command('APPEND', 'large', piece);
const late = sleep(20_000).then(() => 'late');
const large = await Promise.race([one.command('GET', 'large').catch((error) => error), late]);
say(`large: ${large?.name} ${large?.kind} ${large?.message ?? large}`);
say(`other: ${await Promise.race([other.command('GET', 'k').catch((error) => error), late])}`);
const again = await Promise.race([one.command('GET', 'k').catch((error) => error), late]);
say(`again: ${again?.message ?? again}`);
const third = connect(options).then((client) => client.command('GET', 'k'));
say(`third: ${await Promise.race([third.catch((error) => error), late])}`);
say(`uncaught: ${uncaught.length} ${uncaught[0]?.message}`);
process.exit(0);
