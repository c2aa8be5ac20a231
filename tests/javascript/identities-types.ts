// What is checked here is that applications take what key vaults, WebCrypto and issuers of tokens give.

import { clientCertificate, workloadIdentity } from 'redis-entraid-js';
import type { Identity } from 'redis-entraid-js';

interface Vault {
  signData(algorithm: string, data: Uint8Array): Promise<{ result: Uint8Array }>;
}

const application = { tenantId: 'a', clientId: 'b', authorityHost: undefined, scope: undefined };

export const identities = (vault: Vault, key: CryptoKey, thumbprint: Uint8Array): Identity[] => [
  workloadIdentity({ ...application, tokenFile: '/token' }),
  workloadIdentity({ ...application, assertion: async ({ signal }) => (await fetch('https://issuer', { signal })).text() }),
  // @ts-expect-error: it is either of them.
  workloadIdentity({ ...application, tokenFile: '/token', assertion: async () => 'x' }),
  // @ts-expect-error: one of them is needed.
  workloadIdentity({ ...application }),
  clientCertificate({ ...application, certificate: '-----BEGIN' }),
  clientCertificate({ ...application, certificate: new TextEncoder().encode('-----BEGIN') }),
  clientCertificate({
    ...application,
    certificate: { thumbprint, sign: async (data) => (await vault.signData('PS256', data)).result },
  }),
  clientCertificate({
    ...application,
    certificate: {
      thumbprint: 'AB:CD',
      sign: (data) => crypto.subtle.sign({ name: 'RSA-PSS', saltLength: 32 }, key, data),
    },
  }),
];
