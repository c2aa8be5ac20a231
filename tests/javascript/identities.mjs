// Applications that prove themselves by a certificate or a federated token: what they promise on every host.

import { clientCertificate, connect, fromEnv, workloadIdentity } from 'redis-entraid-js';
import { TokenManager } from 'redis-entraid-js/tokens';

import { connector, env, hasFiles, sleep, write } from '#host';
import { initSync as clientModule } from './node_modules/redis-entraid-js/wasm/client.js';
import { initSync as tokensModule } from './node_modules/redis-entraid-js/wasm/tokens.js';

const application = {
  tenantId: env.AZURE_TENANT_ID,
  clientId: env.AZURE_CLIENT_ID,
  authorityHost: env.AZURE_AUTHORITY_HOST,
};
const variables = {
  AZURE_TENANT_ID: application.tenantId,
  AZURE_CLIENT_ID: application.clientId,
  AZURE_AUTHORITY_HOST: application.authorityHost,
};
const { EMULATOR_CERTIFICATE_PEM: pem, AZURE_FEDERATED_TOKEN_FILE: tokenFile, AZURE_CLIENT_CERTIFICATE_PATH: certificateFile } = env;

const block = (text, name) => text.match(new RegExp(`-----BEGIN ${name}-----[^-]+-----END ${name}-----\n?`))[0];
const der = (text) => Uint8Array.from(atob(text.replace(/-----.*-----/g, '')), (byte) => byte.charCodeAt(0));
const [privateKey, certificate] = [block(pem, 'PRIVATE KEY'), block(pem, 'CERTIFICATE')];

/** A key that only this function reaches. */
const vault = async () => {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', der(certificate)));
  const rsa = { name: 'RSA-PSS', hash: 'SHA-256', saltLength: 32 };
  const key = await crypto.subtle.importKey('pkcs8', der(privateKey), rsa, false, ['sign']);
  const thumbprint = [...digest].map((byte) => byte.toString(16).padStart(2, '0').toUpperCase()).join(':');
  return { digest, thumbprint, sign: (data) => crypto.subtle.sign(rsa, key, data) };
};

const failure = async (made) => {
  try {
    await made();
    return undefined;
  } catch (error) {
    return error;
  }
};

/** Says each rule that holds, and throws at the first that doesn't. */
export const checkAll = async (say) => {
  const check = (holds, rule) => {
    if (!holds) throw new Error(`it isn't so: ${rule}`);
    say(`ok ${rule}`);
  };
  const common = { host: env.REDIS_HOSTNAME, port: Number(env.REDIS_PORT), connect: await connector({ pem: env.REDIS_CA_PEM }) };
  const control = (what) => fetch(`${env.AMR_EMULATOR_CONTROL}/${what}`, { method: 'POST' });
  const refused = (provider, more) => failure(async () => (await connect({ ...common, provider, ...more })).close());

  let asked = 0;
  const assertion = async ({ signal }) => {
    if (!(signal instanceof AbortSignal)) throw new Error('it can be given up');
    asked += 1;
    return `${env.EMULATOR_FEDERATED_TOKEN}\n`;
  };
  const { digest, thumbprint, sign } = await vault();
  const identities = {
    'an assertion': workloadIdentity({ ...application, assertion }),
    'a certificate in memory': clientCertificate({ ...application, certificate: `${env.REDIS_CA_PEM}${certificate}${privateKey}` }),
    'a certificate in bytes': clientCertificate({ ...application, certificate: new TextEncoder().encode(pem) }),
    'a key elsewhere': clientCertificate({ ...application, certificate: { thumbprint, sign } }),
  };
  if (hasFiles) {
    identities['a token file'] = workloadIdentity({ ...application, tokenFile });
    const [byToken, byCertificate] = [{ AZURE_FEDERATED_TOKEN_FILE: tokenFile }, { AZURE_CLIENT_CERTIFICATE_PATH: certificateFile }];
    identities['a token file of the environment'] = fromEnv({ ...variables, ...byToken });
    identities['a certificate of the environment'] = fromEnv({ ...variables, ...byCertificate, ...byToken });
  }
  const stays = async ([name, provider]) => {
    const redis = await connect({ ...common, provider });
    await redis.loggedIn();
    const until = Date.now() + 60_000;
    while (redis.health().reauths < 2 && Date.now() < until) await sleep(50);
    const { connects, reauths, token } = redis.health();
    check(connects === 1 && reauths >= 2 && token.failures === 0, `${name} logs in and is refreshed`);
    redis.close();
  };
  await Promise.all(Object.entries(identities).map(stays));
  check(asked >= 3, `an assertion is asked for each time: ${asked}`);
  for (const name of ['an assertion', 'a certificate in memory']) {
    const manager = new TokenManager({ provider: identities[name] });
    check((await manager.token()).token, `${name} is for a token manager, too`);
    manager.close();
  }

  // As long as the federated tokens that are read from files may be.
  const long = `e30.${'a'.repeat(16 * 1024 - 9)}.c2ln`;
  const sent = async (url, init) => {
    const body = new TextDecoder().decode(init.body);
    return fetch(url, { ...init, body: body.replace(`=${long}&`, `=${env.EMULATOR_FEDERATED_TOKEN}&`) });
  };
  const whole = await connect({ ...common, provider: workloadIdentity({ ...application, assertion: async () => long, fetch: sent }) });
  await whole.loggedIn();
  check(long.length === 16_384, 'an assertion of 16 KiB is sent');
  // All that was sent and received is gone from the module, used and freed memory alike.
  const holds = (module, secret) => new TextDecoder('latin1').decode(module().memory.buffer).includes(secret);
  check(!holds(clientModule, long.slice(0, 400)), 'an assertion is wiped when it was sent');
  whole.close();
  let answered;
  const heard = async (url, init) => {
    const response = await fetch(url, init);
    answered = (await response.clone().json()).access_token;
    return response;
  };
  const manager = new TokenManager({ provider: workloadIdentity({ ...application, assertion, fetch: heard }) });
  const { token: given } = await manager.token();
  // In a Worker it is kept outside of the module.
  check(given === answered && holds(tokensModule, given) === hasFiles, 'a token is found in the module while it is kept there');
  manager.close();
  await sleep(100);
  check(!holds(tokensModule, given), 'a token is wiped when its manager is closed');
  check(!holds(tokensModule, env.EMULATOR_FEDERATED_TOKEN), 'and so is its assertion');

  // A key stays in the engine.
  const { subtle } = crypto;
  const extractable = [];
  subtle.importKey = (...args) => {
    extractable.push(args[3]);
    return SubtleCrypto.prototype.importKey.apply(subtle, args);
  };
  const kept = new TokenManager({ provider: identities['a certificate in memory'] });
  await kept.token();
  kept.close();
  delete subtle.importKey;
  check(extractable.length > 0 && extractable.every((may) => may === false), 'a key that was imported can not be exported');

  // Refused by Entra.
  const zeros = clientCertificate({ ...application, certificate: { thumbprint: new Uint8Array(32), sign } });
  const unknown = await refused(zeros);
  check(unknown.kind === 'token' && /AADSTS700027.*isn't registered/.test(unknown.message), `a certificate that the application doesn't have is refused with advice: ${unknown.message}`);
  const other = { thumbprint: digest, sign: async () => new Uint8Array(256) };
  const wrong = await refused(clientCertificate({ ...application, certificate: other }));
  check(/AADSTS700027/.test(wrong.message), `so is a wrong signature: ${wrong.message}`);
  const twice = new TokenManager({ provider: clientCertificate({ ...application, certificate: other }), startTimeout: 5_000 });
  for (const { message } of [wrong, await failure(() => twice.token())]) {
    check(message.match(/the token endpoint refused/g)?.length === 1, `an error says it once: ${message}`);
  }
  twice.close();
  const scope = 'https://graph.microsoft.com/.default';
  for (const one of [workloadIdentity({ ...application, assertion, scope }), clientCertificate({ ...application, certificate: pem, scope })]) {
    check(/AADSTS70011/.test((await refused(one)).message), 'another scope is asked for');
  }

  // Functions that fail.
  const locked = Object.assign(new Error('the vault is locked'), { kind: 'configuration' });
  const never = () => Promise.reject(locked);
  for (const one of [
    clientCertificate({ ...application, certificate: { thumbprint, sign: never } }),
    workloadIdentity({ ...application, assertion: never }),
  ]) {
    const error = await refused(one);
    check(error.cause === locked && /no token.*the vault is locked/.test(error.message), `what a function throws is the cause: ${error.message}`);
  }
  for (const [one, said] of [
    ...[undefined, '', 'Bearer e30.e30.c2ln', 'e30.e30', 'e30..c2ln', 'e30.e3 0.c2ln', { token: 'e30.e30.c2ln' }].map((value) => [
      workloadIdentity({ ...application, assertion: async () => value }),
      /assertion\(\) of workloadIdentity\(\) gave no JWT: (?!.*e30)/,
    ]),
    [clientCertificate({ ...application, certificate: { thumbprint, sign: async () => 'x' } }), /gave no signature/],
  ]) {
    const { message } = await refused(one);
    check(said.test(message), `what a function gives is looked at: ${message}`);
  }

  // PEM that is of no use. Nothing of it is shown.
  const encrypted = privateKey.replaceAll('PRIVATE', 'ENCRYPTED PRIVATE');
  for (const [content, said] of [
    ['nothing', /clientCertificate\(\): there is no certificate in it/],
    [privateKey, /there is no certificate in it/],
    [certificate, /there is no private key in it/],
    [certificate + encrypted, /not encrypted/],
    [privateKey + env.REDIS_CA_PEM, /belongs to none of its certificates/],
    [certificate + certificate.replaceAll('CERTIFICATE', 'PRIVATE KEY'), /no RSA key/],
    [`${certificate}-----BEGIN PRIVATE KEY-----\nMIIE\n$\n-----END PRIVATE KEY-----`, /clientCertificate\(\): there is no private key in it/],
    [certificate + privateKey.replaceAll('PRIVATE', 'RSA PRIVATE'), /PKCS#8/],
    [new Uint8Array([0x30, 0x82, 0x0b, 0xff]), /give PEM/],
  ]) {
    const { kind, message } = await refused(clientCertificate({ ...application, certificate: content }));
    check(kind === 'token' && said.test(message), `a certificate says why it can't be used: ${message}`);
  }

  // Mistakes are seen where they are made.
  for (const [made, said] of [
    [() => workloadIdentity({ ...application }), /either tokenFile or assertion/],
    [() => workloadIdentity({ ...application, assertion, tokenFile: '/x' }), /either tokenFile or assertion/],
    [() => workloadIdentity({ assertion, clientId: 'x' }), /needs tenantId/],
    [() => workloadIdentity({ ...application, tokenfile: '/x' }), /is tokenFile meant/],
    [() => workloadIdentity({ ...application, assertion, scope: '' }), /scope is empty/],
    [() => clientCertificate({ ...application, certificate: pem, scope: ' ' }), /scope is empty/],
    [() => clientCertificate({ ...application, certificate: new ArrayBuffer(8) }), /PEM, as text or a Uint8Array, or/],
    [() => clientCertificate({ ...application }), /needs certificate/],
    [() => clientCertificate({ ...application, certificate: { thumbprint: 'A94A8FE5CCB19BA61C4C0873D391E987982FBBD3', sign } }), /SHA-256/],
    [() => clientCertificate({ ...application, certificate: { thumbprint } }), /sign is a function/],
    [() => clientCertificate({ ...application, certificate: { thumbprint, signer: sign } }), /is sign meant/],
  ]) {
    const error = await failure(async () => made());
    check(error instanceof TypeError && said.test(error.message), `a mistake is named: ${error?.message}`);
  }

  // A variable that asks for an identity that isn't supported is named.
  const AZURE_FEDERATED_TOKEN_FILE = tokenFile ?? '/token';
  const unsupported = {
    AZURE_KUBERNETES_TOKEN_PROXY: { AZURE_KUBERNETES_TOKEN_PROXY: 'https://10.0.0.1', AZURE_FEDERATED_TOKEN_FILE },
    AZURE_CLIENT_CERTIFICATE_PASSWORD: { AZURE_CLIENT_CERTIFICATE_PASSWORD: 'hush', AZURE_CLIENT_CERTIFICATE_PATH: '/x.pfx' },
    AZURE_CLIENT_SEND_CERTIFICATE_CHAIN: { AZURE_CLIENT_SEND_CERTIFICATE_CHAIN: '1', AZURE_CLIENT_CERTIFICATE_PATH: '/x.pem' },
    IDENTITY_SERVER_THUMBPRINT: { IDENTITY_ENDPOINT: 'https://x', IDENTITY_HEADER: 'x', IDENTITY_SERVER_THUMBPRINT: 'x' },
    IMDS_ENDPOINT: { IDENTITY_ENDPOINT: 'http://x', IMDS_ENDPOINT: 'http://x' },
    MSI_ENDPOINT: { MSI_ENDPOINT: 'http://x', MSI_SECRET: 'x' },
  };
  const withoutFiles = {
    AZURE_FEDERATED_TOKEN_FILE: { AZURE_FEDERATED_TOKEN_FILE },
    AZURE_CLIENT_CERTIFICATE_PATH: { AZURE_CLIENT_CERTIFICATE_PATH: '/x.pem' },
  };
  const { AZURE_KUBERNETES_TOKEN_PROXY, AZURE_CLIENT_CERTIFICATE_PASSWORD, AZURE_CLIENT_SEND_CERTIFICATE_CHAIN, ...everywhere } = unsupported;
  const cases = hasFiles ? unsupported : { ...everywhere, ...withoutFiles };
  for (const [name, more] of Object.entries(cases)) {
    const error = await refused(fromEnv({ ...variables, ...more }));
    check(error?.kind === 'usage' && error.message.includes(name), `what isn't supported is named: ${error?.message}`);
  }
  // A variable of the environment that is called like a word of ours.
  const odd = await refused(fromEnv({ ...variables, managed: 'x', scope: 'x', MSI_ENDPOINT: 'http://x' }));
  check(odd?.message.includes('MSI_ENDPOINT'), `a variable in small letters means nothing: ${odd?.message}`);

  if (!hasFiles) {
    const error = await failure(async () => workloadIdentity({ ...application, tokenFile: '/token' }));
    check(error instanceof TypeError && /no files/.test(error.message), `without files, a file is refused: ${error?.message}`);
    return;
  }

  // Files that are of no use. One that is being replaced may be missing or empty for a moment.
  const startTimeout = 500;
  for (const [path, said, more] of [
    ['/nonexistent/token', /can't read \/nonexistent\/token: /, { startTimeout }],
    ['/dev/null', /\/dev\/null contains no JWT/, { startTimeout }],
    [certificateFile, /contains no JWT/, { startTimeout }],
    ['/', /can't read \/: /, {}],
  ]) {
    const { kind, message } = await refused(workloadIdentity({ ...application, tokenFile: path }), more);
    check(kind === 'token' && said.test(message), `a token file says why it can't be used: ${message}`);
  }
  for (const [path, said] of [
    ['/nonexistent/app.pem', /can't read \/nonexistent\/app.pem: /],
    [tokenFile, /: there is no certificate in it/],
  ]) {
    const { kind, message } = await refused(fromEnv({ ...variables, AZURE_CLIENT_CERTIFICATE_PATH: path }), { startTimeout });
    check(kind === 'token' && said.test(message), `a certificate file says why it can't be used: ${message}`);
  }

  const byFile = {
    AZURE_FEDERATED_TOKEN_FILE: env.EMULATOR_FEDERATED_TOKEN,
    AZURE_CLIENT_CERTIFICATE_PATH: `${certificate}${privateKey}`,
  };
  for (const [name, content] of Object.entries(byFile)) {
    const path = `replaced-${name}`;
    for (const before of [undefined, '', content.slice(0, content.length / 2)]) {
      await write(path, before);
      const events = [];
      const policy = { retry: { initialDelay: 50 } };
      const onEvent = ({ name }) => events.push(name);
      const client = connect({ ...common, provider: fromEnv({ ...variables, [name]: path }), policy, onEvent });
      const until = Date.now() + 60_000;
      while (events.length < 2 && Date.now() < until) await sleep(10);
      await write(path, content);
      const redis = await client;
      await redis.loggedIn();
      check(redis.health().connects === 1, `a file heals that is ${before === undefined ? 'missing' : `${before.length} bytes long`}: ${name}, after ${events}`);
      redis.close();
    }
    await write(path, undefined);
  }
  // What no time heals is said at once.
  await write('not-pem', certificate + encrypted);
  const encryptedKey = await refused(fromEnv({ ...variables, AZURE_CLIENT_CERTIFICATE_PATH: 'not-pem' }));
  check(/not encrypted/.test(encryptedKey.message), `a key that is encrypted is refused at once: ${encryptedKey.message}`);
  await write('not-pem', undefined);

  // The agent of Azure Arc is seen where it is on Windows: elsewhere, its folder is root's.
  const agent = 'Program Files\\AzureConnectedMachineAgent\\himds.exe';
  await write(agent, '');
  const arc = await refused(fromEnv({ ProgramFiles: 'Program Files' }));
  await write(agent, undefined);
  check(arc?.kind === 'usage' && /agent of Azure Arc/.test(arc.message), `the agent of Azure Arc is no reason to ask somebody else: ${arc?.message}`);

  // A token is the one that is in the file now.
  const redis = await connect({ ...common, provider: workloadIdentity({ ...application, tokenFile }) });
  await redis.loggedIn();
  await control('rotate');
  const until = Date.now() + 60_000;
  while (redis.health().reauths < 1 && Date.now() < until) await sleep(50);
  const { reauths, token } = redis.health();
  check(reauths >= 1 && token.failures === 0, 'a token file is read anew');
  const late = await refused(workloadIdentity({ ...application, assertion }), { startTimeout });
  check(/AADSTS700213/.test(late.message), `and the old token is refused: ${late.message}`);
  redis.close();
};
