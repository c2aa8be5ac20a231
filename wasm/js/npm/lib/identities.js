import { onlyKnown } from './names.js';

/** The scope of Azure Managed Redis, for providers of your own. */
export const SCOPE = 'https://redis.azure.com/.default';

// In a function, a secret among them isn't shown when somebody looks at what it is part of.
const identity = (variables, fetch) => ({ variable: (name) => variables[name], fetch });

const PRINCIPAL = ['tenantId', 'clientId', 'clientSecret', 'authorityHost', 'fetch'];
const MANAGED = ['clientId', 'objectId', 'resourceId', 'endpoint', 'header', 'imds', 'fetch'];

/** A service principal with a secret. */
export const clientSecret = (options) => {
  const { tenantId, clientId, clientSecret, authorityHost, fetch } = onlyKnown(options, PRINCIPAL);
  // Without one of them, the variables would mean another identity.
  for (const [name, value] of Object.entries({ tenantId, clientId, clientSecret })) {
    if (!value) throw new TypeError(`clientSecret() needs ${name}`);
  }
  return identity(
    {
      AZURE_TENANT_ID: tenantId,
      AZURE_CLIENT_ID: clientId,
      AZURE_CLIENT_SECRET: clientSecret,
      AZURE_AUTHORITY_HOST: authorityHost,
    },
    fetch,
  );
};

/** The managed identity of this machine, or of this app where it has an endpoint of its own. */
export const managedIdentity = (options = {}) => {
  const { fetch, ...variables } = onlyKnown(options, MANAGED);
  return identity({ managed: 'yes', ...variables }, fetch);
};

/** The identity that the variables of an environment describe. */
export const fromEnv = (env, options = {}) => identity(env, onlyKnown(options, ['fetch']).fetch);
