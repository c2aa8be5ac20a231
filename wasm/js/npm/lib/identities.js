import { fileProof, hasFile } from '#files';

import { onlyKnown } from './names.js';

/** The scope of Azure Managed Redis, for providers of your own. */
export const SCOPE = 'https://redis.azure.com/.default';

/** An identity that variables describe. In a function, a secret among them isn't shown when somebody looks at what
 * it is part of. */
export const identity = (variables, more) => ({ variable: (name) => variables[name], ...more });

/** The variables of an application, all of which are there: without one, they would mean another identity. */
export const application = (what, options, wanted) => {
  for (const name of ['tenantId', 'clientId', ...wanted]) {
    if (!options[name]) throw new TypeError(`${what}() needs ${name}`);
  }
  const { tenantId, clientId, authorityHost, scope } = options;
  if (scope != null && !String(scope).trim()) throw new TypeError(`scope is empty: without it, it is ${SCOPE}`);
  return { AZURE_TENANT_ID: tenantId, AZURE_CLIENT_ID: clientId, AZURE_AUTHORITY_HOST: authorityHost, scope };
};

const PRINCIPAL = ['tenantId', 'clientId', 'clientSecret', 'authorityHost', 'fetch'];
const MANAGED = ['clientId', 'objectId', 'resourceId', 'endpoint', 'header', 'imds', 'fetch'];

/** A service principal with a secret. */
export const clientSecret = (options) => {
  const { clientSecret, fetch } = onlyKnown(options, PRINCIPAL);
  const variables = application('clientSecret', options, ['clientSecret']);
  return identity({ ...variables, AZURE_CLIENT_SECRET: clientSecret }, { fetch });
};

/** The managed identity of this machine, or of this app where it has an endpoint of its own. */
export const managedIdentity = (options = {}) => {
  const { fetch, ...variables } = onlyKnown(options, MANAGED);
  return identity({ managed: 'yes', ...variables }, { fetch });
};

/** The identity that the variables of an environment describe. */
export const fromEnv = (env, options = {}) => {
  const { fetch } = onlyKnown(options, ['fetch']);
  // Words that begin with a small letter are ours, and mean something else there.
  const variable = (name) => (/^[A-Z]/.test(name) ? env[name] : undefined);
  return { variable, fetch, prove: fileProof, hasFile };
};
