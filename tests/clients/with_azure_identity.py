"""Gets a token with azure-identity, by the credential that the argument names: prints whose it is."""

import os
import sys

import jwt
from azure import identity
from azure.core.exceptions import ClientAuthenticationError

env = os.environ
# Microsoft is not asked whether the authority is one of its own.
own = {"disable_instance_discovery": True}


def application():
    return env["AZURE_TENANT_ID"], env["AZURE_CLIENT_ID"]


def managed(**selector):
    return identity.ManagedIdentityCredential(**selector)


credentials = {
    "secret": lambda: identity.ClientSecretCredential(
        *application(), env["AZURE_CLIENT_SECRET"], **own
    ),
    "certificate": lambda: identity.CertificateCredential(
        *application(), env["AZURE_CLIENT_CERTIFICATE_PATH"], **own
    ),
    "workload": lambda: identity.WorkloadIdentityCredential(**own),
    "binding": lambda: identity.WorkloadIdentityCredential(enable_azure_proxy=True, **own),
    "default": lambda: identity.DefaultAzureCredential(**own),
    "managed": lambda: managed(),
    "client-id": lambda: managed(client_id=env["EMULATOR_CLIENT_ID"]),
    "object-id": lambda: managed(identity_config={"object_id": env["EMULATOR_OBJECT_ID"]}),
    "resource-id": lambda: managed(identity_config={"resource_id": env["EMULATOR_RESOURCE_ID"]}),
}

try:
    token = credentials[sys.argv[1]]().get_token("https://redis.azure.com/.default").token
    print("oid:", jwt.decode(token, options={"verify_signature": False})["oid"])
except ClientAuthenticationError as error:
    print("refused:", error.message)
