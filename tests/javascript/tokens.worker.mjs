// A Worker with token managers at module scope: it answers with how many tokens there were. Each
// request takes a token from both, and sees that it lives.

import { env } from 'cloudflare:workers';
import { managedIdentity, streamingCredentials, TokenManager } from 'redis-entraid-js/tokens';

const provider = managedIdentity({ imds: env.AZURE_POD_IDENTITY_AUTHORITY_HOST });
const manager = new TokenManager({ provider });
// The two share their tokens, so that requests for them can be counted.
const credentials = streamingCredentials({ provider: () => manager.token() });

export default {
  async fetch() {
    const { generation, token, expiresOnTimestamp } = await manager.token();
    if (!token || !(expiresOnTimestamp > Date.now())) return new Response('a dead token', { status: 500 });
    const [{ username, password }, subscription] = await credentials.subscribe({ onNext() {}, onError() {} });
    subscription.dispose();
    if (!username || !password) return new Response('no credentials', { status: 500 });
    return new Response(`\n${generation} hits\n`);
  },
};
