// Applications that prove themselves otherwise than by a secret.

import { fileProof } from '#files';

import { certificateKey, keyOf } from './certificate.js';
import { application, identity } from './identities.js';
import { jwtIn } from './jwt.js';
import { onlyKnown } from './names.js';

const OPTIONS = ['tenantId', 'clientId', 'authorityHost', 'scope', 'fetch'];

/** An application, or a user-assigned managed identity, with the token of an issuer that it trusts. */
export const workloadIdentity = (options) => {
  const { tokenFile, assertion, fetch } = onlyKnown(options, [...OPTIONS, 'tokenFile', 'assertion']);
  if (!tokenFile === !assertion) throw new TypeError('workloadIdentity() needs either tokenFile or assertion');
  if (tokenFile && !fileProof) {
    throw new TypeError('this host has no files: give workloadIdentity() an assertion instead of tokenFile');
  }
  const given = async ({ signal }) => ({
    assertion: jwtIn(await assertion({ signal }), 'assertion() of workloadIdentity() gave', 'configuration'),
  });
  const variables = application('workloadIdentity', options, []);
  return identity(
    { ...variables, AZURE_FEDERATED_TOKEN_FILE: tokenFile ?? 'given' },
    { fetch, prove: assertion ? given : fileProof },
  );
};

/** An application with a certificate: PEM, or its thumbprint and what signs with its key. */
export const clientCertificate = (options) => {
  const { certificate, fetch } = onlyKnown(options, [...OPTIONS, 'certificate']);
  const variables = application('clientCertificate', options, ['certificate']);
  const pem = certificate instanceof Uint8Array ? new TextDecoder().decode(certificate) : certificate;
  const inMemory = () => certificateKey(pem, 'clientCertificate()');
  const prove = typeof pem === 'string' ? inMemory : keyOf(pem);
  return identity({ ...variables, AZURE_CLIENT_CERTIFICATE_PATH: 'given' }, { fetch, prove });
};
