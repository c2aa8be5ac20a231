// What is checked here is that node-redis takes our provider, and a provider what Azure's own gives.

import { DefaultAzureCredential } from '@azure/identity';
import { createClient } from 'redis';
import { connect, SCOPE, streamingCredentials } from 'redis-entraid-js';
import { connectNode } from 'redis-entraid-js/node';

const credential = new DefaultAzureCredential();
const provider = () => credential.getToken(SCOPE);

export const theirs = createClient({ credentialsProvider: streamingCredentials({ provider }) });
export const ours = connect({ host: 'cache', connect: connectNode(), provider });
