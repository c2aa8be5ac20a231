"""Gets a token with msal, in the way that the argument names: prints whose it is."""

import hashlib
import os
import ssl
import sys

import jwt
import msal
import requests

env = os.environ


def file(name):
    with open(env[name], encoding="utf-8") as file:
        return file.read()


def certificate():
    return file("AZURE_CLIENT_CERTIFICATE_PATH")


def thumbprint(pem):
    der = ssl.PEM_cert_to_DER_cert(pem[pem.index("-----BEGIN CERTIFICATE") :])
    return hashlib.sha1(der).hexdigest()


def application(proof):
    authority = f"{env['AZURE_AUTHORITY_HOST']}/{env['AZURE_TENANT_ID']}"
    # Microsoft is not asked whether the authority is one of its own.
    app = msal.ConfidentialClientApplication(
        env["AZURE_CLIENT_ID"], proof, authority=authority, instance_discovery=False
    )
    return app.acquire_token_for_client(["https://redis.azure.com/.default"])


def managed(identity):
    client = msal.ManagedIdentityClient(identity, http_client=requests.Session())
    return client.acquire_token_for_client(resource="https://redis.azure.com")


def user(name):
    return msal.UserAssignedManagedIdentity(**{name: env[f"EMULATOR_{name.upper()}"]})


ways = {
    "secret": lambda: application(env["AZURE_CLIENT_SECRET"]),
    "certificate": lambda: application(
        {"private_key": certificate(), "public_certificate": certificate()}
    ),
    "thumbprint": lambda: application(
        {"private_key": certificate(), "thumbprint": thumbprint(certificate())}
    ),
    "assertion": lambda: application({"client_assertion": file("AZURE_FEDERATED_TOKEN_FILE")}),
    "managed": lambda: managed(msal.SystemAssignedManagedIdentity()),
    "client-id": lambda: managed(user("client_id")),
    "object-id": lambda: managed(user("object_id")),
    "resource-id": lambda: managed(user("resource_id")),
}

answer = ways[sys.argv[1]]()
if "access_token" in answer:
    token = jwt.decode(answer["access_token"], options={"verify_signature": False})
    print("oid:", token["oid"])
else:
    print("refused:", answer["error_description"])
