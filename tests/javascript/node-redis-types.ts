// What is checked here is that node-redis takes our provider, and a provider what Azure's own gives.

import { DefaultAzureCredential } from '@azure/identity';
import { createClient } from 'redis';
import { connect, SCOPE } from 'redis-entraid-js';
import { connectNode } from 'redis-entraid-js/node';
import { streamingCredentials } from 'redis-entraid-js/tokens';

const credential = new DefaultAzureCredential();
const provider = () => credential.getToken(SCOPE);

export const theirs = createClient({ credentialsProvider: streamingCredentials({ provider }) });
export const ours = connect({ host: 'cache', connect: connectNode(), provider });
